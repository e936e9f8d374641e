//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  verify                              judge the cluster on 127.0.0.1:3100
  verify --url http://10.0.0.5:3100   judge another one
  verify --url https://localhost:3443 --cacert ca.pem    ... over TLS, which is judged as well
  verify --url unix:/run/app.sock     ... on a Unix socket
  verify --wait 30s                   ... that is still starting
  verify --spawn --workers 4          start a private cluster and break it, too
  verify --only balance,shared-state  run some of the checks
  verify --list                       say what each check proves

Exit codes: 0 all passed, 1 a check failed, 2 bad usage, 3 nothing that could be
judged was reached, 4 nothing failed but some checks were inconclusive;
130 or 143 interrupted.";

/// Proves or breaks the promises of a cluster: that it answers, balances, shares
/// what is to be shared, isolates what is not, computes in parallel, and (with
/// --spawn) that it survives what goes wrong.
#[derive(Debug, Clone, Parser)]
#[command(name = "verify", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Where the cluster is: http://, https:// or unix:/SOCKET
    #[arg(long, value_name = "URL", default_value_t = shared_settings::default_url(), conflicts_with = "spawn")]
    pub url: String,
    /// For https://: trust the certificates in this file of PEM, and no others [default: those that
    /// the system trusts]
    #[arg(long, value_name = "FILE", conflicts_with = "spawn")]
    pub cacert: Option<PathBuf>,
    /// For https://: accept any certificate; the check tls judges it all the same
    #[arg(long, conflicts_with = "spawn")]
    pub insecure: bool,
    /// Speak HTTP/2: for https:// by ALPN, else with prior knowledge
    #[arg(long, conflicts_with = "spawn")]
    pub http2: bool,
    /// For the check tls: where plain HTTP is redirected to --url [default: port 80 beside port 443]
    #[arg(long, value_name = "URL", conflicts_with = "spawn")]
    pub plain_url: Option<String>,
    /// How long the cluster may take to answer at first
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_wait)]
    pub wait: Duration,
    /// Start a private cluster on a free port, and also run the disruptive checks
    #[arg(long)]
    pub spawn: bool,
    /// With --spawn, how many workers it gets [default: 4]; else, how many the cluster should have
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: Option<u32>,
    /// With --spawn, the balancer to start [default: the one beside this program]
    #[arg(long, value_name = "PATH", requires = "spawn")]
    pub balancer: Option<PathBuf>,
    /// The cluster's Redis, to look behind its back [env: REDIS_URL]
    #[arg(long, value_name = "URL", conflicts_with = "spawn")]
    pub redis_url: Option<String>,
    /// Run only these checks
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Run all but these checks
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Say what each check proves, and end
    #[arg(long)]
    pub list: bool,
    /// Form of the report [default: pretty on a terminal, else tap]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Pretty,
    /// Test Anything Protocol, version 14
    Tap,
    /// XML as CI servers read it
    Junit,
    /// One JSON document
    Json,
}

/// Unlike other durations, this one may be zero.
fn parse_wait(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|err| format!("{err}; a right one is 500ms or 30s"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_read() {
        let cli =
            Cli::try_parse_from(["verify", "--only", "a,b", "--wait", "1m", "--format", "junit"]).unwrap();
        assert_eq!((cli.only, cli.wait), (vec!["a".to_owned(), "b".to_owned()], Duration::from_secs(60)));
        assert_eq!(cli.format, Some(Format::Junit));
        for bad in [&["--wait", "soon"][..], &["--workers", "0"], &["--spawn", "--url", "x"], &["--nope"]] {
            assert!(Cli::try_parse_from([&["verify"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
