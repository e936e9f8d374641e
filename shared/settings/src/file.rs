//! `cluster.toml`: settings by the names of their flags, and the command to run.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::definition::Definition;
use crate::definitions;
use crate::error::ConfigError;
use crate::origin::Origin;

/// Read in the working directory when it is there and nobody names another.
pub(crate) const DEFAULT_PATH: &str = "cluster.toml";
/// Longest file in bytes: hundreds of times what all settings take, and short of what a device
/// such as /dev/zero has.
const LONGEST_FILE: u64 = 1 << 20;
/// The key that is no setting: the program to run as workers.
const COMMAND: &str = "command";
/// Names of which more than so many letters differ are not taken for each other.
pub(crate) const SLIP: usize = 2;

/// What the file says.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    path: Arc<Path>,
    /// By the setting's variable.
    values: HashMap<&'static str, Value>,
    pub(crate) command: Option<(Vec<String>, Origin)>,
    /// One line each, for who starts the cluster.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Clone)]
struct Value {
    text: String,
    key: String,
    /// Counted from 1.
    line: usize,
}

impl ConfigFile {
    /// Reads the file in `directory` that somebody has `chosen`, which must be there, or else
    /// [`DEFAULT_PATH`], which need not. Returns what is wrong with it beside it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn load(
        directory: &Path,
        chosen: Option<&Path>,
    ) -> Result<Option<(Self, Vec<ConfigError>)>, ConfigError> {
        let name = chosen.unwrap_or(Path::new(DEFAULT_PATH));
        let path = &directory.join(name);
        // A directory of this name is somebody else's, and a pipe may have nobody who writes to it.
        if chosen.is_none() && is_special(path) {
            return Ok(None);
        }
        let unreadable = |reason| ConfigError::Unreadable { path: name.to_owned(), reason };
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(err) if chosen.is_none() && is_nowhere(path, &err) => return Ok(None),
            Err(reason) => return Err(unreadable(reason)),
        };
        let not_utf8 = |_| unreadable(io::Error::other("it is not UTF-8, which TOML is written in"));
        let text = String::from_utf8(bytes).map_err(not_utf8)?;
        let (mut file, problems) = Self::parse(name, &text, chosen.is_some());
        file.warn_of_open_secrets(path);
        Ok(Some((file, problems)))
    }

    /// `chosen` says that somebody means this file, so that it cannot be another program's.
    pub(crate) fn parse(path: &Path, text: &str, chosen: bool) -> (Self, Vec<ConfigError>) {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut file =
            Self { path: path.into(), values: HashMap::new(), command: None, warnings: Vec::new() };
        let line_of = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let problem = |err: &toml::de::Error| {
                let line = line_of(err.span().map_or(0, |span| span.start));
                let written = text.lines().nth(line - 1).unwrap_or_default();
                let reason = err.message().replace('\n', ", ") + &hint_of_quotes(written);
                ConfigError::NotToml { path: path.to_owned(), line, reason }
            };
            return (file, errors.iter().map(problem).collect());
        }
        let table = table.get_ref();
        if !chosen && is_foreign(table) {
            let warning = format!(
                "{} sets nothing that is known here, so it is taken for another program's and left alone",
                path.display()
            );
            file.warnings.push(warning);
            return (file, Vec::new());
        }
        // In the order of the lines, as people read them.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut problems = Vec::new();
        for (key, value) in entries {
            let line = line_of(key.span().start);
            if let Err(reason) = file.take(key.get_ref(), value.get_ref(), line) {
                problems.push(ConfigError::file(path, line, reason));
            }
        }
        (file, problems)
    }

    pub(crate) fn find(&self, definition: &Definition) -> Option<(&str, Origin)> {
        let found = self.values.get(definition.variable).filter(|found| !found.text.is_empty())?;
        Some((&found.text, self.origin(&found.key, found.line)))
    }

    pub(crate) fn forget(&mut self, definition: &Definition) {
        self.values.remove(definition.variable);
    }

    fn origin(&self, key: &str, line: usize) -> Origin {
        Origin::File { path: Arc::clone(&self.path), key: key.to_owned(), line }
    }

    /// # Errors
    /// What is wrong with this line.
    fn take(&mut self, key: &str, value: &DeValue<'_>, line: usize) -> Result<(), String> {
        if normal(key) == COMMAND {
            self.command = Some((words(value)?, self.origin(key, line)));
            return Ok(());
        }
        let definition = definition_of(key).ok_or_else(|| unknown(key))?;
        let text = text(definition, key, value)?;
        self.put(definition, Value { text, key: key.to_owned(), line })
    }

    fn put(&mut self, definition: &Definition, value: Value) -> Result<(), String> {
        let key = value.key.clone();
        match self.values.insert(definition.variable, value) {
            None => Ok(()),
            Some(other) => Err(format!("{key} is set twice, also as {} in line {}", other.key, other.line)),
        }
    }

    fn warn_of_open_secrets(&mut self, path: &Path) {
        let set = |definition: &&Definition| {
            let value = self.values.get(definition.variable);
            // A URL without a password has nothing to hide.
            value.is_some_and(|value| {
                definition.secret && (value.text.contains('@') || !value.text.contains("://"))
            })
        };
        let Some(secret) = definitions::all().find(set).and_then(Definition::key) else { return };
        let mode = std::fs::metadata(path).map_or(0, |found| found.permissions().mode());
        if mode & 0o004 != 0 {
            let path = path.display();
            self.warnings.push(format!(
                "{path} has a secret ({secret}), and every user can read it (chmod o-r {path})"
            ));
        }
    }
}

