//! Where clients connect, checked as far as it can be without binding anything.

use std::net::SocketAddr;
use std::time::Duration;

use shared_process::unix_socket::Access;
use shared_process::users;
use shared_settings::definitions::{ACME_DOMAIN, HSTS, HTTP_REDIRECT, LISTEN, TLS_CERT, TLS_DIR, TLS_KEY};
use shared_settings::listen::{DEFAULT_MODE, Listen, Owner, Place};
use shared_settings::{ConfigError, Definition, Level, Listeners, Origin, Settings};

use super::mode::Mode;
use super::tls;

/// Writing to its socket is what lets somebody connect (unix(7)); these are all others.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// All listeners for clients.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    pub(crate) listeners: Listeners,
    /// Those that serve, and behind them those that redirect.
    pub(crate) all: Vec<ClientListener>,
    /// They are those of `--listen`, and not of `--host` and `--port`.
    pub(crate) is_list: bool,
    /// How long browsers are to use HTTPS only.
    pub(crate) hsts: Option<Duration>,
}

/// One listener.
#[derive(Debug, Clone)]
pub(crate) struct ClientListener {
    pub(crate) listen: Listen,
    /// Of the file of a Unix socket.
    pub(crate) access: Access,
    /// The port of HTTPS that every request is redirected to.
    pub(crate) redirects_to: Option<u16>,
    /// Where it was said.
    pub(crate) origin: String,
}

impl Listening {
    /// # Errors
    /// When a value does not parse, or contradicts another.
    pub(super) fn new(settings: &Settings, mode: Mode) -> Result<Self, ConfigError> {
        let mut listeners = Listeners::of(settings)?;
        let is_list = settings.level(&LISTEN) > Level::Default && listeners.warning.is_none();
        let origin = origin(settings, &LISTEN);
        let has_certificates = tls::sources(settings, mode)?.is_some();
        if is_list {
            check_tls(&listeners.all, has_certificates, &origin)?;
        } else {
            // The short form has no scheme of its own.
            listeners.all.iter_mut().for_each(|listen| listen.tls = has_certificates);
        }
        let mut all = Vec::new();
        for listen in &listeners.all {
            all.push(ClientListener::new(listen, None, &origin)?);
        }
        let redirects = settings.find(&HTTP_REDIRECT)?.unwrap_or_default();
        let origin = self::origin(settings, &HTTP_REDIRECT);
        let https_port =
            listeners.all.iter().filter(|listen| listen.tls).find_map(|listen| listen.place.port());
        for listen in &redirects {
            let port = listen.https_port.or(https_port).ok_or_else(|| no_https(listen, &origin))?;
            if let Some(other) = all.iter().find(|other| other.listen.place.is_same(&listen.place)) {
                return Err(ConfigError::Conflict(format!(
                    "{} is in {} and in {origin}: requests there are either served or redirected",
                    listen.place, other.origin
                )));
            }
            all.push(ClientListener::new(listen, Some(port), &origin)?);
        }
        let found = Self { listeners, all, is_list, hsts: settings.find(&HSTS)? };
        if mode == Mode::Single {
            found.check_single()?;
        }
        Ok(found)
    }

    /// Without a cluster the worker itself listens, and knows one address only.
    fn check_single(&self) -> Result<(), ConfigError> {
        let fits = |one: &ClientListener| {
            let Listen { place, tls, proxy_protocol, .. } = &one.listen;
            matches!(place, Place::Tcp(_)) && !tls && proxy_protocol.is_none() && one.redirects_to.is_none()
        };
        match &self.all[..] {
            [one] if fits(one) => Ok(()),
            all => Err(ConfigError::Conflict(format!(
                "{} with more than one plain TCP address is for a cluster: leave out --cluster off (or \
                 CLUSTER_ENABLED=false), for example --workers 1",
                all.last().map_or("--listen", |last| &last.origin)
            ))),
        }
    }

    /// Do all that serve by TCP speak TLS?
    pub(crate) fn are_all_tls(&self) -> bool {
        let mut serving = self.listeners.all.iter().filter(|listen| matches!(listen.place, Place::Tcp(_)));
        serving.clone().next().is_some() && serving.all(|listen| listen.tls)
    }

    /// Only processes of this machine can connect, and no reverse proxy is meant to.
    pub(super) fn is_loopback(&self) -> bool {
        self.all.iter().all(|one| matches!(one.listen.place, Place::Tcp(_)) && one.listen.place.is_local())
    }

