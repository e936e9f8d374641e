//! A connection to a worker while it carries a request.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::ErrorType;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::upstreams::peer::HttpPeer;
use shared_protocol::Generation;

use super::idle_pool;
use crate::compression::Compressor;
use crate::error::ConnectError;
use crate::read_buffer::ReadBuffer;
use crate::timer;

/// Longest time for a connection to a worker, which is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Upstream {
    pub(crate) stream: Stream,
    pub(crate) read_buffer: ReadBuffer,
    /// Compresses the body of its response.
    pub(crate) compressor: Option<Box<Compressor>>,
    /// The connection has carried a request before.
    pub(crate) is_reused: bool,
    generation: Generation,
}

impl Upstream {
    /// A connection to the worker that has been idle for less than `idle_time`, if this
    /// thread has one.
    pub(crate) fn idle(generation: Generation, idle_time: Duration) -> Option<Self> {
        let stream = idle_pool::take(generation, idle_time)?;
        Some(Self {
            stream,
            read_buffer: ReadBuffer::default(),
            compressor: None,
            is_reused: true,
            generation,
        })
    }

    /// Connects to the worker.
    ///
    /// # Errors
    /// When the worker does not accept the connection in time, or refuses it.
    pub(crate) async fn connect(
        connector: &TransportConnector,
        generation: Generation,
        address: SocketAddr,
    ) -> Result<Self, ConnectError> {
        // Without Pingora's own timeout, for which a thread wakes 100 times a second.
        let peer = HttpPeer::new(address, false, String::new());
        // Boxed: seldom needed, and large beside all else that a request keeps.
        match Box::pin(timer::timeout(CONNECT_TIMEOUT, connector.new_stream(&peer))).await {
            Some(Ok(stream)) => Ok(Self {
                stream,
                read_buffer: ReadBuffer::default(),
                compressor: None,
                is_reused: false,
                generation,
            }),
            Some(Err(err)) if *err.etype() == ErrorType::ConnectRefused => Err(ConnectError::Refused),
            Some(Err(err)) => Err(ConnectError::Failed(err)),
            None => Err(ConnectError::Timeout(CONNECT_TIMEOUT)),
        }
    }

    /// Keeps the connection for a later request, for as long as the worker does, which may
    /// have told its timeout in seconds. The response to its last request is complete.
    pub(crate) fn keep(self, timeout: Option<u64>) {
        let longest = timeout.map_or(idle_pool::IDLE_TIMEOUT, |seconds| {
            idle_pool::IDLE_TIMEOUT.min(Duration::from_secs(seconds.saturating_sub(1)))
        });
        if !longest.is_zero() {
            idle_pool::put(self.generation, self.stream, longest);
        }
    }
}
