//! Several real Redis servers that watch each other: Sentinels with a master and
//! a replica, or a Redis Cluster. Times are short, so that a failover takes
//! some seconds and not half a minute.

use std::process::Command;
use std::time::Duration;

use shared_process::port::ReservedPort;

use crate::redis_server::RedisServer;
use crate::wait_until;

pub const JOIN_LIMIT: Duration = Duration::from_secs(30);

/// What `redis-cli` says.
pub fn cli(server: &RedisServer, words: &[&str]) -> String {
    let password = server.options.iter().skip_while(|option| *option != "--requirepass").nth(1);
    let output = Command::new("redis-cli")
        .envs(password.map(|password| ("REDISCLI_AUTH", password)))
        .arg("-s")
        .arg(server.socket())
        .args(words)
        .output()
        .expect("this test needs redis-cli: apt-get install redis-server");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A replica takes its link for up before the master sends it what is written.
fn wait_until_followed(master: &RedisServer) {
    wait_until("a replica follows", JOIN_LIMIT, || {
        cli(master, &["INFO", "replication"]).contains("state=online")
    });
}

/// Waits until the replica of `master` has said that it has what was written up
/// to now. A master takes one for online that has loaded the first copy and may
/// send it nothing further until it has heard from it again, some seconds later on
/// a busy machine; who takes over before that takes over without those writes.
pub fn wait_until_caught_up(master: &RedisServer) {
    // `master_repl_offset:1234`, and for the replica
    // `slave0:ip=127.0.0.1,port=6380,state=online,offset=1220,lag=0`, in bytes.
    let number = |name: &str| {
        let said = cli(master, &["INFO", "replication"]);
        let digits = said.split(name).nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()
    };
    let written = number("master_repl_offset:").expect("a master tells how much was written");
    wait_until("the replica has what was written", JOIN_LIMIT, || number(",offset=") >= Some(written));
}

/// A master called `mymaster`, its replicas, and the Sentinels that watch them.
pub struct SentinelGroup {
    pub master: RedisServer,
    pub replicas: Vec<RedisServer>,
    pub sentinels: Vec<RedisServer>,
}

impl SentinelGroup {
    /// The least that works: nobody can take over.
    pub fn small() -> Self {
        Self::start(0, 1, &[], &[], "")
    }

    pub fn with_replica() -> Self {
        Self::start(1, 3, &[], &[], "")
    }

    /// `servers` and `watchers` are options of theirs, `directives` lines of the
    /// Sentinels' configuration.
    pub fn start(
        replicas: usize,
        sentinels: usize,
        servers: &[&str],
        watchers: &[&str],
        directives: &str,
    ) -> Self {
        let master = RedisServer::start_with(servers);
        let (address, quorum) = (format!("127.0.0.1 {}", master.port), sentinels / 2 + 1);
        let follow = ["--replicaof", &address, "--repl-diskless-sync-delay", "0"];
        let replicas: Vec<_> =
            (0..replicas).map(|_| RedisServer::start_with(&[servers, &follow[..]].concat())).collect();
        if !replicas.is_empty() {
            wait_until_followed(&master);
        }
        let configuration = format!(
            "sentinel monitor mymaster {address} {quorum}\n\
             sentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 3000\n{directives}"
        );
        let sentinels = (0..sentinels).map(|_| watcher(watchers, &configuration)).collect();
        let group = Self { master, replicas, sentinels };
        group.wait_until_ready();
        group
    }

    fn wait_until_ready(&self) {
        let (replicas, others) = (self.replicas.len(), self.sentinels.len() - 1);
        for sentinel in &self.sentinels {
            wait_until("the Sentinels know everybody", JOIN_LIMIT, || {
                let said = cli(sentinel, &["SENTINEL", "MASTER", "mymaster"]);
                let words: Vec<_> = said.lines().collect();
                let number = |name: &str| {
                    let at = words.iter().position(|word| *word == name);
                    at.and_then(|at| words.get(at + 1)?.parse::<usize>().ok())
                };
                number("num-slaves") == Some(replicas) && number("num-other-sentinels") == Some(others)
            });
        }
    }

    pub fn hosts(&self) -> String {
        hosts(&self.sentinels)
    }

    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/mymaster", self.hosts())
    }
}

fn watcher(options: &[&str], configuration: &str) -> RedisServer {
    let mut sentinel = RedisServer::on_port(&[&["--sentinel"], options].concat());
    let file = sentinel.directory.path().join("sentinel.conf");
    std::fs::write(&file, configuration).unwrap();
    sentinel.configuration = Some(file);
    sentinel.run();
    sentinel
}

fn hosts(servers: &[RedisServer]) -> String {
    let hosts: Vec<_> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    hosts.join(",")
}

const SLOTS: usize = 16384;

/// A Redis Cluster: masters with a share of the slots each, and replicas.
pub struct ClusterGroup {
    pub masters: Vec<RedisServer>,
    pub replicas: Vec<RedisServer>,
}

impl ClusterGroup {
    /// The least that works: nobody can take over.
    pub fn small() -> Self {
        Self::start(false, &[])
    }

    /// Three masters with a replica each.
    pub fn with_replicas() -> Self {
        Self::start(true, &[])
    }

    pub fn start(replicas: bool, options: &[&str]) -> Self {
        let nodes = |count| (0..count).map(|_| node(options)).collect::<Vec<_>>();
        let group = Self { masters: nodes(3), replicas: nodes(if replicas { 3 } else { 0 }) };
        for (index, master) in group.masters.iter().enumerate() {
            let (first, last) = (index * SLOTS / 3, (index + 1) * SLOTS / 3 - 1);
            cli(master, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            cli(master, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        }
        let everybody: Vec<_> = group.masters.iter().chain(&group.replicas).collect();
        for node in &everybody[1..] {
            let bus = cli(node, &["CONFIG", "GET", "cluster-port"]);
            let bus = bus.lines().last().unwrap_or_default();
            cli(everybody[0], &["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
        }
        let known = format!("cluster_known_nodes:{}", everybody.len());
        let complete = |said: String| said.contains("cluster_state:ok") && said.contains(&known);
        wait_until("all nodes know each other", JOIN_LIMIT, || {
            everybody.iter().all(|node| complete(cli(node, &["CLUSTER", "INFO"])))
        });
        for (replica, master) in group.replicas.iter().zip(&group.masters) {
            cli(replica, &["CLUSTER", "REPLICATE", &cli(master, &["CLUSTER", "MYID"])]);
        }
        if replicas {
            group.masters.iter().for_each(wait_until_followed);
        }
        group
    }

    /// The index of the master that has the slot of `key`.
    pub fn owner(&self, key: &str) -> usize {
        let slot: usize = cli(&self.masters[0], &["CLUSTER", "KEYSLOT", key]).parse().unwrap();
        (0..3).find(|index| slot < (index + 1) * SLOTS / 3).expect("a slot has an owner")
    }

    pub fn hosts(&self) -> String {
        hosts(&self.masters)
    }

    pub fn url(&self) -> String {
        format!("redis+cluster://{}", self.hosts())
    }
}

fn node(options: &[&str]) -> RedisServer {
    let bus = ReservedPort::take().unwrap();
    let cluster = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "2000",
        "--cluster-port",
        &bus.number().to_string(),
        "--repl-diskless-sync-delay",
        "0",
    ];
    let mut server = RedisServer::start_with(&[&cluster[..], options].concat());
    server.reserved.push(bus);
    server
}
