//! How lines of workers come out, as the user has chosen.

use std::str::FromStr;

use shared_telemetry::LogFormat;

/// How lines of workers come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputMode {
    /// In the log, with the worker that has printed them.
    Tagged,
    /// Untouched: standard output to standard output, standard error to standard error.
    Raw,
    /// As [`Self::Tagged`], but a line that is a JSON object gets the worker as further members.
    Merge,
}

impl FromStr for OutputMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "tagged" => Ok(Self::Tagged),
            "raw" => Ok(Self::Raw),
            "merge" => Ok(Self::Merge),
            _ => Err(()),
        }
    }
}

/// All that the form of a line depends on.
#[derive(Debug, Clone, Copy)]
pub struct OutputSettings {
    pub mode: OutputMode,
    /// That of the log.
    pub format: LogFormat,
    /// The log may have colours.
    pub colours: bool,
    /// The worker is the bundled one, whose lines begin with their level and have no time.
    pub bundled: bool,
}
