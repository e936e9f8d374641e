//! From the text of a value to its type. `None` means that the text is not what
//! the definition expects.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use rustix::process::Signal;

use crate::ADMIN_PORT_OFFSET;

/// A number within `range`.
pub(crate) fn whole<T: FromStr + PartialOrd>(text: &str, range: RangeInclusive<T>) -> Option<T> {
    text.parse().ok().filter(|number| range.contains(number))
}

/// A number of workers, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerNumber {
    /// There are so many.
    Fixed(u32),
    /// The load chooses from these; without a `max`, up to one per usable CPU, and `min` at
    /// the least.
    Range { min: u32, max: Option<u32> },
}

impl WorkerNumber {
    /// `4`, `1..4` or `1..auto`, with numbers from 1 to `most`.
    pub(crate) fn parse(text: &str, most: u32) -> Option<Self> {
        // A sign is a number's for Rust, and nobody's idea of one here.
        let number =
            |text: &str| whole(text, 1..=most).filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some((min, max)) = text.split_once("..") else { return whole(text, 1..=most).map(Self::Fixed) };
        let min = number(min)?;
        if max == "auto" {
            return Some(Self::Range { min, max: None });
        }
        number(max).filter(|&max| min <= max).map(|max| Self::Range { min, max: Some(max) })
    }
}

/// `true`/`false` and their usual other spellings.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A duration above zero and up to a year, such as `500ms`, `30s` or `1m 30s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero() && *duration <= YEAR)
}

/// How long browsers remember that a site speaks HTTPS: a second to ten years.
pub(crate) fn hsts(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
    let duration = humantime::parse_duration(text).ok()?;
    (Duration::from_secs(1)..=LONGEST).contains(&duration).then_some(duration)
}

/// As [`duration`], or zero for none.
pub(crate) fn duration_or_none(text: &str) -> Option<Duration> {
    if matches!(text, "0" | "0s") { Some(Duration::ZERO) } else { duration(text) }
}

/// An amount of bytes, such as `64KiB`; `0` for none.
pub(crate) fn bytes_or_none(text: &str) -> Option<u64> {
    text.parse().ok().map(|size: ByteSize| size.as_u64())
}

/// An amount of bytes above zero, such as `512`, `256MiB` or `1GB`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    text.parse().ok().map(|size: ByteSize| size.as_u64()).filter(|&bytes| bytes > 0)
}

/// An address literal, or the one name that every machine knows.
pub(crate) fn is_literal_host(text: &str) -> bool {
    literal_host(text).is_some() || text.eq_ignore_ascii_case("localhost")
}

fn literal_host(text: &str) -> Option<IpAddr> {
    text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text).parse().ok()
}

/// An address literal, or a name that this machine resolves (the first IPv4
/// answer, else the first).
pub(crate) fn host(text: &str) -> Option<IpAddr> {
    if let Some(address) = literal_host(text) {
        return Some(address);
    }
    if text.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let found: Vec<IpAddr> = (text, 0).to_socket_addrs().ok()?.map(|address| address.ip()).collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// No path of a Unix system has a zero byte.
pub(crate) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

/// Paths with commas between them.
pub(crate) fn paths(text: &str) -> Option<Vec<PathBuf>> {
    text.split(',').map(|part| path(part.trim())).collect()
}

/// The path of a Unix socket; a longer one does not fit a socket's address (unix(7)).
pub(crate) fn socket_path(text: &str) -> Option<PathBuf> {
    path(text).filter(|_| text.len() <= 107)
}

/// The value of a Host field (RFC 9110, section 7.2): a name or an address, and a port.
pub(crate) fn host_field(text: &str) -> Option<String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    ((1..=255).contains(&text.len()) && text.bytes().all(is_part)).then(|| text.to_owned())
}

/// How often something is tried; inside, `None` for ever.
pub(crate) fn tries(text: &str) -> Option<Option<u32>> {
    if text == "never" { Some(None) } else { whole(text, 1..=1_000).map(Some) }
}

/// Host names with commas between them, in lower case.
pub(crate) fn host_names(text: &str) -> Option<Vec<String>> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    names.iter().all(is_name).then_some(names)
}

/// Words with commas between them, none of them empty.
pub(crate) fn words(text: &str) -> Option<Vec<String>> {
    let words: Vec<_> = text.split(',').map(|word| word.trim().to_owned()).collect();
    words.iter().all(|word| !word.is_empty()).then_some(words)
}

/// A mail address, as far as it matters here: what has a form like `a@b` in visible ASCII.
pub(crate) fn mail(text: &str) -> Option<String> {
    let (user, host) = text.rsplit_once('@')?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b",?&<>:".contains(&byte);
    (!user.is_empty() && !host.is_empty() && text.bytes().all(is_plain)).then(|| text.to_owned())
}

pub(crate) fn https_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://")?;
    let fits = !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

/// A name that is long enough for any pod's (253 bytes, RFC 1123 subdomain) and fit for a log.
pub(crate) fn process_name(text: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    ((1..=253).contains(&text.len()) && text.bytes().all(fits)).then(|| text.to_owned())
}

/// What tells a program that only long-lived connections are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainSignal {
    /// SIGTERM.
    Terminate,
    /// Another signal, by its number.
    Other(i32),
    Off,
}

