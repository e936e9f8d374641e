//! Flags for what becomes of requests.

use clap::Args;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Balancing")]
pub(crate) struct BalancingOptions {
    /// Which worker gets a request: each in turn (round-robin), the one with the fewest in hand
    /// (least-connections), the less loaded of two at random (power-of-two), or the one that served
    /// this client before, by a signed cookie (sticky; CLUSTER_STICKY_SECRET makes cookies outlive the
    /// cluster) [env: CLUSTER_STRATEGY] [default: round-robin]
    #[arg(long, value_name = "NAME")]
    pub(crate) strategy: Option<String>,
    /// Requests that one worker holds at a time, upgraded connections included; more wait
    /// [env: CLUSTER_MAX_CONCURRENCY] [default: no limit]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) max_concurrency: Option<String>,
    /// With --max-concurrency, requests of the whole cluster that may wait, first come, first served;
    /// further ones get 503 at once [env: CLUSTER_QUEUE] [default: 100]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) queue: Option<String>,
    /// How long one may wait there before it gets 503 [env: CLUSTER_QUEUE_TIMEOUT] [default: 5s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) queue_timeout: Option<String>,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Clients")]
pub(crate) struct ClientOptions {
    /// For a request's whole head, from its first byte on; else 408. A head may have 32 KiB and 100
    /// fields (431), its target 8 KiB (414) [env: CLUSTER_HEAD_TIMEOUT] [default: 10s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) head_timeout: Option<String>,
    /// How long a connection may be idle between requests [env: CLUSTER_IDLE_TIMEOUT] [default: 75s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) idle_timeout: Option<String>,
    /// How long a request's body may keep us waiting in all, beside what --min-body-rate allows for
    /// its size; else 408 [env: CLUSTER_BODY_TIMEOUT] [default: 20s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) body_timeout: Option<String>,
    /// Bytes per second that a longer body must come with on average [env: CLUSTER_MIN_BODY_RATE]
    /// [default: 500]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) min_body_rate: Option<String>,
    /// For the next part of a body to come, or of an answer to be taken [env: CLUSTER_CLIENT_TIMEOUT]
    /// [default: 60s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) client_timeout: Option<String>,
    /// For a worker to begin its answer (else 504), and for each part of it [env: CLUSTER_RESPONSE_TIMEOUT]
    /// [default: 60s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) response_timeout: Option<String>,
    /// Largest body of a request, such as 10MiB; longer ones get 413 [env: CLUSTER_MAX_REQUEST_BODY]
    /// [default: no limit]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) max_request_body: Option<String>,
    /// Connections of clients at a time; further ones wait in the kernel [env: CLUSTER_MAX_CONNECTIONS]
    /// [default: what the limit of file descriptors allows]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) max_connections: Option<String>,
    /// The same for each address; further ones get 503 and are closed. Not behind another proxy, as
    /// that is one address for all [env: CLUSTER_MAX_CONNECTIONS_PER_IP] [default: no limit]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) max_connections_per_ip: Option<String>,
    /// Clients are a proxy of ours: their X-Forwarded-* and Forwarded are passed on and added to, instead
    /// of replaced [env: CLUSTER_TRUST_FORWARDED] [default: false]
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_default_value = true
    )]
    pub(crate) trust_forwarded: Option<String>,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Access log")]
pub(crate) struct AccessLogOptions {
    /// Write a line for each request to this file, or to standard output with -; begun anew by SIGUSR1,
    /// SIGHUP and reload, so that it can be rotated [env: CLUSTER_ACCESS_LOG] [default: none]
    #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) access_log: Option<String>,
    /// Form of its lines: combined, as Apache and nginx have it, and more behind that, or json
    /// [env: CLUSTER_ACCESS_LOG_FORMAT] [default: combined]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) access_log_format: Option<String>,
}
