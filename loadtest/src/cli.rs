//! The command line, as it is typed. What it means is decided in [`crate::plan`].

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  loadtest                                    100 requests, 100 at a time, to the local cluster
  loadtest -d 10s -c 64                       as many as it takes, for 10 seconds
  loadtest -d 30s -R 2000                     2,000 per second: latencies as users would see them
  loadtest -d 30s --ramp 100:5000             from 100 to 5,000 per second
  loadtest --find-max 'p99<50ms,errors<0.1%'  the highest rate that keeps this
  loadtest -d 10s --threshold 'p99<20ms' --threshold 'errors<0.1%'
  loadtest -m POST -b '{\"n\":20}' http://127.0.0.1:3100/cluster/cpu-intensive
  loadtest -d 10s --mix '9 /cluster/info' --mix '1 POST /cluster/cpu-intensive {\"n\":20}'
  loadtest -d 10s --cacert ca.pem https://127.0.0.1:3443/cluster/info
  loadtest -d 10s -c 8 --http2 --streams 16 --insecure https://127.0.0.1:3443/
  loadtest -d 10s unix:/run/app.sock:/cluster/info
  loadtest -d 20s --save before.json --html before.html
  loadtest compare before.json after.json

Open and closed loop:
  Without -R every connection sends its next request when the last one is answered (closed
  loop): right for the highest throughput, but while the server stalls nothing is sent, so
  the stall hardly shows in the percentiles. With -R requests are due at fixed times whatever
  the server does (open loop), and the response time counts from when each was due.

Exit codes:
  0 ok   1 failed (nothing listens, no request succeeded)   2 usage
  3 the measurement is not valid (the load generator was the limit)   99 a threshold was missed";

