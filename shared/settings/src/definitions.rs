//! Every setting, by group, in the order in which help and documents show them.

mod access_log;
mod balancing;
mod bundled_worker;
mod clients;
mod cluster;
mod health;
mod operators;
mod state;
mod tls;
mod workers;

pub use access_log::{ACCESS_LOG, ACCESS_LOG_FORMAT};
pub use balancing::{
    DISPATCH, HASH_KEY, MAX_CONCURRENCY, MAX_TUNNELS, QUEUE, QUEUE_TIMEOUT, STICKY_COOKIE, STICKY_PATH,
    STICKY_SAME_SITE, STICKY_SECRET, STICKY_SECURE, STRATEGY,
};
pub use bundled_worker::{
    CPU_QUEUE, CPU_THREADS, CRASH_ENABLED, FIBONACCI_MAX, MAX_BODY, POD_NAME, RUST_LOG, WORKER_NAME,
    WORKER_SHUTDOWN_TIMEOUT, WORKER_THREADS,
};
pub use clients::{
    BODY_TIMEOUT, BUFFER_MEMORY, BUFFER_REQUESTS, BUFFER_RESPONSES, CLIENT_TIMEOUT, COMPRESS, ERROR_PAGES,
    HALF_CLOSE, HEAD_TIMEOUT, HSTS, HTTP_REDIRECT, HTTP2, IDLE_TIMEOUT, MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_IP, MAX_REQUEST_BODY, MIN_BODY_RATE, RESPONSE_TIMEOUT, TRUST_FORWARDED,
};
pub use cluster::{
    CLUSTER, CLUSTER_ENABLED, CONFIG, HOST, LISTEN, MAX_WORKERS, PORT, SCALE_DOWN_AFTER, WORKERS,
};
pub use health::{
    HANG_TIMEOUT, HEALTH_FALL, HEALTH_HOST, HEALTH_INTERVAL, HEALTH_PATH, HEALTH_RISE, HEALTH_STATUS,
    HEALTH_TIMEOUT,
};
pub use operators::{ADMIN, ADMIN_HOSTS, CONTROL, LOG_FILTER, LOG_FORMAT, WORKER_OUTPUT};
pub use state::{REDIS_URL, SSL_CERT_FILE, STATE_DIR};
pub use tls::{
    ACME_CA, ACME_DIR, ACME_DIRECTORY, ACME_DOMAIN, ACME_EMAIL, TLS_CERT, TLS_CLIENT_CA, TLS_DIR, TLS_KEY,
};
pub use workers::{
    CHDIR, DRAIN_SIGNAL, DRAIN_TIMEOUT, ENV_FILE, GIVE_UP_AFTER, KILL_TIMEOUT, MAX_LIFETIME, MAX_MEMORY,
    MAX_REQUESTS, RELOAD_MODE, SHUTDOWN_DELAY, START_PARALLEL, STARTUP_TIMEOUT, STOP_TIMEOUT,
    STREAM_DRAIN_TIMEOUT,
};

use crate::definition::{Definition, Group, Programs};

pub const GROUPS: [Group; 10] = [
    cluster::GROUP,
    state::GROUP,
    workers::GROUP,
    health::GROUP,
    operators::GROUP,
    balancing::GROUP,
    clients::GROUP,
    tls::GROUP,
    access_log::GROUP,
    bundled_worker::GROUP,
];

/// Every definition, group by group.
pub fn all() -> impl Iterator<Item = &'static Definition> {
    GROUPS.into_iter().flat_map(|group| group.settings.iter().copied())
}

