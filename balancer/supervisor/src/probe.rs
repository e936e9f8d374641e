//! Active health probes: every worker is asked on its own connection, in its own
//! task, and must answer in time, with success, and as itself. Somebody else's
//! program cannot say who it is; there the system tells whose the port is.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use shared_http_client::{Client, ClientError, Limits, Request, Response};
use shared_protocol::{Generation, StoreHealth, WORKER_ID_HEADER, WorkerHealth, WorkerRef};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use shared_process::tree::{self, Owner};

/// First wait between probes of a starting worker; doubles up to [`LONGEST_START_WAIT`].
const FIRST_START_WAIT: Duration = Duration::from_millis(2);
const LONGEST_START_WAIT: Duration = Duration::from_millis(250);
/// After a miss the next probe comes after this part of the interval: with the
/// default timeout of half an interval, a worker that has just been probed when it
/// freezes is still found out within `fall` intervals.
const SOONER: f64 = 2.0 / 3.0;
/// Where a bundled worker tells its health; elsewhere its headers must do.
const BUNDLED_PATH: &str = "/health";
/// What probes call themselves.
const USER_AGENT: &str = concat!("balancer-probe/", env!("CARGO_PKG_VERSION"));
/// A health answer larger than this is no health answer.
const BODY_LIMIT: usize = 64 * 1024;

/// What is asked of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A GET of this path.
    Http(String),
    /// A connection, no more.
    Tcp,
}

/// How workers are probed.
#[derive(Debug, Clone)]
pub struct Probing {
    pub check: Check,
    pub interval: Duration,
    pub timeout: Duration,
}

/// Who must answer.
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    /// A bundled worker, which names itself.
    Bundled(WorkerRef),
    /// A program below the shim with this pid.
    Program { shim: u32 },
}

/// Whom to ask.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub address: SocketAddr,
    pub expected: Expected,
}

/// What a probe found.
#[derive(Debug)]
pub enum Outcome {
    Healthy {
        store: Option<StoreHealth>,
    },
    Missed {
        why: String,
    },
    /// Somebody else has the port that the worker was given.
    PortTaken,
    /// No probe could be made, through no fault of the worker.
    Unknown {
        why: String,
    },
}

/// Probes until aborted: quickly until the first success, then at the interval.
pub async fn run(
    target: Target,
    generation: Generation,
    probing: Probing,
    outcomes: mpsc::Sender<(Generation, Outcome)>,
) {
    let mut wait = FIRST_START_WAIT;
    loop {
        let outcome = check_owner(target, probe(target, &probing).await).await;
        let ready = matches!(outcome, Outcome::Healthy { .. });
        if outcomes.send((generation, outcome)).await.is_err() {
            return;
        }
        if ready {
            break;
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_START_WAIT);
    }
    let mut wait = probing.interval;
    loop {
        sleep(wait).await;
        let asked = Instant::now();
        let outcome = probe(target, &probing).await;
        let missed = matches!(outcome, Outcome::Missed { .. });
        let until_next = if missed { probing.interval.mul_f64(SOONER) } else { probing.interval };
        wait = until_next.saturating_sub(asked.elapsed());
        if outcomes.send((generation, outcome)).await.is_err() {
            return;
        }
    }
}

/// Whoever answers first on a program's port must be the program. Once it has
/// the port, nobody else can get it.
async fn check_owner(target: Target, outcome: Outcome) -> Outcome {
    let (Expected::Program { shim }, Outcome::Healthy { .. }) = (target.expected, &outcome) else {
        return outcome;
    };
    let port = target.address.port();
    match tokio::task::spawn_blocking(move || tree::owner_of(port, shim)).await {
        Ok(Owner::Stranger) => Outcome::PortTaken,
        Ok(Owner::Ours | Owner::Unknown) | Err(_) => outcome,
    }
}

async fn probe(target: Target, probing: &Probing) -> Outcome {
    let asked = match &probing.check {
        Check::Http(path) => ask(target, path, probing.timeout).await,
        Check::Tcp => connect(target.address, probing.timeout).await.map(|()| None),
    };
    match asked {
        Ok(store) => Outcome::Healthy { store },
        Err(err) if err.is_ours() => Outcome::Unknown { why: err.to_string() },
        Err(err) => Outcome::Missed { why: err.to_string() },
    }
}

#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("could not connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Client(ClientError),
    #[error("answered {0}")]
    Status(u16),
    #[error("answered with something that is not a worker's health: {0}")]
    NotHealth(#[from] serde_json::Error),
    #[error("worker {} with pid {} answered in its place", .0.id, .0.pid)]
    Stranger(WorkerRef),
    #[error("answered without the x-worker-id of this worker")]
    Nameless,
}

impl ProbeError {
    /// Is it this process that has run out of something (connect(2), socket(2))?
    fn is_ours(&self) -> bool {
        const OURS: [Errno; 5] =
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL];
        let Self::Connect(err) = self else { return false };
        Errno::from_io_error(err).is_some_and(|errno| OURS.contains(&errno))
    }
}

impl From<ClientError> for ProbeError {
    fn from(err: ClientError) -> Self {
        match err {
            ClientError::Connect { source, .. } => Self::Connect(source),
            ClientError::ConnectTimeout { limit, .. } | ClientError::ResponseTimeout { limit } => {
                Self::Timeout(limit)
            }
            err => Self::Client(err),
        }
    }
}

async fn connect(address: SocketAddr, limit: Duration) -> Result<(), ProbeError> {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(connected) => Ok(connected.map(drop)?),
        Err(_) => Err(ProbeError::Timeout(limit)),
    }
}

async fn ask(target: Target, path: &str, limit: Duration) -> Result<Option<StoreHealth>, ProbeError> {
    let client = Client::new(target.address, Limits::new(limit, BODY_LIMIT));
    let request = Request::get(path).header("user-agent", USER_AGENT).header("connection", "close");
    let answer = async {
        let mut connection = client.connect().await?;
        // Of a program's answer the status is enough, and its body may have any length.
        connection.stream(request).await?.collect_prefix().await
    };
    let response = timeout(limit, answer).await.map_err(|_| ProbeError::Timeout(limit))??;
    let status = response.status.as_u16();
    match target.expected {
        Expected::Bundled(worker) => bundled(&response, worker, path),
        // A program that has no such path is alive all the same.
        Expected::Program { .. } if status < 500 => Ok(None),
        Expected::Program { .. } => Err(ProbeError::Status(status)),
    }
}

fn bundled(response: &Response, expected: WorkerRef, path: &str) -> Result<Option<StoreHealth>, ProbeError> {
    if !response.status.is_success() {
        return Err(ProbeError::Status(response.status.as_u16()));
    }
    if path != BUNDLED_PATH {
        return identified(response, expected).map(|()| None);
    }
    let health: WorkerHealth = serde_json::from_slice(&response.body)?;
    if health.worker != expected {
        return Err(ProbeError::Stranger(health.worker));
    }
    Ok(Some(health.store))
}

/// Outside [`BUNDLED_PATH`] the response's headers say who gave it.
fn identified(response: &Response, expected: WorkerRef) -> Result<(), ProbeError> {
    let id = response.headers.get(WORKER_ID_HEADER).and_then(|id| id.to_str().ok());
    if id == Some(&expected.id.to_string()) { Ok(()) } else { Err(ProbeError::Nameless) }
}
