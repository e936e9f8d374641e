//! Where certificates come from, if clients speak TLS.

use shared_settings::definitions::{ACME_DOMAIN, TLS_CERT, TLS_CLIENT_CA, TLS_DIR, TLS_KEY};
use shared_settings::{ConfigError, Settings};

use balancer_tls::{PairFiles, Sources};

use super::mode::Mode;

/// `None` where clients speak plain HTTP.
///
/// # Errors
/// When there is a key without its certificate, or the other way round.
pub(super) fn sources(settings: &Settings, mode: Mode) -> Result<Option<Sources>, ConfigError> {
    let (certificates, keys) = (settings.find(&TLS_CERT)?, settings.find(&TLS_KEY)?);
    let (directory, client_ca) = (settings.find(&TLS_DIR)?, settings.find(&TLS_CLIENT_CA)?);
    let acme = settings.find(&ACME_DOMAIN)?.is_some();
    let given = [
        (acme, ACME_DOMAIN.names()),
        (certificates.is_some(), TLS_CERT.names()),
        (keys.is_some(), TLS_KEY.names()),
        (directory.is_some(), TLS_DIR.names()),
        (client_ca.is_some(), TLS_CLIENT_CA.names()),
    ];
    let Some((_, first)) = given.into_iter().find(|&(given, _)| given) else { return Ok(None) };
    if mode == Mode::Single {
        return Err(ConfigError::Conflict(format!(
            "{first} is for a cluster, as a single process speaks plain HTTP: leave it out, or leave out \
             --cluster off (or CLUSTER_ENABLED=false), for example --workers 1"
        )));
    }
    let certificates = certificates.unwrap_or_default();
    let keys = keys.unwrap_or_else(|| certificates.clone());
    if keys.len() != certificates.len() {
        return Err(ConfigError::Conflict(format!(
            "there are {} certificates and {} keys: give each {} its {}, for example --tls-cert a.pem --tls-key \
             a.key",
            certificates.len(),
            keys.len(),
            TLS_CERT.names(),
            TLS_KEY.names()
        )));
    }
    let pairs = certificates.into_iter().zip(keys);
    let pairs = pairs.map(|(certificate, key)| PairFiles { certificate, key }).collect();
    let sources = Sources { pairs, directory, client_ca };
    if sources.is_empty() && !acme {
        return Err(ConfigError::Conflict(format!(
            "{} needs a certificate of the cluster as well: set {}, {} or {}",
            TLS_CLIENT_CA.names(),
            TLS_CERT.names(),
            TLS_DIR.names(),
            ACME_DOMAIN.names()
        )));
    }
    Ok(Some(sources))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Mode = Mode::Cluster { workers: 1, max: None };

    fn of(variables: &[(&str, &str)], mode: Mode) -> Result<Option<Sources>, String> {
        sources(&Settings::from_parts(variables, ""), mode).map_err(|err| err.to_string())
    }

    #[test]
    fn pairs_are_told_by_their_order_and_a_key_may_be_in_the_same_file() {
        assert_eq!(of(&[], CLUSTER), Ok(None));
        let pair =
            |certificate: &str, key: &str| PairFiles { certificate: certificate.into(), key: key.into() };
        let found = of(&[("CLUSTER_TLS_CERT", "a.pem,b.pem"), ("CLUSTER_TLS_KEY", "a.key,b.key")], CLUSTER);
        assert_eq!(found.unwrap().unwrap().pairs, [pair("a.pem", "a.key"), pair("b.pem", "b.key")]);
        let found = of(&[("CLUSTER_TLS_CERT", "a.pem")], CLUSTER).unwrap().unwrap();
        assert_eq!(found.pairs, [pair("a.pem", "a.pem")]);
        let found = of(&[("CLUSTER_TLS_DIR", "/certs")], CLUSTER).unwrap().unwrap();
        assert_eq!(found.directory.unwrap().to_str(), Some("/certs"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let certificate = ("CLUSTER_TLS_CERT", "a.pem");
        for (variables, words) in [
            (&[certificate, ("CLUSTER_TLS_KEY", "a.key,b.key")][..], "1 certificates and 2 keys"),
            (&[("CLUSTER_TLS_KEY", "a.key")], "0 certificates and 1 keys"),
            (&[("CLUSTER_TLS_CLIENT_CA", "ca.pem")], "--tls-client-ca or CLUSTER_TLS_CLIENT_CA needs"),
        ] {
            let err = of(variables, CLUSTER).unwrap_err();
            assert!(err.contains(words), "{err}");
        }
        let err = of(&[certificate], Mode::Single).unwrap_err();
        assert!(err.contains("--tls-cert") && err.contains("--workers 1"), "{err}");
    }
}
