//! Active health probes: every worker is asked on its own connection, in its own
//! task, and must answer in time, with success, and as itself. Somebody else's
//! program cannot say who it is; there the system tells whose the port is. A worker
//! never has more than one probe to answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use rustix::io::Errno;
use shared_http_client::{Client, ClientError, Limits, Request, Response};
use shared_protocol::{Generation, StoreHealth, WORKER_ID_HEADER, WorkerHealth, WorkerRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use shared_process::tree::{self, Owner};

/// First wait between probes of a starting worker; doubles up to [`LONGEST_START_WAIT`].
const FIRST_START_WAIT: Duration = Duration::from_millis(2);
const LONGEST_START_WAIT: Duration = Duration::from_millis(50);
/// After this time the longest wait is [`LONG_START_WAIT`]: a start that has taken so long
/// may take a little longer.
const LONG_START: Duration = Duration::from_secs(5);
const LONG_START_WAIT: Duration = Duration::from_millis(250);
/// How long an outstanding probe is waited for. A worker that has not answered by then is
/// gone long since.
const ANY_TIME: Duration = Duration::from_secs(24 * 3600);
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
    let (interval, began) = (probing.interval, Instant::now());
    let mut prober = Prober { target, probing, outstanding: None };
    let mut wait = FIRST_START_WAIT;
    loop {
        let outcome = check_owner(target, prober.ask().await).await;
        let ready = matches!(outcome, Outcome::Healthy { .. });
        if outcomes.send((generation, outcome)).await.is_err() {
            return;
        }
        if ready {
            break;
        }
        sleep(wait).await;
        let longest = if began.elapsed() < LONG_START { LONGEST_START_WAIT } else { LONG_START_WAIT };
        wait = (wait * 2).min(longest);
    }
    let mut wait = interval;
    loop {
        let asked;
        let outcome = if let Some(outcome) = prober.rest(wait).await {
            asked = Instant::now();
            outcome
        } else {
            asked = Instant::now();
            prober.ask().await
        };
        let missed = matches!(outcome, Outcome::Missed { .. });
        let until_next = if missed { interval.mul_f64(SOONER) } else { interval };
        wait = until_next.saturating_sub(asked.elapsed());
        if outcomes.send((generation, outcome)).await.is_err() {
            return;
        }
    }
}

type Answer = Result<Option<StoreHealth>, ProbeError>;

/// Asks one worker, one thing at a time. A probe that has not been answered in time stays
/// outstanding: a worker that is busy is not asked again and again, and answers it when it
/// comes to it.
struct Prober {
    target: Target,
    probing: Probing,
    outstanding: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
}

impl Prober {
    /// Asks, or goes on waiting for the answer to what was asked, for the timeout.
    async fn ask(&mut self) -> Outcome {
        let (target, limit) = (self.target, self.probing.timeout);
        let mut probe = self.outstanding.take().unwrap_or_else(|| match self.probing.check.clone() {
            Check::Http(path) => Box::pin(async move { ask(target, &path, limit).await }),
            Check::Tcp => Box::pin(async move { connect(target.address, limit).await.map(|()| None) }),
        });
        match timeout(limit, &mut probe).await {
            Ok(answer) => outcome(answer),
            Err(_) => {
                self.outstanding = Some(probe);
                outcome(Err(ProbeError::Timeout(limit)))
            }
        }
    }

    /// Rests for so long, unless an outstanding probe is answered meanwhile.
    async fn rest(&mut self, wait: Duration) -> Option<Outcome> {
        let Some(probe) = &mut self.outstanding else {
            sleep(wait).await;
            return None;
        };
        let answer = timeout(wait, probe).await.ok()?;
        self.outstanding = None;
        Some(outcome(answer))
    }
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Ok(store) => Outcome::Healthy { store },
        Err(err) if err.is_ours() => Outcome::Unknown { why: err.to_string() },
        Err(err) => Outcome::Missed { why: err.to_string() },
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

/// Connects, says that nothing follows, and waits until the program has accepted: the kernel
/// makes connections by itself, also to a program that hangs. A program that serves sees the
/// end and closes; of one that does not, the kernel tells whether it has accepted, which is
/// asked seldom as it goes through all connections of the machine. One probe waits in the
/// program's backlog at most, and none keeps a program that serves one client at a time.
async fn connect(address: SocketAddr, limit: Duration) -> Result<(), ProbeError> {
    let connected = timeout(limit, TcpStream::connect(address)).await;
    let mut connection = connected.map_err(|_| ProbeError::Timeout(limit))??;
    let (from, to) = (connection.local_addr()?.port(), address.port());
    // Fails only when the program has closed already.
    let _ = connection.shutdown().await;
    loop {
        // Bytes, an end or a reset: whichever it is, the program is there.
        if timeout(limit / 2, connection.read(&mut [0])).await.is_ok() {
            return Ok(());
        }
        // A panic there says nothing of the program.
        if !tokio::task::spawn_blocking(move || tree::is_unaccepted(from, to)).await.unwrap_or(false) {
            return Ok(());
        }
    }
}

/// Waits for the answer for as long as it takes, but `limit` for the connection.
async fn ask(target: Target, path: &str, limit: Duration) -> Answer {
    let limits = Limits { connect: limit, response: ANY_TIME, body: BODY_LIMIT };
    let client = Client::new(target.address, limits);
    let request = Request::get(path).header("user-agent", USER_AGENT).header("connection", "close");
    let mut connection = client.connect().await?;
    // Of a program's answer the status is enough, and its body may have any length.
    let response = connection.stream(request).await?.collect_prefix().await?;
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
