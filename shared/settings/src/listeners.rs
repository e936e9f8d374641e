//! Which listeners hold: those of `--listen`, or what `--host` and `--port` are short for.

use std::net::SocketAddr;

use crate::control::ClusterName;
use crate::definition::Definition;
use crate::definitions::{HOST, LISTEN, PORT};
use crate::error::ConfigError;
use crate::listen::{Listen, Place};
use crate::origin::{Level, Origin};
use crate::resolve::Settings;

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// At least one.
    pub all: Vec<Listen>,
    /// The port of `--port`, for a cluster that has no other.
    port: u16,
    /// What was set and has no effect.
    pub warning: Option<String>,
}

impl Listeners {
    /// A stronger source wins, also between the two ways to say it. `HOST` and `PORT` without
    /// the cluster's prefix are often set for other programs, and never win over `--listen`.
    ///
    /// # Errors
    /// When a value does not parse, or both ways are used in the same source.
    pub fn of(settings: &Settings) -> Result<Self, ConfigError> {
        let (host, port) = (settings.get(&HOST)?, settings.get(&PORT)?);
        let short = || Self { all: vec![Listen::tcp(SocketAddr::new(host, port))], port, warning: None };
        let Some(all) = settings.find(&LISTEN)? else { return Ok(short()) };
        let level = settings.level(&LISTEN);
        let chosen = [&*HOST, &*PORT].into_iter().filter_map(|definition| {
            let (_, origin) = settings.source(definition)?;
            (!is_bare(definition, &origin)).then_some(origin)
        });
        let Some(other) = chosen.max_by_key(Origin::level).filter(|other| other.level() >= level) else {
            return Ok(Self { all, port, warning: None });
        };
        let listen = settings.source(&LISTEN).map_or_else(String::new, |(_, origin)| origin.to_string());
        if other.level() == level {
            return Err(ConfigError::Conflict(format!(
                "{other} and {listen} both say where clients connect: leave one of them out, for example \
                 --listen 127.0.0.1:3100 instead of --host and --port"
            )));
        }
        let warning = format!("{listen} has no effect, as {other} says where clients connect");
        Ok(Self { warning: Some(warning), ..short() })
    }

    /// The first port of clients.
    pub fn first_port(&self) -> Option<u16> {
        self.all.iter().find_map(|listen| listen.place.port())
    }

    /// The port beside which the admin listener lies, and by which people know the cluster.
    pub fn port(&self) -> u16 {
        self.first_port().unwrap_or(self.port)
    }

    /// The name of the cluster, once the first port is known to be `bound`, if there is one.
    pub fn name(&self, bound: Option<u16>) -> ClusterName {
        match (bound.or_else(|| self.first_port()), self.all.first()) {
            (Some(port), _) => ClusterName::Port(port),
            (None, Some(Listen { place: Place::Unix { path, .. }, .. })) => {
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                ClusterName::Unix(format!("unix:{}", absolute.display()))
            }
            (None, Some(listen)) => ClusterName::Unix(listen.to_string()),
            (None, None) => ClusterName::Port(self.port),
        }
    }

    /// Somebody has said where clients connect.
    pub fn are_chosen(settings: &Settings) -> bool {
        settings.level(&LISTEN) > Level::Default || settings.level(&PORT) > Level::Default
    }
}

/// Is the value that of a variable which other programs set as well?
fn is_bare(definition: &Definition, origin: &Origin) -> bool {
    definition.prefixed.is_some() && origin.variable() == Some(definition.variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        variables: &[(&str, &str)],
        dotenv: &str,
        flags: &[(&Definition, &str)],
    ) -> Result<Listeners, String> {
        let settings = Settings::from_parts(variables, dotenv);
        let settings =
            flags.iter().fold(settings, |settings, (flag, value)| settings.with_flag(flag, Some(value)));
        Listeners::of(&settings).map_err(|err| err.to_string())
    }

    fn shown(listeners: &Listeners) -> Vec<String> {
        listeners.all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn host_and_port_are_short_for_one_address() {
        let found = of(&[("PORT", "80")], "", &[(&HOST, "::1")]).unwrap();
        assert_eq!((shown(&found), found.port()), (vec!["http://[::1]:80".to_owned()], 80));
        let found = of(&[("CLUSTER_LISTEN", "unix:/a,[::1]:81")], "", &[]).unwrap();
        assert_eq!((shown(&found).len(), found.port(), found.warning), (2, 81, None));
    }

    #[test]
    fn the_stronger_source_wins_and_bare_variables_never_do() {
        let listen = ("CLUSTER_LISTEN", "unix:/a");
        for variables in [[listen, ("PORT", "80")], [listen, ("HOST", "0.0.0.0")]] {
            assert_eq!(shown(&of(&variables, "", &[]).unwrap()), ["unix:/a"]);
        }
        let found = of(&[("PORT", "80")], "CLUSTER_LISTEN=unix:/a\n", &[]).unwrap();
        assert_eq!((shown(&found), found.warning), (vec!["unix:/a".to_owned()], None));
        let found = of(&[("CLUSTER_PORT", "80")], "", &[(&LISTEN, "unix:/a")]).unwrap();
        assert_eq!((shown(&found), found.warning), (vec!["unix:/a".to_owned()], None));
        let found = of(&[listen], "", &[(&PORT, "80")]).unwrap();
        assert_eq!(shown(&found), ["http://127.0.0.1:80"]);
        assert_eq!(
            found.warning.unwrap(),
            "the environment variable CLUSTER_LISTEN has no effect, as --port says where clients connect"
        );
    }

    #[test]
    fn both_ways_in_one_source_contradict_each_other() {
        for flag in [(&*PORT, "80"), (&*HOST, "::1")] {
            let err = of(&[], "", &[(&LISTEN, "81"), flag]).unwrap_err();
            assert!(err.contains(&format!("--{} and --listen both say", flag.0.flag.unwrap())), "{err}");
        }
        let err = of(&[("CLUSTER_LISTEN", "81"), ("CLUSTER_HOST", "::1")], "", &[]).unwrap_err();
        assert!(err.contains("CLUSTER_HOST and the environment variable CLUSTER_LISTEN"), "{err}");
    }

    #[test]
    fn a_cluster_is_known_by_its_first_port_or_its_first_socket() {
        let name =
            |listen: &str, bound| of(&[("CLUSTER_LISTEN", listen)], "", &[]).unwrap().name(bound).to_string();
        assert_eq!(name("unix:/a,127.0.0.1:80,127.0.0.1:81", None), "port 80");
        assert_eq!(name("127.0.0.1:0", Some(40_000)), "port 40000");
        assert_eq!(name("unix:/run/a.sock,unix:@b", None), "unix:/run/a.sock");
        assert_eq!(name("unix:@b", None), "unix:@b");
    }
}
