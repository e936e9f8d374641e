//! What surrounds a run: limits, signals, and finding out that the target is there.

use std::sync::Arc;
use std::time::SystemTime;

use shared_process::descriptors;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::client::connect::{Connector, Endpoint, Tls, TlsError};
use crate::client::failure::{ErrorClass, Failure};
use crate::client::{self, Progress, RunError};
use crate::plan::Plan;
use crate::plan::condition::Condition;
use crate::report::model::Report;

/// Files that the process needs besides its connections.
const OTHER_FILES: u64 = 64;

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("could not find {host}: {source} (is the host name right?)")]
    Unknown { host: String, source: std::io::Error },
    #[error("could not connect to {target}: {failure}{hint}", failure = failure.detail)]
    Unreachable { target: String, failure: Failure, hint: &'static str },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "{connections} connections need more than the {limit} file descriptors that this process may open \
         (raise the limit with ulimit -n, or lower -c)"
    )]
    Files { connections: usize, limit: u64 },
    #[error("interrupted before the first request")]
    Interrupted,
    #[error("could not watch for signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A target that has answered a connection, and the wish to stop.
pub struct Session {
    connector: Arc<Connector>,
    stop: watch::Receiver<bool>,
}

impl Session {
    /// Finds the target and makes one connection to it, so that nothing that
    /// stands in the way is only noticed as a failed request.
    ///
    /// # Errors
    /// When the target is not there or this process may not do what is asked.
    pub async fn open(plan: &Plan) -> Result<Self, SessionError> {
        raise_file_limit(plan.connections)?;
        let mut stop = watch_signals().map_err(SessionError::Signals)?;
        let mut last = None;
        let tls = || Tls::new(&plan.target.host, &plan.trust, plan.http2, plan.resumption);
        let tls = plan.target.https.then(tls).transpose()?;
        for endpoint in endpoints(plan)? {
            let connector = Connector::new(endpoint, tls.as_ref(), plan.timeout);
            let probed = tokio::select! {
                probed = connector.probe() => probed,
                _ = stop.wait_for(|&stop| stop) => return Err(SessionError::Interrupted),
            };
            match probed {
                Ok(()) => return Ok(Self { connector: Arc::new(connector), stop }),
                Err(failure) => last = Some((connector.endpoint().to_string(), failure)),
            }
        }
        let (at, failure) = last.unwrap_or_else(|| {
            (plan.target.host.clone(), Failure::new(ErrorClass::ConnectFailed, "the name has no address"))
        });
        Err(SessionError::Unreachable { target: at, hint: hint(&failure), failure })
    }

    /// Runs `plan` once and reports.
    ///
    /// # Errors
    /// When the load generator itself fails.
    pub async fn run(
        &self,
        plan: &Arc<Plan>,
        conditions: &[Condition],
        on_progress: &mut dyn FnMut(&Progress),
    ) -> Result<Report, SessionError> {
        let started = SystemTime::now();
        let measured = client::run(plan, &self.connector, &self.stop, on_progress).await?;
        Ok(Report::new(plan, &measured, conditions, started))
    }

    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }
}

fn endpoints(plan: &Plan) -> Result<Vec<Endpoint>, SessionError> {
    if let Some(path) = &plan.unix_socket {
        return Ok(vec![Endpoint::Unix(path.clone())]);
    }
    let unknown = |source| SessionError::Unknown { host: plan.target.host.clone(), source };
    Ok(plan.target.resolve().map_err(unknown)?.into_iter().map(Endpoint::Tcp).collect())
}

fn hint(failure: &Failure) -> &'static str {
    match failure.class {
        ErrorClass::Refused => {
            " (nothing listens there: start the cluster with `cargo run -p balancer`, or give the URL of a server)"
        }
        ErrorClass::Tls if failure.detail.contains("certificate") => {
            " (--cacert FILE names whom to trust, --insecure accepts any certificate)"
        }
        ErrorClass::Tls if failure.detail.contains("HTTP/2") => " (without --http2 it is asked by HTTP/1.1)",
        ErrorClass::Tls
            if failure.detail.contains("speak TLS") || failure.detail.contains("closed during") =>
        {
            " (is it http:// that it speaks?)"
        }
        ErrorClass::ConnectTimeout => " (is the address right?)",
        _ => "",
    }
}

/// The soft limit is often 1024, far below what the system allows.
fn raise_file_limit(connections: usize) -> Result<(), SessionError> {
    match descriptors::raise_limit() {
        Some(limit) if connections as u64 + OTHER_FILES > limit => {
            Err(SessionError::Files { connections, limit })
        }
        _ => Ok(()),
    }
}

/// The first SIGINT or SIGTERM asks for the report so far, the second one ends
/// the process at once.
fn watch_signals() -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if sender.send_replace(true) {
                std::process::exit(130);
            }
        }
    });
    Ok(receiver)
}
