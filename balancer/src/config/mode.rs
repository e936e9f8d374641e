//! A cluster, of how many workers, or a single process.

use std::num::NonZero;

use shared_settings::{ConfigError, Level, Sources, parse_bool};

use super::Mode;
use super::names::{ENABLED, MODE, WORKERS};
use crate::cli::Options;

/// More workers than this is taken for a slip of the finger.
const MAX_WORKERS: u32 = 512;
/// `manual` without a count.
const MANUAL_WORKERS: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Auto,
    Manual,
    Off,
}

/// Who has the last word: the stronger source; between equals an explicit mode
/// beats a count, so that `auto` and a count kept for `manual` can stand side by
/// side in `.env`. On the command line, where nobody keeps things, that is refused.
pub(super) fn mode(options: &Options, sources: &Sources) -> Result<Mode, ConfigError> {
    let kind = sources.read_with_level(&MODE, options.cluster.as_deref(), |text| match text {
        "auto" => Some(Kind::Auto),
        "manual" => Some(Kind::Manual),
        "off" => Some(Kind::Off),
        _ => None,
    })?;
    let workers = sources.read_with_level(&WORKERS, options.workers.as_deref(), parse_workers)?;
    let enabled = sources.read_with_level(&ENABLED, None, parse_bool)?;
    if let (Some((Kind::Auto | Kind::Off, Level::Flag)), Some((_, Level::Flag))) = (kind, workers) {
        let mode = options.cluster.as_deref().unwrap_or_default();
        return Err(ConfigError::Conflict(format!(
            "--workers and --cluster {mode} contradict each other: leave one out, for example --workers 4"
        )));
    }
    let level = |found: Option<Level>| found.unwrap_or(Level::Default);
    let (kind_level, workers_level) = (level(kind.map(|k| k.1)), level(workers.map(|w| w.1)));
    if let Some((false, disabled_level)) = enabled
        && disabled_level >= kind_level.max(workers_level)
    {
        return Ok(Mode::Single);
    }
    let count = workers.map(|(count, _)| count);
    let kind = match kind {
        Some((kind, _)) if kind_level >= workers_level => kind,
        _ if count.is_some() => Kind::Manual,
        _ => Kind::Auto,
    };
    Ok(match kind {
        Kind::Off => Mode::Single,
        Kind::Manual => Mode::Cluster { workers: count.unwrap_or(MANUAL_WORKERS) },
        Kind::Auto => Mode::Cluster { workers: usable_cpus() },
    })
}

/// CPUs that this process may use: affinity and cgroup quota respected.
fn usable_cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cpus).unwrap_or(MAX_WORKERS).min(MAX_WORKERS)
}

fn parse_workers(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=MAX_WORKERS).contains(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(variables: &[(&str, &str)], dotenv: &str) -> Sources {
        let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        Sources::from_parts(variables, dotenv).unwrap()
    }

    fn flags(cluster: Option<&str>, workers: Option<&str>) -> Options {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Options { cluster: own(cluster), workers: own(workers), ..Options::default() }
    }

    fn resolve(options: &Options, variables: &[(&str, &str)], dotenv: &str) -> Mode {
        mode(options, &sources(variables, dotenv)).unwrap()
    }

    #[test]
    fn the_stronger_source_decides_the_mode() {
        let auto = Mode::Cluster { workers: usable_cpus() };
        let four = Mode::Cluster { workers: 4 };
        let none = flags(None, None);
        assert_eq!(resolve(&none, &[], ""), auto);
        assert_eq!(resolve(&flags(Some("manual"), None), &[], ""), four);
        assert_eq!(
            resolve(&flags(None, Some("3")), &[("CLUSTER_MODE", "off")], ""),
            Mode::Cluster { workers: 3 }
        );
        assert_eq!(
            resolve(&flags(None, Some("3")), &[("CLUSTER_ENABLED", "false")], ""),
            Mode::Cluster { workers: 3 }
        );
        assert_eq!(resolve(&flags(Some("off"), None), &[("CLUSTER_WORKERS", "6")], ""), Mode::Single);
        assert_eq!(resolve(&flags(Some("auto"), None), &[("CLUSTER_WORKERS", "6")], ""), auto);
        assert_eq!(
            resolve(&flags(Some("manual"), None), &[("CLUSTER_WORKERS", "6")], ""),
            Mode::Cluster { workers: 6 }
        );
        assert_eq!(resolve(&none, &[("CLUSTER_WORKERS", "6")], ""), Mode::Cluster { workers: 6 });
        assert_eq!(
            resolve(&none, &[("CLUSTER_ENABLED", "false"), ("CLUSTER_MODE", "auto")], ""),
            Mode::Single
        );
        assert_eq!(resolve(&none, &[], "CLUSTER_MODE=auto\nCLUSTER_WORKERS=6\n"), auto);
        assert_eq!(
            resolve(&none, &[("CLUSTER_WORKERS", "2")], "CLUSTER_MODE=off\n"),
            Mode::Cluster { workers: 2 }
        );
    }

    #[test]
    fn contradicting_flags_are_refused() {
        let err = mode(&flags(Some("off"), Some("4")), &sources(&[], "")).unwrap_err();
        assert!(err.to_string().contains("--workers and --cluster off contradict"), "{err}");
    }

    #[test]
    fn worker_counts_are_bounded() {
        for bad in ["0", "-1", "513", "four", "4.0", ""] {
            let err = mode(&flags(None, Some(bad)), &sources(&[], "")).unwrap_err().to_string();
            assert!(err.contains("--workers") && err.contains("from 1 to 512"), "{bad}: {err}");
        }
    }
}
