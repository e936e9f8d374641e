//! Where somebody has chosen the cluster to listen. Sockets that are passed at the start
//! win, and whoever has chosen otherwise is to know.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use shared_settings::definitions::{ADMIN, CONTROL, HOST, PORT};
use shared_settings::{Admin, ConfigError, Definition, Origin, Settings};

/// `None` where the default holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chosen {
    host: Option<(IpAddr, Origin)>,
    port: Option<(u16, Origin)>,
    admin: Option<(Admin, Origin)>,
    control: Option<(PathBuf, Origin)>,
}

impl Chosen {
    /// # Errors
    /// When a value does not parse.
    pub(super) fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let origin = |definition: &Definition| settings.source(definition).map(|(_, origin)| origin);
        Ok(Self {
            host: Some(settings.get(&HOST)?).zip(origin(&HOST)),
            port: Some(settings.get(&PORT)?).zip(origin(&PORT)),
            admin: settings.find(&ADMIN)?.zip(origin(&ADMIN)),
            control: settings.find(&CONTROL)?.zip(origin(&CONTROL)),
        })
    }

    pub(crate) fn has_admin(&self) -> bool {
        self.admin.is_some()
    }

    /// The choices that have no effect on clients, because their sockets are at `passed`.
    pub(crate) fn without_effect_on_clients(&self, passed: &[SocketAddr]) -> Vec<String> {
        let host = self.host.as_ref().filter(|(host, _)| !passed.iter().all(|at| is_same(*host, at.ip())));
        // Port 0 stands for any.
        let port = self.port.as_ref();
        let port = port.filter(|(port, _)| *port != 0 && !passed.iter().all(|at| at.port() == *port));
        let host = host.map(|(host, origin)| said(host, origin));
        host.into_iter().chain(port.map(|(port, origin)| said(port, origin))).collect()
    }

    /// The choice that has no effect, because the admin listener's socket is at `passed`.
    pub(crate) fn without_effect_on_admin(&self, passed: SocketAddr) -> Option<String> {
        match self.admin.as_ref()? {
            (Admin::Off, origin) => Some(said("off", origin)),
            (Admin::At(at), origin) => {
                let is_met = is_same(at.ip(), passed.ip()) && (at.port() == 0 || at.port() == passed.port());
                (!is_met).then(|| said(at, origin))
            }
        }
    }

    /// The choice that has no effect, because the control socket is at `passed`.
    pub(crate) fn without_effect_on_control(&self, passed: &Path) -> Option<String> {
        let (path, origin) = self.control.as_ref()?;
        let is_met = std::fs::canonicalize(path).is_ok_and(|path| path == passed);
        (!is_met).then(|| said(path.display(), origin))
    }
}

/// All addresses are the same in both families, as an IPv6 socket takes IPv4 as well.
fn is_same(chosen: IpAddr, passed: IpAddr) -> bool {
    let (chosen, passed) = (chosen.to_canonical(), passed.to_canonical());
    chosen == passed || (chosen.is_unspecified() && passed.is_unspecified())
}

fn said(value: impl std::fmt::Display, origin: &Origin) -> String {
    match origin {
        Origin::Flag(name) => format!("--{name} {value}"),
        origin => format!("{value} ({origin})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)]) -> Chosen {
        Chosen::new(&Settings::from_parts(variables, "")).unwrap()
    }

    #[test]
    fn what_differs_from_the_sockets_that_were_passed_is_named_with_its_source() {
        let passed = ["[::]:80".parse().unwrap(), "0.0.0.0:80".parse().unwrap()];
        let clients = |variables: &[(&str, &str)]| chosen(variables).without_effect_on_clients(&passed);
        assert_eq!(clients(&[]), [""; 0], "a default is nobody's choice");
        assert_eq!(clients(&[("HOST", "0.0.0.0"), ("PORT", "80")]), [""; 0]);
        assert_eq!(clients(&[("PORT", "0")]), [""; 0], "any port");
        assert_eq!(
            clients(&[("HOST", "127.0.0.1"), ("PORT", "3100")]),
            ["127.0.0.1 (the environment variable HOST)", "3100 (the environment variable PORT)"]
        );

        let passed = "127.0.0.1:9000".parse().unwrap();
        let admin = |value| chosen(&[("CLUSTER_ADMIN", value)]).without_effect_on_admin(passed);
        assert_eq!(chosen(&[]).without_effect_on_admin(passed), None);
        assert_eq!(admin("9000"), None);
        for other in ["9001", "off", "0.0.0.0:9000"] {
            assert!(admin(other).unwrap().contains("CLUSTER_ADMIN"), "{other}");
        }
        let control = chosen(&[("CLUSTER_CONTROL", "/tmp")]);
        assert_eq!(control.without_effect_on_control(Path::new("/tmp")), None);
        assert!(control.without_effect_on_control(Path::new("/run/control.sock")).is_some());
    }
}
