//! Redis's own troubles: not there, gone, frozen, locked.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared_store::{RedisUrl, StateStore, StoreConfig, StoreError, open};

use super::{json, key, read, timed};
use shared_testkit::redis_server::RedisServer;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const RECOVERY_LIMIT: Duration = Duration::from_secs(5);

fn store(url: &str) -> Arc<dyn StateStore> {
    open(&StoreConfig::Redis(RedisUrl::parse(url).unwrap())).unwrap()
}

async fn fails_in_time(store: &Arc<dyn StateStore>) {
    let (result, took) = timed(store.increment(&key("k"), 1)).await;
    assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    assert!(took < ANSWER_LIMIT, "it took {took:?}");
}

async fn recovers_in_time(store: &Arc<dyn StateStore>) {
    let began = Instant::now();
    while let Err(err) = store.ping().await {
        assert!(began.elapsed() < RECOVERY_LIMIT, "still {err} after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "needs redis-server: bash .ci/setup"]
async fn a_server_that_is_not_there_yet() {
    let mut server = RedisServer::start();
    server.stop();
    let store = store(&server.url());
    fails_in_time(&store).await;
    server.run();
    recovers_in_time(&store).await;
    assert_eq!(store.increment(&key("k"), 1).await, Ok(1));
}

#[tokio::test]
#[ignore = "needs redis-server: bash .ci/setup"]
async fn a_server_that_stops_and_comes_back() {
    let mut server = RedisServer::start();
    let store = store(&server.url());
    // So that several connections are in the pool, all of which break.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.increment(&key("k"), 1).await.unwrap() });
    }
    calls.join_all().await;
    server.stop();
    for _ in 0..3 {
        fails_in_time(&store).await;
    }
    server.run();
    let (result, took) = timed(store.increment(&key("k"), 1)).await;
    assert_eq!(result, Ok(1), "the first call after its return succeeds, with a new count; {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: bash .ci/setup"]
async fn a_server_that_freezes_and_thaws() {
    let server = RedisServer::start();
    let store = store(&server.url());
    store.set(&key("a"), &json("\"a\""), None).await.unwrap();
    store.set(&key("b"), &json("\"b\""), None).await.unwrap();
    server.freeze();
    // More calls than connections: also who waits for one is answered in time.
    let mut calls = tokio::task::JoinSet::new();
    for index in 0..40 {
        let store = Arc::clone(&store);
        let name = if index % 2 == 0 { "a" } else { "b" };
        calls.spawn(async move { timed(store.get(&key(name))).await });
    }
    while let Some(call) = calls.join_next().await {
        let (result, took) = call.unwrap();
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
        assert!(took < ANSWER_LIMIT, "it took {took:?}");
    }
    server.thaw();
    recovers_in_time(&store).await;
    for _ in 0..50 {
        assert_eq!(read(&store, "a").await.as_deref(), Some("\"a\""));
        assert_eq!(read(&store, "b").await.as_deref(), Some("\"b\""));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: bash .ci/setup"]
async fn a_call_that_is_given_up_leaves_no_reply_to_the_next() {
    let server = RedisServer::start();
    let store = store(&server.url());
    for index in 0..20 {
        store.set(&key(&index.to_string()), &json(&index.to_string()), None).await.unwrap();
    }
    let mut given_up = 0;
    for round in 0..1500_u64 {
        let name = (round % 20).to_string();
        let call = async { store.get(&key(&name)).await };
        let patience = async {
            for _ in 0..fastrand::u32(0..16) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            value = call => assert_eq!(value.unwrap().unwrap().get(), name),
            () = patience => given_up += 1,
        }
    }
    for index in 0..20 {
        assert_eq!(read(&store, &index.to_string()).await, Some(index.to_string()));
    }
    assert!(given_up > 100, "only {given_up} calls were given up, which shows nothing");
}

#[tokio::test]
#[ignore = "needs redis-server: bash .ci/setup"]
async fn password_and_database() {
    let server = RedisServer::start_with(&["--requirepass", "s3cret/@"]);
    let address = format!("127.0.0.1:{}", server.port);
    let right = store(&format!("redis://:s3cret%2F%40@{address}/2"));
    right.set(&key("k"), &json("1"), None).await.unwrap();
    let other_database = store(&format!("redis://default:s3cret%2F%40@{address}/3"));
    assert_eq!(read(&other_database, "k").await, None);

    for wrong in [format!("redis://:wr0ng@{address}/2"), format!("redis://{address}/2")] {
        let store = store(&wrong);
        let (result, took) = timed(store.get(&key("k"))).await;
        let err = result.unwrap_err();
        assert!(matches!(&err, StoreError::Unavailable(text) if !text.contains("wr0ng")), "{err}");
        assert!(took < ANSWER_LIMIT, "it took {took:?}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server: bash .ci/setup"]
async fn a_unix_socket() {
    let server = RedisServer::start_with(&["--requirepass", "s3cret"]);
    let path = server.socket();
    let one = store(&format!("redis+unix://{}?db=1&pass=s3cret", path.display()));
    one.set(&key("k"), &json("1"), None).await.unwrap();
    assert_eq!(
        read(&store(&format!("unix://{}?db=1&pass=s3cret", path.display())), "k").await.as_deref(),
        Some("1")
    );
    assert_eq!(read(&store(&format!("unix://{}?pass=s3cret", path.display())), "k").await, None);
    fails_in_time(&store(&format!("redis+unix://{}.missing", path.display()))).await;
}

#[tokio::test]
#[ignore = "needs redis-server and redis-cli: bash .ci/setup"]
async fn what_others_put_there_is_reported() {
    let server = RedisServer::start();
    let url = RedisUrl::parse(&server.url()).unwrap();
    let store = open(&StoreConfig::Redis(url)).unwrap();
    let put = |words: &[&str]| {
        let status =
            Command::new("redis-cli").args(["-p", &server.port.to_string()]).args(words).output().unwrap();
        assert!(status.status.success());
    };
    put(&["RPUSH", "cluster:list", "1"]);
    assert!(matches!(store.get(&key("list")).await, Err(StoreError::Corrupt(_))));
    assert_eq!(store.increment(&key("list"), 1).await, Err(StoreError::NotAnInteger));
    put(&["SET", "cluster:text", "not JSON"]);
    assert!(matches!(store.get(&key("text")).await, Err(StoreError::Corrupt(_))));
    put(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = store.set(&key("k"), &json("1"), None).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
}
