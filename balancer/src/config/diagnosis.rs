//! All that is wrong with a configuration, instead of the first of it.

use shared_settings::{ConfigError, Settings};

use super::Config;
use crate::cli::Start;

/// A configuration, as far as there is one.
pub(crate) struct Diagnosis {
    pub(crate) settings: Settings,
    /// `None` when nothing makes sense without what is wrong.
    pub(crate) config: Option<Config>,
    pub(crate) errors: Vec<ConfigError>,
    /// Variables of settings with a wrong value, for which `config` has the default.
    pub(crate) wrong: Vec<&'static str>,
    /// `config` has the bundled worker in place of a command that cannot be run.
    pub(crate) command_is_wrong: bool,
}

impl Diagnosis {
    /// Reads all sources of settings, and goes on behind each wrong value with the default.
    pub(crate) fn of(start: Start) -> Self {
        let (mut settings, mut errors) = Settings::gather(start.flags, start.command);
        let mut command = settings.command().to_vec();
        let mut wrong = Vec::new();
        // Each round ends it, or takes a value or the command away for good.
        let config = loop {
            if errors.iter().any(ConfigError::hides_values) {
                break None;
            }
            match Config::new(&settings, &command) {
                Ok(config) => break Some(config),
                Err(err) => match err.setting().filter(|setting| !wrong.contains(setting)) {
                    Some(setting) => {
                        settings.forget(setting);
                        wrong.push(setting);
                        errors.push(err);
                    }
                    None => {
                        // Without the command the same thing may be wrong.
                        if errors.last().is_none_or(|last| last.to_string() != err.to_string()) {
                            errors.push(err);
                        }
                        if command.is_empty() {
                            break None;
                        }
                        command.clear();
                    }
                },
            }
        };
        let command_is_wrong = command.len() != settings.command().len();
        Self { settings, config, errors, wrong, command_is_wrong }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn diagnosis(line: &str) -> Diagnosis {
        let words = ["balancer"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        Diagnosis::of(Cli::try_parse_from(words).unwrap().start)
    }

    #[test]
    fn all_that_is_wrong_is_found_at_once() {
        let found = diagnosis("--drain-timeout 5 --port x --strategy odd --health-fall 0 -- no-such-program");
        let text: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        for part in ["--drain-timeout", "--port", "--strategy", "--health-fall", "no-such-program"] {
            assert!(text.iter().any(|error| error.contains(part)), "{part} is missing in {text:?}");
        }
        assert_eq!(text.len(), 5, "{text:?}");
        assert_eq!((found.wrong.len(), found.command_is_wrong), (4, true));
        assert!(found.config.is_some());
    }

    #[test]
    fn what_is_wrong_with_and_without_the_command_is_said_once() {
        for line in ["--env-file /no/such.env -- sh", "--chdir /no/such -- sh"] {
            let found = diagnosis(line);
            let text: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            assert!(text.len() == 1 && text[0].contains("/no/such"), "{text:?}");
        }
    }

    #[test]
    fn a_contradiction_leaves_no_configuration() {
        let found = diagnosis("--workers 2 --cluster off");
        assert_eq!((found.errors.len(), found.config.is_none()), (1, true));
        assert!(diagnosis("--workers 2 -- sh").errors.is_empty());
    }
}
