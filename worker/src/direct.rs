//! Clients whose connections this worker accepts itself, from the socket of its slot that it has
//! inherited. The primary says when it begins, and when it is to drain; what is done here is
//! reported to it, so that it can be counted with the rest.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServerHandle, Service, ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer};
use listenfd::ListenFd;
use shared_protocol::{LATENCY_BOUNDS_MICROS, PrimaryMessage, TrafficReport};

use crate::config::Config;
use crate::connection_limits::{DISCONNECT_LIMIT, HEAD_LIMIT, KEEP_ALIVE};
use crate::context::Context;
use crate::crash::Connections;
use crate::error::Failure;
use crate::primary::{Asker, Commands, Link};
use crate::{middleware, routes};

/// Between two reports to the primary.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// While it drains, for clients that keep idle connections to send their next request, whose
/// response closes the connection: an idle one that is closed as a request comes loses it.
const NEXT_REQUEST: Duration = Duration::from_secs(5);
/// How often a draining worker looks whether its last connection has ended.
const DRAIN_CHECK: Duration = Duration::from_millis(5);

/// No connection has been open for so long: those that were accepted last are on their threads.
const QUIET: Duration = Duration::from_millis(300);

/// Status codes of three digits.
const STATUSES: usize = 900;
const FIRST_STATUS: u16 = 100;

/// The socket of the slot, if this process has inherited one. To be called before there are
/// threads, as it takes away the variables that announce the socket.
pub(crate) fn inherited() -> io::Result<Option<TcpListener>> {
    ListenFd::from_env().take_tcp_listener(0)
}

/// The clients of this worker, from the primary's word to accept them to their end.
pub(crate) struct Clients {
    direct: Arc<Direct>,
    commands: Commands,
    /// Until it is accepted from.
    socket: Option<TcpListener>,
    server: Option<ServerHandle>,
}

impl Clients {
    /// To be called on an event loop.
    pub(crate) fn new(link: &Link, commands: Commands, socket: TcpListener) -> io::Result<Self> {
        let direct = Arc::new(Direct::new(link)?);
        actix_web::rt::spawn({
            let direct = Arc::clone(&direct);
            async move {
                let mut before = (0, 0);
                loop {
                    tokio::time::sleep(REPORT_INTERVAL).await;
                    direct.report(&mut before);
                }
            }
        });
        Ok(Self { direct, commands, socket: Some(socket), server: None })
    }

    /// Does what the primary says, until it has said that this is over, and it is.
    pub(crate) async fn until_drained(
        &mut self,
        config: &Config,
        context: &web::Data<Context>,
    ) -> io::Result<()> {
        loop {
            match self.commands.recv().await {
                Some(PrimaryMessage::Accept) => {
                    // It is told so again when it is back in turn.
                    let Some(socket) = self.socket.take() else { continue };
                    let server = self.direct.server(config, socket, context)?;
                    self.server = Some(server.handle());
                    actix_web::rt::spawn(server);
                }
                Some(PrimaryMessage::Drain) => {
                    self.socket = None;
                    if let Some(server) = &self.server {
                        self.direct.drain(server).await;
                    }
                    return Ok(());
                }
                Some(PrimaryMessage::Answer { .. }) => {}
                // The process ends with its primary.
                None => std::future::pending().await,
            }
        }
    }

    /// Connections of clients that are open.
    pub(crate) fn open(&self) -> usize {
        self.direct.open()
    }

    /// Closes idle connections at once, and others after the answer that they wait for.
    pub(crate) async fn stop(&self) {
        if let Some(server) = &self.server {
            server.stop(true).await;
        }
    }

    /// Reports what was done last.
    pub(crate) fn report(&self) {
        // What is told last is that there is nothing left.
        self.direct.report(&mut (u64::MAX, 0));
    }
}

/// What is done for clients whose connections are accepted here.
struct Direct {
    asker: Asker,
    connections: Arc<Connections>,
    is_draining: AtomicBool,
    in_flight: AtomicU64,
    by_status: Box<[AtomicU64]>,
    buckets: [AtomicU64; LATENCY_BOUNDS_MICROS.len() + 1],
    micros: AtomicU64,
}

