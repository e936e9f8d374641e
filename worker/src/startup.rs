//! A worker's life as a script: store, socket, report, serve, stop.

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::rt::System;
use actix_web::{App, HttpServer, web};
use anyhow::{Context as _, anyhow};
use shared_protocol::STATE_FILES_VAR;
use shared_settings::definitions::{REDIS_URL, STATE_DIR};
use shared_settings::describe_bind_error;
use shared_store::{self, StateStore, StoreConfig, StoreIdentity, TemporaryDirectory};

use crate::config::{Config, State};
use crate::connection_limits::{DISCONNECT_LIMIT, HEAD_LIMIT, KEEP_ALIVE};
use crate::context::Context;
use crate::crash::Connections;
use crate::direct::Clients;
use crate::health::StoreWatch;
use crate::identity::Identity;
use crate::primary::{Commands, Link};
use crate::signals::StopSignals;
use crate::{middleware, routes};

/// Connections that the kernel holds while they wait to be accepted.
const BACKLOG: u32 = 1024;
/// How often a stopping worker looks whether its last connection has ended.
const STOP_CHECK: Duration = Duration::from_millis(5);

/// What a worker below a primary has from it.
pub(crate) struct Primary<'a> {
    pub(crate) link: &'a Link,
    pub(crate) commands: Commands,
    /// The socket of its slot, if it is to accept clients' connections itself.
    pub(crate) socket: Option<TcpListener>,
}

/// Serves until a signal says stop. `primary` is there below one.
pub(crate) fn serve(config: &Config, identity: Identity, primary: Option<Primary<'_>>) -> anyhow::Result<()> {
    System::new().block_on(async {
        let signals = StopSignals::install(identity.supervised).context("could not handle signals")?;
        let worker = Worker::build(config, identity)?;
        worker.watch.first_answer().await;
        let address = worker.address;
        let Some(Primary { link, commands, socket }) = primary else {
            let (url, port, pid) = (format!("http://{address}"), address.port(), identity.worker.pid);
            tracing::info!(url, port, pid, "listening");
            return worker.run_until_stopped(signals, config, None, None).await;
        };
        let clients = socket.map(|socket| Clients::new(link, commands, socket)).transpose()?;
        link.listening(address.port())?;
        // The primary says when it has found the worker ready.
        tracing::debug!(%address, "listening");
        worker.run_until_stopped(signals, config, Some(link), clients).await
    })
}

/// A worker that listens, and whose connections wait to be accepted.
struct Worker {
    server: Server,
    address: SocketAddr,
    supervised: bool,
    context: web::Data<Context>,
    watch: Arc<StoreWatch>,
    connections: Arc<Connections>,
    /// Removed when the worker ends.
    _directory: Option<TemporaryDirectory>,
}

impl Worker {
    fn build(config: &Config, identity: Identity) -> anyhow::Result<Self> {
        let (store, directory) = open_store(config, identity)?;
        let watch = Arc::new(StoreWatch::new(store.kind()));
        let context = Context::new(identity, config, Arc::clone(&store), Arc::clone(&watch))
            .context("could not start the computing threads")?;
        let context = web::Data::new(context);
        let connections = Arc::new(Connections::default());

        let shared = context.clone();
        let server = HttpServer::new(move || {
            // The factory runs once on each event-loop thread.
            actix_web::rt::spawn(Arc::clone(&context.hang).block_this_thread());
            App::new().app_data(context.clone()).wrap_fn(middleware::answer).configure(routes::configure)
        })
        .workers(config.threads)
        .backlog(BACKLOG)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_LIMIT)
        .client_disconnect_timeout(DISCONNECT_LIMIT)
        // A balancer that closes its side has given the request up. Other
        // clients may close theirs and still wait for the answer.
        .h1_allow_half_closed(!identity.supervised)
        .shutdown_timeout(config.drain_timeout.as_secs() + 1)
        .disable_signals()
        .on_connect(connections.counter())
        .bind(config.address())
        .map_err(|err| anyhow!(describe_bind_error(config.address(), &err)))?;

