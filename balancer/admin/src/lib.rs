//! What operators and their tools may read: a dashboard, the worker list, health,
//! events and metrics, over HTTP, on a listener of its own. Nothing here changes
//! anything.
//!
//! A browser on this machine can be led to ask any address; so the listener
//! answers only requests that name it by an address, as `localhost`, or by a name
//! that was configured (DNS rebinding).

pub mod control;
pub mod feed;
pub mod http;
mod logs;
mod maintenance;
mod metrics;
mod page;

use std::net::IpAddr;
use std::sync::Arc;

use ::http::header::HOST;
use ::http::uri::Authority;
use ::http::{HeaderMap, Method, Request};
use shared_protocol::problem::Problem;
use tokio::net::TcpListener;
use tracing::debug;

use balancer_state::ClusterState;
use balancer_state::response::{self, Response};
use feed::Feed;
use http::{Handler, Reply, Server};

/// Paths that are answered.
const PATHS: [&str; 4] = ["/cluster/workers", "/events", "/health", "/metrics"];
/// Where the dashboard is fed from.
const STREAM: &str = "/events/stream";
/// Bytes that may wait in the kernel for somebody who does not read.
const UNREAD: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub struct Admin {
    pub state: ClusterState,
    pub feed: Feed,
    /// Names under which it may be asked, besides addresses and `localhost`.
    pub names: Arc<[String]>,
}

impl Handler for Admin {
    async fn answer<B: Send>(self, request: Request<B>) -> Reply {
        if !self.is_meant(&request) {
            let detail = "this listener answers under its address and as localhost; set CLUSTER_ADMIN_HOSTS \
                          to the names under which it may be asked besides";
            return Response::problem(Problem::new(421, detail)).into();
        }
        let (method, path) = (request.method(), request.uri().path());
        if path == STREAM {
            return match *method {
                Method::GET => self.feed.stream(&self.state),
                _ => Response::not_allowed(path, method.as_str(), "GET").into(),
            };
        }
        let Some(file) = page::file(path) else {
            return read(&self.state, method, path, request.headers()).into();
        };
        match *method {
            Method::GET | Method::HEAD => file.into(),
            _ => Response::not_allowed(path, method.as_str(), "GET, HEAD").into(),
        }
    }
}

/// Accepts for ever.
pub async fn serve(listener: TcpListener, admin: Admin) {
    // Connections inherit it (socket(7)). It bounds what the kernel keeps for those
    // who open a stream and do not read; without it they just get what is usual.
    if let Err(err) = rustix::net::sockopt::set_socket_send_buffer_size(&listener, UNREAD) {
        debug!(%err, "could not bound the admin listener's buffers");
    }
    Server::default().run("admin listener", listener, admin).await;
}

impl Admin {
    /// By its one Host, and by its target if that names somebody (RFC 9112, section 3.2).
    fn is_meant<B>(&self, request: &Request<B>) -> bool {
        let mut hosts = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        host.to_str().is_ok_and(|host| self.may_be_called(host))
            && request.uri().authority().is_none_or(|authority| self.may_be_called(authority.as_str()))
    }

    fn may_be_called(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if host.contains('@') {
            return false;
        }
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.names.contains(&name)
    }
}

/// Answers a request that changes nothing, and has these header fields.
pub fn read(state: &ClusterState, method: &Method, path: &str, fields: &HeaderMap) -> Response {
    if let Some(answer) = response::own(&state.registry, method.as_str(), path) {
        return answer;
    }
    match path {
        "/events" | "/metrics" if !matches!(*method, Method::GET | Method::HEAD) => {
            Response::not_allowed(path, method.as_str(), "GET, HEAD")
        }
        "/events" => Response::json(200, &state.events.since(0)),
        "/metrics" => metrics::exposition::response(state, fields),
        _ => {
            let detail = format!("there is no {path} here; there are {}", PATHS.join(", "));
            Response::problem(Problem::new(404, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use feed::About;

    #[test]
    fn only_addresses_and_known_names_are_answered_to() {
        let about = About { address: String::new(), bundled: true, started: Instant::now() };
        let admin = Admin {
            state: ClusterState::default(),
            feed: Feed::new(about),
            names: Arc::new(["balancer".to_owned()]),
        };
        for good in ["127.0.0.1:3180", "[::1]:3180", "localhost", "LOCALHOST:1", "192.0.2.1", "balancer:3180"]
        {
            assert!(admin.may_be_called(good), "{good}");
        }
        let bad = ["evil.example", "localhost.evil.example:3180", "", "a b", "127.0.0.1.nip.example"];
        for bad in bad.into_iter().chain(["evil@127.0.0.1", "127.1", "2130706433", "127.0.0.1,evil.example"])
        {
            assert!(!admin.may_be_called(bad), "{bad:?}");
        }
        let is_meant = |uri: &str, hosts: &[&str]| {
            let request = Request::builder().uri(uri);
            let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
            admin.is_meant(&request.body(()).unwrap())
        };
        assert!(is_meant("/", &["localhost"]) && is_meant("http://localhost/", &["localhost"]));
        assert!(!is_meant("/", &[]) && !is_meant("/", &["localhost", "evil.example"]));
        assert!(!is_meant("http://evil.example/", &["localhost"]));
    }
}
