//! Limits of time and size on the request path.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct ProxyLimits {
    /// For a request's whole head, from its first byte on.
    pub head_timeout: Duration,
    /// How long a client may keep an idle connection.
    pub idle_timeout: Duration,
    /// For a worker to begin its answer, and between parts of it.
    pub response_timeout: Duration,
    /// For a client to send the next part of a body, or take the next of an answer.
    pub client_timeout: Duration,
    /// How long we wait for a body in all, beside what its size allows.
    pub body_grace: Duration,
    /// Bytes per second that a body must come with beyond that, on average.
    pub min_body_rate: u64,
    /// How long a client that was refused may go on sending, unread.
    pub linger_timeout: Duration,
    /// Largest body of a request in bytes.
    pub max_body: u64,
    /// Connections that one address may have open.
    pub max_connections_per_ip: Option<u32>,
    /// Clients are proxies whose `X-Forwarded-*` and `Forwarded` are true.
    pub trust_forwarded: bool,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            head_timeout: seconds(10),
            idle_timeout: seconds(75),
            response_timeout: seconds(60),
            client_timeout: seconds(60),
            body_grace: seconds(20),
            min_body_rate: 500,
            linger_timeout: seconds(5),
            max_body: u64::MAX,
            max_connections_per_ip: None,
            trust_forwarded: false,
        }
    }
}
