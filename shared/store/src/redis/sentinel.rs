//! Who is the master? The Sentinels know; all connections of a process that
//! need to know at the same time ask once.
//!
//! A master that was replaced goes on as one for seconds until it is told, when
//! it was frozen or an operator ordered the change. Whoever still has a
//! connection to it would write there what is lost a moment later; so with each
//! new master a new term begins, which the Sentinels announce, and connections
//! of an earlier one are not used again
//! (<https://redis.io/docs/latest/develop/reference/sentinel-clients/>).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use deadpool_redis::redis::{Client, ConnectionInfo, RedisResult, TlsMode};
use futures_util::StreamExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::url::SentinelServers;

/// From the loss of a Sentinel's announcements to the next try to hear them.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Sentinel {
    servers: SentinelServers,
    state: Mutex<State>,
    term: Arc<AtomicU64>,
}

struct State {
    sentinels: SentinelClient,
    /// The last answer, and when its question was put.
    last: Option<(Instant, Arc<Master>)>,
    /// One for each Sentinel; they end with this.
    listeners: JoinSet<()>,
}

/// A master, and the term in which it is.
pub(super) struct Master {
    pub(super) client: Client,
    pub(super) term: u64,
}

impl Sentinel {
    pub(super) fn new(servers: &SentinelServers) -> RedisResult<Self> {
        let mut node =
            SentinelNodeConnectionInfo::default().set_redis_connection_info(servers.settings.clone());
        if servers.tls {
            node = node.set_tls_mode(TlsMode::Secure);
        }
        let sentinels = SentinelClient::build(
            servers.sentinels.clone(),
            &servers.master,
            Some(node),
            SentinelServerType::Master,
        )?;
        let state = State { sentinels, last: None, listeners: JoinSet::new() };
        Ok(Self { servers: servers.clone(), state: Mutex::new(state), term: Arc::default() })
    }

    pub(super) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// The server that the Sentinels call the master, and that says so itself.
    pub(super) async fn master(&self) -> RedisResult<Arc<Master>> {
        let called = Instant::now();
        let mut state = self.state.lock().await;
        if state.listeners.is_empty() {
            self.listen(&mut state.listeners);
        }
        // Somebody asked while this call waited for its turn.
        if let Some((asked, master)) = &state.last
            && *asked > called
        {
            return Ok(Arc::clone(master));
        }
        // A change that is announced from here on makes the answer one of the past.
        let (asked, mut term) = (Instant::now(), self.term());
        let client = state.sentinels.async_get_client().await?;
        let address = |client: &Client| client.get_connection_info().addr().to_string();
        let same = |last: &(Instant, Arc<Master>)| address(&last.1.client) == address(&client);
        if !state.last.as_ref().is_some_and(same) {
            tracing::info!(server = address(&client), "the Sentinels name the master of Redis");
            term = self.term.fetch_add(1, Ordering::Relaxed) + 1;
        }
        let master = Arc::new(Master { client, term });
        state.last = Some((asked, Arc::clone(&master)));
        Ok(master)
    }

    fn listen(&self, listeners: &mut JoinSet<()>) {
        for sentinel in &self.servers.sentinels {
            let (sentinel, master) = (sentinel.clone(), self.servers.master.clone());
            let term = Arc::clone(&self.term);
            listeners.spawn(async move {
                loop {
                    // Why it ended does not matter: a master is found by asking, too.
                    let _ = hear(&sentinel, &master, &term).await;
                    tokio::time::sleep(LISTEN_AGAIN).await;
                }
            });
        }
    }
}

/// Ends the term with each change of `master` that `sentinel` announces, until
/// the connection is lost.
async fn hear(sentinel: &ConnectionInfo, master: &str, term: &AtomicU64) -> RedisResult<()> {
    let mut subscription = Client::open(sentinel.clone())?.get_async_pubsub().await?;
    subscription.subscribe("+switch-master").await?;
    let mut announcements = subscription.into_on_message();
    while let Some(announcement) = announcements.next().await {
        // `<name> <old address> <old port> <new address> <new port>`
        let text: String = announcement.get_payload()?;
        if text.split(' ').next() == Some(master) {
            term.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