impl DrainSignal {
    /// `text` is a signal's name, with or without `SIG`, in small letters or capitals.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let name = text.to_ascii_uppercase();
        Some(match name.strip_prefix("SIG").unwrap_or(&name) {
            "OFF" => Self::Off,
            "TERM" => Self::Terminate,
            "HUP" => Self::Other(Signal::HUP.as_raw()),
            "INT" => Self::Other(Signal::INT.as_raw()),
            "QUIT" => Self::Other(Signal::QUIT.as_raw()),
            "USR1" => Self::Other(Signal::USR1.as_raw()),
            "USR2" => Self::Other(Signal::USR2.as_raw()),
            "WINCH" => Self::Other(Signal::WINCH.as_raw()),
            _ => return None,
        })
    }
}

/// How workers are replaced as planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadMode {
    /// The new ones start beside the old ones, and take over together.
    All,
    /// Each worker ends before its successor starts.
    OneByOne,
}

impl ReloadMode {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::All),
            "one-by-one" => Some(Self::OneByOne),
            _ => None,
        }
    }
}

/// How the number of workers is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterMode {
    /// One worker per usable CPU.
    Auto,
    /// As many as somebody has asked for.
    Manual,
    /// No cluster: a single process.
    Off,
}

impl ClusterMode {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Auto, Self::Manual, Self::Off].into_iter().find(|mode| mode.as_str() == text)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for ClusterMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the admin listener listens, if somebody has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    At(SocketAddr),
    Off,
}

impl Admin {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self::Off);
        }
        let port = || text.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        text.parse().ok().or_else(port).map(Self::At)
    }

    /// The address of the admin listener, or none when there is to be no listener.
    /// Nobody's choice puts it on loopback, [`ADMIN_PORT_OFFSET`] above `port`, the
    /// one for clients; any free port there goes with any free port here.
    pub fn address(chosen: Option<Self>, port: u16) -> Option<SocketAddr> {
        match chosen {
            None => {
                let port = if port == 0 { 0 } else { port.checked_add(ADMIN_PORT_OFFSET).unwrap_or(0) };
                Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            }
            Some(Self::At(address)) => Some(address),
            Some(Self::Off) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_parse_as_people_write_them() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1m 30s"), Some(Duration::from_secs(90)));
        for bad in ["", "0s", "5", "-1s", "fast", "2years", "500000000000years"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
        assert_eq!(boolean("Yes"), Some(true));
        assert_eq!(boolean("0"), Some(false));
        assert_eq!(boolean("maybe"), None);
        assert_eq!(host("localhost"), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(host("[::1]"), host("::1"));
        assert_eq!(host("not a host"), None);
    }

    #[test]
    fn numbers_of_workers_may_be_a_range() {
        let of = |text| WorkerNumber::parse(text, 512);
        let range = |min, max| Some(WorkerNumber::Range { min, max });
        assert_eq!(of("4"), Some(WorkerNumber::Fixed(4)));
        assert_eq!(of("1..4"), range(1, Some(4)));
        assert_eq!(of("4..4"), range(4, Some(4)));
        assert_eq!(of("2..auto"), range(2, None));
        for bad in [
            "",
            "0",
            "513",
            "auto",
            "0..4",
            "1..513",
            "4..1",
            "1..",
            "..4",
            "..",
            "-1..4",
            "1..-4",
            "1...4",
            "1..=4",
            "1-4",
            "1 .. 4",
            "1..4 ",
            " 1..4",
            "+1..4",
            "1..+4",
            "auto..4",
            "1..4..8",
            "1..AUTO",
            "1..99999999999",
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn paths_of_sockets_fit_an_address() {
        assert_eq!(socket_path("/run/a b.sock"), Some(PathBuf::from("/run/a b.sock")));
        assert!(socket_path(&"x".repeat(107)).is_some());
        for bad in ["", "a\0b", &"x".repeat(108)] {
            assert_eq!(socket_path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn signals_have_their_usual_names() {
        assert_eq!(DrainSignal::parse("TERM"), Some(DrainSignal::Terminate));
        assert_eq!(DrainSignal::parse("sigusr2"), DrainSignal::parse("USR2"));
        assert_eq!(DrainSignal::parse("USR2"), Some(DrainSignal::Other(12)));
        assert_eq!(DrainSignal::parse("off"), Some(DrainSignal::Off));
        for bad in ["", "KILL", "9", "SIG", "STOP"] {
            assert_eq!(DrainSignal::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn amounts_of_memory_have_units() {
        assert_eq!(bytes("512MiB"), Some(512 << 20));
        assert_eq!(bytes("1GB"), Some(1_000_000_000));
        for bad in ["0", "", "-1", "lots", "5 parsecs"] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
        assert_eq!(
            (bytes_or_none("0"), bytes_or_none("64KiB"), bytes_or_none("-1")),
            (Some(0), Some(65_536), None)
        );
    }

    #[test]
    fn the_admin_listener_lies_beside_the_port_for_clients() {
        let default = |port| Admin::address(None, port).unwrap().to_string();
        assert_eq!(default(3100), "127.0.0.1:3180");
        assert_eq!(default(0), "127.0.0.1:0");
        assert_eq!(default(65_500), "127.0.0.1:0", "any free one");
        let chosen = |text: &str| {
            let admin = Admin::parse(text)?;
            Some(Admin::address(Some(admin), 3100).map(|address| address.to_string()))
        };
        assert_eq!(chosen("off"), Some(None));
        assert_eq!(chosen("9000"), Some(Some("127.0.0.1:9000".to_owned())));
        assert_eq!(chosen("[::1]:9000"), Some(Some("[::1]:9000".to_owned())));
        for bad in ["", "on", "localhost", "1.2.3.4", "70000"] {
            assert_eq!(chosen(bad), None, "{bad:?}");
        }
    }
}
