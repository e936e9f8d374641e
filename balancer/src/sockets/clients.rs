//! The listeners for clients: all of them, or none.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use shared_process::unix_socket::{self, SocketFile};
use shared_protocol::Handover;
use shared_settings::control::ClusterName;
use shared_settings::describe_bind_error;
use shared_settings::listen::{Listen, Place, ProxySources};

use balancer_proxy::listener::{self, Listener, ListenerOptions};
use balancer_proxy::{self as proxy, AcmeChallenges, Redirect};
use balancer_state::slot_sockets::SlotSockets;
use balancer_tls::Tls;

use crate::activation::{Label, Socket};
use crate::config::{ClientListener, Config};

/// Connections that may wait at a Unix socket; the system has a bound of its own.
const BACKLOG: i32 = 4096;

#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) listeners: Vec<Listener>,
    /// What they listen on, with the ports that they have got. The first ones serve.
    pub(crate) places: Vec<Listen>,
    /// Those of Unix sockets that were bound here, removed at the end.
    pub(crate) files: Vec<SocketFile>,
    /// They were passed.
    pub(crate) are_inherited: bool,
    /// Those of slots, where workers accept connections themselves; then there are no listeners.
    pub(crate) slots: Option<Arc<SlotSockets>>,
}

/// What listeners have from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct ListenerParts {
    pub(crate) challenges: Arc<AcmeChallenges>,
    /// If any of them speaks TLS.
    pub(crate) tls: Option<Arc<Tls>>,
}

impl Clients {
    /// # Errors
    /// When one of them cannot be had; nothing of the others is left then.
    pub(super) fn bind(config: &Config, parts: &ListenerParts) -> anyhow::Result<Self> {
        let mut clients =
            Self { listeners: vec![], places: vec![], files: vec![], are_inherited: false, slots: None };
        if config.is_direct() {
            return clients.with_slots(config);
        }
        for one in &config.listening.all {
            let (listener, place) = clients.bind_one(config, one)?;
            clients.listeners.push(listener.with(options(config, one, parts)));
            clients.places.push(Listen { place, ..one.listen.clone() });
        }
        Ok(clients)
    }

    /// A socket for each slot, of which the first one is opened now.
    fn with_slots(mut self, config: &Config) -> anyhow::Result<Self> {
        let wanted = config.listen();
        let (first, open) = listener::bind_shared(wanted)
            .map_err(|err| anyhow::Error::msg(describe_bind_error(wanted, &err)))?;
        let bound = first.local_addr().context("could not read the bound address")?;
        self.places.extend(
            config.listening.all.iter().map(|one| Listen { place: Place::Tcp(bound), ..one.listen.clone() }),
        );
        self.slots = Some(Arc::new(SlotSockets::new(first, open)));
        Ok(self)
    }

    fn bind_one(&mut self, config: &Config, one: &ClientListener) -> anyhow::Result<(Listener, Place)> {
        let place = &one.listen.place;
        let failed = |err: &dyn std::fmt::Display| {
            anyhow::Error::msg(format!("could not listen on {place} ({}): {err}", one.origin))
        };
        match place {
            Place::Tcp(address) => {
                let bound = match address {
                    SocketAddr::V6(ipv6) if config.listening.leaves_ipv4(*address) => {
                        Listener::bind_ipv6_only(*ipv6)
                    }
                    address => Listener::bind(*address),
                };
                let listener = bound.map_err(|err| {
                    let is_short = !config.listening.is_list && one.redirects_to.is_none();
                    let text = describe_bind_error(*address, &err);
                    if is_short {
                        anyhow::Error::msg(text)
                    } else {
                        anyhow::Error::msg(of_list(&text, &one.origin))
                    }
                })?;
                let bound = listener.address().context("could not read the bound address")?;
                Ok((listener, Place::Tcp(bound.unwrap_or(*address))))
            }
            Place::Unix { path, .. } => {
                // So that it is found from every directory, unless it is too long then.
                let absolute = std::path::absolute(path).ok().filter(|path| path.as_os_str().len() <= 107);
                let path = absolute.unwrap_or_else(|| path.clone());
                let (socket, file) =
                    unix_socket::bind(&path, one.access, BACKLOG).map_err(|err| failed(&err))?;
                let path = file.path().to_owned();
                self.files.push(file);
                let listener = Listener::unix(socket).map_err(|err| failed(&err))?;
                Ok((listener, Place::Unix { path, mode: None, owner: None }))
            }
            Place::Abstract(name) => {
                let socket = unix_socket::bind_abstract(name, BACKLOG).map_err(|err| failed(&err))?;
                Ok((Listener::unix(socket).map_err(|err| failed(&err))?, place.clone()))
            }
        }
    }