        let address = *server.addrs().first().context("the server has no address")?;
        actix_web::rt::spawn(Arc::clone(&watch).run(store));
        Ok(Self {
            server: server.run(),
            address,
            supervised: identity.supervised,
            context: shared,
            watch,
            connections,
            _directory: directory,
        })
    }

    async fn run_until_stopped(
        self,
        mut signals: StopSignals,
        config: &Config,
        link: Option<&Link>,
        mut clients: Option<Clients>,
    ) -> anyhow::Result<()> {
        let handle = self.server.handle();
        let mut server = pin!(self.server);
        let drained = async {
            match &mut clients {
                Some(clients) => clients.until_drained(config, &self.context).await,
                None => pending().await,
            }
        };
        let signal = tokio::select! {
            signal = signals.next() => signal,
            ended = &mut server => return ended.context("the server ended"),
            drained = drained => {
                drained.context("could not accept clients' connections")?;
                "the primary"
            }
        };
        if let Some(link) = link {
            link.leaving();
        }
        let (limit, connections) = (config.drain_timeout, Arc::clone(&self.connections));
        let open = || connections.open() + clients.as_ref().map_or(0, Clients::open);
        if self.supervised {
            tracing::debug!(signal, connections = open(), "stopping");
        } else {
            tracing::info!(signal, connections = open(), "stopping");
        }
        // Closes the listening socket and idle connections at once, and others
        // after the answer that they wait for.
        let stopped = async {
            let of_clients = async {
                if let Some(clients) = &clients {
                    clients.stop().await;
                }
            };
            tokio::join!(handle.stop(true), of_clients)
        };
        let last_connection = async {
            stopped_accepting().await;
            while open() > 0 {
                tokio::time::sleep(STOP_CHECK).await;
            }
        };
        tokio::select! {
            ((), ()) = stopped => {}
            _ = &mut server, if clients.is_none() => {}
            () = last_connection => {}
            () = tokio::time::sleep(limit) => {
                tracing::warn!(connections = open(), ?limit, "stopped before all connections were done");
            }
            signal = signals.next() => return Err(anyhow!("stopped at once by a second {signal}")),
        }
        if let Some(clients) = &clients {
            clients.report();
        }
        if !self.supervised {
            tracing::info!("stopped");
        }
        Ok(())
    }
}

/// The server's threads learn of the stop within this time; before, a connection
/// could still be accepted.
async fn stopped_accepting() {
    tokio::time::sleep(4 * STOP_CHECK).await;
}

type OpenStore = (Arc<dyn StateStore>, Option<TemporaryDirectory>);

fn open_store(config: &Config, identity: Identity) -> anyhow::Result<OpenStore> {
    let (place, directory) = match &config.state {
        State::Redis(url) => (StoreConfig::Redis(url.clone()), None),
        State::Directory(directory)
            if identity.supervised
                && let Some(identity) = expected_files()? =>
        {
            (StoreConfig::Existing { directory: directory.clone(), identity }, None)
        }
        State::Directory(directory) => (StoreConfig::Embedded(directory.clone()), None),
        State::Temporary if identity.supervised => {
            let (redis_url, state_dir) = (REDIS_URL.variable, STATE_DIR.variable);
            return Err(anyhow!(
                "neither {redis_url} nor {state_dir} is set, so workers could not share state"
            ));
        }
        State::Temporary => {
            let directory = TemporaryDirectory::create().with_context(|| {
                format!("could not create a temporary directory (set {})", STATE_DIR.names())
            })?;
            (StoreConfig::Embedded(directory.path().to_owned()), Some(directory))
        }
    };
    Ok((shared_store::open(&place)?, directory))
}

/// The files that the primary has made for its workers.
fn expected_files() -> anyhow::Result<Option<StoreIdentity>> {
    let Ok(text) = std::env::var(STATE_FILES_VAR) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{STATE_FILES_VAR} is for primaries to set"))
}
