//! Settings: command line, then environment, then `.env`, then the default.
//!
//! A [`Setting`] names one knob; [`Sources::read`] finds its value and says, when
//! the value does not parse, what it was, where it came from and what a right
//! one looks like. An empty variable counts as unset, as in Compose files.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One knob, as users know it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Long flag without dashes; `None` when there is only the variable.
    pub flag: Option<&'static str>,
    pub variable: &'static str,
    /// Ends the sentence "expected …".
    pub expects: &'static str,
    /// A right value, for error messages.
    pub example: &'static str,
}

/// Settings that both the balancer and the worker take.
pub mod settings {
    use super::Setting;

    pub const HOST: Setting = Setting {
        flag: Some("host"),
        variable: "HOST",
        expects: "an IP address or a host name of this machine",
        example: "127.0.0.1",
    };
    pub const PORT: Setting = Setting {
        flag: Some("port"),
        variable: "PORT",
        expects: "a port number from 0 to 65535 (0 takes a free one)",
        example: "3100",
    };
    pub const REDIS_URL: Setting = Setting {
        flag: Some("redis-url"),
        variable: "REDIS_URL",
        expects: "redis://, rediss:// or redis+unix:// with host or path, redis+sentinel:// or redis+cluster:// with hosts",
        example: "redis://127.0.0.1:6379/0",
    };
    pub const STATE_DIR: Setting = Setting {
        flag: Some("state-dir"),
        variable: "CLUSTER_STATE_DIR",
        expects: "a directory that can be written",
        example: "/var/lib/cluster",
    };
    pub const LOG_FORMAT: Setting = Setting {
        flag: Some("log-format"),
        variable: "LOG_FORMAT",
        expects: "text or json",
        example: "json",
    };
    pub const LOG_FILTER: Setting =
        Setting { flag: None, variable: "RUST_LOG", expects: "log directives", example: "info" };
    pub const CONTROL: Setting = Setting {
        flag: Some("control"),
        variable: "CLUSTER_CONTROL",
        expects: "a path for a Unix socket of at most 107 bytes",
        example: "/run/cluster/control.sock",
    };
    pub const CRASH_ENABLED: Setting =
        Setting { flag: None, variable: "CLUSTER_CRASH_ENABLED", expects: "true or false", example: "true" };
}

/// Where values come from, in order of precedence after the command line.
#[derive(Debug, Default)]
pub struct Sources {
    variables: HashMap<String, String>,
    dotenv: HashMap<String, DotenvValue>,
}

#[derive(Debug)]
struct DotenvValue {
    value: String,
    line: usize,
}

impl Sources {
    /// The process's environment and the `.env` file in `directory`, if any.
    ///
    /// # Errors
    /// When `.env` exists but cannot be read or does not parse.
    pub fn load(directory: &Path) -> Result<Self, ConfigError> {
        let path = directory.join(".env");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
            Err(reason) => return Err(ConfigError::Unreadable { path, reason }),
        };
        Self::from_parts(environment(), &text)
    }

    /// The process's environment alone: for a worker, whose primary has read
    /// `.env` once for all of them.
    ///
    /// # Errors
    /// Never; the form is that of [`Self::load`].
    pub fn environment() -> Result<Self, ConfigError> {
        Self::from_parts(environment(), "")
    }

    /// What `.env` set and the environment did not, to hand to a process that
    /// must see the same settings later, whatever becomes of the file.
    pub fn from_dotenv(&self) -> impl Iterator<Item = (&str, &str)> {
        let hidden = |name: &str| self.variables.contains_key(name);
        self.dotenv
            .iter()
            .filter(move |(name, _)| !hidden(name))
            .map(|(name, found)| (&**name, &*found.value))
    }

    /// As [`Self::load`], from values at hand: pure, for tests.
    pub fn from_parts(variables: HashMap<String, String>, dotenv: &str) -> Result<Self, ConfigError> {
        let mut parsed = HashMap::new();
        for item in dotenvy::from_read_iter(dotenv.as_bytes()) {
            let (name, value) = item.map_err(|err| ConfigError::dotenv(dotenv, &err))?;
            let line = line_of(dotenv, &name);
            parsed.insert(name, DotenvValue { value, line });
        }
        Ok(Self { variables, dotenv: parsed })
    }

    /// The value of `setting`, parsed, or `None` when nobody set it. `flag` is
    /// what the command line said.
    ///
    /// # Errors
    /// When `parse` refuses the value.
    pub fn read<T>(
        &self,
        setting: &Setting,
        flag: Option<&str>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        Ok(self.read_with_level(setting, flag, parse)?.map(|(value, _)| value))
    }

    /// As [`Self::read`], and which source won, for settings that must be
    /// weighed against each other.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_with_level<T>(
        &self,
        setting: &Setting,
        flag: Option<&str>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<(T, Level)>, ConfigError> {
        let Some((value, origin)) = self.find(setting, flag) else {
            return Ok(None);
        };
        match parse(&value) {
            Some(parsed) => Ok(Some((parsed, origin.level()))),
            None => Err(ConfigError::Invalid {
                value,
                origin,
                expects: setting.expects,
                example: example(setting),
            }),
        }
    }

    /// As [`Self::read`], for a value that may hold a password: no error repeats
    /// it, nor may the text of what `parse` returns.
    ///
    /// # Errors
    /// When `parse` refuses the value.
    pub fn read_secret<T, E: fmt::Display>(
        &self,
        setting: &Setting,
        flag: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((value, origin)) = self.find(setting, flag) else {
            return Ok(None);
        };
        parse(&value).map(Some).map_err(|reason| ConfigError::InvalidSecret {
            origin,
            reason: reason.to_string(),
            expects: setting.expects,
            example: example(setting),
        })
    }

    fn find(&self, setting: &Setting, flag: Option<&str>) -> Option<(String, Origin)> {
        if let (Some(value), Some(name)) = (flag, setting.flag) {
            return Some((value.to_owned(), Origin::Flag(name)));
        }
        // An empty variable in the environment also hides the one in `.env`.
        if let Some(value) = self.variables.get(setting.variable) {
            return (!value.is_empty()).then(|| (value.clone(), Origin::Variable(setting.variable)));
        }
        let found = self.dotenv.get(setting.variable).filter(|found| !found.value.is_empty())?;
        Some((found.value.clone(), Origin::Dotenv { variable: setting.variable, line: found.line }))
    }
}

