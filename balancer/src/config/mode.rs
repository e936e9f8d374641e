//! A cluster, of how many workers, or a single process.

use std::num::NonZero;

use balancer_supervisor::ScaleRange;
use shared_settings::definitions::{CLUSTER, CLUSTER_ENABLED, MAX_WORKERS, WORKERS};
use shared_settings::{ClusterMode, ConfigError, Level, Settings, WorkerNumber};

/// Workers of the mode `manual` where nobody has given a number.
const MANUAL_WORKERS: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Cluster {
        /// In the beginning.
        workers: u32,
        /// Up to how many the load may choose from `workers` on, where it does.
        max: Option<u32>,
    },
    /// One process that serves the API itself.
    Single,
}

impl Mode {
    /// The numbers of workers that the load chooses from, where it does.
    pub(crate) fn range(self) -> Option<ScaleRange> {
        match self {
            Self::Cluster { workers, max: Some(max) } => {
                Some(ScaleRange { min: workers as usize, max: max as usize })
            }
            Self::Cluster { max: None, .. } | Self::Single => None,
        }
    }

    /// The most workers that there are as long as no operator asks for more.
    pub(crate) fn most(self) -> u32 {
        match self {
            Self::Cluster { workers, max } => max.unwrap_or(workers),
            Self::Single => 1,
        }
    }
}

/// The stronger source decides. Between equal ones an explicit mode beats a
/// number of workers, so that `auto` and a number kept for `manual` can stand side
/// by side in `.env`; on the command line, where nobody keeps values, that is refused.
pub(super) fn mode(settings: &Settings) -> Result<Mode, ConfigError> {
    let (mode, mode_level) = (settings.get(&CLUSTER)?, settings.level(&CLUSTER));
    let (workers, workers_level) = (settings.find(&WORKERS)?, settings.level(&WORKERS));
    let (enabled, enabled_level) = (settings.get(&CLUSTER_ENABLED)?, settings.level(&CLUSTER_ENABLED));
    if mode != ClusterMode::Manual && (mode_level, workers_level) == (Level::Flag, Level::Flag) {
        return Err(ConfigError::Conflict(format!(
            "--workers and --cluster {mode} contradict each other: leave one out, for example --workers 4"
        )));
    }
    if !enabled && enabled_level >= mode_level.max(workers_level) {
        return Ok(Mode::Single);
    }
    let mode = if mode_level >= workers_level { mode } else { ClusterMode::Manual };
    Ok(match mode {
        ClusterMode::Off => Mode::Single,
        ClusterMode::Manual => match workers.unwrap_or(WorkerNumber::Fixed(MANUAL_WORKERS)) {
            WorkerNumber::Fixed(workers) => Mode::Cluster { workers, max: None },
            WorkerNumber::Range { min, max } => {
                Mode::Cluster { workers: min, max: Some(max.unwrap_or_else(usable_cpus).max(min)) }
            }
        },
        ClusterMode::Auto => Mode::Cluster { workers: usable_cpus(), max: None },
    })
}

/// Number of CPUs that this process may use: affinity and cgroup quota respected.
fn usable_cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cpus).map_or(MAX_WORKERS, |cpus| cpus.min(MAX_WORKERS))
}

#[cfg(test)]
mod tests {
    use shared_settings::Definition;

    use super::*;

    /// Flags, variables and `.env` of a test.
    type Case<'a> = (&'a [(&'a Definition, &'a str)], &'a [(&'a str, &'a str)], &'a str);

    fn resolve((flags, variables, dotenv): Case<'_>) -> Result<Mode, ConfigError> {
        let mut settings = Settings::from_parts(variables, dotenv);
        for (definition, value) in flags {
            settings = settings.with_flag(definition, Some(value));
        }
        mode(&settings)
    }

    #[test]
    fn the_stronger_source_decides_the_mode() {
        let auto = Mode::Cluster { workers: usable_cpus(), max: None };
        let of = |workers| Mode::Cluster { workers, max: None };
        let range = |workers, max| Mode::Cluster { workers, max: Some(max) };
        let cases: &[(Case<'_>, Mode)] = &[
            ((&[], &[], ""), auto),
            ((&[(&CLUSTER, "manual")], &[], ""), of(4)),
            ((&[(&WORKERS, "1..4")], &[("CLUSTER_WORKERS", "6")], ""), range(1, 4)),
            ((&[], &[("CLUSTER_WORKERS", "512..auto")], ""), range(512, 512)),
            ((&[], &[], "CLUSTER_WORKERS=1..auto\n"), range(1, usable_cpus())),
            ((&[(&CLUSTER, "auto")], &[("CLUSTER_WORKERS", "1..6")], ""), auto),
            ((&[(&WORKERS, "3")], &[("CLUSTER_MODE", "off")], ""), of(3)),
            ((&[(&WORKERS, "3")], &[("CLUSTER_ENABLED", "false")], ""), of(3)),
            ((&[(&CLUSTER, "off")], &[("CLUSTER_WORKERS", "6")], ""), Mode::Single),
            ((&[(&CLUSTER, "auto")], &[("CLUSTER_WORKERS", "6")], ""), auto),
            ((&[(&CLUSTER, "manual")], &[("CLUSTER_WORKERS", "6")], ""), of(6)),
            ((&[], &[("CLUSTER_WORKERS", "6")], ""), of(6)),
            ((&[], &[("CLUSTER_ENABLED", "false"), ("CLUSTER_MODE", "auto")], ""), Mode::Single),
            ((&[], &[("CLUSTER_ENABLED", "true")], ""), auto),
            ((&[], &[], "CLUSTER_MODE=auto\nCLUSTER_WORKERS=6\n"), auto),
            ((&[], &[("CLUSTER_WORKERS", "2")], "CLUSTER_MODE=off\n"), of(2)),
        ];
        for (case, expected) in cases {
            assert_eq!(resolve(*case).unwrap(), *expected, "{case:?}");
        }
    }

    #[test]
    fn contradicting_flags_are_refused() {
        let err = resolve((&[(&CLUSTER, "off"), (&WORKERS, "4")], &[], "")).unwrap_err();
        assert!(err.to_string().contains("--workers and --cluster off contradict"), "{err}");
    }

    #[test]
    fn worker_counts_are_bounded() {
        for bad in ["0", "-1", "513", "four", "4.0", "", "4..1", "0..4", "1..", "..4", "-1..4", "1 .. 4"] {
            let err = resolve((&[(&WORKERS, bad)], &[], "")).unwrap_err().to_string();
            assert!(err.contains("--workers") && err.contains("from 1 to 512"), "{bad}: {err}");
            assert!(err.contains("as 1..4"), "{bad}: {err}");
        }
    }
}
