use std::time::Duration;

use crate::definition::{Draft, Optional, Setting, group};
use crate::parse;

group! {
    "Balancing";

    DISPATCH: Setting<String> = Draft::text("CLUSTER_DISPATCH", "MODE", "relay or direct")
        .flag("dispatch")
        .example("direct")
        .help(
            "How clients get to workers: through the balancer, request by request (relay), or straight, as \
             workers accept connections themselves from sockets that they inherit (direct): faster, without \
             what a balancer between could do; a program gets its sockets by LISTEN_FDS. docs/direct.md says \
             what holds then",
        )
        .default("relay");

    STRATEGY: Setting<String> = Draft::text(
        "CLUSTER_STRATEGY",
        "NAME",
        "round-robin, least-connections, power-of-two, sticky or hash",
    )
        .flag("strategy")
        .example("least-connections")
        .help(
            "Which worker gets a request: each in turn (round-robin), the one with the fewest in flight \
             (least-connections), the less loaded of two at random (power-of-two), the one that served \
             this client before, by a signed cookie (sticky; CLUSTER_STICKY_SECRET makes cookies outlive \
             the cluster), or the one that --hash-key leads to (hash), which needs no cookie",
        )
        .default("round-robin");

    HASH_KEY: Setting<String> = Draft::text(
        "CLUSTER_HASH_KEY",
        "KEY",
        "client-ip, header:NAME, cookie:NAME or query:NAME",
    )
        .flag("hash-key")
        .example("header:X-User-Id")
        .help(
            "With the strategy hash, what leads a request to its worker: the client's address, as the access \
             log has it (client-ip; the first 64 bits of an IPv6 address), or a header field, a cookie or a \
             parameter of the query by name. A request without it, or with an empty one, goes by the \
             client's address, so a key that workers make themselves, as Socket.IO's sid, comes too late. \
             While its worker is away or has no room, a key goes to another one, always the same",
        )
        .default("client-ip");

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

    STICKY_COOKIE: Setting<String> = Draft::text(
        "CLUSTER_STICKY_COOKIE",
        "NAME",
        "a cookie's name: letters, digits and !#$%&'*+-.^_`|~, at most 256",
    )
        .flag("sticky-cookie")
        .example("shop_worker")
        .help("Name of the cookie of the strategy sticky")
        .default("cluster_worker");

    STICKY_PATH: Setting<String> = Draft::text(
        "CLUSTER_STICKY_PATH",
        "PATH",
        "a path that begins with / and has no space, ;, ? or #",
    )
        .flag("sticky-path")
        .example("/app")
        .help(
            "Path below which browsers send that cookie; other requests, by their path as it comes here, do \
             not get it",
        )
        .default("/");

    STICKY_SAME_SITE: Setting<String> =
        Draft::text("CLUSTER_STICKY_SAME_SITE", "lax|strict|none|off", "lax, strict, none or off")
            .flag("sticky-same-site")
            .example("none")
            .help(
                "SameSite of that cookie. A program that is embedded into pages of other sites needs none, \
                 together with --sticky-secure; off leaves it out",
            )
            .default("lax");

    STICKY_SECURE: Setting<bool> = Draft::boolean("CLUSTER_STICKY_SECURE")
        .flag("sticky-secure")
        .switch()
        .example("true")
        .help(
            "That cookie is Secure for every client: browsers send it with HTTPS only. Otherwise it is \
             where a trusted proxy says that the client speaks HTTPS (--trust-forwarded)",
        )
        .default("false");

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
