use std::path::PathBuf;

use crate::definition::{Draft, Optional, Programs, group};
use crate::parse::{self, Admin};

group! {
    "Operators";

    ADMIN: Optional<Admin> =
        Draft::new("CLUSTER_ADMIN", "ADDR|off", "an IP address with a port, a port, or off", Admin::parse)
            .flag("admin")
            .example("127.0.0.1:3180")
            .help(
                "Where to serve dashboard, health, worker list and metrics, read-only: an address with a \
                 port, a port on 127.0.0.1, or off",
            )
            .unset("127.0.0.1, port 80 above --port");

    ADMIN_HOSTS: Optional<Vec<String>> =
        Draft::new("CLUSTER_ADMIN_HOSTS", "NAME,…", "host names with commas between them", parse::host_names)
            .list()
            .example("balancer,metrics.example.org")
            .help("Names under which the admin listener may be asked, besides addresses and localhost")
            .unset("none");

    CONTROL: Optional<PathBuf> = Draft::new(
        "CLUSTER_CONTROL",
        "PATH",
        "a path for a Unix socket of at most 107 bytes",
        parse::socket_path,
    )
        .flag("control")
        .example("/run/cluster/control.sock")
        .help("Unix socket through which status, reload, scale and stop reach this cluster")
        .unset("named after the port, in $XDG_RUNTIME_DIR, /run/user/UID or the temporary directory");

    LOG_FORMAT: Optional<String> = Draft::text("LOG_FORMAT", "text|json", "text or json")
        .prefixed("CLUSTER_LOG_FORMAT")
        .flag("log-format")
        .example("json")
        .help("Form of the log on standard error")
        .taken_by(Programs::Both)
        .unset("text on a terminal, else json");

    LOG_FILTER: Optional<String> = Draft::text("RUST_LOG", "DIRECTIVES", "log directives")
        .prefixed("CLUSTER_LOG")
        .example("info")
        .help("What is logged, such as info or warn,balancer=debug")
        .taken_by(Programs::Both)
        .unset("info");
}
