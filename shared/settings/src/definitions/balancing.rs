use std::time::Duration;

use crate::definition::{Draft, Optional, Setting, group};
use crate::parse;

group! {
    "Balancing";

    STRATEGY: Setting<String> = Draft::text(
        "CLUSTER_STRATEGY",
        "NAME",
        "round-robin, least-connections, power-of-two or sticky",
    )
        .flag("strategy")
        .example("least-connections")
        .help(
            "Which worker gets a request: each in turn (round-robin), the one with the fewest in flight \
             (least-connections), the less loaded of two at random (power-of-two), or the one that served \
             this client before, by a signed cookie (sticky; CLUSTER_STICKY_SECRET makes cookies outlive \
             the cluster)",
        )
        .default("round-robin");

    STICKY_SECRET: Optional<String> = Draft::text(
        "CLUSTER_STICKY_SECRET",
        "SECRET",
        "at least 16 bytes that nobody can guess",
    )
        .secret()
        .example("the output of: openssl rand -hex 32")
        .help(
            "Signs the cookie of the strategy sticky, so that it outlives the cluster: 16 bytes or more, \
             such as the output of openssl rand -hex 32",
        )
        .unset("random, new at each start");

    MAX_CONCURRENCY: Optional<u64> = Draft::positive("CLUSTER_MAX_CONCURRENCY")
        .flag("max-concurrency")
        .example("64")
        .help(
            "Requests that one worker holds at a time; further ones wait. Upgraded connections, such as \
             WebSockets, do not count (--max-tunnels)",
        )
        .unset("no limit");

    MAX_TUNNELS: Optional<u64> = Draft::positive("CLUSTER_MAX_TUNNELS")
        .flag("max-tunnels")
        .example("1000")
        .help(
            "Upgraded connections, such as WebSockets, that one worker holds at a time; when all workers have \
             as many, a request to upgrade gets 503",
        )
        .unset("no limit");

    /// As many as Passenger lets wait by default (Phusion Passenger,
    /// `max_request_queue_size`). A queue above 100,000 is taken for a slip of the finger.
    QUEUE: Setting<usize> =
        Draft::new("CLUSTER_QUEUE", "N", "a whole number from 0 to 100000", |text| parse::whole(text, 0..=100_000))
            .flag("queue")
            .hyphen_values()
            .example("100")
            .help(
                "With --max-concurrency, requests of the whole cluster that may wait, first come, first \
                 served; further ones get 503 at once",
            )
            .default("100");

    QUEUE_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_QUEUE_TIMEOUT")
        .flag("queue-timeout")
        .example("5s")
        .help("How long a request may wait there before it gets 503")
        .default("5s");
}
