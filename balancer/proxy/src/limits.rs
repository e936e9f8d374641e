//! Limits of time and size on the request path.

use std::time::Duration;

use crate::compression::Codings;

/// Limits of the request path. Each has the name of its setting.
#[derive(Debug, Clone)]
pub struct ProxyLimits {
    /// Longest time for a request's whole head, from its first byte on.
    pub head_timeout: Duration,
    /// How long a client may keep an idle connection.
    pub idle_timeout: Duration,
    /// Longest time until a worker begins its response, and between two parts of it
    /// unless it is an event stream.
    pub response_timeout: Duration,
    /// Longest time until a client sends the next part of a body, or takes the next
    /// part of a response.
    pub client_timeout: Duration,
    /// Longest time that the balancer waits for a body in all, besides the time that
    /// its size allows.
    pub body_timeout: Duration,
    /// Average bytes per second that a body must come with beyond that.
    pub min_body_rate: u64,
    /// How long a client that was refused may go on sending, unread.
    pub linger_timeout: Duration,
    /// Largest body of a request in bytes.
    pub max_request_body: u64,
    /// Bytes of a request's body that come before a worker is picked; 0 for none.
    pub buffer_requests: u64,
    /// Bytes of a response that are read ahead of a slow client; 0 for none.
    pub buffer_responses: u64,
    /// Bytes of memory for all buffers together.
    pub buffer_memory: u64,
    /// Connections that one address may have open; `None` for any number.
    pub max_connections_per_ip: Option<u32>,
    /// Upgraded connections that one worker process may hold; `None` for any number.
    pub max_tunnels: Option<u64>,
    /// A client that ends its sending side after its request still gets the response;
    /// otherwise it has gone.
    pub half_close: bool,
    /// Clients are proxies whose `X-Forwarded-*` and `Forwarded` fields are true.
    pub trust_forwarded: bool,
    /// Where clients may speak HTTP/2.
    pub http2: Http2,
    /// What responses are compressed with.
    pub compress: Codings,
}

/// Where clients may speak HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2 {
    Off,
    /// Where TLS lets them choose it.
    Tls,
    /// Also without TLS, when they know beforehand (RFC 9113, section 3.3).
    On,
}

impl Http2 {
    /// What a client may choose from in a TLS handshake, the preferred one first (ALPN; RFC
    /// 9113, section 3.2).
    pub fn alpn_protocols(self) -> Vec<Vec<u8>> {
        let http2 = (self != Self::Off).then(|| b"h2".to_vec());
        http2.into_iter().chain([b"http/1.1".to_vec()]).collect()
    }
}

impl Default for ProxyLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            head_timeout: seconds(10),
            idle_timeout: seconds(75),
            response_timeout: seconds(60),
            client_timeout: seconds(60),
            body_timeout: seconds(20),
            min_body_rate: 500,
            linger_timeout: seconds(5),
            max_request_body: u64::MAX,
            buffer_requests: 256 << 10,
            buffer_responses: 32 << 20,
            buffer_memory: 256 << 20,
            max_connections_per_ip: None,
            max_tunnels: None,
            half_close: false,
            trust_forwarded: false,
            http2: Http2::Tls,
            compress: Codings::default(),
        }
    }
}