/// Whether there is no such file, or no telling as the directory may not be looked into, such as
/// root's own for a program that is started as somebody else.
fn is_nowhere(path: &Path, err: &io::Error) -> bool {
    let is_hidden = || std::fs::symlink_metadata(path).is_err();
    match err.kind() {
        io::ErrorKind::NotFound => true,
        io::ErrorKind::PermissionDenied => is_hidden(),
        _ => false,
    }
}

/// Whether something else than a file is there: a directory, a pipe, a device.
pub(crate) fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    Ok(bytes)
}

/// What to do about a line that is no TOML as its value has no quotes; nothing where that is not
/// what is wrong. The value may be a password, so it is not repeated.
fn hint_of_quotes(line: &str) -> String {
    let Some((key, value)) = line.split_once('=') else { return String::new() };
    let (key, value) = (key.trim(), value.trim_start());
    match definition_of(key) {
        Some(definition) if !value.starts_with(['"', '\'', '[', '{']) => {
            format!(" (text is written in quotes, for example {key} = {:?})", definition.example)
        }
        _ => String::new(),
    }
}

/// Names in snake case are taken as well.
fn normal(key: &str) -> String {
    key.replace('_', "-")
}

fn definition_of(key: &str) -> Option<&'static Definition> {
    let key = normal(key);
    definitions::all().find(|definition| {
        definition.key().is_some_and(|known| known == key)
            || definition.former.is_some_and(|former| former.flag == key)
    })
}

fn known_keys() -> impl Iterator<Item = String> {
    definitions::all().filter_map(Definition::key).chain([COMMAND.to_owned()])
}

/// Whether a file has no key of ours, and none that could be meant for one. Ours are no tables.
fn is_foreign(table: &DeTable<'_>) -> bool {
    let is_ours = |key: &str| {
        let key = normal(key).to_ascii_lowercase();
        let key = key.strip_prefix("cluster-").unwrap_or(&key);
        known_keys()
            .any(|known| known == key || strsim::damerau_levenshtein(&known, key) <= SLIP.min(key.len() / 2))
            || definition_of(key).is_some()
    };
    !table.is_empty()
        && !table.iter().any(|(key, value)| !value.get_ref().is_table() && is_ours(key.get_ref()))
}

fn unknown(key: &str) -> String {
    let meant = normal(key).to_ascii_lowercase();
    let meant = meant.strip_prefix("cluster-").unwrap_or(&meant);
    let likeness = |known: &String| strsim::jaro(meant, known);
    let nearest = known_keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|known| likeness(known) > 0.7) {
        Some(nearest) => format!("there is no setting {key:?}; did you mean {nearest}?"),
        None => format!("there is no setting {key:?} (balancer --help lists them, without the dashes)"),
    }
}

/// The value as it would be written on the command line.
fn text(definition: &Definition, key: &str, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::Array(items) if definition.list => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| scalar(item.get_ref())).collect();
            items.map(|items| items.join(",")).map_err(|found| wrong(definition, key, found))
        }
        value => scalar(value).map_err(|found| wrong(definition, key, found)),
    }
}

fn wrong(definition: &Definition, key: &str, found: &str) -> String {
    format!("{key} expects {}, and this is a TOML {found}", definition.expects)
}

/// # Errors
/// The name of the type that has no such text.
fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => Ok(i128::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.to_string(), |n| n.to_string())),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        other => Err(other.type_str()),
    }
}

/// A list of words, or a string that is split as a shell splits words; no shell runs.
fn words(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    const EXPECTED: &str = "expected the program and its arguments, for example \
                            command = [\"node\", \"server.js\"] or command = \"node server.js\"";
    let words = match value {
        DeValue::String(line) => shlex::split(line)
            .ok_or_else(|| format!("command has a quote without its partner: {EXPECTED}"))?,
        DeValue::Array(items) => items
            .iter()
            .map(|item| {
                scalar(item.get_ref())
                    .map_err(|found| format!("command has a TOML {found} in it: {EXPECTED}"))
            })
            .collect::<Result<_, _>>()?,
        other => return Err(format!("command is a TOML {}: {EXPECTED}", other.type_str())),
    };
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        _ => Err(format!("command names no program: {EXPECTED}")),
    }
}

#[cfg(test)]
mod tests;
