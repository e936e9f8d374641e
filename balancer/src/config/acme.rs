//! Which certificates are had from an ACME server, and how.

use std::path::PathBuf;

use shared_settings::definitions::{ACME_CA, ACME_DIR, ACME_DIRECTORY, ACME_DOMAIN, ACME_EMAIL};
use shared_settings::{ConfigError, Definition, Settings};

use balancer_acme::{ChallengeKind, DEFAULT_DIRECTORY};

use super::listen::Listening;

/// Where servers look by TLS-ALPN-01 (RFC 8737, section 3).
const HTTPS_PORT: u16 = 443;
/// Of root, as the file hierarchy has it.
const SYSTEM_DIR: &str = "/var/lib/balancer/acme";

/// `None` where no name is given.
///
/// # Errors
/// When no certificate can be had for a name, or something says how and no name is given.
pub(super) fn acme(
    settings: &Settings,
    listening: &Listening,
) -> Result<Option<balancer_acme::Settings>, ConfigError> {
    let email = settings.find(&ACME_EMAIL)?;
    let directory_url = settings.find_as(&ACME_DIRECTORY, balancer_acme::directory_url)?;
    let (ca, root) = (settings.find(&ACME_CA)?, settings.find(&ACME_DIR)?);
    let Some(names) = settings.find(&ACME_DOMAIN)? else {
        let given: [(bool, &Definition); 4] = [
            (email.is_some(), &ACME_EMAIL),
            (directory_url.is_some(), &ACME_DIRECTORY),
            (ca.is_some(), &ACME_CA),
            (root.is_some(), &ACME_DIR),
        ];
        return match given.into_iter().find(|&(given, _)| given) {
            None => Ok(None),
            Some((_, definition)) => Err(ConfigError::Conflict(format!(
                "{} is for certificates by ACME, and no name is given: set {}, for example --acme-domain \
                 example.com",
                definition.names(),
                ACME_DOMAIN.names()
            ))),
        };
    };
    let mut domains = Vec::with_capacity(names.len());
    for name in names {
        let domain = balancer_acme::domain(&name).map_err(|err| {
            let origin = settings.source(&ACME_DOMAIN).map_or_else(String::new, |(_, origin)| origin.to_string());
            ConfigError::Conflict(format!(
                "no certificate can be had for {name:?} from {origin}: {err}; for example --acme-domain example.com"
            ))
        })?;
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    Ok(Some(balancer_acme::Settings {
        domains,
        email,
        directory_url: directory_url.unwrap_or_else(|| DEFAULT_DIRECTORY.to_owned()),
        ca,
        root: root.map_or_else(default_root, Ok)?,
        challenges: challenges(listening),
        request_timeout: balancer_acme::REQUEST_TIMEOUT,
    }))
}

/// The handshake at port 443 comes first if this is where it leads; otherwise the request to
/// port 80, if it is answered here; otherwise the handshake, as port 443 may be passed on.
fn challenges(listening: &Listening) -> Vec<ChallengeKind> {
    let serving = listening.all.iter().filter(|one| one.listen.tls);
    let is_at_443 = serving.clone().any(|one| one.listen.place.port() == Some(HTTPS_PORT));
    let redirects = listening.all.iter().any(|one| one.redirects_to.is_some());
    match (is_at_443, redirects) {
        (_, false) => vec![ChallengeKind::TlsAlpn01],
        (true, true) => vec![ChallengeKind::TlsAlpn01, ChallengeKind::Http01],
        (false, true) => vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
    }
}

fn default_root() -> Result<PathBuf, ConfigError> {
    if rustix::process::geteuid().is_root() {
        return Ok(SYSTEM_DIR.into());
    }
    // Relative ones are invalid (XDG Base Directory Specification).
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("balancer/acme")).ok_or_else(|| {
        ConfigError::Conflict(format!(
            "there is no home directory to keep certificates in: set {}, for example --acme-dir {SYSTEM_DIR}",
            ACME_DIR.names()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::super::mode::Mode;
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<balancer_acme::Settings>, String> {
        let settings = Settings::from_parts(variables, "");
        let listening = Listening::new(&settings, Mode::Cluster { workers: 1, max: None })
            .map_err(|err| err.to_string())?;
        acme(&settings, &listening).map_err(|err| err.to_string())
    }

    #[test]
    fn names_are_taken_once_and_what_cannot_be_had_is_named() {
        assert!(of(&[]).unwrap().is_none());
        let found =
            of(&[("CLUSTER_ACME_DOMAIN", "a.example,B.example,A.example"), ("CLUSTER_ACME_DIR", "/a")]);
        let found = found.unwrap().unwrap();
        assert_eq!(found.domains, ["a.example", "b.example"]);
        assert_eq!((found.directory_url.as_str(), found.root.to_str()), (DEFAULT_DIRECTORY, Some("/a")));
        for (name, words) in
            [("192.0.2.1", "address"), ("a.example,*.b.example", "wildcard"), ("a", "no dot")]
        {
            let err = of(&[("CLUSTER_ACME_DOMAIN", name)]).unwrap_err();
            assert!(err.contains(words) && err.contains("CLUSTER_ACME_DOMAIN"), "{err}");
        }
        for (variable, value) in [
            ("CLUSTER_ACME_EMAIL", "a@b"),
            ("CLUSTER_ACME_DIRECTORY", "https://a.example/"),
            ("CLUSTER_ACME_CA", "a"),
            ("CLUSTER_ACME_DIR", "a"),
        ] {
            let err = of(&[(variable, value)]).unwrap_err();
            assert!(err.contains(variable) && err.contains("--acme-domain example.com"), "{err}");
        }
    }

    #[test]
    fn the_challenge_is_that_which_leads_here() {
        let of = |listen, redirect: Option<&'static str>| {
            let mut variables = vec![
                ("CLUSTER_ACME_DOMAIN", "a.example"),
                ("CLUSTER_LISTEN", listen),
                ("CLUSTER_ACME_DIR", "/a"),
            ];
            variables.extend(redirect.map(|redirect| ("CLUSTER_HTTP_REDIRECT", redirect)));
            self::of(&variables).unwrap().unwrap().challenges
        };
        use ChallengeKind::{Http01, TlsAlpn01};
        assert_eq!(of("https://0.0.0.0:443", None), [TlsAlpn01]);
        assert_eq!(of("https://0.0.0.0:443", Some("0.0.0.0:80")), [TlsAlpn01, Http01]);
        assert_eq!(of("https://0.0.0.0:8443", Some("0.0.0.0:80")), [Http01, TlsAlpn01]);
        assert_eq!(of("https://0.0.0.0:8443", None), [TlsAlpn01]);
    }
}