    /// The first address.
    pub(super) fn first_address(&self) -> Option<SocketAddr> {
        self.listeners.all.iter().find_map(|listen| match listen.place {
            Place::Tcp(address) => Some(address),
            Place::Unix { .. } | Place::Abstract(_) => None,
        })
    }

    /// Descriptors of all listeners but the first one, with `threads` serving threads.
    pub(crate) fn further_sockets(&self, threads: usize) -> usize {
        // The one that was bound first is kept as well.
        self.all.len().saturating_sub(1) * (threads + 1)
    }

    /// Another listener has the same port for IPv4, which one for all of IPv6 would have too.
    pub(crate) fn leaves_ipv4(&self, address: SocketAddr) -> bool {
        let has_ipv4 = |one: &ClientListener| match one.listen.place {
            Place::Tcp(other) => other.is_ipv4() && other.port() == address.port(),
            Place::Unix { .. } | Place::Abstract(_) => false,
        };
        address.is_ipv6() && address.port() != 0 && self.all.iter().any(has_ipv4)
    }
}

impl ClientListener {
    fn new(listen: &Listen, redirects_to: Option<u16>, origin: &str) -> Result<Self, ConfigError> {
        let access = match &listen.place {
            Place::Unix { mode, owner, .. } => access(*mode, owner.as_ref(), listen, origin)?,
            Place::Tcp(_) | Place::Abstract(_) => Access::PRIVATE,
        };
        Ok(Self { listen: listen.clone(), access, redirects_to, origin: origin.to_owned() })
    }

    /// Whoever can connect was let in by the permissions of the socket: a reverse proxy.
    pub(crate) fn trusts_peers(&self) -> bool {
        matches!(self.listen.place, Place::Unix { .. }) && self.access.mode & WRITABLE_BY_OTHERS == 0
    }
}

/// Certificates that no listener uses are a mistake that would show as plain HTTP.
fn check_tls(all: &[Listen], has_certificates: bool, origin: &str) -> Result<(), ConfigError> {
    let tls = all.iter().find(|listen| listen.tls);
    Err(ConfigError::Conflict(match (tls, has_certificates) {
        (Some(listen), false) => format!(
            "{listen} from {origin} needs a certificate: set {} and {}, or {}, or {}",
            TLS_CERT.names(),
            TLS_KEY.names(),
            TLS_DIR.names(),
            ACME_DOMAIN.names()
        ),
        (None, true) => format!(
            "there are certificates, and {origin} has no address with https:// that uses them, for example \
             --listen https://0.0.0.0:443"
        ),
        _ => return Ok(()),
    }))
}

fn access(
    mode: Option<u32>,
    owner: Option<&Owner>,
    listen: &Listen,
    origin: &str,
) -> Result<Access, ConfigError> {
    let unknown = |what: &str, name: &str| {
        ConfigError::Conflict(format!(
            "there is no {what} {name:?}, who is to own {listen} from {origin}: expected names or numbers of \
             this machine, for example {listen}?owner=root:root"
        ))
    };
    let number = |what: &str, name: Option<&String>, find: fn(&str) -> Option<u32>| match name {
        None => Ok(None),
        Some(name) => find(name).map(Some).ok_or_else(|| unknown(what, name)),
    };
    Ok(Access {
        mode: mode.unwrap_or(DEFAULT_MODE),
        user: number("user", owner.and_then(|owner| owner.user.as_ref()), users::user)?,
        group: number("group", owner.and_then(|owner| owner.group.as_ref()), users::group)?,
    })
}

/// Where the value of `definition` comes from.
fn origin(settings: &Settings, definition: &Definition) -> String {
    let found = settings.source(definition).map(|(_, origin)| origin);
    found.as_ref().map_or_else(|| format!("--{}", definition.flag.unwrap_or_default()), Origin::to_string)
}

