//! Addresses where clients connect, as `--listen` has them: parsed once, by the cluster
//! that binds them and by whoever looks for that cluster.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::parse;

/// Bytes that a Unix socket's address has for a path, or for an abstract name behind its
/// zero byte (unix(7)).
const LONGEST_PATH: usize = 107;
/// Each needs a descriptor for each serving thread.
const MOST: usize = 16;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Something to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub place: Place,
    /// HTTPS is spoken there.
    pub tls: bool,
    /// Each connection begins with the header of the PROXY protocol.
    pub proxy_protocol: Option<ProxySources>,
    /// The port of HTTPS as clients know it, where that is not the one that is bound; only
    /// of a listener that redirects.
    pub https_port: Option<u16>,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Tcp(SocketAddr),
    Unix {
        path: PathBuf,
        /// Who may connect; [`DEFAULT_MODE`] if nobody has said.
        mode: Option<u32>,
        owner: Option<Owner>,
    },
    /// The name of a socket without a file, which every process of the network namespace can
    /// connect to.
    Abstract(String),
}

/// Permissions of a Unix socket's file: its owner and its group may connect.
pub const DEFAULT_MODE: u32 = 0o660;

/// Whom a Unix socket's file is given to: names or numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub user: Option<String>,
    pub group: Option<String>,
}

/// Who may say for whom a connection is, by the PROXY protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxySources {
    /// Whoever may open the Unix socket.
    All,
    Networks(Vec<IpNet>),
}

/// Why a text is no address to listen on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    #[error("{0:?} says neither which addresses are meant nor 127.0.0.1: write 0.0.0.0:{1} for all of IPv4")]
    NoHost(String, String),
    #[error("{0:?} has no port, such as {0}:3100")]
    NoPort(String),
    #[error("{0:?} is no port from 0 to 65535")]
    Port(String),
    #[error("{0:?} is neither an IP address nor a name of this machine")]
    Host(String),
    #[error("an IPv6 address stands in brackets, such as [::1]:3100")]
    Brackets,
    #[error("{0:?} has a path behind the address")]
    Path(String),
    #[error("commas are between listeners: write &proxy-protocol={0} for a further network")]
    Comma(String),
    #[error("{0:?} is neither http:// nor https:// nor unix:")]
    Scheme(String),
    #[error("a path of a Unix socket has 1 to {LONGEST_PATH} bytes, and none of them is zero; this has {0}")]
    UnixPath(usize),
    #[error("unix:// is followed by an absolute path, such as unix:///run/app.sock")]
    UnixSlashes,
    #[error("there is no option {0:?} of {1}; there are {2}")]
    Option(String, &'static str, &'static str),
    #[error("{0} is given twice")]
    Twice(&'static str),
    #[error("mode={0} is no mode from 0 to 777 in octal, such as mode=660")]
    Mode(String),
    #[error("owner={0} is neither user, user:group nor :group")]
    Owner(String),
    #[error("proxy-protocol={0} is no address or network such as 10.0.0.0/8")]
    Network(String),
    #[error("proxy-protocol says from which addresses it is believed, such as proxy-protocol=10.0.0.0/8")]
    NoNetwork,
    #[error(
        "a Unix socket has no addresses: write proxy-protocol alone, and mode and owner say who may connect"
    )]
    UnixNetwork,
    #[error("https-port={0} is no port from 1 to 65535")]
    HttpsPort(String),
    #[error("https-port is for --http-redirect")]
    NoRedirect,
    #[error("{0} is there twice")]
    Repeated(String),
    #[error("more than {MOST} addresses")]
    TooMany,
    #[error("one that answers with redirects speaks plain HTTP: leave out https://")]
    RedirectTls,
}

/// One or several with commas between them.
///
/// # Errors
/// For the first that is no address to listen on, and for one that is there twice.
pub fn listeners(text: &str) -> Result<Vec<Listen>, ListenError> {
    let found: Vec<_> = text.split(',').map(|part| Listen::parse(part.trim())).collect::<Result<_, _>>()?;
    if found.iter().any(|listen| listen.https_port.is_some()) {
        return Err(ListenError::NoRedirect);
    }
    distinct(found)
}

