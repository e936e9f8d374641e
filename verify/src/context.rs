//! First contact with a cluster, and what every check gets to know of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use shared_protocol::{ClusterHealth, ClusterStatus, Health, StoreKind, WorkerList, WorkerStatus};
use shared_store::RedisUrl;

use crate::answer::Answer;
use crate::client::{Client, Request};
use crate::cluster::Launcher;
use crate::load::{Connections, eventually, send_many};
use crate::observe::{Membership, Tally, WorkerProcess};
use crate::openapi::Document;
use crate::proc;
use crate::target::Target;
use crate::verdict::Verdict;

/// Requests that tell how many workers there are when nobody says it.
const CENSUS: usize = 64;
/// More workers than this are not judged, as the command line has it, too.
const MOST_WORKERS: usize = 256;
/// For one attempt at first contact, and for each question after it.
const FIRST_LIMIT: Duration = Duration::from_secs(5);
const QUESTION_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ContactError {
    #[error(
        "nothing can be reached at {url} ({why}); start a cluster with `cargo run -p balancer -- --workers 4`, \
         name another with --url, or let this program start one: `cargo run -p verify -- --spawn`"
    )]
    Unreachable { url: String, why: String },
    #[error(
        "the server at {url} is not a cluster of this kind: {why}; GET /cluster/info must answer 200 and \
         {{\"worker\": {{\"id\": …, \"pid\": …}}}} (name the cluster with --url)"
    )]
    Stranger { url: String, why: String },
    #[error(
        "nobody can tell whether {url} is the cluster: {why} (--cacert FILE names whom to trust, --insecure \
         accepts any certificate)"
    )]
    Untrusted { url: String, why: String },
    #[error("the cluster at {url} does not serve: {why} (wait longer with --wait)")]
    Unready { url: String, why: String },
}

/// How many workers there are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// The user or the primary says so.
    Stated(usize),
    /// So many were seen, there may be more.
    Seen(usize),
    /// One process that is its own primary.
    Alone,
}

pub struct Context {
    pub client: Client,
    pub workers: Workers,
    /// The worker processes are on this machine.
    pub local: bool,
    pub primary: Option<u32>,
    pub backend: Option<StoreKind>,
    pub document: Option<Document>,
    pub redis_url: Option<RedisUrl>,
    /// Starts private clusters, for the disruptive checks.
    pub launcher: Option<Launcher>,
    /// Why the server's certificate is not accepted; the client accepts it all the same,
    /// for the check that says more of it.
    pub untrusted: Option<String>,
    /// Where plain HTTP is redirected to the target, when the user says so.
    pub plain: Option<Target>,
}

/// An answer of 200 with its worker.
#[derive(Debug)]
pub struct Reply {
    pub who: WorkerProcess,
    pub body: Value,
    pub answer: Answer,
}

impl Context {
    /// Waits for the cluster and asks what it is.
    ///
    /// # Errors
    /// When nothing, or something else, answers.
    pub async fn contact(
        client: Client,
        wait: Duration,
        stated: Option<u32>,
        redis_url: Option<RedisUrl>,
    ) -> Result<Self, ContactError> {
        let began = Instant::now();
        let first = first_answer(&client, wait).await?;
        let for_checks = client;
        let client = for_checks.with_limit(QUESTION_LIMIT);
        complete(&client, wait.saturating_sub(began.elapsed())).await;
        let list = worker_list(&client).await;
        if let Some(list) = &list
            && list.count.max(list.workers.len()) > MOST_WORKERS
        {
            let why = format!("it says that it has {} workers, and {MOST_WORKERS} is the limit", list.count);
            return Err(ContactError::Stranger { url: client.target().to_string(), why });
        }
        let workers = match (&list, stated) {
            (_, Some(stated)) => Workers::Stated(stated as usize),
            (_, None) if first.id == 0 => Workers::Alone,
            (Some(list), None) if list.count > 0 => Workers::Stated(list.count),
            _ => Workers::Seen(census(&client).await),
        };
        let local = list.as_ref().is_some_and(|list| {
            let pids: Vec<u32> = list.workers.iter().filter_map(|worker| worker.pid).collect();
            !pids.is_empty() && pids.iter().all(|&pid| proc::parent(pid) == Some(list.primary.pid))
        });
        let primary = list.map(|list| list.primary.pid);
        let backend = store_kind(&client).await;
        let document = Document::fetch(&client).await;
        Ok(Self {
            client: for_checks,
            workers,
            local,
            primary,
            backend,
            document,
            redis_url,
            launcher: None,
            untrusted: None,
            plain: None,
        })
    }

    /// How many workers to expect, for checks that need two at least.
    pub fn several(&self) -> Result<usize, Verdict> {
        match self.workers {
            Workers::Alone => Err(Verdict::inconclusive("a single process without a cluster")),
            Workers::Stated(0 | 1) => Err(Verdict::inconclusive("the cluster has one worker only")),
            Workers::Seen(0 | 1) => Err(Verdict::inconclusive(
                "all answers come from one worker, and nobody says how many there are (tell with --workers)",
            )),
            Workers::Stated(n) | Workers::Seen(n) => Ok(n),
        }
    }

