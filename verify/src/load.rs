//! Many requests at once.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinHandle;

use crate::answer::Answer;
use crate::client::{Client, ClientError, Request};

pub type Outcome = Result<Answer, ClientError>;

/// How a virtual user connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// One for each request.
    Fresh,
    /// One for each virtual user.
    Kept,
}

/// More bytes of answers than any check can have.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Sends `total` requests by `users` virtual users, each of which has one request
/// in flight at a time (closed loop);
/// `make` gets the index of the request. The answers are in no order.
///
/// There are fewer of them when one did not come in time, or all of them together
/// are beyond reason: that is known then, and the rest would take for ever.
pub async fn send_many(
    client: &Client,
    total: usize,
    users: usize,
    connections: Connections,
    make: impl Fn(usize) -> Request,
) -> Vec<Outcome> {
    let users = users.clamp(1, total.max(1));
    let make = &make;
    let bytes = &Cell::new(0);
    let given_up = &Cell::new(false);
    let user = |user: usize| async move {
        let mut session = client.session();
        let mut outcomes = Vec::new();
        for index in (user..total).step_by(users) {
            if given_up.get() {
                break;
            }
            let outcome = match connections {
                Connections::Fresh => client.send(make(index)).await,
                Connections::Kept => session.send(make(index)).await,
            };
            bytes.set(bytes.get() + outcome.as_ref().map_or(0, |answer| answer.body.len()));
            if outcome.as_ref().is_err_and(ClientError::is_timeout) || bytes.get() > MOST_BYTES {
                given_up.set(true);
            }
            outcomes.push(outcome);
        }
        outcomes
    };
    join_all((0..users).map(user)).await.into_iter().flatten().collect()
}

/// Traffic that goes on while something else happens. Dropping it ends it.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    users: Vec<JoinHandle<Vec<Sent>>>,
}

/// One request of a [`Traffic`].
#[derive(Debug)]
pub struct Sent {
    pub outcome: Outcome,
    pub took: Duration,
}

/// Between two requests of a virtual user: enough to see a gap, too few to be a load.
const PAUSE: Duration = Duration::from_millis(5);

impl Traffic {
    /// `users` virtual users send what `make` makes; every second one keeps its
    /// connection.
    pub fn start(
        client: &Client,
        users: usize,
        make: impl Fn() -> Request + Clone + Send + Sync + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let users = (0..users)
            .map(|user| {
                let (client, stop, make) = (client.clone(), Arc::clone(&stop), make.clone());
                tokio::spawn(async move { run_user(&client, user % 2 == 0, &stop, make).await })
            })
            .collect();
        Self { stop, users }
    }

    /// Ends the traffic and waits for the answers that are still to come.
    pub async fn finish(mut self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let users = std::mem::take(&mut self.users);
        join_all(users).await.into_iter().filter_map(Result::ok).flatten().collect()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.users.iter().for_each(JoinHandle::abort);
    }
}

async fn run_user(
    client: &Client,
    kept: bool,
    stop: &AtomicBool,
    make: impl Fn() -> Request + Send + Sync,
) -> Vec<Sent> {
    let mut session = client.session();
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let outcome = if kept { session.send(make()).await } else { client.send(make()).await };
        all.push(Sent { outcome, took: began.elapsed() });
        tokio::time::sleep(PAUSE).await;
    }
    all
}

/// Asks again until `condition` gives a value, at most `limit` long.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return Some(value);
        }
        if began.elapsed() >= limit {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
