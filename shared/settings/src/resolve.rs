//! The value of a setting: from the strongest source that has one, parsed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use crate::definition::{Definition, Optional, PREFIX, Programs, Setting};
use crate::definitions;
use crate::error::ConfigError;
use crate::file::{ConfigFile, DEFAULT_PATH, SLIP, is_special};
use crate::flags::{Flags, TakenFlags};
use crate::origin::{Level, Origin};
use crate::sources::{Sources, UnreadableDotenv};

/// All sources of settings: the command line, the environment, `.env` and `cluster.toml`.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    flags: HashMap<&'static str, String>,
    sources: Sources,
    /// The program to run as workers, and its place in `cluster.toml` if it is from there.
    command: Option<(Vec<OsString>, Option<Origin>)>,
    warnings: Vec<String>,
}

impl Settings {
    /// `flags`, the process's environment and, in the working directory, `.env` and, for
    /// programs that take it, `cluster.toml`.
    ///
    /// # Errors
    /// When one of these files cannot be read, or `cluster.toml` does not make sense.
    pub fn load<P: TakenFlags>(flags: Flags<P>) -> Result<Self, ConfigError> {
        Self::load_with_command(flags, Vec::new())
    }

    /// The same for a `command` to run as workers, which replaces the one that
    /// `cluster.toml` names. With a command only variables that are nobody's but the
    /// cluster's are read, and an unreadable `.env` is the program's trouble.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with_command<P: TakenFlags>(
        flags: Flags<P>,
        command: Vec<OsString>,
    ) -> Result<Self, ConfigError> {
        let (settings, problems) = Self::gather(flags, command);
        problems.into_iter().next().map_or(Ok(settings), Err)
    }

    /// As [`Self::load_with_command`], with all that is wrong instead of the first of it.
    pub fn gather<P: TakenFlags>(flags: Flags<P>, command: Vec<OsString>) -> (Self, Vec<ConfigError>) {
        Self::of_process(flags.into_values(), command, P::READS_FILE, P::ONLY_LOOKS)
    }

    /// The process's environment, `.env` and `cluster.toml`, for a program without such
    /// flags, which looks for a cluster.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_without_flags() -> Result<Self, ConfigError> {
        let (settings, problems) = Self::of_process(HashMap::new(), Vec::new(), true, true);
        problems.into_iter().next().map_or(Ok(settings), Err)
    }

    fn of_process(
        flags: HashMap<&'static str, String>,
        command: Vec<OsString>,
        reads_file: bool,
        only_looks: bool,
    ) -> (Self, Vec<ConfigError>) {
        // The working directory, without asking for its name.
        let directory = Path::new("");
        let (sources, unreadable) = Sources::load_in(directory);
        let mut settings = Self { flags, sources, command: None, warnings: Vec::new() };
        let mut problems = match reads_file {
            true => settings.read_file(directory).unwrap_or_else(|err| vec![err]),
            false => Vec::new(),
        };
        if only_looks {
            // A slip among other settings keeps nobody from stopping a cluster, and none at all
            // where the command line says which one.
            let is_named = settings.level(&definitions::PORT) == Level::Flag
                || settings.level(&definitions::CONTROL) == Level::Flag;
            problems.retain(|problem| problem.hides_values() && !is_named);
        }
        settings.settle(command);
        for name in definitions::all().flat_map(|definition| settings.sources.unreadable(definition)) {
            settings
                .warnings
                .push(format!("the environment variable {name} is not UTF-8, and has no effect"));
        }
        if let Some(UnreadableDotenv(reason)) = unreadable {
            let err = ConfigError::Unreadable { path: ".env".into(), reason };
            match settings.command {
                Some(_) => settings.warnings.push(format!("{err}; nothing in it is read")),
                None if only_looks => {}
                None => problems.insert(0, err),
            }
        }
        (settings, problems)
    }

    fn read_file(&mut self, directory: &Path) -> Result<Vec<ConfigError>, ConfigError> {
        let chosen = self.find(&definitions::CONFIG)?;
        self.sources.read_file(directory, chosen.as_deref())
    }

    /// The same flags, environment and program with the files as they are now.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn read_again(&self, directory: &Path) -> Result<Self, ConfigError> {
        let (mut sources, unreadable) = Sources::load_in(directory);
        sources.shared_with_program = self.sources.shared_with_program;
        if let Some(UnreadableDotenv(reason)) = unreadable {
            return Err(ConfigError::Unreadable { path: ".env".into(), reason });
        }
        let mut again = Self { flags: self.flags.clone(), sources, ..Self::default() };
        // A pipe has been read to its end, and would have its reader wait for more.
        if again.find(&definitions::CONFIG)?.is_some_and(|chosen| is_special(&directory.join(chosen))) {
            again.sources.file.clone_from(&self.sources.file);
            return Ok(again);
        }
        let problems = again.read_file(directory)?;
        problems.into_iter().next().map_or(Ok(again), Err)
    }

    /// Decides on the command, and with it on who else reads the variables.
    fn settle(&mut self, command: Vec<OsString>) {
        self.command = (!command.is_empty()).then_some((command, None));
        if let Some(file) = &mut self.sources.file {
            self.warnings.append(&mut file.warnings);
            let named = file.command.take();
            let named =
                named.map(|(words, origin)| (words.into_iter().map(OsString::from).collect(), Some(origin)));
            self.command = self.command.take().or(named);
        }
        self.sources.shared_with_program = self.command.is_some();
    }

    /// The process's environment alone: for a worker, whose primary has read the files
    /// once for all of its workers.
    pub fn from_environment() -> Self {
        Self { sources: Sources::environment(), ..Self::default() }
    }

    /// Values at hand instead of those of the process: pure, for tests.
    pub fn from_parts(variables: &[(&str, &str)], dotenv: &str) -> Self {
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { sources: Sources::from_parts(variables, dotenv.as_bytes()), ..Self::default() }
    }

    /// The same with a `cluster.toml` of this text, and a `command`.
    ///
    /// # Errors
    /// When the text does not make sense.
    pub fn with_file(mut self, text: &str, command: &[&str]) -> Result<Self, ConfigError> {
        let (file, problems) = ConfigFile::parse(Path::new(DEFAULT_PATH), text, true);
        self.sources.file = Some(file);
        self.settle(command.iter().map(OsString::from).collect());
        problems.into_iter().next().map_or(Ok(self), Err)
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

    /// What the files have set and the environment has not, for a bundled worker, which must
    /// see the same settings later, whatever becomes of the files: all of `.env`, and of
    /// `cluster.toml` what concerns workers. A later entry wins over an earlier one.
    pub fn file_values(&self) -> impl Iterator<Item = (&str, &str)> {
        let in_file =
            definitions::all().filter(|d| d.programs != Programs::Balancer).filter_map(|definition| {
                let (value, origin) = self.sources.find(definition)?;
                (origin.level() == Level::File).then_some((definition.own_variable(), value))
            });
        self.sources.dotenv_values().chain(in_file)
    }

    /// The program to run as workers; empty for the bundled one.
    pub fn command(&self) -> &[OsString] {
        self.command.as_ref().map_or(&[], |(words, _)| words)
    }

    /// Where in `cluster.toml` the command stands; `None` when it is from the command line.
    pub fn command_origin(&self) -> Option<&Origin> {
        self.command.as_ref()?.1.as_ref()
    }

    /// What does not keep the cluster from starting, and yet is to be known.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The text of a value and its source; `None` when the default holds.
    pub fn source(&self, definition: &Definition) -> Option<(&str, Origin)> {
        self.lookup(definition)
    }

    /// Variables that would set `definition` for the bundled worker, and are left to the
    /// program that is run instead.
    pub fn left_to_program(&self, definition: &Definition) -> impl Iterator<Item = Origin> {
        self.sources.left_to_program(definition)
    }

    /// Variables that are no setting, and probably meant for the one behind them.
    pub fn slips(&self) -> Vec<(&str, &'static str)> {
        let known = || definitions::all().flat_map(Definition::variables);
        let names = self.sources.names().into_iter().filter(|name| name.starts_with(PREFIX));
        let unknown = names.filter(|name| known().all(|known| known != *name));
        let distance = |name: &str, known: &str| strsim::damerau_levenshtein(name, known);
        let near = |name| {
            known().filter(|known| distance(name, known) <= SLIP).min_by_key(|known| distance(name, known))
        };
        unknown.filter_map(|name| Some((name, near(name)?))).collect()
    }

    /// Has the default hold for the setting with this variable, whoever has set it: to go on
    /// after a wrong value.
    pub fn forget(&mut self, variable: &str) {
        if let Some(definition) = definitions::all().find(|definition| definition.variable == variable) {
            definition.flag.map(|flag| self.flags.remove(flag));
            self.sources.forget(definition);
        }
    }

    fn value<T>(
        &self,
        definition: &Definition,
        default: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let default = (default, Origin::Default(definition.variable));
        let (value, origin) = self.lookup(definition).unwrap_or(default);
        let parsed = if fits(definition, value, &origin) { parse(value) } else { None };
        parsed.ok_or_else(|| ConfigError::invalid(definition, value.to_owned(), origin))
    }

    fn optional_value<T>(
        &self,
        definition: &Definition,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((value, origin)) = self.lookup(definition) else { return Ok(None) };
        match Some(value).filter(|value| fits(definition, value, &origin)).and_then(parse) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(ConfigError::invalid(definition, value.to_owned(), origin)),
        }
    }

    pub(crate) fn lookup(&self, definition: &Definition) -> Option<(&str, Origin)> {
        let flag =
            definition.flag.and_then(|flag| Some((self.flags.get(flag)?.as_str(), Origin::Flag(flag))));
        flag.or_else(|| self.sources.find(definition))
    }
}

/// See [`Definition::bare_fits`].
fn fits(definition: &Definition, value: &str, origin: &Origin) -> bool {
    let is_bare = definition.prefixed.is_some() && origin.variable() == Some(definition.variable);
    definition.bare_fits.is_none_or(|fits| !is_bare || fits(value))
}

#[cfg(test)]
mod tests;
