//! What every store must do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared_protocol::StoreKind;
use shared_store::{RedisUrl, StateStore, StoreConfig, StoreError, open};
use tempfile::TempDir;

use super::{json, key, read};
use shared_testkit::redis_group::{ClusterGroup, SentinelGroup};
use shared_testkit::redis_server::RedisServer;

/// A place for state that several stores can be opened on.
enum Place {
    Redis(RedisServer),
    Sentinel(SentinelGroup),
    Cluster(ClusterGroup),
    Embedded(TempDir),
}

impl Place {
    fn open(&self) -> Arc<dyn StateStore> {
        let redis = |url: String| StoreConfig::Redis(RedisUrl::parse(&url).unwrap());
        let config = match self {
            Self::Redis(server) => redis(server.url()),
            Self::Sentinel(group) => redis(group.url()),
            Self::Cluster(group) => redis(group.url()),
            Self::Embedded(directory) => StoreConfig::Embedded(PathBuf::from(directory.path())),
        };
        open(&config).unwrap()
    }
}

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        conformance!(
            @on on_redis, Place::Redis(RedisServer::start()),
            ignore = "needs redis-server: bash .ci/setup", $($case)*
        );
        conformance!(
            @on on_sentinel, Place::Sentinel(SentinelGroup::small()),
            ignore = "needs redis-server and redis-cli: bash .ci/setup", $($case)*
        );
        conformance!(
            @on on_cluster, Place::Cluster(ClusterGroup::small()),
            ignore = "needs redis-server and redis-cli: bash .ci/setup", $($case)*
        );
        conformance!(
            @on on_embedded, Place::Embedded(tempfile::tempdir().unwrap()),
            doc = "It needs no other program.", $($case)*
        );
    };
    (@on $name:ident, $place:expr, $tier:meta, $($case:ident)*) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[$tier]
                async fn $case() {
                    super::$case($place).await;
                }
            )*
        }
    };
}

conformance! {
    a_value_is_read_back_as_it_was_written,
    what_one_store_writes_another_reads,
    deleting_says_whether_there_was_something,
    a_value_expires_on_time_and_setting_it_again_forgets_that,
    counting_starts_at_zero_and_goes_both_ways,
    a_sum_that_does_not_fit_leaves_the_value,
    what_is_no_integer_is_not_counted,
    counting_keeps_the_expiry,
    concurrent_counting_loses_nothing,
}

