use std::time::Duration;

use crate::definition::{Draft, Optional, Programs, Setting, group};
use crate::parse;

const NAME: &str = "1 to 253 letters, digits, dots, dashes or underscores";

group! {
    "The bundled worker";

    CRASH_ENABLED: Optional<bool> = Draft::boolean("CLUSTER_CRASH_ENABLED")
        .example("true")
        .help("Whether POST /cluster/crash may act")
        .taken_by(Programs::Both)
        .unset("true when HOST is loopback, else false");

    WORKER_THREADS: Setting<usize> =
        Draft::new("CLUSTER_WORKER_THREADS", "N", "a number of event-loop threads from 1 to 64", |text| {
            parse::whole(text, 1..=64)
        })
        .example("1")
        .help("Event-loop threads of each worker")
        .taken_by(Programs::Worker)
        .default("1");

    CPU_THREADS: Optional<usize> =
        Draft::new("CLUSTER_CPU_THREADS", "N", "a number of computing threads from 1 to 256", |text| {
            parse::whole(text, 1..=256)
        })
        .example("2")
        .help("Computing threads of each worker")
        .taken_by(Programs::Worker)
        .unset("one per usable CPU");

    CPU_QUEUE: Setting<usize> =
        Draft::new("CLUSTER_CPU_QUEUE", "N", "a number of waiting computations from 0 to 100000", |text| {
            parse::whole(text, 0..=100_000)
        })
        .example("64")
        .help("Computations that may wait for a computing thread, in each worker")
        .taken_by(Programs::Worker)
        .default("64");

    /// The 93rd Fibonacci number is the largest that fits into 64 bits.
    FIBONACCI_MAX: Setting<u32> =
        Draft::new("CLUSTER_FIBONACCI_MAX", "N", "a number from 0 to 93", |text| parse::whole(text, 0..=93))
            .example("45")
            .help("Largest n of POST /cluster/cpu-intensive")
            .taken_by(Programs::Worker)
            .default("45");

    MAX_BODY: Setting<usize> =
        Draft::new("CLUSTER_MAX_BODY", "BYTES", "a number of bytes from 1024 to 1073741824", |text| {
            parse::whole(text, 1024..=1 << 30)
        })
        .example("1048576")
        .help("Largest body of a request in bytes")
        .taken_by(Programs::Worker)
        .default("1048576");

    /// The balancer sets it below its own kill timeout.
    WORKER_SHUTDOWN_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_WORKER_SHUTDOWN_TIMEOUT")
        .example("4500ms")
        .help(
            "How long a stopping worker waits for its requests; the balancer sets it to nine tenths of \
             --kill-timeout",
        )
        .taken_by(Programs::Worker)
        .default("4500ms");

    WORKER_NAME: Optional<String> = Draft::new("WORKER_NAME", "NAME", NAME, parse::process_name)
        .prefixed("CLUSTER_WORKER_NAME")
        .example("worker-a")
        .help("What a worker without a cluster is called in its responses (worker.name)")
        .taken_by(Programs::Worker)
        .unset("the value of POD_NAME");

    POD_NAME: Optional<String> = Draft::new("POD_NAME", "NAME", NAME, parse::process_name)
        .prefixed("CLUSTER_POD_NAME")
        .example("worker-a")
        .help("The same, made to be set from the metadata of a Kubernetes pod")
        .taken_by(Programs::Worker)
        .unset("none");
}
