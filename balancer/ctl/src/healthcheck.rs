//! `balancer healthcheck`: is the cluster, or single process, that serves here
//! healthy? For containers, whose image has no other HTTP client.
//!
//! It finds the cluster as the program that serves finds its settings, so that a
//! container needs to be told once. The cluster's own view counts: its control socket is
//! asked first, then its admin listener. Whatever serves on the port may be somebody
//! else's program that knows no /health; it is asked when there is nobody else, which is
//! right for a single process.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::Uri;
use shared_http_client::{Address, Client, ClientError, Limits, Request, Response};
use shared_protocol::{ClusterHealth, ClusterStatus};
use shared_settings::definitions::ADMIN;
use shared_settings::listen::{Listen, Place};
use shared_settings::{Admin, Flags, Listeners, Settings, reachable_address};
use tokio::time::timeout;

use crate::cli::Control;
use crate::cluster::Cluster;
use crate::find::Target;
use crate::running::{self, Running};

/// For everything together.
const TIMEOUT: Duration = Duration::from_secs(3);
/// For the admin listener, as the port is still to be asked behind it.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the answer that are shown; the rest of a longer one is not of interest.
const SHOWN: usize = 16 * 1024;
const HEALTH: &str = "/health";

/// Say whether a running cluster, or single process, is healthy: exit code 0 when it
/// serves, 1 when it does not
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    flags: Flags<Control>,
    /// What to ask [default: the cluster on PORT through its control socket, else its admin
    /// listener, else /health on HOST and PORT, as the cluster itself finds them]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Status and beginning of the body.
type Answer = (u16, String);

pub fn run(options: &Options) -> ExitCode {
    let question = match Question::new(options) {
        Ok(question) => question,
        Err(err) => return print(&format!("balancer healthcheck: {err:#}"), 2),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return print(&format!("balancer healthcheck: {err}"), 1),
    };
    match runtime.block_on(question.ask()) {
        Ok((200, body)) => print(body.trim(), 0),
        Ok((status, body)) => print(&format!("{status} {}", body.trim()), 1),
        Err(err) => print(&format!("balancer healthcheck: {err:#}"), 1),
    }
}

/// Prints `text` and returns `code`.
fn print(text: &str, code: u8) -> ExitCode {
    // The caller may want the exit code only, and have closed the output.
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::from(code)
}

/// Who is to be asked.
enum Question {
    /// Exactly this.
    Url(Url),
    /// Whoever answers first for the cluster that the settings name.
    Cluster {
        target: Target,
        admin: Option<SocketAddr>,
        /// None when no listener can be asked in plain HTTP.
        port: Option<Url>,
    },
}

struct Url {
    address: Address,
    path: String,
}

impl Question {
    fn new(options: &Options) -> anyhow::Result<Self> {
        if let Some(url) = &options.url {
            return Ok(Self::Url(Url::parse(url)?));
        }
        let settings = Settings::load(options.flags.clone())?;
        let target = Target::new(&settings)?;
        let listeners = Listeners::of(&settings)?;
        let admin = Admin::address(settings.find(&ADMIN)?, listeners.port());
        let admin = admin.filter(|admin| admin.port() != 0);
        let admin = admin.map(|admin| reachable_address(admin.ip(), admin.port()));
        let port = listeners.all.iter().find_map(plain_address);
        let port = port.map(|address| Url { address, path: HEALTH.to_owned() });
        Ok(Self::Cluster { target, admin, port })
    }

    async fn ask(self) -> anyhow::Result<Answer> {
        let (target, admin, port) = match self {
            Self::Url(url) => return url.ask().await,
            Self::Cluster { target, admin, port } => (target, admin, port),
        };
        let asking = async {
            // Who is not there or not to be believed is not asked, but another is.
            if let Ok(Ok(cluster)) = target.connect_to_named().await {
                return ask_cluster(cluster).await;
            }
            if let Some(admin) = admin
                && let Some(answer) = ask_admin(admin).await
            {
                return Ok(answer);
            }
            let Some(port) = &port else {
                let why = target.connect_to_named().await?.err();
                return Err(why.unwrap_or_else(|| silence(&target.name)));
            };
            match port.try_ask().await {
                Err(err) if err.is_connect() && !target.is_named => match sole_cluster().await {
                    Some(cluster) => ask_cluster(cluster).await,
                    None => Err(port.describe(&err)),
                },
                answer => answer.map_err(|err| port.describe(&err)),
            }
        };
        // One limit for all of it, so that an answer in drops does not go on.
        timeout(TIMEOUT, asking).await.unwrap_or_else(|_| Err(silence(&target.name)))
    }
}

