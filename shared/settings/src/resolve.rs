//! The value of a setting: from the strongest source that has one, parsed.

use std::collections::HashMap;
use std::fmt;

use crate::definition::{Definition, Optional, Setting};
use crate::error::ConfigError;
use crate::flags::{Flags, TakenFlags};
use crate::origin::Level;
use crate::origin::Origin;
use crate::sources::Sources;

/// All sources of settings: the command line, the environment and `.env`.
#[derive(Debug, Default)]
pub struct Settings {
    flags: HashMap<&'static str, String>,
    sources: Sources,
}

impl Settings {
    /// `flags`, the process's environment, and `.env` in the working directory, if any.
    ///
    /// # Errors
    /// When `.env` exists but cannot be read or does not parse.
    pub fn load<P: TakenFlags>(flags: Flags<P>) -> Result<Self, ConfigError> {
        Ok(Self { flags: flags.into_values(), sources: Sources::load()? })
    }

    /// The process's environment and `.env`, for a program without such flags.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_without_flags() -> Result<Self, ConfigError> {
        Ok(Self { flags: HashMap::new(), sources: Sources::load()? })
    }

    /// The process's environment alone: for a worker, whose primary has read
    /// `.env` once for all of its workers.
    pub fn from_environment() -> Self {
        Self { flags: HashMap::new(), sources: Sources::environment() }
    }

    /// Values at hand instead of those of the process: pure, for tests.
    ///
    /// # Errors
    /// When `dotenv` does not parse.
    pub fn from_parts(variables: &[(&str, &str)], dotenv: &str) -> Result<Self, ConfigError> {
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { flags: HashMap::new(), sources: Sources::from_parts(variables, dotenv)? })
    }

    /// The same with a flag, if there is a `value` for it.
    #[must_use]
    pub fn with_flag(mut self, definition: &Definition, value: Option<&str>) -> Self {
        if let (Some(flag), Some(value)) = (definition.flag, value) {
            self.flags.insert(flag, value.to_owned());
        }
        self
    }

    /// The value of `setting`, or its default.
    ///
    /// # Errors
    /// When the value does not parse; names it, its source and a right one.
    pub fn get<T>(&self, setting: &Setting<T>) -> Result<T, ConfigError> {
        self.value(setting, setting.default, setting.parse)
    }

    /// The value of `setting`, or none when nobody has set it.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn find<T>(&self, setting: &Optional<T>) -> Result<Option<T>, ConfigError> {
        self.optional_value(setting, setting.parse)
    }

    /// As [`Self::get`], for a type that only the caller knows. `parse` refuses with `None`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_as<T>(
        &self,
        setting: &Setting<String>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        self.value(setting, setting.default, parse)
    }

    /// As [`Self::find`], for a type that only the caller knows. `parse` refuses with `None`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn find_as<T>(
        &self,
        setting: &Optional<String>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.optional_value(setting, parse)
    }

    /// As [`Self::find_as`], for a value that may hold a password: no error repeats
    /// it, nor may the error that `parse` returns.
    ///
    /// # Errors
    /// When `parse` refuses the value.
    pub fn find_secret<T, E: fmt::Display>(
        &self,
        setting: &Optional<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((value, origin)) = self.lookup(setting) else { return Ok(None) };
        let parsed = parse(value);
        parsed.map(Some).map_err(|reason| ConfigError::invalid_secret(setting, reason.to_string(), origin))
    }

    /// Which source decides, for settings that are weighed against each other.
    pub fn level(&self, definition: &Definition) -> Level {
        self.lookup(definition).map_or(Level::Default, |(_, origin)| origin.level())
    }

    /// What `.env` has set and the environment has not: for a process that must
    /// see the same settings later, whatever becomes of the file.
    pub fn dotenv_values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.dotenv_values()
    }

    fn value<T>(
        &self,
        definition: &Definition,
        default: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let default = (default, Origin::Default(definition.variable));
        let (value, origin) = self.lookup(definition).unwrap_or(default);
        parse(value).ok_or_else(|| ConfigError::invalid(definition, value.to_owned(), origin))
    }

    fn optional_value<T>(
        &self,
        definition: &Definition,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((value, origin)) = self.lookup(definition) else { return Ok(None) };
        match parse(value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(ConfigError::invalid(definition, value.to_owned(), origin)),
        }
    }

    fn lookup(&self, definition: &Definition) -> Option<(&str, Origin)> {
        let flag =
            definition.flag.and_then(|flag| Some((self.flags.get(flag)?.as_str(), Origin::Flag(flag))));
        flag.or_else(|| self.sources.find(definition))
    }
}

#[cfg(test)]
mod tests;
