//! The balancer's own log, and what becomes of lines of workers in it.

use shared_settings::definitions::{LOG_FILTER, LOG_FORMAT, RUST_LOG, WORKER_OUTPUT};
use shared_settings::{ConfigError, Settings};
use shared_telemetry::{LogFormat, Telemetry};

use balancer_supervisor::output::OutputMode;

/// Pingora reports each failed request, and each kept connection that another
/// thread was still letting go of, as an error; the balancer itself logs what
/// matters about those.
const DEFAULT_FILTER: &str = "info,pingora_core=off";

#[derive(Debug)]
pub(super) struct Log {
    pub(super) telemetry: Telemetry,
    pub(super) worker_output: OutputMode,
}

/// `bundled`: the worker is the bundled one. Otherwise `RUST_LOG` is the program's, and
/// says nothing about the balancer.
///
/// # Errors
/// When a value does not parse, or when the log is to be text and JSON at the same time.
pub(super) fn log(settings: &Settings, bundled: bool) -> Result<Log, ConfigError> {
    let format = settings.find_as(&LOG_FORMAT, |text| text.parse().ok())?;
    let worker_output = settings.get_as(&WORKER_OUTPUT, |text| text.parse().ok())?;
    let format = match (worker_output, format) {
        (OutputMode::Merge, Some(LogFormat::Text)) => {
            return Err(ConfigError::Conflict(
                "with --worker-output merge the log is JSON: leave out --log-format text (or LOG_FORMAT), or \
                 use --worker-output tagged"
                    .to_owned(),
            ));
        }
        (OutputMode::Merge, _) => LogFormat::Json,
        (OutputMode::Tagged | OutputMode::Raw, format) => format.unwrap_or_else(LogFormat::for_stderr),
    };
    let filter = match own_filter(settings)? {
        None if bundled => settings.find_as(&RUST_LOG, filter)?,
        own => own,
    };
    let filter = filter.unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    Ok(Log { telemetry: Telemetry { format, filter, timestamps: true }, worker_output })
}

/// What was chosen for the balancer alone.
///
/// # Errors
/// When it does not parse.
pub(super) fn own_filter(settings: &Settings) -> Result<Option<String>, ConfigError> {
    settings.find_as(&LOG_FILTER, filter)
}

fn filter(text: &str) -> Option<String> {
    Telemetry::is_valid_filter(text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], bundled: bool) -> Result<Log, ConfigError> {
        log(&Settings::from_parts(variables, ""), bundled)
    }

    #[test]
    fn the_filter_of_a_program_is_not_that_of_the_balancer() {
        let filter = |variables: &[(&str, &str)], bundled| of(variables, bundled).unwrap().telemetry.filter;
        let both = [("RUST_LOG", "myapp=debug"), ("CLUSTER_LOG", "warn")];
        assert_eq!(filter(&both, true), "warn");
        assert_eq!(filter(&both, false), "warn");
        assert_eq!(filter(&both[..1], true), "myapp=debug");
        assert_eq!(filter(&both[..1], false), DEFAULT_FILTER);
        assert!(of(&[("CLUSTER_LOG", "a=b=c")], false).is_err());
        assert!(of(&[("RUST_LOG", "a=b=c")], true).is_err());
        assert!(of(&[("RUST_LOG", "a=b=c")], false).is_ok());
    }

    #[test]
    fn merged_lines_are_json() {
        let merge = ("CLUSTER_WORKER_OUTPUT", "merge");
        assert_eq!(of(&[merge], false).unwrap().telemetry.format, LogFormat::Json);
        assert!(of(&[merge, ("LOG_FORMAT", "text")], false).is_err());
        for (name, mode) in [("tagged", OutputMode::Tagged), ("raw", OutputMode::Raw)] {
            let log = of(&[("CLUSTER_WORKER_OUTPUT", name), ("LOG_FORMAT", "text")], false).unwrap();
            assert_eq!((log.worker_output, log.telemetry.format), (mode, LogFormat::Text));
        }
        assert!(of(&[("CLUSTER_WORKER_OUTPUT", "plain")], false).is_err());
    }
}
