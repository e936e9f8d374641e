//! The proxy as the service of the listener's threads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::buffer_memory;
use crate::connection;
use crate::http2;
use crate::listener::{AcceptedSocket, ListenerOptions, Service};
use crate::proxy::Proxy;
use crate::timer;
use crate::upstream::idle_pool;

impl Service for Proxy {
    const MAINTENANCE_INTERVAL: Duration = idle_pool::SWEEP_INTERVAL;

    async fn serve(self: &Arc<Self>, socket: AcceptedSocket, options: &Arc<ListenerOptions>) {
        connection::serve(self, socket, options).await;
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.pool.withdrawals()
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
