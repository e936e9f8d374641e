//! What operators and their tools may read: the worker list, health and metrics,
//! over HTTP, on a listener of its own. Nothing here changes anything.
//!
//! A browser on this machine can be led to ask any address; so the listener
//! answers only requests that name it by an address, as `localhost`, or by a name
//! that was configured (DNS rebinding).

pub mod http;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::header::HOST;
use ::http::uri::Authority;
use ::http::{Method, Request};
use shared::problem::Problem;
use shared::protocol::ClusterStatus;
use tokio::net::TcpListener;
use tracing::warn;

use crate::metrics::exposition;
use crate::supervisor::Boards;
use http::{Answer, Handler, Server};

/// Wait after a failed accept, which means that descriptors have run out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Paths that are answered.
const PATHS: [&str; 3] = ["/cluster/workers", "/health", "/metrics"];

#[derive(Debug, Clone)]
pub struct Admin {
    pub boards: Boards,
    /// Names under which it may be asked, besides addresses and `localhost`.
    pub names: Arc<[String]>,
}

impl Handler for Admin {
    async fn answer<B: Send>(self, request: Request<B>) -> Answer {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.may_be_called(host)) {
            let detail = "this listener answers under its address and as localhost; set CLUSTER_ADMIN_HOSTS \
                          to the names under which it may be asked besides";
            return Answer::problem(Problem::new(421, detail));
        }
        read(&self.boards, request.method(), request.uri().path())
    }
}

/// Accepts for ever.
pub async fn serve(listener: TcpListener, admin: Admin) {
    let server = Server::default();
    loop {
        let permit = server.room().await;
        match listener.accept().await {
            Ok((stream, _)) => server.spawn(stream, permit, admin.clone()),
            Err(err) => {
                warn!(%err, "cannot accept on the admin listener");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Admin {
    fn may_be_called(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.names.contains(&name)
    }
}

/// Answers a request that changes nothing.
pub fn read(boards: &Boards, method: &Method, path: &str) -> Answer {
    if !PATHS.contains(&path) {
        let detail = format!("there is no {path} here; there are {}", PATHS.join(", "));
        return Answer::problem(Problem::new(404, detail));
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Answer::not_allowed(path, method, "GET, HEAD");
    }
    match path {
        "/cluster/workers" => Answer::json(200, &boards.roster.worker_list(Instant::now())),
        "/metrics" => Answer::text(exposition::CONTENT_TYPE, exposition::text(boards)),
        _ => {
            let health = boards.roster.health();
            Answer::json(if health.status == ClusterStatus::Unavailable { 503 } else { 200 }, &health)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_known_names_are_answered_to() {
        let admin = Admin { boards: Boards::default(), names: Arc::new(["balancer".to_owned()]) };
        for good in ["127.0.0.1:3180", "[::1]:3180", "localhost", "LOCALHOST:1", "192.0.2.1", "balancer:3180"]
        {
            assert!(admin.may_be_called(good), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example:3180", "", "a b", "127.0.0.1.nip.example"] {
            assert!(!admin.may_be_called(bad), "{bad:?}");
        }
    }
}
