use std::path::PathBuf;
use std::time::Duration;

use crate::definition::{Draft, Optional, Setting, group};
use crate::listen::{self, Listen};
use crate::parse;

group! {
    "Clients";

    HEAD_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_HEAD_TIMEOUT")
        .flag("head-timeout")
        .example("10s")
        .help(
            "How long a request's whole head may take, from its first byte on; else 408. A head may have \
             32 KiB and 100 fields (431), its target 8 KiB (414)",
        )
        .default("10s");

    IDLE_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_IDLE_TIMEOUT")
        .flag("idle-timeout")
        .example("75s")
        .help("How long a connection may be idle between requests")
        .default("75s");

    BODY_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_BODY_TIMEOUT")
        .flag("body-timeout")
        .example("20s")
        .help(
            "How long a request's body may keep the balancer waiting in all, beside what --min-body-rate \
             allows for its size; else 408",
        )
        .default("20s");

    MIN_BODY_RATE: Setting<u64> =
        Draft::size("CLUSTER_MIN_BODY_RATE", "an amount of bytes per second such as 500 or 1KiB")
            .flag("min-body-rate")
            .example("500")
            .help("Bytes per second with which a longer body must arrive on average")
            .default("500");

    CLIENT_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_CLIENT_TIMEOUT")
        .flag("client-timeout")
        .example("60s")
        .help("How long a client may take to send the next part of a body, or to take that of a response")
        .default("60s");

    RESPONSE_TIMEOUT: Setting<Duration> = Draft::duration("CLUSTER_RESPONSE_TIMEOUT")
        .flag("response-timeout")
        .example("60s")
        .help(
            "How long a worker may take to begin its response (else 504), and between two parts of it; an \
             event stream (text/event-stream) may be silent for longer",
        )
        .default("60s");

    MAX_REQUEST_BODY: Optional<u64> =
        Draft::size("CLUSTER_MAX_REQUEST_BODY", "an amount such as 512KiB or 10MB")
            .flag("max-request-body")
            .example("10MiB")
            .help(
                "Largest body of a request, such as 10MiB; a longer one gets 413. The bundled worker has a \
                 limit of its own",
            )
            .unset("no limit");

    BUFFER_REQUESTS: Setting<u64> = Draft::size_or_none("CLUSTER_BUFFER_REQUESTS")
        .flag("buffer-requests")
        .example("1MiB")
        .help(
            "A request goes to a worker once its body is whole, or this much of it has come: slow clients \
             occupy no worker. A whole body can be sent again to another worker. 0 passes bodies on as they \
             come, which clients need that talk with the program while they send. Not for upgrades and \
             Expect: 100-continue",
        )
        .default("256KiB");

    BUFFER_RESPONSES: Setting<u64> = Draft::size_or_none("CLUSTER_BUFFER_RESPONSES")
        .flag("buffer-responses")
        .example("32MiB")
        .help(
            "A response that its client takes slowly is read up to this much ahead; the worker is free when \
             all of it is here. Nothing is held back. 0 lets workers wait for their clients. Not for upgrades, \
             event streams and responses with X-Accel-Buffering: no",
        )
        .default("32MiB");

    BUFFER_MEMORY: Setting<u64> = Draft::size_or_none("CLUSTER_BUFFER_MEMORY")
        .flag("buffer-memory")
        .example("256MiB")
        .help(
            "Memory for all buffered requests and responses together, beside the first 64 KiB of each \
             request; while it is used up, workers wait for slow clients",
        )
        .default("256MiB");

    MAX_CONNECTIONS: Optional<usize> =
        Draft::new("CLUSTER_MAX_CONNECTIONS", "N", "a whole number above zero", |text| {
            parse::whole(text, 1..=usize::MAX)
        })
        .flag("max-connections")
        .hyphen_values()
        .example("10000")
        .help("Connections of clients at a time; further ones wait in the kernel")
        .unset("what the limit of file descriptors allows");

    MAX_CONNECTIONS_PER_IP: Optional<u32> = Draft::positive_u32("CLUSTER_MAX_CONNECTIONS_PER_IP")
        .flag("max-connections-per-ip")
        .example("100")
        .help(
            "Connections of one address at a time; further ones get 503 and are closed. Not for a balancer \
             behind another proxy, as that is one address for all clients",
        )
        .unset("no limit");

    HTTP2: Setting<String> = Draft::text("CLUSTER_HTTP2", "WHEN", "off, tls or on")
        .flag("http2")
        .example("on")
        .help(
            "Whether clients may speak HTTP/2: where TLS lets them choose it (tls), as browsers do, or also \
             without TLS when they know beforehand (on), as gRPC clients and proxies do. Workers get HTTP/1.1",
        )
        .default("tls");
    COMPRESS: Setting<String> =
        Draft::text("CLUSTER_COMPRESS", "CODINGS", "on, off, or a list of zstd, br and gzip")
            .flag("compress")
            .example("on")
            .more_examples(&[("only what every client knows", "gzip")])
            .help(
                "Compresses responses that are text for clients that accept it: with Zstandard, Brotli or \
                 gzip (on), or with those of a list, the preferred one first",
            )
            .default("off");
    HTTP_REDIRECT: Optional<Vec<Listen>> = Draft::new(
        "CLUSTER_HTTP_REDIRECT",
        "ADDR",
        "addresses with a port for plain HTTP, with commas between them",
        |text| listen::redirects(text).ok(),
    )
        .flag("http-redirect")
        .repeatable()
        .list()
        .why_wrong(|text| listen::redirects(text).err().map(|err| err.to_string()))
        .example("0.0.0.0:80")
        .more_examples(&[("clients reach HTTPS on another port than is bound", "0.0.0.0:8080?https-port=443")])
        .help(
            "Where plain HTTP is answered with a redirect to the same address over HTTPS (301, and 308 for \
             methods other than GET and HEAD)",
        )
        .unset("nowhere");

    HSTS: Optional<Duration> =
        Draft::new("CLUSTER_HSTS", "DURATION", "a duration from 1s to 10 years such as 1h, 30days or 1year", parse::hsts)
            .flag("hsts")
            .hyphen_values()
            .example("30days")
            .help(
                "How long browsers are to use HTTPS only (Strict-Transport-Security), in responses over HTTPS \
                 that have no such field of their own",
            )
            .unset("no such field");

    ERROR_PAGES: Optional<PathBuf> = Draft::path("CLUSTER_ERROR_PAGES", "DIR", "a directory")
        .flag("error-pages")
        .example("/srv/app/errors")
        .help(
            "Own pages for errors of the balancer itself, read at the start and at each reload: 502.html, \
             5xx.html, maintenance.html, and .json of the same names for clients that are no browsers",
        )
        .unset("the balancer's own");

    HALF_CLOSE: Setting<bool> = Draft::boolean("CLUSTER_HALF_CLOSE")
        .flag("half-close")
        .switch()
        .example("true")
        .help(
            "A client that ends its sending side after its request, as nc -N does, still gets the response; \
             otherwise it has gone, and its request is given up (499)",
        )
        .default("false");

    TRUST_FORWARDED: Setting<bool> = Draft::boolean("CLUSTER_TRUST_FORWARDED")
        .flag("trust-forwarded")
        .switch()
        .example("true")
        .help(
            "Clients are a proxy of yours: their X-Forwarded-*, Forwarded and X-Real-IP are believed and \
             added to, instead of replaced",
        )
        .default("false");
}