/// What the cluster says of itself.
async fn ask_cluster(mut cluster: Cluster) -> anyhow::Result<Answer> {
    let path = cluster.path.display().to_string();
    match timeout(TIMEOUT - Duration::from_millis(100), cluster.get(HEALTH)).await {
        Ok(Ok(response)) => judged(response).with_context(|| format!("{path} leads to no cluster")),
        Ok(Err(err)) => bail!("the cluster on {path} gave no answer: {err}"),
        Err(_) => bail!("the cluster on {path} gave no answer within {TIMEOUT:?}"),
    }
}

/// What the admin listener says, if a cluster's is there: another program may have the address.
async fn ask_admin(address: SocketAddr) -> Option<Answer> {
    let client = Client::new(address, Limits::new(ADMIN_TIMEOUT, SHOWN));
    judged(client.send(Request::get(HEALTH)).await.ok()?)
}

/// The answer, if it is a cluster's.
fn judged(response: Response) -> Option<Answer> {
    let health: ClusterHealth = serde_json::from_slice(&response.body).ok()?;
    let status = if health.status == ClusterStatus::Unavailable { 503 } else { 200 };
    Some((status, String::from_utf8_lossy(&response.body).into_owned()))
}

/// The only cluster that runs, where nobody has said which is meant: its port may have
/// been a flag, which only itself knows.
async fn sole_cluster() -> Option<Cluster> {
    match &running::all().await[..] {
        [Running { control: Some(path), pid, .. }] => Cluster::connect_to(path, Some(*pid)).await.ok(),
        _ => None,
    }
}

impl Url {
    fn parse(url: &str) -> anyhow::Result<Self> {
        let expected = "expected http://host:port/path, for example --url http://127.0.0.1:3100/health";
        let uri: Uri = url.parse().ok().with_context(|| format!("invalid --url {url:?}: {expected}"))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            bail!("invalid --url {url:?}: {expected}");
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let address = Address::Tcp { host, port: authority.port_u16().unwrap_or(80) };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { address, path: path.to_owned() })
    }

    /// The answer, whatever its status.
    async fn ask(&self) -> anyhow::Result<Answer> {
        match timeout(TIMEOUT, self.try_ask()).await {
            Ok(answer) => answer.map_err(|err| self.describe(&err)),
            Err(_) => Err(self.silence()),
        }
    }

    async fn try_ask(&self) -> Result<Answer, ClientError> {
        let client = Client::new(self.address.clone(), Limits::new(TIMEOUT, SHOWN));
        let mut connection = client.connect().await?;
        let response = connection.stream(Request::get(&self.path)).await?.collect_prefix().await?;
        Ok((response.status.as_u16(), String::from_utf8_lossy(&response.body).into_owned()))
    }

    fn describe(&self, err: &ClientError) -> anyhow::Error {
        let address = &self.address;
        match err {
            err if err.is_connect() => anyhow::anyhow!("nothing answers on {address}: {err}"),
            ClientError::Protocol(err) => anyhow::anyhow!("{address} does not speak HTTP: {err}"),
            _ => self.silence(),
        }
    }

    fn silence(&self) -> anyhow::Error {
        silence(&self.address)
    }
}

fn silence(whom: &dyn std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("{whom} gave no answer within {TIMEOUT:?}")
}

/// Where a listener can be asked that speaks plain HTTP with everybody.
fn plain_address(listen: &Listen) -> Option<Address> {
    if listen.tls || listen.proxy_protocol.is_some() {
        return None;
    }
    match &listen.place {
        Place::Tcp(address) => Some(reachable_address(address.ip(), address.port()).into()),
        Place::Unix { path, .. } => Some(path.clone().into()),
        Place::Abstract(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let find = |url| Url::parse(url).map(|url| (url.address.to_string(), url.path));
        let parts = |authority: &str, path: &str| (authority.to_owned(), path.to_owned());
        assert_eq!(find("http://127.0.0.1:80/health?x").unwrap(), parts("127.0.0.1:80", "/health?x"));
        assert_eq!(find("http://[::1]").unwrap(), parts("[::1]:80", "/"));
        for bad in ["", "127.0.0.1", "https://host/", "http://", "/health"] {
            assert!(find(bad).is_err(), "{bad}");
        }
    }
}
