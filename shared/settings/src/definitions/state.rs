use std::path::PathBuf;

use crate::definition::{Draft, Optional, Programs, group};

group! {
    "Shared state";

    REDIS_URL: Optional<String> = Draft::text(
        "REDIS_URL",
        "URL",
        "redis://, rediss:// or redis+unix:// with host or path, redis+sentinel:// or redis+cluster:// with hosts",
    )
        .prefixed("CLUSTER_REDIS_URL")
        .flag("redis-url")
        .secret()
        .example("redis://127.0.0.1:6379/0")
        .more_examples(&[
            ("Redis with a password, in which special characters are percent-encoded", "redis://:password@127.0.0.1:6379/0"),
            (
                "The server that Sentinels call the master, here mymaster; user and password are \
                 the servers', and the password of the Sentinels can follow",
                "redis+sentinel://:password@10.0.0.1:26379,10.0.0.2:26379,10.0.0.3:26379/mymaster/0?sentinel_password=other",
            ),
            (
                "A Redis Cluster, found through any of these nodes. With TLS: rediss+sentinel://, rediss+cluster://",
                "redis+cluster://:password@10.0.0.1:6379,10.0.0.2:6379,10.0.0.3:6379",
            ),
        ])
        .help(
            "Keep shared state in Redis: redis://, rediss:// or redis+unix://, \
             redis+sentinel://host:port,…/master or redis+cluster://host:port,…",
        )
        .taken_by(Programs::Both)
        .unset("none, an embedded store");

    /// The TLS library reads it; no program of ours does.
    SSL_CERT_FILE: Optional<PathBuf> =
        Draft::path("SSL_CERT_FILE", "PATH", "a file with certificates in PEM form")
            .example("/etc/ssl/certs/my-authority.pem")
            .help("Certificate of the authority that has signed those of Redis with TLS")
            .taken_by(Programs::Both)
            .unset("the system's authorities");

    STATE_DIR: Optional<PathBuf> = Draft::path("CLUSTER_STATE_DIR", "DIR", "a directory that can be written")
        .flag("state-dir")
        .example("/var/lib/cluster")
        .help("Directory of the embedded store; a named one survives restarts")
        .taken_by(Programs::Both)
        .unset("a private temporary directory");
}
