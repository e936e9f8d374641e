use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::definition::{CONFIG_FLAG, Draft, Optional, Programs, Setting, group};
use crate::listen::{self, Listen};
use crate::parse::{self, ClusterMode, WorkerNumber};

/// More workers than this are taken for a slip of the finger.
pub const MAX_WORKERS: u32 = 512;

group! {
    "Cluster";

    WORKERS: Optional<WorkerNumber> = Draft::new(
        "CLUSTER_WORKERS",
        "N|MIN..MAX",
        "a whole number from 1 to 512, or a range of such, the lower one first, as 1..4 or 1..auto",
        |text| WorkerNumber::parse(text, MAX_WORKERS),
    )
    .flag("workers")
    .short('w')
    .hyphen_values()
    .example("4")
    .more_examples(&[("1..4", "the load chooses from 1 to 4")])
    .help(
        "Number of workers, or a range from which the load chooses, where auto is the number of usable \
         CPUs; implies --cluster manual",
    )
    .unset("as --cluster says");

    SCALE_DOWN_AFTER: Setting<Duration> = Draft::duration("CLUSTER_SCALE_DOWN_AFTER")
        .flag("scale-down-after")
        .example("5m")
        .help("With --workers MIN..MAX, how long fewer workers must have been enough before one is stopped")
        .default("5m");

    CLUSTER: Setting<ClusterMode> =
        Draft::new("CLUSTER_MODE", "auto|manual|off", "auto, manual or off", ClusterMode::parse)
            .flag("cluster")
            .example("auto")
            .help(
                "Whether there is one worker per usable CPU (auto), a given number of workers (manual: 4 \
                 unless --workers says otherwise), or a single process without a cluster (off)",
            )
            .note("CLUSTER_ENABLED=false means off")
            .default("auto");

    CLUSTER_ENABLED: Setting<bool> = Draft::boolean("CLUSTER_ENABLED")
        .example("true")
        .help("false means the same as CLUSTER_MODE=off")
        .default("true");

    /// Shells and package managers set HOST to names, which are never meant for a cluster.
    HOST: Setting<IpAddr> = Draft::host("HOST")
        .prefixed("CLUSTER_HOST")
        .bare_fits(parse::is_literal_host)
        .flag("host")
        .example("127.0.0.1")
        .help("Address where clients connect; localhost means the one of IPv4")
        .taken_by(Programs::Both)
        .default("127.0.0.1");

    PORT: Setting<u16> =
        Draft::new("PORT", "PORT", "a port number from 0 to 65535 (0 takes a free one)", |text| text.parse().ok())
            .prefixed("CLUSTER_PORT")
            .flag("port")
            .hyphen_values()
            .example("3100")
            .help("Port where clients connect; 0 takes a free one")
            .taken_by(Programs::Both)
            .default("3100");

    LISTEN: Optional<Vec<Listen>> = Draft::new(
        "CLUSTER_LISTEN",
        "ADDR",
        "addresses with a port or Unix sockets, with commas between them",
        |text| listen::listeners(text).ok(),
    )
        .flag("listen")
        .repeatable()
        .list()
        .why_wrong(|text| listen::listeners(text).err().map(|err| err.to_string()))
        .example("127.0.0.1:3100,unix:/run/app.sock")
        .more_examples(&[
            ("HTTPS, with --tls-cert", "https://0.0.0.0:443"),
            ("who may connect, of the socket's file", "unix:/run/app.sock?mode=660&owner=app:www-data"),
            ("behind a load balancer that says for whom it connects", "0.0.0.0:80?proxy-protocol=10.0.0.0/8"),
        ])
        .help(
            "Where clients connect, instead of --host and --port: an address with a port, https://…, or \
             unix:/PATH; may be given several times. Options follow a question mark: mode and owner of the \
             socket's file (660 unless given), proxy-protocol and the network of the load balancer that \
             sends its header",
        )
        .unset("--host and --port");

    CONFIG: Optional<PathBuf> = Draft::path("CLUSTER_CONFIG", "FILE", "a file of settings in TOML")
        .flag(CONFIG_FLAG)
        .example("cluster.toml")
        .help(
            "File with these settings by the names of their flags, and with command, the program to run \
             as workers, so that balancer alone starts it",
        )
        .unset("cluster.toml in the working directory, if there is one");
}