    /// Takes over the sockets of a predecessor that are where `config` wants listeners too, and
    /// binds the others. A port that the system chose for the predecessor is kept.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub(super) fn succeed(
        passed: Vec<(Label, Socket)>,
        handover: &Handover,
        config: &Config,
        parts: &ListenerParts,
    ) -> anyhow::Result<Self> {
        let mut groups = groups(passed)?;
        let mut clients =
            Self { listeners: vec![], places: vec![], files: vec![], are_inherited: false, slots: None };
        for one in &config.listening.all {
            let found = groups.iter().position(|(place, _)| is_at(&one.listen.place, place));
            let found =
                found.or_else(|| groups.iter().position(|(place, _)| could_be(&one.listen.place, place)));
            let (listener, place) = match found.map(|index| groups.swap_remove(index)) {
                None => clients.bind_one(config, one)?,
                Some((place, sockets)) => match clients.take_over(sockets, &place, handover)? {
                    Some(listener) => (listener, place),
                    None => clients.bind_one(config, one)?,
                },
            };
            clients.listeners.push(listener.with(options(config, one, parts)));
            clients.places.push(Listen { place, ..one.listen.clone() });
        }
        Ok(clients)
    }

    /// One listener of all `sockets`, which are at the same place. None when the file has just
    /// gone by which clients would find it.
    fn take_over(
        &mut self,
        sockets: Vec<Socket>,
        place: &Place,
        handover: &Handover,
    ) -> anyhow::Result<Option<Listener>> {
        let unfit = || format!("could not take over {place}");
        let mut tcp = Vec::new();
        for socket in sockets {
            match socket {
                Socket::Tcp(socket) => tcp.push(socket),
                Socket::Unix(socket) => {
                    if let Place::Unix { path, .. } = place
                        && handover.files.iter().any(|file| Path::new(file) == path)
                    {
                        let Ok(file) = SocketFile::of_another(path) else { return Ok(None) };
                        self.files.push(file);
                    }
                    return Listener::unix(socket).with_context(unfit).map(Some);
                }
            }
        }
        Listener::succeed(tcp).with_context(unfit).map(Some)
    }

    /// Takes sockets that were passed. What a setting says of the same address holds for them.
    ///
    /// # Errors
    /// When the system refuses an option.
    pub(super) fn inherit(
        passed: Vec<(Label, Socket)>,
        config: &Config,
        parts: &ListenerParts,
    ) -> anyhow::Result<Self> {
        let mut clients =
            Self { listeners: vec![], places: vec![], files: vec![], are_inherited: true, slots: None };
        for (label, socket) in passed {
            let unfit = || format!("{label} cannot be used");
            let place = place(&socket).with_context(unfit)?;
            let listener = match socket {
                Socket::Tcp(socket) => Listener::inherit(socket),
                Socket::Unix(socket) => Listener::unix(socket),
            };
            let listener = listener.with_context(unfit)?;
            let mut said = config.listening.all.iter();
            let said = said.find(|one| is_at(&one.listen.place, &place));
            let tls = matches!(place, Place::Tcp(_)) && config.listening.are_all_tls();
            let unsaid = Listen { place: place.clone(), tls, proxy_protocol: None, https_port: None };
            let listen = said.map_or(unsaid, |one| Listen { place, ..one.listen.clone() });
            clients.listeners.push(listener.with(match said {
                Some(one) => options(config, one, parts),
                None => {
                    ListenerOptions { tls: parts.tls.clone().filter(|_| tls), ..ListenerOptions::default() }
                }
            }));
            clients.places.push(listen);
        }
        Ok(clients)
    }

    /// The addresses of those that have one.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.places.iter().filter_map(|listen| match listen.place {
            Place::Tcp(address) => Some(address),
            Place::Unix { .. } | Place::Abstract(_) => None,
        });
        addresses.collect()
    }

    /// Each as a URL has it; those that redirect come last.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.places.iter().map(Listen::to_string).collect()
    }

    /// The first one without a scheme, as `127.0.0.1:3100` or `unix:/run/app.sock`.
    pub(crate) fn address(&self) -> String {
        self.places.first().map_or_else(String::new, |listen| listen.place.to_string())
    }

    /// Listeners that somebody has asked for, and that are none of those that were passed.
    pub(super) fn not_passed(&self, config: &Config) -> Vec<String> {
        let asked =
            config.listening.all.iter().filter(|one| config.listening.is_list || one.redirects_to.is_some());
        let missing =
            asked.filter(|one| !self.places.iter().any(|listen| is_at(&one.listen.place, &listen.place)));
        missing.map(|one| format!("{} ({})", one.listen, one.origin)).collect()
    }

    /// By what the cluster is known.
    pub(super) fn name(&self, config: &Config) -> ClusterName {
        let bound = self.places.iter().find_map(|listen| listen.place.port());
        match self.places.first() {
            Some(Listen { place: place @ (Place::Unix { .. } | Place::Abstract(_)), .. })
                if bound.is_none() =>
            {
                ClusterName::Unix(place.to_string())
            }
            _ => config.listening.listeners.name(bound),
        }
    }
}