/// Variables whose value the balancer keeps from its workers: its own secrets.
pub fn private_variables() -> impl Iterator<Item = &'static str> {
    all()
        .filter(|definition| definition.secret && definition.programs == Programs::Balancer)
        .map(|definition| definition.variable)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;
    use crate::definition::DefaultText;
    use crate::{ADMIN_PORT_OFFSET, Settings};

    #[test]
    fn every_definition_is_complete_and_no_name_is_taken_twice() {
        let mut names = HashSet::new();
        for definition in all() {
            let variable = definition.variable;
            for text in [definition.help, definition.example, definition.expects, definition.value_name] {
                assert!(!text.is_empty(), "{variable}");
            }
            assert!(!definition.help.ends_with('.'), "{variable}: {}", definition.help);
            assert!(names.insert(variable), "{variable} is defined twice");
            let short = definition.short.map(|short| format!("-{short}"));
            for name in definition.flag.map(|flag| format!("--{flag}")).into_iter().chain(short) {
                assert!(names.insert(name.leak()), "the flag of {variable} is defined twice");
            }
            if let Some(name) = definition.prefixed {
                assert!(name.starts_with("CLUSTER_") && names.insert(name), "{variable}");
            }
            if let DefaultText::Value(text) = definition.default {
                assert!(!text.is_empty(), "{variable}");
            }
        }
    }

    #[test]
    fn the_helps_agree_with_the_constants() {
        let default = ADMIN.default.as_str();
        assert!(default.contains(&format!("port {ADMIN_PORT_OFFSET} above --port")), "{default}");
        let port: u16 = PORT.default_text().parse().unwrap();
        assert!(WORKERS.expects.contains(&format!(" to {MAX_WORKERS},")));
        assert_eq!(ADMIN.example, format!("127.0.0.1:{}", port + ADMIN_PORT_OFFSET));
    }

    #[test]
    fn the_secrets_of_the_balancer_are_private() {
        assert_eq!(private_variables().collect::<Vec<_>>(), ["CLUSTER_STICKY_SECRET"]);
    }

    #[test]
    fn everything_can_be_set_by_a_variable_and_a_key_that_are_the_clusters_alone() {
        // That of Redis with TLS is read by the TLS library, which knows this name only.
        let exempt = [SSL_CERT_FILE.variable];
        let mut keys = BTreeSet::new();
        // Where there is somebody else's program, there are no bundled workers to be told.
        let named = |definition: &&Definition| {
            !exempt.contains(&definition.variable) && definition.programs != Programs::Worker
        };
        for definition in all().filter(named) {
            let variable = definition.own_variable();
            assert!(variable.starts_with("CLUSTER_"), "{variable} needs another name, see Draft::prefixed");
            if definition.variable != CONFIG.variable {
                let key = definition.key().unwrap();
                assert!(keys.insert(key.clone()), "{key} names two settings");
            }
        }
    }

    /// Checks default, example and `$bad` values of each setting.
    macro_rules! check {
        ($($get:ident $setting:ident: $bad:expr;)+) => {$(
            let example = [($setting.variable, $setting.example)];
            Settings::default().$get(&$setting).unwrap();
            Settings::from_parts(&example, "").$get(&$setting).unwrap();
            for bad in $bad {
                let settings = Settings::from_parts(&[($setting.variable, bad)], "");
                let err = settings.$get(&$setting).unwrap_err().to_string();
                assert!(err.contains($setting.variable) && err.contains($setting.expects), "{err}");
            }
        )+};
    }

    #[test]
    fn defaults_and_examples_parse_and_wrong_values_are_refused() {
        const NO_DURATION: [&str; 3] = ["5", "0s", "9000years"];
        const NO_COUNT: [&str; 3] = ["0", "101", "two"];
        check! {
            find WORKERS: ["0", "-1", "513", "four", "4.0"];
            get CLUSTER: ["on", "Auto"];
            get CLUSTER_ENABLED: ["maybe"];
            get HOST: ["not a host"];
            get PORT: ["65536", "-1", "http"];
            find LISTEN: ["127.0.0.1", ":3100", "unix:"];
            find CONFIG: ["a\0b"];
            find STATE_DIR: ["a\0b"];
            find ENV_FILE: [",", "a.env,,b.env"];
            find CHDIR: ["a\0b"];
            get DRAIN_TIMEOUT: NO_DURATION;
            get SHUTDOWN_DELAY: ["5", "-1s", "9000years"];
            get STARTUP_TIMEOUT: NO_DURATION;
            get GIVE_UP_AFTER: ["0", "-1", "always", "1001"];
            get KILL_TIMEOUT: NO_DURATION;
            find START_PARALLEL: NO_COUNT;
            get RELOAD_MODE: ["All", "rolling", "one by one"];
            find MAX_MEMORY: ["0", "lots"];
            find MAX_REQUESTS: ["0", "1e3"];
            find MAX_LIFETIME: NO_DURATION;
            find HEALTH_HOST: ["a b", "a/b"];
            get HEALTH_INTERVAL: NO_DURATION;
            get HEALTH_TIMEOUT: NO_DURATION;
            get HANG_TIMEOUT: NO_DURATION;
            get HEALTH_FALL: NO_COUNT;
            get HEALTH_RISE: NO_COUNT;
            find ADMIN: ["on", "localhost"];
            find ADMIN_HOSTS: ["a b", "a,,b"];
            find CONTROL: ["x".repeat(108).leak()];
            find MAX_CONCURRENCY: ["0"];
            find MAX_TUNNELS: ["0"];
            get STICKY_SECURE: ["maybe"];
            get QUEUE: ["-1", "100001"];
            get QUEUE_TIMEOUT: NO_DURATION;
            get HEAD_TIMEOUT: NO_DURATION;
            get IDLE_TIMEOUT: NO_DURATION;
            get BODY_TIMEOUT: NO_DURATION;
            get MIN_BODY_RATE: ["fast", "0"];
            get CLIENT_TIMEOUT: NO_DURATION;
            get RESPONSE_TIMEOUT: NO_DURATION;
            find MAX_REQUEST_BODY: ["0"];
            find MAX_CONNECTIONS: ["0"];
            find MAX_CONNECTIONS_PER_IP: ["0", "4294967296"];
            get TRUST_FORWARDED: ["maybe"];
            find HTTP_REDIRECT: ["80?mode=660", "https://0.0.0.0:80"];
            find HSTS: ["0s", "500ms", "11years", "forever"];
            get HALF_CLOSE: ["maybe"];
            find TLS_CERT: [",", "a.pem,,b.pem"];
            find TLS_KEY: [",", "a\0b"];
            find TLS_DIR: ["a\0b"];
            find TLS_CLIENT_CA: ["a\0b"];
            find ACME_DOMAIN: [",", "a.example,,b.example"];
            find ACME_EMAIL: ["a", "@a", "a@", "a b@c", "a@b,c@d"];
            find ACME_DIRECTORY: ["a.example", "http://a.example/", "https://", "https:///", "https://a b"];
            find ACME_CA: ["a\0b"];
            find ACME_DIR: ["a\0b"];
            find CRASH_ENABLED: ["maybe"];
            get WORKER_THREADS: ["0", "65"];
            find CPU_THREADS: ["0", "257"];
            get CPU_QUEUE: ["-1", "100001"];
            get FIBONACCI_MAX: ["94"];
            get MAX_BODY: ["1023", "1073741825"];
            get WORKER_SHUTDOWN_TIMEOUT: NO_DURATION;
            find WORKER_NAME: ["a b"];
            find POD_NAME: ["a/b"];
        }
    }
}
