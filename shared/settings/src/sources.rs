//! Where values come from behind the command line: the environment, then `.env`, then
//! `cluster.toml`.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use crate::definition::{Definition, is_the_clusters};
use crate::dotenv::{self, Assignment};
use crate::error::ConfigError;
use crate::file::ConfigFile;
use crate::origin::Origin;

#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    variables: HashMap<String, String>,
    /// Variables that are there and cannot be read, as they are not UTF-8.
    unreadable: Vec<String>,
    dotenv: HashMap<String, Assignment>,
    pub(crate) file: Option<ConfigFile>,
    /// Only variables that are nobody's but the cluster's are read, as somebody else's
    /// program has the same environment and the same `.env`.
    pub(crate) shared_with_program: bool,
}

/// What `.env` is to a program that cannot read it.
#[derive(Debug)]
pub(crate) struct UnreadableDotenv(pub(crate) io::Error);

impl Sources {
    /// The process's environment and `.env` in `directory`, if there is one.
    pub(crate) fn load_in(directory: &Path) -> (Self, Option<UnreadableDotenv>) {
        let (dotenv, unreadable) = match read_dotenv(&directory.join(".env")) {
            Ok(bytes) => (bytes, None),
            Err(err) => (Vec::new(), Some(UnreadableDotenv(err))),
        };
        (Self { dotenv: Self::from_parts(HashMap::new(), &dotenv).dotenv, ..Self::environment() }, unreadable)
    }

    /// The process's environment alone.
    pub(crate) fn environment() -> Self {
        Self::from_variables(std::env::vars_os())
    }

    /// No variable that is not UTF-8 is a setting.
    fn from_variables(all: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut sources = Self::default();
        for (name, value) in all {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) if is_service_link(&name, &value) => {}
                Ok(value) => drop(sources.variables.insert(name, value)),
                Err(_) => sources.unreadable.push(name),
            }
        }
        sources
    }

    /// Variables of `definition` that are set in the environment to what is not UTF-8, and
    /// have no effect.
    pub(crate) fn unreadable(&self, definition: &Definition) -> impl Iterator<Item = &'static str> {
        let read = definition.variables().filter(|name| !self.shared_with_program || is_the_clusters(name));
        read.filter(|name| self.unreadable.iter().any(|unreadable| unreadable == name))
    }

    pub(crate) fn from_parts(variables: HashMap<String, String>, dotenv: &[u8]) -> Self {
        let assignments = dotenv::parse(dotenv).into_iter().map(|found| (found.name.clone(), found));
        Self { variables, dotenv: assignments.collect(), ..Self::default() }
    }

    /// Reads the file that somebody has `chosen`, or the one that is in `directory`. Returns
    /// what is wrong with it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read_file(
        &mut self,
        directory: &Path,
        chosen: Option<&Path>,
    ) -> Result<Vec<ConfigError>, ConfigError> {
        let (file, problems) = ConfigFile::load(directory, chosen)?.unzip();
        self.file = file;
        Ok(problems.unwrap_or_default())
    }

    /// What `.env` has set and the environment has not. No process can be given a zero byte.
    pub(crate) fn dotenv_values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.dotenv
            .values()
            .filter(|found| !self.variables.contains_key(&found.name) && !found.value.contains('\0'))
            .map(|found| (&*found.name, &*found.value))
    }

    /// Variables that would set `definition` if they were not left to the program.
    pub(crate) fn left_to_program(&self, definition: &Definition) -> impl Iterator<Item = Origin> {
        // What has no other name is read by a library, for whoever it is.
        let variables = definition.variables().filter(|_| definition.prefixed.is_some());
        let left = variables.filter(|name| self.shared_with_program && !is_the_clusters(name));
        left.flat_map(|name| {
            let variable = self.variables.contains_key(name).then_some(Origin::Variable(name));
            let line = self.dotenv.get(name).map(|found| Origin::Dotenv { variable: name, line: found.line });
            variable.into_iter().chain(line)
        })
    }

    /// All variables, each once.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.variables.keys().chain(self.dotenv.keys()).map(String::as_str).collect()
    }

    pub(crate) fn forget(&mut self, definition: &Definition) {
        for name in definition.variables() {
            self.variables.remove(name);
            self.dotenv.remove(name);
        }
        if let Some(file) = &mut self.file {
            file.forget(definition);
        }
    }

    pub(crate) fn find(&self, definition: &Definition) -> Option<(&str, Origin)> {
        let names = definition.variables().filter(|name| !self.shared_with_program || is_the_clusters(name));
        let mut set = names.clone().filter_map(|name| Some((name, self.variables.get(name)?))).peekable();
        // An empty variable in the environment also hides what the files say.
        if set.peek().is_some() {
            let (name, value) = set.find(|(_, value)| !value.is_empty())?;
            return Some((value, Origin::Variable(name)));
        }
        let in_dotenv = names.clone().find_map(|variable| {
            let found = self.dotenv.get(variable).filter(|found| !found.value.is_empty())?;
            Some((&*found.value, Origin::Dotenv { variable, line: found.line }))
        });
        in_dotenv.or_else(|| self.file.as_ref()?.find(definition))
    }
}

/// Nothing where there is no such file, or something else of that name, such as the
/// directory of a Python environment or a pipe that nobody writes to.
fn read_dotenv(path: &Path) -> io::Result<Vec<u8>> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::read(path),
        Ok(_) => Ok(Vec::new()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(err) => Err(err),
    }
}

/// Kubernetes tells a pod of a service with the name cluster by CLUSTER_PORT, and means no
/// setting by it (its documents: Service, Environment variables).
fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_PORT") && ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::definitions::{PORT, STRATEGY};

    #[test]
    fn variables_that_are_not_text_are_known_and_have_no_effect() {
        let broken = OsString::from_vec(b"hash\xff".to_vec());
        let variables = [("CLUSTER_STRATEGY", broken.clone()), ("OTHER", broken), ("PORT", "1".into())];
        let variables = variables.map(|(name, value)| (OsString::from(name), value));
        let sources = Sources::from_variables(variables.into_iter());
        assert_eq!(sources.unreadable(&STRATEGY).collect::<Vec<_>>(), ["CLUSTER_STRATEGY"]);
        assert_eq!((sources.unreadable(&PORT).count(), sources.find(&STRATEGY)), (0, None));
        assert!(sources.find(&PORT).is_some());
    }
}
