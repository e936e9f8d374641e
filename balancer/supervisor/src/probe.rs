//! Active health probes: every worker is asked on its own connection, in its own
//! task, and must answer in time, with success, and as itself. Somebody else's
//! program cannot say who it is; there the system tells whose the port is. A worker
//! never has more than one probe to answer.

mod ask;
mod miss;
mod plan;
mod statuses;

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use shared_process::sockets;
use shared_protocol::{Generation, StoreHealth};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

pub use miss::{Finding, Miss};
pub use plan::{Check, Expected, Probing, Target};
pub use statuses::Statuses;

use ask::Answer;

/// First wait between probes of a starting worker; doubles up to [`LONGEST_START_WAIT`].
const FIRST_START_WAIT: Duration = Duration::from_millis(2);
const LONGEST_START_WAIT: Duration = Duration::from_millis(50);
/// After this time the longest wait is [`LONG_START_WAIT`]: a start that has taken so long
/// may take a little longer.
const LONG_START: Duration = Duration::from_secs(5);
const LONG_START_WAIT: Duration = Duration::from_millis(250);
/// After a miss the next probe comes after this part of the interval: with the
/// default timeout of half an interval, a worker that has just been probed when it
/// freezes is still found out within `fall` intervals.
const SOONER: f64 = 2.0 / 3.0;

/// What a probe found.
#[derive(Debug)]
pub enum Outcome {
    Healthy(Healthy),
    Missed(Miss),
    /// Somebody else has the port that the worker was given.
    PortTaken,
    /// No probe could be made, through no fault of the worker.
    Unknown {
        why: String,
    },
}

/// An answer that makes a worker healthy.
#[derive(Debug)]
pub struct Healthy {
    /// Where the worker is to be found.
    pub address: SocketAddr,
    pub store: Option<StoreHealth>,
    /// Of an answer in HTTP.
    pub status: Option<u16>,
    /// What the socket of a program is bound to; told until it is ready.
    pub bound: Option<SocketAddr>,
}

/// Probes until aborted: quickly until the first success, then at the interval.
pub async fn run(
    target: Target,
    generation: Generation,
    probing: Probing,
    outcomes: mpsc::Sender<(Generation, Outcome)>,
) {
    let (interval, began) = (probing.interval, Instant::now());
    let mut prober = Prober { target, probing, is_found: false, outstanding: None };
    let mut wait = FIRST_START_WAIT;
    loop {
        let outcome = check_owner(target, prober.ask().await).await;
        let found = if let Outcome::Healthy(healthy) = &outcome { Some(healthy.address) } else { None };
        if outcomes.send((generation, outcome)).await.is_err() {
            return;
        }
        if let Some(address) = found {
            (prober.target.address, prober.is_found) = (address, true);
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
        let missed = matches!(outcome, Outcome::Missed(_));
        let until_next = if missed { interval.mul_f64(SOONER) } else { interval };
        wait = until_next.saturating_sub(asked.elapsed());
        if outcomes.send((generation, outcome)).await.is_err() {
            return;
        }
    }
}

/// Asks one worker, one thing at a time. A probe that has not been answered in time stays
/// outstanding: a worker that is busy is not asked again and again, and answers it when it
/// comes to it.
struct Prober {
    target: Target,
    probing: Probing,
    /// It has answered at this address.
    is_found: bool,
    outstanding: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
}

impl Prober {
    /// Asks, or goes on waiting for the answer to what was asked, for the timeout.
    async fn ask(&mut self) -> Outcome {
        let limit = self.probing.timeout;
        let mut probe = self.outstanding.take().unwrap_or_else(|| {
            let (target, probing, is_found) = (self.target, self.probing.clone(), self.is_found);
            Box::pin(async move {
                if is_found { ask::ask(target, &probing).await } else { ask::find(target, probing).await }
            })
        });
        match timeout(limit, &mut probe).await {
            Ok(answer) => outcome(answer),
            Err(_) => {
                self.outstanding = Some(probe);
                Outcome::Missed(Miss::Timeout(limit))
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
        Ok(ask::Answered { address, store, status }) => {
            Outcome::Healthy(Healthy { address, store, status, bound: None })
        }
        Err(miss) if miss.is_ours() => Outcome::Unknown { why: miss.to_string() },
        Err(miss) => Outcome::Missed(miss),
    }
}

/// Whoever answers first on a program's port must be the program. Once it has
/// the port, nobody else can get it.
async fn check_owner(target: Target, outcome: Outcome) -> Outcome {
    let (shim, healthy) = match (target.expected, outcome) {
        (Expected::Program { shim }, Outcome::Healthy(healthy)) => (shim, healthy),
        (_, outcome) => return outcome,
    };
    let address = healthy.address;
    match tokio::task::spawn_blocking(move || sockets::reach(address, shim)).await {
        Ok(found) if found.is_stranger => Outcome::PortTaken,
        Ok(found) => Outcome::Healthy(Healthy { bound: found.own, ..healthy }),
        Err(_) => Outcome::Healthy(healthy),
    }
}
