//! The proxy as the service of the listener's threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::buffer_memory;
use crate::client::ClientStream;
use crate::connection;
use crate::http2;
use crate::listener::Service;
use crate::proxy::Proxy;
use crate::timer;
use crate::upstream::idle_pool;

impl Service for Proxy {
    const MAINTENANCE_INTERVAL: Duration = idle_pool::SWEEP_INTERVAL;

    async fn serve(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        connection::serve(self, ClientStream::Tcp(stream), peer.ip()).await;
    }

    fn maintain(&self) {
        timer::beat(Self::MAINTENANCE_INTERVAL);
        buffer_memory::trim();
        idle_pool::sweep(&self.pool);
    }

    fn drain(&self) {
        http2::drain();
    }

    fn end(&self) {
        idle_pool::clear();
    }
}