/// The same without a hint at other settings.
fn of_list(text: &str, origin: &str) -> String {
    let plain = text.split(" (set ").next().unwrap_or(text);
    format!("{plain} ({origin})")
}

fn options(config: &Config, one: &ClientListener, parts: &ListenerParts) -> ListenerOptions {
    let hsts = config.listening.hsts.filter(|_| one.listen.tls);
    let sources = one.listen.proxy_protocol.as_ref().map(|sources| match sources {
        ProxySources::All => proxy::ProxySources::All,
        ProxySources::Networks(networks) => proxy::ProxySources::Networks(networks.clone()),
    });
    ListenerOptions {
        proxy_protocol: sources,
        trusts_peers: one.trusts_peers(),
        hsts: hsts.map(|time| format!("max-age={}", time.as_secs()).into()),
        tls: parts.tls.clone().filter(|_| one.listen.tls),
        redirect: one.redirects_to.map(|port| Redirect::new(port, Arc::clone(&parts.challenges))),
    }
}

/// Where a socket that was passed listens.
pub(super) fn place(socket: &Socket) -> std::io::Result<Place> {
    use std::os::linux::net::SocketAddrExt;
    let unix = |socket: &UnixListener| {
        let address = socket.local_addr()?;
        let name = address.as_abstract_name().map(|name| String::from_utf8_lossy(name).into_owned());
        let path = || address.as_pathname().map(std::path::Path::to_owned);
        Ok(match name {
            Some(name) => Place::Abstract(name),
            None => Place::Unix { path: path().unwrap_or_default(), mode: None, owner: None },
        })
    };
    let tcp = |socket: &TcpListener| socket.local_addr().map(Place::Tcp);
    match socket {
        Socket::Tcp(socket) => tcp(socket),
        Socket::Unix(socket) => unix(socket),
    }
}

/// Is `said` where a socket that was passed is?
fn is_at(said: &Place, passed: &Place) -> bool {
    match (said, passed) {
        (Place::Unix { path: said, .. }, Place::Unix { path: passed, .. }) => {
            let real = |path| std::fs::canonicalize(path).ok();
            said == passed || real(said).is_some_and(|said| real(passed) == Some(said))
        }
        (said, passed) => said == passed,
    }
}

/// Sockets by their places.
fn groups(passed: Vec<(Label, Socket)>) -> anyhow::Result<Vec<(Place, Vec<Socket>)>> {
    let mut groups: Vec<(Place, Vec<Socket>)> = Vec::new();
    for (label, socket) in passed {
        let place = place(&socket).with_context(|| format!("{label} cannot be used"))?;
        match groups.iter_mut().find(|(other, _)| *other == place) {
            Some((_, sockets)) => sockets.push(socket),
            None => groups.push((place, vec![socket])),
        }
    }
    Ok(groups)
}

/// Does `said` leave the port to the system, which may have chosen that of `passed`?
fn could_be(said: &Place, passed: &Place) -> bool {
    match (said, passed) {
        (Place::Tcp(said), Place::Tcp(passed)) => said.port() == 0 && said.ip() == passed.ip(),
        _ => false,
    }
}