/// Variables that are not UTF-8 are none of ours.
fn environment() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn example(setting: &Setting) -> String {
    match setting.flag {
        Some(flag) => format!("--{flag} {0} or {1}={0}", setting.example, setting.variable),
        None => format!("{}={}", setting.variable, setting.example),
    }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Flag(&'static str),
    Variable(&'static str),
    Dotenv { variable: &'static str, line: usize },
}

/// How strong a source is; the greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Default,
    Dotenv,
    Environment,
    Flag,
}

impl Origin {
    fn level(self) -> Level {
        match self {
            Self::Flag(_) => Level::Flag,
            Self::Variable(_) => Level::Environment,
            Self::Dotenv { .. } => Level::Dotenv,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Dotenv { variable, line } => write!(f, "{variable} in .env line {line}"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("invalid value {value:?} from {origin}: expected {expects}, for example {example}")]
    Invalid { value: String, origin: Origin, expects: &'static str, example: String },
    #[error(
        "invalid value from {origin} (not shown as it may hold a password): {reason}; \
         expected {expects}, for example {example}"
    )]
    InvalidSecret { origin: Origin, reason: String, expects: &'static str, example: String },
    #[error("could not read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error(
        ".env line {line} does not parse{}; a right one is PORT=3100, and a value with spaces needs quotes",
        name.as_ref().map(|name| format!(" (it sets {name})")).unwrap_or_default()
    )]
    Dotenv { line: usize, name: Option<String> },
    #[error("{0}")]
    Conflict(String),
}

impl ConfigError {
    fn dotenv(text: &str, err: &dotenvy::Error) -> Self {
        // The parser tells the line, or only the value in it.
        let bad = match err {
            dotenvy::Error::LineParse(part, _) => part.trim(),
            _ => "",
        };
        let found = text.lines().enumerate().find(|(_, line)| line.contains(bad));
        let (line, whole) = found.map_or((1, ""), |(index, line)| (index + 1, line));
        // The value may be a password; a name is shown only if it looks like one.
        let name = whole.split_once('=').map(|(name, _)| name.trim().to_owned());
        let is_name = |name: &String| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        Self::Dotenv { line, name: name.filter(is_name) }
    }
}

/// `true`/`false` and their usual other spellings.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A duration above zero and up to a year, such as `500ms`, `30s` or `1m 30s`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero() && *duration <= YEAR)
}

/// An address literal, or a name that this machine resolves (the first IPv4
/// answer, else the first).
pub fn parse_host(text: &str) -> Option<IpAddr> {
    let literal = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = literal.parse() {
        return Some(address);
    }
    if text.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let found: Vec<IpAddr> = (text, 0).to_socket_addrs().ok()?.map(|address| address.ip()).collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// The path of a Unix socket; a longer one does not fit a socket's address (unix(7)).
pub fn parse_socket_path(text: &str) -> Option<PathBuf> {
    (1..=107).contains(&text.len()).then(|| PathBuf::from(text))
}

/// Why an address could not be bound, and what to do about it.
pub fn describe_bind_error(address: SocketAddr, err: &io::Error) -> String {
    let why = match err.kind() {
        io::ErrorKind::AddrInUse => "address in use (set --port or PORT)".to_owned(),
        io::ErrorKind::AddrNotAvailable => "not an address of this machine (set --host or HOST)".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need privileges)".to_owned(),
        _ => err.to_string(),
    };
    format!("could not bind {address}: {why}")
}

/// Where the control socket of the cluster on `port` lies unless somebody chose.
pub fn default_control_path(port: u16) -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| Path::new(directory).is_dir()) {
        Some(directory) => Path::new(&directory).join(format!("balancer-{port}.sock")),
        // Many share this directory.
        None => {
            let user = rustix::process::getuid().as_raw();
            std::env::temp_dir().join(format!("balancer-{user}-{port}.sock"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::settings::{HOST, PORT};
    use super::*;

    fn sources(variables: &[(&str, &str)], dotenv: &str) -> Sources {
        let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        Sources::from_parts(variables, dotenv).unwrap()
    }

    fn port(sources: &Sources, flag: Option<&str>) -> Result<Option<u16>, ConfigError> {
        sources.read(&PORT, flag, |text| text.parse().ok())
    }

    #[test]
    fn flag_beats_environment_beats_dotenv() {
        let all = sources(&[("PORT", "2")], "PORT=3\n");
        assert_eq!(port(&all, Some("1")).unwrap(), Some(1));
        assert_eq!(port(&all, None).unwrap(), Some(2));
        assert_eq!(port(&sources(&[], "PORT=3\n"), None).unwrap(), Some(3));
        assert_eq!(port(&sources(&[], ""), None).unwrap(), None);
    }

    #[test]
    fn an_empty_variable_is_unset_and_hides_dotenv() {
        assert_eq!(port(&sources(&[("PORT", "")], "PORT=3\n"), None).unwrap(), None);
        assert_eq!(port(&sources(&[], "PORT=\n"), None).unwrap(), None);
    }

    #[test]
    fn errors_name_value_origin_and_a_right_example() {
        let text = |result: Result<Option<u16>, ConfigError>| result.unwrap_err().to_string();
        assert_eq!(
            text(port(&sources(&[], ""), Some("x"))),
            "invalid value \"x\" from --port: expected a port number from 0 to 65535 (0 takes a free one), \
             for example --port 3100 or PORT=3100"
        );
        assert!(
            text(port(&sources(&[("PORT", "70000")], ""), None)).contains("the environment variable PORT")
        );
        let dotenv = sources(&[], "# a comment\nHOST=::1\n\nexport PORT = nope\n");
        assert!(text(port(&dotenv, None)).contains("PORT in .env line 4"));
        assert_eq!(dotenv.read(&HOST, None, parse_host).unwrap(), Some("::1".parse().unwrap()));
    }

    #[test]
    fn a_secret_that_does_not_parse_is_not_shown() {
        let all = sources(&[("REDIS_URL", "http://:hunter2@host")], "");
        let err = all.read_secret(&super::settings::REDIS_URL, None, |_| Err::<(), _>("no such scheme"));
        let text = err.unwrap_err().to_string();
        assert!(text.contains("the environment variable REDIS_URL") && text.contains("no such scheme"));
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_dotenv_that_does_not_parse_is_refused_with_its_line() {
        let err = Sources::from_parts(HashMap::new(), "PORT=1\nthis is not a setting\n").unwrap_err();
        let secret = Sources::from_parts(HashMap::new(), "PORT=1\n\nREDIS_URL=redis://:a b@c\n").unwrap_err();
        assert!(
            secret.to_string().starts_with(".env line 3 does not parse (it sets REDIS_URL);"),
            "{secret}"
        );
        assert_eq!(
            err.to_string(),
            ".env line 2 does not parse; a right one is PORT=3100, and a value with spaces needs quotes"
        );
    }

    #[test]
    fn values_parse_as_people_write_them() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("1m 30s"), Some(Duration::from_secs(90)));
        for bad in ["", "0s", "5", "-1s", "fast", "2years", "500000000000years"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
        assert_eq!(parse_bool("Yes"), Some(true));
        assert_eq!(parse_bool("0"), Some(false));
        assert_eq!(parse_bool("maybe"), None);
        assert_eq!(parse_host("localhost"), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(parse_host("[::1]"), parse_host("::1"));
        assert_eq!(parse_host("not a host"), None);
    }
}