/// The same for listeners that answer with redirects.
///
/// # Errors
/// As [`listeners`].
pub fn redirects(text: &str) -> Result<Vec<Listen>, ListenError> {
    let found: Vec<_> = text.split(',').map(|part| Listen::parse(part.trim())).collect::<Result<_, _>>()?;
    if found.iter().any(|listen| listen.tls) {
        return Err(ListenError::RedirectTls);
    }
    distinct(found)
}

fn distinct(found: Vec<Listen>) -> Result<Vec<Listen>, ListenError> {
    if found.len() > MOST {
        return Err(ListenError::TooMany);
    }
    for (index, listen) in found.iter().enumerate() {
        if found[..index].iter().any(|other| other.place.is_same(&listen.place)) {
            return Err(ListenError::Repeated(listen.place.to_string()));
        }
    }
    Ok(found)
}

impl Listen {
    /// What `--host` and `--port` are short for.
    pub fn tcp(address: SocketAddr) -> Self {
        Self { place: Place::Tcp(address), tls: false, proxy_protocol: None, https_port: None }
    }

    fn parse(text: &str) -> Result<Self, ListenError> {
        let (address, options) = text.split_once('?').map_or((text, None), |(at, rest)| (at, Some(rest)));
        let mut options = Options::parse(options)?;
        let (place, tls) = match address.strip_prefix("unix:") {
            Some(rest) => (unix(rest, &mut options)?, false),
            None => tcp(address)?,
        };
        let https_port = options.https_port.take();
        let proxy_protocol = match (options.proxy_protocol.take(), &place) {
            (None, _) => None,
            (Some(networks), Place::Tcp(_)) if networks.is_empty() => return Err(ListenError::NoNetwork),
            (Some(networks), Place::Tcp(_)) => Some(ProxySources::Networks(networks)),
            (Some(networks), _) if networks.is_empty() => Some(ProxySources::All),
            (Some(_), _) => return Err(ListenError::UnixNetwork),
        };
        options.is_used_up(&place)?;
        Ok(Self { place, tls, proxy_protocol, https_port })
    }
}

impl Place {
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix { .. } | Self::Abstract(_) => None,
        }
    }

    /// Only processes of this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } | Self::Abstract(_) => true,
        }
    }

    /// Both cannot be had; any free port can be had several times.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => one == two && one.port() != 0,
            (Self::Unix { path: one, .. }, Self::Unix { path: two, .. }) => one == two,
            (Self::Abstract(one), Self::Abstract(two)) => one == two,
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

/// As it is written: `http://127.0.0.1:3100`, `https://[::]:443`, `unix:/run/app.sock`.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.tls) {
            (Place::Tcp(address), false) => write!(f, "http://{address}"),
            (Place::Tcp(address), true) => write!(f, "https://{address}"),
            (place, _) => place.fmt(f),
        }
    }
}

fn tcp(text: &str) -> Result<(Place, bool), ListenError> {
    let (tls, rest, default_port) = match text.split_once("://") {
        None => (false, text, None),
        Some(("http", rest)) => (false, rest, Some(HTTP_PORT)),
        Some(("https", rest)) => (true, rest, Some(HTTPS_PORT)),
        Some((scheme, _)) => return Err(ListenError::Scheme(format!("{scheme}://"))),
    };
    let rest = match default_port {
        Some(_) => rest.strip_suffix('/').unwrap_or(rest),
        None => rest,
    };
    if text.parse::<IpNet>().is_ok() {
        return Err(ListenError::Comma(text.to_owned()));
    }
    if rest.contains('/') {
        return Err(ListenError::Path(text.to_owned()));
    }
    Ok((Place::Tcp(socket_address(rest, default_port)?), tls))
}

fn socket_address(text: &str, default_port: Option<u16>) -> Result<SocketAddr, ListenError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    // A port alone is one on loopback, as for the admin listener.
    if default_port.is_none() && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok((Ipv4Addr::LOCALHOST, port(text)?).into());
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if bare.is_none() && text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
        return Err(ListenError::Brackets);
    }
    let (name, number) = match text.rsplit_once(':') {
        Some((name, number)) if bare.is_none() => (name, port(number)?),
        _ => (text, default_port.ok_or_else(|| ListenError::NoPort(text.to_owned()))?),
    };
    if matches!(name, "" | "*") {
        return Err(ListenError::NoHost(text.to_owned(), number.to_string()));
    }
    let host = parse::host(name).ok_or_else(|| ListenError::Host(name.to_owned()))?;
    Ok((host, number).into())
}

