use std::time::Duration;

use crate::definition::{Draft, Optional, Setting, group};
use crate::parse;

group! {
    "Health of workers";

    HEALTH_PATH: Setting<String> =
        Draft::text("CLUSTER_HEALTH_PATH", "PATH", "a path that begins with /, or tcp")
            .flag("health-path")
            .example("/health")
            .help("Path of the health probe, or tcp, with which an accepted connection suffices")
            .default("/health");

    HEALTH_HOST: Optional<String> = Draft::new(
        "CLUSTER_HEALTH_HOST",
        "NAME",
        "a host name, with :port if need be",
        parse::host_field,
    )
    .flag("health-host")
    .example("www.example.com")
    .help("Host field of the health probe, for programs that serve certain names only")
    .unset("localhost");

    HEALTH_STATUS: Optional<String> = Draft::text(
        "CLUSTER_HEALTH_STATUS",
        "CODES",
        "status codes and ranges of them such as 200-399 or 200-299,404",
    )
    .flag("health-status")
    .example("200-399")
    .help("Statuses with which a healthy worker answers the health probe")
    .unset("100-499, as a program without that path is alive as well; of the bundled worker 200-299");

    HEALTH_INTERVAL: Setting<Duration> = Draft::duration("CLUSTER_HEALTH_INTERVAL")
        .flag("health-interval")
        .example("2s")
        .help("Time between two probes of a worker")
        .default("2s");

    HEALTH_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_HEALTH_TIMEOUT")
        .flag("health-timeout")
        .example("1s")
        .help("How long a worker may take to answer a probe")
        .default("1s");

    HEALTH_FALL: Setting<u32> = Draft::count("CLUSTER_HEALTH_FALL")
        .flag("health-fall")
        .example("3")
        .help("Number of missed probes in a row after which a worker gets no requests until it answers one")
        .default("3");

    HANG_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_HANG_TIMEOUT")
        .flag("hang-timeout")
        .example("30s")
        .help("Replace a worker that misses its probes when none of its requests has moved for so long (--response-timeout at most), or half as long with no request in hand")
        .default("30s");

    HEALTH_RISE: Setting<u32> = Draft::count("CLUSTER_HEALTH_RISE")
        .flag("health-rise")
        .example("1")
        .help("Number of answered probes in a row after which a starting worker is ready")
        .default("1");
}
