//! Every setting of the balancer by its names: flag, variable, what it expects.
//! Defaults are where it is read.

use shared_settings::Setting;

pub(super) const WORKERS: Setting = Setting {
    flag: Some("workers"),
    variable: "CLUSTER_WORKERS",
    expects: "a whole number from 1 to 512",
    example: "4",
};
pub(super) const MODE: Setting = Setting {
    flag: Some("cluster"),
    variable: "CLUSTER_MODE",
    expects: "auto, manual or off",
    example: "auto",
};
pub(super) const ENABLED: Setting =
    Setting { flag: None, variable: "CLUSTER_ENABLED", expects: "true or false", example: "true" };
pub(super) const DRAIN_TIMEOUT: Setting = duration("drain-timeout", "CLUSTER_DRAIN_TIMEOUT", "30s");
pub(super) const STARTUP_TIMEOUT: Setting = duration("startup-timeout", "CLUSTER_STARTUP_TIMEOUT", "30s");
pub(super) const KILL_TIMEOUT: Setting = duration("kill-timeout", "CLUSTER_KILL_TIMEOUT", "5s");
pub(super) const HEALTH_INTERVAL: Setting = duration("health-interval", "CLUSTER_HEALTH_INTERVAL", "2s");
pub(super) const HEALTH_TIMEOUT: Setting = duration("health-timeout", "CLUSTER_HEALTH_TIMEOUT", "1s");
pub(super) const HEALTH_PATH: Setting = Setting {
    flag: Some("health-path"),
    variable: "CLUSTER_HEALTH_PATH",
    expects: "a path that begins with /, or tcp",
    example: "/health",
};
pub(super) const ADMIN: Setting = Setting {
    flag: Some("admin"),
    variable: "CLUSTER_ADMIN",
    expects: "an IP address with a port, a port, or off",
    example: "127.0.0.1:3180",
};
pub(super) const ADMIN_HOSTS: Setting = Setting {
    flag: None,
    variable: "CLUSTER_ADMIN_HOSTS",
    expects: "host names with commas between them",
    example: "balancer,metrics.example.org",
};
pub(super) const RELOAD_PARALLEL: Setting = count("reload-parallel", "CLUSTER_RELOAD_PARALLEL", "2");
pub(super) const MAX_MEMORY: Setting = Setting {
    flag: Some("max-memory"),
    variable: "CLUSTER_MAX_MEMORY",
    expects: "an amount of memory such as 256MiB or 1GB",
    example: "512MiB",
};
pub(super) const MAX_REQUESTS: Setting = Setting {
    flag: Some("max-requests"),
    variable: "CLUSTER_MAX_REQUESTS",
    expects: "a whole number above zero",
    example: "10000",
};
pub(super) const MAX_LIFETIME: Setting = duration("max-lifetime", "CLUSTER_MAX_LIFETIME", "12h");
pub(super) const HEALTH_FALL: Setting = count("health-fall", "CLUSTER_HEALTH_FALL", "3");
pub(super) const HEALTH_RISE: Setting = count("health-rise", "CLUSTER_HEALTH_RISE", "1");

pub(super) const STRATEGY: Setting = Setting {
    flag: Some("strategy"),
    variable: "CLUSTER_STRATEGY",
    expects: "round-robin, least-connections, power-of-two or sticky",
    example: "least-connections",
};
pub(super) const STICKY_SECRET: Setting = Setting {
    flag: None,
    variable: "CLUSTER_STICKY_SECRET",
    expects: "at least 16 bytes that nobody can guess",
    example: "the output of: openssl rand -hex 32",
};
pub(super) const MAX_CONCURRENCY: Setting = number("max-concurrency", "CLUSTER_MAX_CONCURRENCY", "64");
pub(super) const QUEUE: Setting = Setting {
    flag: Some("queue"),
    variable: "CLUSTER_QUEUE",
    expects: "a whole number from 0 to 100000",
    example: "100",
};
pub(super) const QUEUE_TIMEOUT: Setting = duration("queue-timeout", "CLUSTER_QUEUE_TIMEOUT", "5s");
pub(super) const HEAD_TIMEOUT: Setting = duration("head-timeout", "CLUSTER_HEAD_TIMEOUT", "10s");
pub(super) const IDLE_TIMEOUT: Setting = duration("idle-timeout", "CLUSTER_IDLE_TIMEOUT", "75s");
pub(super) const BODY_TIMEOUT: Setting = duration("body-timeout", "CLUSTER_BODY_TIMEOUT", "20s");
pub(super) const MIN_BODY_RATE: Setting = Setting {
    flag: Some("min-body-rate"),
    variable: "CLUSTER_MIN_BODY_RATE",
    expects: "an amount of bytes per second such as 500 or 1KiB",
    example: "500",
};
pub(super) const CLIENT_TIMEOUT: Setting = duration("client-timeout", "CLUSTER_CLIENT_TIMEOUT", "60s");
pub(super) const RESPONSE_TIMEOUT: Setting = duration("response-timeout", "CLUSTER_RESPONSE_TIMEOUT", "60s");
pub(super) const MAX_REQUEST_BODY: Setting = Setting {
    flag: Some("max-request-body"),
    variable: "CLUSTER_MAX_REQUEST_BODY",
    expects: "an amount such as 512KiB or 10MB",
    example: "10MiB",
};
pub(super) const MAX_CONNECTIONS: Setting = number("max-connections", "CLUSTER_MAX_CONNECTIONS", "10000");
pub(super) const MAX_CONNECTIONS_PER_IP: Setting =
    number("max-connections-per-ip", "CLUSTER_MAX_CONNECTIONS_PER_IP", "100");
pub(super) const TRUST_FORWARDED: Setting = Setting {
    flag: Some("trust-forwarded"),
    variable: "CLUSTER_TRUST_FORWARDED",
    expects: "true or false",
    example: "true",
};
pub(super) const ACCESS_LOG: Setting = Setting {
    flag: Some("access-log"),
    variable: "CLUSTER_ACCESS_LOG",
    expects: "a path, or - for standard output",
    example: "/var/log/cluster/access.log",
};
pub(super) const ACCESS_LOG_FORMAT: Setting = Setting {
    flag: Some("access-log-format"),
    variable: "CLUSTER_ACCESS_LOG_FORMAT",
    expects: "combined or json",
    example: "json",
};

const fn number(flag: &'static str, variable: &'static str, example: &'static str) -> Setting {
    Setting { flag: Some(flag), variable, expects: "a whole number above zero", example }
}

const fn duration(flag: &'static str, variable: &'static str, example: &'static str) -> Setting {
    Setting { flag: Some(flag), variable, expects: "a duration above zero such as 500ms, 30s or 1m", example }
}

const fn count(flag: &'static str, variable: &'static str, example: &'static str) -> Setting {
    Setting { flag: Some(flag), variable, expects: "a whole number from 1 to 100", example }
}
