//! Redis servers that take over from each other, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shared_store::{RedisUrl, StateStore, StoreConfig, StoreError, open};
use tokio::task::JoinSet;

use super::{key, read, timed};
use shared_testkit::redis_group::{ClusterGroup, SentinelGroup, cli, wait_until_caught_up};
use shared_testkit::redis_server::RedisServer;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const RECOVERY_LIMIT: Duration = Duration::from_secs(15);
const WRITERS: u64 = 4;

fn store(url: &str) -> Arc<dyn StateStore> {
    open(&StoreConfig::Redis(RedisUrl::parse(url).unwrap())).unwrap()
}

/// Clients that count on one key, about 200 times a second.
struct Load {
    tally: Arc<Tally>,
    writers: JoinSet<()>,
}

#[derive(Default)]
struct Tally {
    attempted: AtomicU64,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    fn start(store: &Arc<dyn StateStore>, name: &'static str) -> Self {
        let tally = Arc::new(Tally::default());
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let (store, tally) = (Arc::clone(store), Arc::clone(&tally));
            writers.spawn(async move {
                while !tally.stop.load(Ordering::Relaxed) {
                    tally.attempted.fetch_add(1, Ordering::Relaxed);
                    let (result, took) = timed(store.increment(&key(name), 1)).await;
                    assert!(took < ANSWER_LIMIT, "{result:?} took {took:?}");
                    let count = match result {
                        Ok(_) => &tally.acknowledged,
                        Err(StoreError::Unavailable(_)) => &tally.failed,
                        Err(other) => panic!("{other}"),
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        Self { tally, writers }
    }

    fn acknowledged(&self) -> u64 {
        self.tally.acknowledged.load(Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.tally.failed.load(Ordering::Relaxed)
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            let (yes, no) = (self.acknowledged(), self.failed());
            assert!(began.elapsed() < RECOVERY_LIMIT, "no {what}; {yes} acknowledged, {no} failed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets `trouble` happen to `master` and waits until writing works as before;
    /// says how long that took.
    async fn survive(&self, master: &mut RedisServer, trouble: impl FnOnce(&mut RedisServer)) -> Duration {
        self.until("writes before it", |load| load.acknowledged() >= 100).await;
        wait_until_caught_up(master);
        let failed = self.failed();
        let began = Instant::now();
        trouble(master);
        self.until("failure, so nothing happened", |load| load.failed() > failed).await;
        let before = self.acknowledged();
        self.until("recovery", |load| load.acknowledged() >= before + 20).await;
        let took = began.elapsed();
        assert!(took < RECOVERY_LIMIT, "it took {took:?}");
        let before = self.acknowledged();
        self.until("writes after it", |load| load.acknowledged() >= before + 200).await;
        took
    }

    /// Stops, and compares what was counted with what is stored.
    async fn settle(mut self, url: &str, name: &str, took: Duration) {
        self.tally.stop.store(true, Ordering::Relaxed);
        while let Some(writer) = self.writers.join_next().await {
            writer.unwrap();
        }
        let stored: u64 = read(&store(url), name).await.unwrap().parse().unwrap();
        let (attempted, acknowledged) = (self.tally.attempted.load(Ordering::Relaxed), self.acknowledged());
        println!(
            "recovered in {took:?}: attempted {attempted}, acknowledged {acknowledged}, stored {stored}, \
             failed {}",
            self.failed()
        );
        assert!(stored <= attempted, "counted twice: stored {stored} of {attempted} attempted");
        // Redis answers before its replica has the write, so that it may take one
        // of each client with it.
        assert!(acknowledged <= stored + WRITERS, "lost: acknowledged {acknowledged}, stored {stored}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server and redis-cli: bash .ci/setup"]
async fn sentinel_when_the_master_is_killed() {
    let mut group = SentinelGroup::with_replica();
    let url = group.url();
    let load = Load::start(&store(&url), "hits");
    let took = load.survive(&mut group.master, RedisServer::stop).await;
    load.settle(&url, "hits", took).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server and redis-cli: bash .ci/setup"]
async fn sentinel_when_the_master_freezes_and_thaws_as_one_of_the_past() {
    let mut group = SentinelGroup::with_replica();
    let url = group.url();
    let store = store(&url);
    let load = Load::start(&store, "hits");
    let took = load.survive(&mut group.master, |master| master.freeze()).await;
    // It takes itself for the master until a Sentinel tells it otherwise.
    group.master.thaw();
    let before = load.acknowledged();
    load.until("writes to the new master", |load| load.acknowledged() >= before + 200).await;
    load.settle(&url, "hits", took).await;
}

/// The old master goes on as one for some seconds, and takes writes that are lost
/// as soon as it follows the new one. Nobody may send it any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server and redis-cli: bash .ci/setup"]
async fn sentinel_when_an_operator_orders_a_failover() {
    let group = SentinelGroup::with_replica();
    let url = group.url();
    let load = Load::start(&store(&url), "hits");
    load.until("writes before it", |load| load.acknowledged() >= 100).await;
    let address = || cli(&group.sentinels[0], &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
    let (was, began) = (address(), Instant::now());
    cli(&group.sentinels[0], &["SENTINEL", "FAILOVER", "mymaster"]);
    load.until("another master", |_| address() != was).await;
    let took = began.elapsed();
    // So that who was told has heard of it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let promoted = &group.replicas[0];
    let stored = || cli(promoted, &["GET", "cluster:hits"]).parse::<u64>().unwrap();
    let (acknowledged_before, stored_before) = (load.acknowledged(), stored());
    load.until("writes after it", |load| load.acknowledged() >= acknowledged_before + 200).await;
    let (acknowledged, stored) = (load.acknowledged() - acknowledged_before, stored() - stored_before);
    println!("after {took:?}: acknowledged {acknowledged}, stored {stored}");
    assert!(acknowledged <= stored + 2 * WRITERS, "some went to the old master");
}

#[tokio::test]
#[ignore = "needs redis-server and redis-cli: bash .ci/setup"]
async fn sentinels_and_servers_with_passwords_of_their_own() {
    let group = SentinelGroup::start(
        0,
        1,
        &["--requirepass", "s3rver/@"],
        &["--requirepass", "w@tch"],
        "sentinel auth-pass mymaster s3rver/@\n",
    );
    let hosts = group.hosts();
    let query = "sentinel_password=w%40tch";
    let right = format!("redis+sentinel://:s3rver%2F%40@{hosts}/mymaster/2?{query}");
    assert_eq!(store(&right).increment(&key("k"), 1).await, Ok(1));
    for wrong in [
        format!("redis+sentinel://:wr0ng@{hosts}/mymaster?{query}"),
        format!("redis+sentinel://:s3rver%2F%40@{hosts}/mymaster?sentinel_password=wr0ng"),
        format!("redis+sentinel://:s3rver%2F%40@{hosts}/mymaster"),
        format!("redis+sentinel://:s3rver%2F%40@{hosts}/another?{query}"),
    ] {
        let (result, took) = timed(store(&wrong).increment(&key("k"), 1)).await;
        let err = result.unwrap_err();
        assert!(matches!(&err, StoreError::Unavailable(text) if !text.contains("wr0ng")), "{err}");
        assert!(took < ANSWER_LIMIT, "it took {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server and redis-cli: bash .ci/setup"]
async fn cluster_when_a_node_is_killed() {
    let mut group = ClusterGroup::with_replicas();
    let url = group.url();
    let load = Load::start(&store(&url), "hits");
    let owner = group.owner("cluster:hits");
    let took = load.survive(&mut group.masters[owner], RedisServer::stop).await;
    load.settle(&url, "hits", took).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server and redis-cli: bash .ci/setup"]
async fn cluster_when_a_node_freezes() {
    let mut group = ClusterGroup::start(true, &["--cluster-require-full-coverage", "no"]);
    let url = group.url();
    let owner = group.owner("cluster:hits");
    let other = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .into_iter()
        .find(|name| group.owner(&format!("cluster:{name}")) != owner)
        .expect("not all keys are on one node");
    let store = store(&url);
    let (load, unconcerned) = (Load::start(&store, "hits"), Load::start(&store, other));
    let took = load.survive(&mut group.masters[owner], |master| master.freeze()).await;
    println!("keys of other nodes: {} failed", unconcerned.failed());
    unconcerned.settle(&url, other, took).await;
    group.masters[owner].thaw();
    let before = load.acknowledged();
    load.until("writes to the new master", |load| load.acknowledged() >= before + 200).await;
    load.settle(&url, "hits", took).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server and redis-cli: bash .ci/setup"]
async fn cluster_that_is_away_and_comes_back() {
    let mut group = ClusterGroup::small();
    let store = store(&group.url());
    until_it_works(&store).await;
    for master in &mut group.masters {
        master.stop();
    }
    for _ in 0..4 {
        let (result, took) = timed(store.increment(&key("k"), 1)).await;
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
        assert!(took < ANSWER_LIMIT, "it took {took:?}");
        assert!(store.ping().await.is_err());
    }
    for master in &mut group.masters {
        master.run();
    }
    until_it_works(&store).await;
}

/// Nodes that hear from each other too late, on a busy machine, refuse for a while.
async fn until_it_works(store: &Arc<dyn StateStore>) {
    let attempt = async || {
        store.ping().await?;
        store.increment(&key("k"), 1).await
    };
    let began = Instant::now();
    while let Err(err) = attempt().await {
        assert!(began.elapsed() < RECOVERY_LIMIT, "still {err}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server and redis-cli: bash .ci/setup"]
async fn cluster_whose_slots_move() {
    let group = ClusterGroup::small();
    let store = store(&group.url());
    let (from, to) = (group.owner("cluster:hits"), (group.owner("cluster:hits") + 1) % 3);
    let (from, to) = (&group.masters[from], &group.masters[to]);
    let slot = cli(from, &["CLUSTER", "KEYSLOT", "cluster:hits"]);
    let id = |server| cli(server, &["CLUSTER", "MYID"]);
    // Half way: a key that is not there any more is asked for at the new place.
    cli(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    cli(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    assert_eq!(store.increment(&key("hits"), 1).await, Ok(1));
    assert_eq!(store.increment(&key("hits"), 1).await, Ok(2));
    assert_eq!(cli(from, &["CLUSTER", "COUNTKEYSINSLOT", &slot]), "0");
    assert_eq!(cli(to, &["CLUSTER", "COUNTKEYSINSLOT", &slot]), "1");
    for server in [to, from] {
        cli(server, &["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }
    assert_eq!(store.increment(&key("hits"), 1).await, Ok(3), "the old place says where it is");
    assert_eq!(read(&store, "hits").await.as_deref(), Some("3"));
}