impl Direct {
    fn new(link: &Link) -> io::Result<Self> {
        Ok(Self {
            asker: link.asker()?,
            connections: Arc::default(),
            is_draining: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            by_status: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
            buckets: Default::default(),
            micros: AtomicU64::new(0),
        })
    }

    /// Connections of clients that are open.
    fn open(&self) -> usize {
        self.connections.open()
    }

    /// A server that accepts from `listener`, once it is polled.
    fn server(
        self: &Arc<Self>,
        config: &Config,
        listener: TcpListener,
        context: &web::Data<Context>,
    ) -> io::Result<Server> {
        let (direct, context) = (Arc::clone(self), context.clone());
        let server = HttpServer::new(move || {
            actix_web::rt::spawn(Arc::clone(&context.hang).block_this_thread());
            let direct = Arc::clone(&direct);
            App::new()
                .app_data(context.clone())
                .app_data(web::Data::from(Arc::clone(&direct)))
                .wrap_fn(middleware::answer)
                .wrap_fn(move |request, service| count(Arc::clone(&direct), request, service))
                .configure(of_the_cluster)
                .configure(routes::configure)
        })
        .workers(config.threads)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_LIMIT)
        .client_disconnect_timeout(DISCONNECT_LIMIT)
        .h1_allow_half_closed(true)
        .shutdown_timeout(config.drain_timeout.as_secs() + 1)
        .disable_signals()
        .on_connect(self.connections.counter())
        .listen(listener)?;
        Ok(server.run())
    }

    /// Accepts nothing more, and returns when clients have closed their connections, or had time
    /// to: each response closes its connection from now on.
    async fn drain(&self, server: &ServerHandle) {
        self.is_draining.store(true, Ordering::SeqCst);
        server.pause().await;
        let deadline = Instant::now() + NEXT_REQUEST;
        // What was accepted before the pause is counted when its thread gets to it.
        let mut since = Instant::now();
        while since.elapsed() < QUIET && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_CHECK).await;
            if self.open() > 0 {
                since = Instant::now();
            }
        }
    }

    /// Reports what was done since the last report, unless that is nothing. `before` is what was
    /// told last of what there is at a moment.
    fn report(&self, before: &mut (u64, u64)) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let statuses = (FIRST_STATUS..).zip(self.by_status.iter().map(take));
        let statuses: Vec<_> = statuses.filter(|&(_, count)| count > 0).collect();
        let now = (self.open() as u64, self.in_flight.load(Ordering::Relaxed));
        if statuses.is_empty() && now == *before {
            return;
        }
        *before = now;
        self.asker.traffic(TrafficReport {
            statuses,
            buckets: self.buckets.iter().map(take).collect(),
            micros: take(&self.micros),
            connections: now.0,
            in_flight: now.1,
        });
    }

    fn record(&self, status: StatusCode, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        if let Some(count) = self.by_status.get(usize::from(status.as_u16() - FIRST_STATUS)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts as in flight until it is dropped.
struct InFlight(Arc<Direct>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts requests, and closes their connections once the worker drains. Their time ends with
/// the response's head.
fn count<S, B>(
    direct: Arc<Direct>,
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<B>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    let started = Instant::now();
    direct.in_flight.fetch_add(1, Ordering::Relaxed);
    let in_flight = InFlight(direct);
    let answer = service.call(request);
    async move {
        let mut answer = answer.await;
        let direct = &in_flight.0;
        let status = match &answer {
            Ok(response) => response.status(),
            Err(err) => err.as_response_error().status_code(),
        };
        direct.record(status, started.elapsed());
        if let Ok(response) = &mut answer
            && direct.is_draining.load(Ordering::Relaxed)
        {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        answer
    }
}

/// Routes that the primary answers, wherever they are asked for.
fn of_the_cluster(app: &mut ServiceConfig) {
    for path in [routes::HEALTH_PATH, routes::WORKERS_PATH] {
        app.service(routes::resource(path, "GET, HEAD").route(routes::get().to(as_the_primary)));
    }
}

async fn as_the_primary(direct: web::Data<Direct>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let Some(answer) = direct.asker.ask(request.path()).await else {
        let detail = "the primary did not say in time how the cluster is; try again";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Ok(routes::json_text(status, answer.body))
}
