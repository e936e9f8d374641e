//! One probe of one worker.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use shared_http_client::{Client, Limits, Request, Response};
use shared_process::{sockets, tree};
use shared_protocol::{StoreHealth, WORKER_ID_HEADER, WorkerHealth, WorkerRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::miss::Miss;
use super::plan::{Check, Expected, Probing, Target};

/// How long an outstanding probe is waited for. A worker that has not answered by then is
/// gone long since.
const ANY_TIME: Duration = Duration::from_secs(24 * 3600);
/// Where a bundled worker tells its health; elsewhere its headers must do.
const BUNDLED_PATH: &str = "/health";
/// What probes call themselves.
const USER_AGENT: &str = concat!("balancer-probe/", env!("CARGO_PKG_VERSION"));
/// Whom probes ask for unless somebody has chosen a name: programs that check it take
/// this one, if they take any that is not their public name.
const HOST: &str = "localhost";
/// A health answer larger than this is no health answer.
const BODY_LIMIT: usize = 64 * 1024;
/// Up to this status a program is alive: one that has no such path as well.
const HIGHEST_ALIVE: u16 = 499;

/// An answer that makes a worker healthy.
#[derive(Debug)]
pub(super) struct Answered {
    /// Who gave it.
    pub(super) address: SocketAddr,
    pub(super) store: Option<StoreHealth>,
    /// Of an answer in HTTP.
    pub(super) status: Option<u16>,
}

pub(super) type Answer = Result<Answered, Miss>;

/// Asks a worker that is not ready yet. A program that is told an address of IPv4 and asks
/// for `localhost` may get the one of IPv6 (Node does); it is found there as well, if it
/// is the program that listens there and nobody does where it was told to.
pub(super) async fn find(target: Target, probing: Probing) -> Answer {
    let answer = ask(target, &probing).await;
    let (Expected::Program { shim }, Err(miss)) = (target.expected, &answer) else { return answer };
    if !miss.is_refused() || target.address.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return answer;
    }
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, target.address.port()));
    // Mostly nobody listens there either, which costs less than to look who does.
    if timeout(probing.timeout, TcpStream::connect(address)).await.is_ok_and(|found| found.is_ok())
        && tokio::task::spawn_blocking(move || sockets::reach(address, shim).own)
            .await
            .is_ok_and(|own| own.is_some())
    {
        return ask(Target { address, ..target }, &probing).await;
    }
    answer
}

/// Asks a worker where it is known to be.
pub(super) async fn ask(target: Target, probing: &Probing) -> Answer {
    let limit = probing.timeout;
    match &probing.check {
        Check::Http(path) => request(target, path, probing, limit).await,
        Check::Tcp => connect(target.address, limit).await.map(|()| Answered {
            address: target.address,
            store: None,
            status: None,
        }),
    }
}

/// Connects, says that nothing follows, and waits until the program has accepted: the kernel
/// makes connections by itself, also to a program that hangs. A program that serves sees the
/// end and closes; of one that does not, the kernel tells whether it has accepted, which is
/// asked seldom as it goes through all connections of the machine. One probe waits in the
/// program's backlog at most, and none keeps a program that serves one client at a time.
async fn connect(address: SocketAddr, limit: Duration) -> Result<(), Miss> {
    let connected = timeout(limit, TcpStream::connect(address)).await;
    let mut connection = connected.map_err(|_| Miss::Timeout(limit))??;
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
async fn request(target: Target, path: &str, probing: &Probing, limit: Duration) -> Answer {
    let limits = Limits { connect: limit, response: ANY_TIME, body: BODY_LIMIT };
    let client = Client::new(target.address, limits);
    let host = probing.host.as_deref().unwrap_or(HOST);
    let request =
        Request::get(path).host(host).header("user-agent", USER_AGENT).header("connection", "close");
    let mut connection = client.connect().await?;
    // Of a program's answer the status is enough, and its body may have any length.
    let response = connection.stream(request).await?.collect_prefix().await?;
    let status = response.status.as_u16();
    let is_good = match (&probing.statuses, target.expected) {
        (Some(statuses), _) => statuses.contains(status),
        (None, Expected::Program { .. }) => status <= HIGHEST_ALIVE,
        (None, Expected::Bundled(_)) => response.status.is_success(),
    };
    if !is_good {
        return Err(Miss::Status(status));
    }
    let store = match target.expected {
        Expected::Bundled(worker) => bundled(&response, worker, path)?,
        Expected::Program { .. } => None,
    };
    Ok(Answered { address: target.address, store, status: Some(status) })
}

fn bundled(response: &Response, expected: WorkerRef, path: &str) -> Result<Option<StoreHealth>, Miss> {
    if path != BUNDLED_PATH {
        return identified(response, expected).map(|()| None);
    }
    let health: WorkerHealth = serde_json::from_slice(&response.body)?;
    if health.worker != expected {
        return Err(Miss::Stranger(health.worker));
    }
    Ok(Some(health.store))
}

/// Outside [`BUNDLED_PATH`] the response's headers say who gave it.
fn identified(response: &Response, expected: WorkerRef) -> Result<(), Miss> {
    let id = response.headers.get(WORKER_ID_HEADER).and_then(|id| id.to_str().ok());
    if id == Some(&expected.id.to_string()) { Ok(()) } else { Err(Miss::Nameless) }
}
