//! The subcommands that talk to a running cluster, as typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Args, Subcommand, ValueEnum};
use shared_protocol::{Maintenance, ReloadMode, Scale};
use shared_settings::{Definition, Flags, TakenFlags};

/// What can be asked of a running cluster.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show the workers of a running cluster, their load and the latest events; or, when none
    /// listens on the default port and no other is named, the clusters that run
    Status {
        #[command(flatten)]
        to: Recipient,
        /// Show it every second until Ctrl-C: in place on a terminal; into a pipe one line a second
        /// and one for each event, or with --json one object a second
        #[arg(short, long)]
        watch: bool,
        /// List all clusters that run: those of this user, or for root everybody's
        #[arg(short, long, conflicts_with = "watch")]
        all: bool,
    },
    /// Show the last lines that the workers of a running cluster have printed
    Logs {
        #[command(flatten)]
        to: Recipient,
        #[command(flatten)]
        which: WhichLines,
    },
    /// Replace all workers of a running cluster without losing a request: the new ones
    /// take over when all of them are ready; if one of them fails, the old ones stay. It is
    /// done then, and the old ones finish what they have in the background
    Reload {
        /// Wait until the old workers are gone
        #[arg(short, long)]
        wait: bool,
        /// all: as above; one-by-one: each worker ends before its successor starts, and the
        /// first that fails ends the reload [default: that of the cluster, --reload-mode]
        #[arg(long, value_name = "all|one-by-one", hide_possible_values = true)]
        mode: Option<ReloadMode>,
        #[command(flatten)]
        to: Recipient,
    },
    /// Change the number of workers of a running cluster
    Scale {
        /// The new number of workers, such as 4; +N for so many more, -N for so many fewer
        #[arg(value_name = "N|+N|-N", value_parser = parse_scale, allow_negative_numbers = true)]
        workers: Scale,
        /// Wait until workers that are not wanted any more are gone
        #[arg(short, long)]
        wait: bool,
        #[command(flatten)]
        to: Recipient,
    },
    /// Answer every request with 503 and a page that says so, while the workers live: requests in
    /// flight are finished, event streams and upgraded connections stay; or end that
    Maintenance {
        /// on or off
        #[arg(value_name = "on|off", hide_possible_values = true)]
        to_be: Switch,
        /// When clients may try again, such as 90s or 10m: Retry-After [default: 60s]
        #[arg(long, value_name = "DURATION", value_parser = parse_retry_after)]
        retry_after: Option<u32>,
        #[command(flatten)]
        to: Recipient,
    },
    /// Have a running cluster succeeded by a new balancer, without closing its ports: another
    /// version, other flags, or both. The new one takes over when all of its workers are ready,
    /// and the old one finishes what it has; if the new one fails, the old one goes on
    Upgrade {
        /// The new executable [default: what lies where the running one was started from]
        #[arg(short, long, value_name = "PATH")]
        executable: Option<PathBuf>,
        #[command(flatten)]
        to: Recipient,
        /// The new arguments, all of them, such as -- --workers 8 -- node server.js [default: those
        /// that the running one was started with]
        #[arg(last = true, value_name = "ARGUMENTS", allow_hyphen_values = true)]
        arguments: Option<Vec<OsString>>,
    },
    /// Stop a running cluster once its requests in flight are done
    Stop {
        #[command(flatten)]
        to: Recipient,
    },
}

/// What there is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// Whole seconds, rounded up: `Retry-After` has no parts of them.
fn parse_retry_after(text: &str) -> Result<u32, String> {
    let most = Maintenance::MAX_RETRY_AFTER_SECONDS;
    let form = "expected a duration from 1s to 30days, such as 90s or 10m";
    let duration = humantime::parse_duration(text).map_err(|_| form.to_owned())?;
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    let seconds = u32::try_from(seconds).ok().filter(|seconds| (1..=most).contains(seconds));
    seconds.ok_or_else(|| form.to_owned())
}

/// A number of workers, or a change of it when it has a sign.
fn parse_scale(text: &str) -> Result<Scale, String> {
    let form = "expected a number of workers such as 4, or a change such as +1 or -1";
    let is_relative = text.starts_with(['+', '-']);
    if is_relative {
        return match text.parse() {
            Ok(0) => Err(format!("it changes nothing: {form}")),
            Ok(by) => Ok(Scale::Add(by)),
            Err(_) => Err(form.to_owned()),
        };
    }
    match text.parse() {
        Ok(0) => Err("a cluster has at least one worker".to_owned()),
        Ok(workers) => Ok(Scale::Workers(workers)),
        Err(_) => Err(form.to_owned()),
    }
}

/// Which lines are meant.
#[derive(Debug, Args)]
pub struct WhichLines {
    /// Show further lines as they come, until Ctrl-C or until the cluster ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only those of the worker with this number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub worker: Option<u32>,
    /// How many lines from before to show
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 15)]
    pub lines: usize,
}

/// Which cluster is meant, and how it answers.
#[derive(Debug, Args)]
pub struct Recipient {
    #[command(flatten)]
    pub flags: Flags<Control>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The settings by which a running cluster is found.
#[derive(Debug)]
pub enum Control {}

impl TakenFlags for Control {
    const ONLY_LOOKS: bool = true;

    fn arg(definition: &Definition, _: &'static str) -> Option<Arg> {
        let help = match definition.flag {
            Some("port") => definition.flag_help("Port where its clients connect"),
            Some("listen") => definition.flag_help("Where its clients connect, where that is no port"),
            Some("control") => format!(
                "Its control socket [env: {}] [default: the one that belongs to the port]",
                definition.variable
            ),
            Some("config") => definition.flag_help("File of the cluster's settings, which may name these"),
            _ => return None,
        };
        definition.arg().map(|arg| arg.help(help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_whole_seconds() {
        for (text, seconds) in [("1s", 1), ("500ms", 1), ("1500ms", 2), ("10m", 600), ("30days", 2_592_000)] {
            assert_eq!(parse_retry_after(text), Ok(seconds), "{text}");
        }
        for bad in ["", "0s", "10", "-1s", "31days", "soon"] {
            assert!(parse_retry_after(bad).unwrap_err().contains("such as 90s"), "{bad}");
        }
    }

    #[test]
    fn a_sign_makes_it_a_change() {
        assert_eq!(parse_scale("4"), Ok(Scale::Workers(4)));
        assert_eq!(parse_scale("+1"), Ok(Scale::Add(1)));
        assert_eq!(parse_scale("-9"), Ok(Scale::Add(-9)));
        for bad in
            ["", "0", "+0", "-0", "+", "-", "1.5", "+-1", "--1", "+1 ", "four", "99999999999", "-99999999999"]
        {
            assert!(parse_scale(bad).is_err(), "{bad:?}");
        }
    }
}
