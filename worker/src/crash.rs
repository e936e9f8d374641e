//! Dying on demand, for `POST /cluster/crash`: after the answer has left.
//!
//! The answer closes its connection. What is armed on the connection goes off
//! when the connection is dropped, which is after its last byte was written; a
//! timer does it for a client that does not let go.

use std::any::Any;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use actix_web::dev::Extensions;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use utoipa::ToSchema;

/// Exit code of a crash that was asked for: "internal software error" of
/// sysexits.h.
const EXIT_CODE: i32 = 70;
/// The crash waits no longer for its answer to leave.
const LATEST: Duration = Duration::from_secs(1);
/// For the log's thread, which a death does not wait for, to say why.
const LOG_TIME: Duration = Duration::from_millis(30);

/// How to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CrashMode {
    /// Exit with code 70.
    #[default]
    Exit,
    /// Abort, by signal.
    Abort,
    /// Live on without answering anything, health probes included.
    Hang,
}

impl CrashMode {
    fn happen(self, hang: &Hang) {
        match self {
            Self::Exit => process::exit(EXIT_CODE),
            Self::Abort => process::abort(),
            Self::Hang => hang.0.notify_waiters(),
        }
    }
}

/// Reaches all event-loop threads, to block them.
#[derive(Default)]
pub(crate) struct Hang(Notify);

impl Hang {
    /// To be run on each event-loop thread.
    pub(crate) async fn block_this_thread(self: Arc<Self>) {
        self.0.notified().await;
        loop {
            thread::park();
        }
    }
}

/// How many connections are open, in all threads.
#[derive(Default)]
pub(crate) struct Connections(AtomicUsize);

impl Connections {
    pub(crate) fn open(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// For `HttpServer::on_connect`: counts the connection until it is dropped.
    pub(crate) fn counter(self: &Arc<Self>) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + 'static {
        let connections = Arc::clone(self);
        move |_, extensions| {
            connections.0.fetch_add(1, Ordering::SeqCst);
            extensions.insert(Connection { connections: Arc::clone(&connections), armed: Cell::new(None) });
        }
    }
}

/// One connection; what is armed on it goes off at its end.
pub(crate) struct Connection {
    connections: Arc<Connections>,
    /// Dropped with the connection, which the thread on the other side notices.
    armed: Cell<Option<Sender<Infallible>>>,
}

impl Connection {
    pub(crate) fn arm(&self, mode: CrashMode, hang: &Arc<Hang>) -> io::Result<()> {
        let (ended, end) = mpsc::channel();
        let hang = Arc::clone(hang);
        thread::Builder::new().name("crash".to_owned()).spawn(move || {
            // Either way it is time.
            let _ = end.recv_timeout(LATEST);
            thread::sleep(LOG_TIME);
            mode.happen(&hang);
        })?;
        self.armed.set(Some(ended));
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.0.fetch_sub(1, Ordering::SeqCst);
    }
}