fn port(text: &str) -> Result<u16, ListenError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or_else(|| ListenError::Port(text.to_owned()))
}

fn unix(text: &str, options: &mut Options) -> Result<Place, ListenError> {
    if let Some(name) = text.strip_prefix('@') {
        if !(1..=LONGEST_PATH).contains(&name.len()) || name.contains('\0') {
            return Err(ListenError::UnixPath(name.len()));
        }
        return Ok(Place::Abstract(name.to_owned()));
    }
    let path = match text.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => return Err(ListenError::UnixSlashes),
        None => text,
    };
    if !(1..=LONGEST_PATH).contains(&path.len()) || path.contains('\0') {
        return Err(ListenError::UnixPath(path.len()));
    }
    let (mode, owner) = (options.mode.take(), options.owner.take());
    Ok(Place::Unix { path: Path::new(path).to_owned(), mode, owner })
}

/// What stands behind the question mark.
#[derive(Debug, Default)]
struct Options {
    mode: Option<u32>,
    owner: Option<Owner>,
    proxy_protocol: Option<Vec<IpNet>>,
    https_port: Option<u16>,
}

impl Options {
    fn parse(text: Option<&str>) -> Result<Self, ListenError> {
        let mut options = Self::default();
        for pair in text.into_iter().flat_map(|text| text.split('&')) {
            let (name, value) = pair.split_once('=').map_or((pair, ""), |(name, value)| (name, value));
            match name {
                "mode" => set(&mut options.mode, "mode", mode(value)?)?,
                "owner" => set(&mut options.owner, "owner", Owner::parse(value)?)?,
                "https-port" => {
                    let port = port(value).ok().filter(|&port| port != 0);
                    let port = port.ok_or_else(|| ListenError::HttpsPort(value.to_owned()))?;
                    set(&mut options.https_port, "https-port", port)?;
                }
                "proxy-protocol" => {
                    let networks = options.proxy_protocol.get_or_insert_default();
                    if pair.contains('=') {
                        networks.push(network(value)?);
                    }
                }
                _ => {
                    let all = "mode, owner, proxy-protocol and https-port";
                    return Err(ListenError::Option(name.to_owned(), "an address", all));
                }
            }
        }
        Ok(options)
    }

    /// Nothing is left that `place` does not have.
    fn is_used_up(&self, place: &Place) -> Result<(), ListenError> {
        let kind = match place {
            Place::Tcp(_) => "a TCP address",
            Place::Unix { .. } | Place::Abstract(_) => "a socket without a file",
        };
        let left = [(self.mode.is_some(), "mode"), (self.owner.is_some(), "owner")];
        match left.into_iter().find(|&(is_left, _)| is_left) {
            Some((_, name)) => Err(ListenError::Option(name.to_owned(), kind, "proxy-protocol")),
            None => Ok(()),
        }
    }
}

fn set<T>(option: &mut Option<T>, name: &'static str, value: T) -> Result<(), ListenError> {
    if option.replace(value).is_some() { Err(ListenError::Twice(name)) } else { Ok(()) }
}

fn mode(text: &str) -> Result<u32, ListenError> {
    let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| is_octal && mode <= 0o777);
    mode.ok_or_else(|| ListenError::Mode(text.to_owned()))
}

impl Owner {
    fn parse(text: &str) -> Result<Self, ListenError> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let fits = |name: &str| name.bytes().all(|byte| byte.is_ascii_graphic() && !b":/".contains(&byte));
        if (user.is_empty() && group.is_empty()) || !fits(user) || !fits(group) {
            return Err(ListenError::Owner(text.to_owned()));
        }
        let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        Ok(Self { user: named(user), group: named(group) })
    }
}

/// A network, or an address, which is one with a single member.
fn network(text: &str) -> Result<IpNet, ListenError> {
    let address = || text.parse().ok().map(|address: IpAddr| IpNet::from(address.to_canonical()));
    let network = text.parse().ok().or_else(address);
    network.ok_or_else(|| ListenError::Network(text.to_owned()))
}

#[cfg(test)]
mod tests;