async fn a_value_is_read_back_as_it_was_written(place: Place) {
    let store = place.open();
    store.ping().await.unwrap();
    let long = format!("\"{}\"", "ü".repeat(500_000));
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for text in
        ["null", "42", "1.10", "\"\"", r#"{"b": [1, "x"],  "a": null}"#, r#""\u0000\"😀""#, &long, &nested]
    {
        for name in ["plain", "with/slash", "with space", "ü😀", "*?[a]", "a:b", &"x".repeat(256)] {
            store.set(&key(name), &json(text), None).await.unwrap();
            assert_eq!(read(&store, name).await.as_deref(), Some(text), "{name}");
        }
    }
    assert_eq!(read(&store, "missing").await, None);
}

async fn what_one_store_writes_another_reads(place: Place) {
    let (one, other) = (place.open(), place.open());
    one.set(&key("k"), &json("1"), None).await.unwrap();
    assert_eq!(read(&other, "k").await.as_deref(), Some("1"));
    assert_eq!(other.increment(&key("k"), 1).await, Ok(2));
    assert_eq!(read(&one, "k").await.as_deref(), Some("2"));
    let kind = if matches!(place, Place::Embedded(_)) { StoreKind::Embedded } else { StoreKind::Redis };
    assert_eq!(one.kind(), kind);
}

async fn deleting_says_whether_there_was_something(place: Place) {
    let store = place.open();
    assert_eq!(store.delete(&key("k")).await, Ok(false));
    store.set(&key("k"), &json("null"), None).await.unwrap();
    assert_eq!(store.delete(&key("k")).await, Ok(true));
    assert_eq!(read(&store, "k").await, None);
    assert_eq!(store.delete(&key("k")).await, Ok(false));
}

const TTL: Duration = Duration::from_millis(400);

async fn a_value_expires_on_time_and_setting_it_again_forgets_that(place: Place) {
    let (store, other) = (place.open(), place.open());
    for name in ["read", "deleted", "counted", "again"] {
        store.set(&key(name), &json("7"), Some(TTL)).await.unwrap();
    }
    store.set(&key("again"), &json("8"), None).await.unwrap();
    assert_eq!(read(&other, "read").await.as_deref(), Some("7"), "it is there until then");
    // Time itself is what is tested here.
    tokio::time::sleep(TTL + Duration::from_millis(20)).await;
    assert_eq!(read(&other, "read").await, None);
    assert_eq!(store.delete(&key("deleted")).await, Ok(false));
    assert_eq!(other.increment(&key("counted"), 1).await, Ok(1), "counts from 0 again");
    assert_eq!(read(&store, "again").await.as_deref(), Some("8"));
}

async fn counting_starts_at_zero_and_goes_both_ways(place: Place) {
    let store = place.open();
    assert_eq!(store.increment(&key("k"), 5).await, Ok(5));
    assert_eq!(store.increment(&key("k"), -7).await, Ok(-2));
    assert_eq!(store.increment(&key("k"), 0).await, Ok(-2));
    assert_eq!(read(&store, "k").await.as_deref(), Some("-2"));
    assert_eq!(store.increment(&key("min"), i64::MIN).await, Ok(i64::MIN));
    assert_eq!(store.increment(&key("max"), i64::MAX).await, Ok(i64::MAX));
    store.set(&key("set"), &json("41"), None).await.unwrap();
    assert_eq!(store.increment(&key("set"), 1).await, Ok(42));
}

async fn a_sum_that_does_not_fit_leaves_the_value(place: Place) {
    let store = place.open();
    for (start, by) in [(i64::MAX, 1), (i64::MIN, -1), (i64::MAX - 5, 6), (i64::MIN, i64::MIN)] {
        store.set(&key("k"), &json(&start.to_string()), None).await.unwrap();
        assert_eq!(store.increment(&key("k"), by).await, Err(StoreError::Overflow), "{start} {by}");
        assert_eq!(read(&store, "k").await, Some(start.to_string()));
    }
}

async fn what_is_no_integer_is_not_counted(place: Place) {
    let store = place.open();
    for text in ["\"42\"", "4.2", "42.0", "4e1", "-0", "null", "[]", "{}", "9223372036854775808"] {
        store.set(&key("k"), &json(text), None).await.unwrap();
        assert_eq!(store.increment(&key("k"), 1).await, Err(StoreError::NotAnInteger), "{text}");
        assert_eq!(read(&store, "k").await.as_deref(), Some(text));
    }
}

async fn counting_keeps_the_expiry(place: Place) {
    let store = place.open();
    store.set(&key("k"), &json("1"), Some(TTL)).await.unwrap();
    assert_eq!(store.increment(&key("k"), 1).await, Ok(2));
    tokio::time::sleep(TTL + Duration::from_millis(20)).await;
    assert_eq!(read(&store, "k").await, None);
}

async fn concurrent_counting_loses_nothing(place: Place) {
    const STORES: i64 = 4;
    const TASKS: i64 = 8;
    const EACH: i64 = 25;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..STORES {
        let store = place.open();
        for _ in 0..TASKS {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for _ in 0..EACH {
                    store.increment(&key("k"), 1).await.unwrap();
                }
            });
        }
    }
    tasks.join_all().await;
    assert_eq!(read(&place.open(), "k").await, Some((STORES * TASKS * EACH).to_string()));
}