#[derive(Debug, Parser)]
#[command(
    name = "loadtest",
    version,
    about = "Load test with a balance report: how fast, how even, and by which worker",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    max_term_width = 110
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare two results that --save has written: is B faster or slower than A?
    Compare(CompareArgs),
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The result to compare with
    pub a: PathBuf,
    /// The result to judge
    pub b: PathBuf,
    /// Print the comparison as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// What to request: http://, https:// or unix:/SOCKET:/PATH; without it /cluster/info of the
    /// cluster at HOST and PORT [default: http://127.0.0.1:3100/cluster/info]
    pub url: Option<String>,

    /// Stop after this many requests [default: 100, without limit when there is a duration]
    #[arg(short = 'n', long, value_name = "N", help_heading = "Load")]
    pub requests: Option<u64>,
    /// Connections, each with one request at a time
    #[arg(short, long, value_name = "N", default_value_t = 100, help_heading = "Load")]
    pub connections: usize,
    /// Stop after this time (10s, 500ms, 2m; a bare number is seconds)
    #[arg(
        short,
        long,
        short_alias = 'z',
        visible_short_alias = 'z',
        value_name = "TIME",
        help_heading = "Load"
    )]
    pub duration: Option<String>,
    /// Open loop: send this many requests per second, whatever the server does
    #[arg(short = 'R', long, value_name = "PER_SECOND", help_heading = "Load")]
    pub rate: Option<f64>,
    /// Open loop whose rate goes evenly from A to B requests per second over the duration
    #[arg(long, value_name = "A:B", conflicts_with = "rate", help_heading = "Load")]
    pub ramp: Option<String>,
    /// Search the highest rate that meets the conditions; -d is the time per step [default: 5s]
    #[arg(long, value_name = "CONDITIONS", conflicts_with_all = ["rate", "ramp", "requests"], help_heading = "Load")]
    pub find_max: Option<String>,
    /// Threads, each with its share of the connections [default: one per core]
    #[arg(short, long, value_name = "N", help_heading = "Load")]
    pub threads: Option<usize>,
    /// Send load for this long before measuring
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub warmup: Option<String>,
    /// A request that takes longer has failed
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Load")]
    pub timeout: String,

    /// Method [default: GET, POST with a body]
    #[arg(short, long, help_heading = "Request")]
    pub method: Option<String>,
    /// A header, 'name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER", help_heading = "Request")]
    pub headers: Vec<String>,
    /// The body of each request
    #[arg(short, long, visible_short_alias = 'B', value_name = "TEXT", help_heading = "Request")]
    pub body: Option<String>,
    /// Take the body from a file
    #[arg(long, value_name = "FILE", conflicts_with = "body", help_heading = "Request")]
    pub body_file: Option<PathBuf>,
    #[arg(long, value_name = "ENTRY", help = "Several kinds of request, 'WEIGHT [METHOD] PATH [BODY]'; may be repeated", conflicts_with_all = ["method", "body", "body_file"], help_heading = "Request")]
    pub mix: Vec<String>,
    /// A response whose body lacks this text has failed
    #[arg(long, value_name = "TEXT", help_heading = "Request")]
    pub expect_body: Option<String>,

    /// Keep connections (the default; for those used to typing it)
    #[arg(short = 'k', long, conflicts_with = "no_keepalive", help_heading = "Connection")]
    pub keepalive: bool,
    /// A new connection for each request; connecting then counts as part of it
    #[arg(long, help_heading = "Connection")]
    pub no_keepalive: bool,
    /// HTTP/2: for https:// by ALPN, for http:// and unix: with prior knowledge
    #[arg(long, conflicts_with = "no_keepalive", help_heading = "Connection")]
    pub http2: bool,
    /// HTTP/2: requests at a time on each connection, so that -c 8 --streams 16 are 128
    #[arg(long, value_name = "N", default_value_t = 1, requires = "http2", help_heading = "Connection")]
    pub streams: usize,
    /// Connect to this Unix socket; the URL gives host and path, and https:// TLS
    #[arg(long, value_name = "PATH", help_heading = "Connection")]
    pub unix_socket: Option<PathBuf>,
    /// Trust the certificates in this file of PEM, and no others [default: those that the system
    /// trusts]
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub cacert: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long, help_heading = "Connection")]
    pub insecure: bool,
    /// TLS: a full handshake for each connection; without it later ones resume, as browsers do
    #[arg(long, help_heading = "Connection")]
    pub no_resumption: bool,

    /// Find the worker at this path in JSON bodies (worker.id), not in the header x-worker-id
    #[arg(long, value_name = "PATH", help_heading = "Report")]
    pub worker_json: Option<String>,
    /// Fail with exit code 99 unless this holds ('p99<20ms', 'errors<0.1%', 'rps>1000', 'cv<0.1');
    /// may be repeated
    #[arg(long = "threshold", value_name = "CONDITION", help_heading = "Report")]
    pub thresholds: Vec<String>,
    /// Print the result as JSON, not as text
    #[arg(long, help_heading = "Report")]
    pub json: bool,
    /// Also write the result as JSON to a file, for `loadtest compare`
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub save: Option<PathBuf>,
    /// Write a report with charts: one file, readable in any browser, offline
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,
    /// Write throughput, latency and errors over time (- is standard output)
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub csv: Option<PathBuf>,
    /// No progress line and no text report
    #[arg(short, long, action = ArgAction::SetTrue, help_heading = "Report")]
    pub quiet: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_people_type_is_understood() {
        let run = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().run;
        let ab = run("loadtest -k -n 1000 -c 10 http://127.0.0.1:3100/");
        assert_eq!((ab.requests, ab.connections, ab.keepalive), (Some(1000), 10, true));
        assert_eq!(run("loadtest -z 10s").duration.as_deref(), Some("10s"));
        assert_eq!(run("loadtest -d10").duration.as_deref(), Some("10"));
        assert_eq!(run("loadtest -B x -m put -H a:b -H c:d").headers.len(), 2);
        assert!(matches!(
            Cli::try_parse_from(["loadtest", "compare", "a", "b"]).unwrap().command,
            Some(Command::Compare(_))
        ));
        assert!(Cli::try_parse_from(["loadtest", "-R", "5", "--ramp", "1:2"]).is_err());
    }
}
