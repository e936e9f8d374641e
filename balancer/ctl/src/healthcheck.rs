//! `balancer healthcheck`: is the cluster, or single process, that serves here
//! healthy? For containers, whose image has no other HTTP client.
//!
//! It finds the address as the program that serves does, so that a container
//! needs to be told once.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use http::Uri;
use shared_settings::definitions::{HOST, PORT};
use shared_settings::{Settings, reachable_address};

/// For connecting and the answer together.
const LIMIT: Duration = Duration::from_secs(3);
/// Enough for the health answer; the rest of a longer one is not of interest.
const MAX_ANSWER: u64 = 16 * 1024;

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
    /// `host:port`, as it stands in the request.
    authority: String,
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
        let authority = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { authority, path: path.to_owned() })
    }

    fn of_settings() -> anyhow::Result<Self> {
        let settings = Settings::load_without_flags()?;
        let address = reachable_address(settings.get(&HOST)?, settings.get(&PORT)?);
        Ok(Self { authority: address.to_string(), path: "/health".to_owned() })
    }
}

/// The status and the body.
fn ask(target: &Target) -> anyhow::Result<(u16, String)> {
    let deadline = Instant::now() + LIMIT;
    let Target { authority, path } = target;
    let address = authority.to_socket_addrs().ok().and_then(|mut found| found.next());
    let address = address.with_context(|| format!("could not find an address for {authority}"))?;
    let mut connection = TcpStream::connect_timeout(&address, LIMIT)
        .with_context(|| format!("nothing answers on {authority}"))?;
    connection.set_write_timeout(Some(LIMIT))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).with_context(|| format!("could not ask {authority}"))?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    let mut connection = connection.take(MAX_ANSWER);
    loop {
        // Each read gets what is left, so that an answer in drops does not go on.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("{authority} did not answer within {LIMIT:?}");
        }
        connection.get_ref().set_read_timeout(Some(left))?;
        match connection.read(&mut part).with_context(|| format!("{authority} gave no answer"))? {
            0 => break,
            count => answer.extend_from_slice(&part[..count]),
        }
    }
    parse(&String::from_utf8_lossy(&answer)).with_context(|| format!("{authority} does not speak HTTP"))
}

/// Status and body of an answer after which the connection was closed.
fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let find = |url| Target::find(Some(url)).map(|target| (target.authority, target.path));
        let parts = |authority: &str, path: &str| (authority.to_owned(), path.to_owned());
        assert_eq!(find("http://127.0.0.1:80/health?x").unwrap(), parts("127.0.0.1:80", "/health?x"));
        assert_eq!(find("http://[::1]").unwrap(), parts("[::1]:80", "/"));
        for bad in ["", "127.0.0.1", "https://host/", "http://", "/health"] {
            assert!(find(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_have_a_status() {
        assert_eq!(parse("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\n{}"), Some((503, "{}".to_owned())));
        for bad in ["", "HTTP/1.1 200 OK\r\n", "220 mail.example\r\n\r\n", "HTTP/1.1 x y\r\n\r\n"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