fn no_https(listen: &Listen, origin: &str) -> ConfigError {
    ConfigError::Conflict(format!(
        "{listen} from {origin} redirects to HTTPS, and no listener speaks it: add one, for example --listen \
         https://0.0.0.0:443, or say where HTTPS is, for example {}?https-port=443",
        listen.place
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Mode = Mode::Cluster { workers: 1, max: None };

    fn of(variables: &[(&str, &str)], mode: Mode) -> Result<Listening, String> {
        Listening::new(&Settings::from_parts(variables, ""), mode).map_err(|err| err.to_string())
    }

    fn listen(text: &str) -> Result<Listening, String> {
        of(&[("CLUSTER_LISTEN", text)], CLUSTER)
    }

    #[test]
    fn owners_are_numbers_and_who_is_not_there_is_named() {
        let access = |text| listen(text).unwrap().all[0].access;
        assert_eq!(access("unix:/a"), Access { mode: 0o660, user: None, group: None });
        let owned = Access { mode: 0o600, user: Some(0), group: Some(7) };
        assert_eq!(access("unix:/a?owner=root:7&mode=600"), owned);
        let err = listen("unix:/a?owner=no-such-user").unwrap_err();
        assert!(err.contains("no user \"no-such-user\"") && err.contains("CLUSTER_LISTEN"), "{err}");
        assert!(listen("unix:/a?owner=:no-such-group").unwrap_err().contains("no group"));
    }

    #[test]
    fn only_who_was_let_in_by_a_socket_is_a_proxy() {
        let trusts = |text| listen(text).unwrap().all[0].trusts_peers();
        assert!(trusts("unix:/a") && trusts("unix:/a?mode=600") && trusts("unix:/a?mode=664"));
        assert!(!trusts("unix:/a?mode=666") && !trusts("unix:@a") && !trusts("127.0.0.1:80"));
    }

    #[test]
    fn a_redirect_needs_to_know_where_https_is() {
        let err = of(&[("CLUSTER_HTTP_REDIRECT", "0.0.0.0:80")], CLUSTER).unwrap_err();
        assert!(err.contains("https-port=443") && err.contains("CLUSTER_HTTP_REDIRECT"), "{err}");
        let both = [("CLUSTER_HTTP_REDIRECT", "0.0.0.0:80?https-port=444"), ("CLUSTER_LISTEN", "unix:/a")];
        let found = of(&both, CLUSTER).unwrap();
        assert_eq!((found.all[0].redirects_to, found.all[1].redirects_to), (None, Some(444)));
        let err = of(&[("CLUSTER_HTTP_REDIRECT", "127.0.0.1:3100?https-port=1")], CLUSTER).unwrap_err();
        assert!(err.contains("either served or redirected"), "{err}");
    }

    #[test]
    fn certificates_and_addresses_that_use_them_belong_together() {
        let certificate = ("CLUSTER_TLS_CERT", "a.pem");
        let is_tls = |variables: &[(&str, &str)]| {
            of(variables, CLUSTER).map(|found| found.all.iter().map(|one| one.listen.tls).collect::<Vec<_>>())
        };
        assert_eq!(is_tls(&[certificate]), Ok(vec![true]), "the short form");
        assert_eq!(is_tls(&[]), Ok(vec![false]));
        let https = ("CLUSTER_LISTEN", "https://0.0.0.0:443,unix:/a");
        assert_eq!(is_tls(&[certificate, https]), Ok(vec![true, false]));
        let err = is_tls(&[https]).unwrap_err();
        assert!(err.contains("needs a certificate") && err.contains("--tls-cert"), "{err}");
        let err = is_tls(&[certificate, ("CLUSTER_LISTEN", "127.0.0.1:80")]).unwrap_err();
        assert!(err.contains("https://0.0.0.0:443") && err.contains("CLUSTER_LISTEN"), "{err}");
        let redirect = ("CLUSTER_HTTP_REDIRECT", "0.0.0.0:80");
        assert_eq!(is_tls(&[certificate, https, redirect]), Ok(vec![true, false, false]));
    }

    #[test]
    fn a_single_process_has_one_plain_address() {
        assert!(of(&[("CLUSTER_LISTEN", "0.0.0.0:80")], Mode::Single).is_ok());
        for bad in ["80,81", "unix:/a", "80?proxy-protocol=10.0.0.0/8"] {
            let err = of(&[("CLUSTER_LISTEN", bad)], Mode::Single).unwrap_err();
            assert!(err.contains("--workers 1") && err.contains("CLUSTER_LISTEN"), "{err}");
        }
    }

    #[test]
    fn ipv6_leaves_ipv4_what_it_has() {
        let leaves = |text: &str| listen(text).unwrap().leaves_ipv4("[::]:80".parse().unwrap());
        assert!(leaves("0.0.0.0:80,[::]:80") && leaves("[::]:80,127.0.0.1:80"));
        assert!(!leaves("[::]:80") && !leaves("[::]:80,0.0.0.0:81") && !leaves("[::]:80,unix:/a"));
    }
}
