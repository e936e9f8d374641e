//! Where values come from behind the command line: the environment, then `.env`.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::definition::Definition;
use crate::error::ConfigError;
use crate::origin::Origin;

#[derive(Debug, Default)]
pub(crate) struct Sources {
    variables: HashMap<String, String>,
    dotenv: HashMap<String, DotenvValue>,
}

#[derive(Debug)]
struct DotenvValue {
    value: String,
    /// Counted from 1.
    line: usize,
}

impl Sources {
    /// The process's environment and the `.env` file in the working directory, if any.
    ///
    /// # Errors
    /// When `.env` exists but cannot be read or does not parse.
    pub(crate) fn load() -> Result<Self, ConfigError> {
        let path = Path::new(".env");
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
            Err(reason) => return Err(ConfigError::Unreadable { path: path.to_owned(), reason }),
        };
        Self::from_parts(environment(), &text)
    }

    /// The process's environment alone.
    pub(crate) fn environment() -> Self {
        Self { variables: environment(), dotenv: HashMap::new() }
    }

    pub(crate) fn from_parts(variables: HashMap<String, String>, dotenv: &str) -> Result<Self, ConfigError> {
        let mut parsed = HashMap::new();
        for item in dotenvy::from_read_iter(dotenv.as_bytes()) {
            let (name, value) = item.map_err(|err| ConfigError::dotenv(dotenv, &err))?;
            let line = line_of(dotenv, &name);
            parsed.insert(name, DotenvValue { value, line });
        }
        Ok(Self { variables, dotenv: parsed })
    }

    /// What `.env` has set and the environment has not.
    pub(crate) fn dotenv_values(&self) -> impl Iterator<Item = (&str, &str)> {
        let hidden = |name: &str| self.variables.contains_key(name);
        self.dotenv
            .iter()
            .filter(move |(name, _)| !hidden(name))
            .map(|(name, found)| (&**name, &*found.value))
    }

    pub(crate) fn find(&self, definition: &Definition) -> Option<(&str, Origin)> {
        let former = definition.former.map(|former| former.variable);
        let mut names = [Some(definition.variable), former].into_iter().flatten();
        // An empty variable in the environment also hides the one in `.env`.
        if let Some((variable, value)) =
            names.clone().find_map(|name| Some((name, self.variables.get(name)?)))
        {
            return (!value.is_empty()).then_some((value, Origin::Variable(variable)));
        }
        names.find_map(|variable| {
            let found = self.dotenv.get(variable).filter(|found| !found.value.is_empty())?;
            Some((&*found.value, Origin::Dotenv { variable, line: found.line }))
        })
    }
}

/// No variable that is not UTF-8 is a setting.
fn environment() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The last line that sets `name`, counted from 1, as that one wins.
fn line_of(text: &str, name: &str) -> usize {
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().enumerate().filter(|(_, line)| sets(line)).last().map_or(1, |(index, _)| index + 1)
}
