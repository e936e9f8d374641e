//! `balancer healthcheck`: is the cluster, or single process, that serves here
//! healthy? For containers, whose image has no other HTTP client.
//!
//! It finds the address as the program that serves does, so that a container
//! needs to be told once.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::Uri;
use shared_http_client::{Address, Client, ClientError, Limits, Request};
use shared_settings::definitions::{HOST, PORT};
use shared_settings::{Settings, reachable_address};

/// For connecting and the answer together.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the answer that are shown; the rest of a longer one is not of interest.
const SHOWN: usize = 16 * 1024;

/// Say whether a running cluster, or single process, is healthy: exit code 0 when it
/// answers 200, 1 when it does not
#[derive(Debug, Args)]
pub struct Options {
    /// What to ask [default: /health on HOST and PORT, as the cluster itself finds them]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub fn run(options: &Options) -> ExitCode {
    let target = match Target::find(options.url.as_deref()) {
        Ok(target) => target,
        Err(err) => return print(&format!("balancer healthcheck: {err:#}"), 2),
    };
    match ask(&target) {
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

struct Target {
    address: Address,
    path: String,
}

impl Target {
    fn find(url: Option<&str>) -> anyhow::Result<Self> {
        let Some(url) = url else { return Self::of_settings() };
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

    fn of_settings() -> anyhow::Result<Self> {
        let settings = Settings::load_without_flags()?;
        let address = reachable_address(settings.get(&HOST)?, settings.get(&PORT)?);
        Ok(Self { address: address.into(), path: "/health".to_owned() })
    }
}

/// The status and the beginning of the body.
fn ask(target: &Target) -> anyhow::Result<(u16, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(target.address.clone(), Limits::new(TIMEOUT, SHOWN));
    let answer = async {
        let mut connection = client.connect().await?;
        connection.stream(Request::get(&target.path)).await?.collect_prefix().await
    };
    // One limit for all of it, so that an answer in drops does not go on.
    let address = &target.address;
    match runtime.block_on(async { tokio::time::timeout(TIMEOUT, answer).await }) {
        Ok(Ok(response)) => {
            Ok((response.status.as_u16(), String::from_utf8_lossy(&response.body).into_owned()))
        }
        Ok(Err(err)) if err.is_connect() => bail!("nothing answers on {address}: {err}"),
        Ok(Err(ClientError::Protocol(err))) => bail!("{address} does not speak HTTP: {err}"),
        Ok(Err(_)) | Err(_) => bail!("{address} gave no answer within {TIMEOUT:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let find = |url| Target::find(Some(url)).map(|target| (target.address.to_string(), target.path));
        let parts = |authority: &str, path: &str| (authority.to_owned(), path.to_owned());
        assert_eq!(find("http://127.0.0.1:80/health?x").unwrap(), parts("127.0.0.1:80", "/health?x"));
        assert_eq!(find("http://[::1]").unwrap(), parts("[::1]:80", "/"));
        for bad in ["", "127.0.0.1", "https://host/", "http://", "/health"] {
            assert!(find(bad).is_err(), "{bad}");
        }
    }
}