    /// Sends a request that must be answered with 200 by a worker.
    ///
    /// # Errors
    /// Inconclusive when the server has no such route, else failed.
    pub async fn ask(&self, request: Request) -> Result<Reply, Verdict> {
        let answer = self.client.send(request).await?;
        self.reply(answer)
    }

    /// As [`Self::ask`], for an answer that is there.
    pub fn reply(&self, answer: Answer) -> Result<Reply, Verdict> {
        self.routed(&answer)?;
        let body = answer.json();
        match WorkerProcess::of(&body) {
            Some(who) if answer.status == 200 => Ok(Reply { who, body, answer }),
            _ => Err(Verdict::failed(
                format!("{} {} was answered with {}", answer.method, answer.path, answer.status.as_u16()),
                "200 and JSON that names the worker",
                vec![answer.quote()],
            )),
        }
    }

    /// Was there a route for this? One that the server describes but does not
    /// have is a failure, which is for the caller to see.
    pub fn routed(&self, answer: &Answer) -> Result<(), Verdict> {
        let missing = matches!(answer.status.as_u16(), 404 | 405 | 501);
        if missing && !self.describes(&answer.method, &answer.path) {
            let reason = format!("the server has no route {} {}", answer.method, answer.path);
            return Err(Verdict::inconclusive(reason));
        }
        Ok(())
    }

    fn describes(&self, method: &Method, path: &str) -> bool {
        self.document.as_ref().is_some_and(|document| document.has(method, path))
    }

    /// The primary's list of workers now, when it gives one.
    pub async fn worker_list(&self) -> Option<WorkerList> {
        worker_list(&self.client).await
    }

    /// The processes of the cluster now, when it lists them.
    pub async fn membership(&self) -> Option<Membership> {
        self.worker_list().await.map(|list| Membership::of(&list))
    }

    /// Requests handed to workers so far, by the primary's count.
    pub async fn requests(&self) -> Option<u64> {
        let list = self.worker_list().await?;
        let total = |sum: u64, worker: &WorkerStatus| sum.saturating_add(worker.requests);
        (list.count > 0).then(|| list.workers.iter().fold(0, total))
    }

    /// A key of the shared state that nobody else uses.
    pub fn fresh_key(&self, what: &str) -> String {
        format!("verify-{what}-{:012x}", fastrand::u64(..) >> 16)
    }
}

async fn first_answer(client: &Client, wait: Duration) -> Result<WorkerProcess, ContactError> {
    let url = client.target().to_string();
    let quick = client.with_limit(FIRST_LIMIT);
    let began = Instant::now();
    loop {
        let err = match quick.get("/cluster/info").await {
            Ok(answer) if answer.status == 200 => match WorkerProcess::of(&answer.json()) {
                Some(who) => return Ok(who),
                None => return Err(ContactError::Stranger { url, why: answer.quote() }),
            },
            Ok(answer) if answer.status.is_server_error() => {
                ContactError::Unready { url: url.clone(), why: answer.quote() }
            }
            Ok(answer) => return Err(ContactError::Stranger { url, why: unexpected(&answer) }),
            Err(err) if err.source.untrusted().is_some() => {
                return Err(ContactError::Untrusted { url, why: err.source.untrusted().unwrap_or_default() });
            }
            Err(err) if err.source.is_connect() => {
                let why = match err.source.connect_error() {
                    Some(err) => err.to_string(),
                    None => err.source.to_string(),
                };
                ContactError::Unreachable { url: url.clone(), why }
            }
            Err(err) => ContactError::Stranger { url: url.clone(), why: err.to_string() },
        };
        if began.elapsed() >= wait {
            return Err(err);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An answer that is not of a cluster; with where it wants to send us, if it does.
fn unexpected(answer: &Answer) -> String {
    match answer.header("location") {
        Some(location) if answer.status.is_redirection() => {
            format!("GET /cluster/info → {}, a redirect to {location}", answer.status.as_u16())
        }
        _ => answer.quote(),
    }
}

/// Waits until the cluster calls itself complete. One that does not, or has no
/// word for it, is judged as it is.
async fn complete(client: &Client, wait: Duration) {
    eventually(wait, || async {
        let answer = client.get("/health").await.ok()?;
        let health = serde_json::from_slice::<ClusterHealth>(&answer.body).ok();
        health.is_none_or(|health| health.status == ClusterStatus::Ok).then_some(())
    })
    .await;
}

async fn worker_list(client: &Client) -> Option<WorkerList> {
    let answer = client.get("/cluster/workers").await.ok()?;
    serde_json::from_slice(&answer.body).ok()
}

/// Distinct workers among some answers.
async fn census(client: &Client) -> usize {
    let results = send_many(client, CENSUS, 4, Connections::Fresh, |_| Request::get("/cluster/info")).await;
    let ids: BTreeSet<u32> = Tally::of(&results).by_process.keys().map(|who| who.id).collect();
    ids.len()
}

async fn store_kind(client: &Client) -> Option<StoreKind> {
    let answer = client.get("/health").await.ok()?;
    let health: Health = serde_json::from_slice(&answer.body).ok()?;
    health.store().map(|store| store.backend)
}
