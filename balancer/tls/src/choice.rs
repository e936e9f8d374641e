//! Which certificate a handshake gets, by the name that the client asks for (SNI, RFC 6066,
//! section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use crate::certificate::Certificate;

/// All certificates of one moment, by name.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// In the order in which they were given.
    all: Vec<Arc<CertifiedKey>>,
    /// Places in `all`, by host name.
    exact: HashMap<String, Vec<usize>>,
    /// Places in `all`, by what follows the first label of a wildcard.
    wildcard: HashMap<String, Vec<usize>>,
}

impl Choice {
    pub(crate) fn new<'a>(certificates: impl Iterator<Item = &'a Certificate>) -> Self {
        let mut choice = Self::default();
        for certificate in certificates {
            let place = choice.all.len();
            choice.all.push(Arc::clone(&certificate.key));
            for name in &certificate.status.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut choice.wildcard, parent),
                    None => (&mut choice.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(place);
            }
        }
        choice
    }

    /// The certificate for `name`: one for exactly this name, else one whose wildcard stands
    /// for its first label (RFC 9525, section 6.3), else the first of all. Of several, such as
    /// one of RSA and one of ECDSA, the first that the client can verify is taken.
    pub(crate) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        // rustls hands names on in lower case, and has refused those that are none.
        let exact = name.and_then(|name| self.exact.get(name));
        let wildcard = || self.wildcard.get(name?.split_once('.')?.1);
        let named = exact.or_else(wildcard).map_or(&[][..], Vec::as_slice);
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let named = named.iter().map(|&place| &self.all[place]);
        let found = named.clone().find(fits).or_else(|| named.clone().next());
        let default = || self.all.iter().find(fits).or_else(|| self.all.first());
        found.or_else(default).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_certificates::{certificate, rsa_certificate};

    const SCHEMES: &[SignatureScheme] =
        &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];

    #[test]
    fn an_exact_name_beats_a_wildcard_and_an_unknown_one_gets_the_first() {
        let all = [
            certificate(&["first.test"]),
            certificate(&["*.a.test"]),
            certificate(&["www.a.test", "a.test"]),
        ];
        let choice = Choice::new(all.iter());
        let chosen = |name: Option<&str>| {
            let key = choice.choose(name, SCHEMES).unwrap();
            all.iter().position(|certificate| Arc::ptr_eq(&certificate.key, &key)).unwrap()
        };
        for (name, place) in [
            (None, 0),
            (Some("first.test"), 0),
            (Some("other.test"), 0),
            (Some("www.a.test"), 2),
            (Some("a.test"), 2),
            (Some("b.a.test"), 1),
            // A wildcard is one label, and not none.
            (Some("c.b.a.test"), 0),
            (Some("test"), 0),
        ] {
            assert_eq!(chosen(name), place, "{name:?}");
        }
    }

    #[test]
    fn of_two_certificates_for_a_name_the_client_gets_one_that_it_can_verify() {
        let all = [certificate(&["a.test"]), rsa_certificate()];
        assert_eq!(all[1].status.names, ["a.test"]);
        let choice = Choice::new(all.iter());
        let is = |schemes, place: usize| {
            Arc::ptr_eq(&choice.choose(Some("a.test"), schemes).unwrap(), &all[place].key)
        };
        assert!(is(SCHEMES, 0));
        assert!(is(&[SignatureScheme::RSA_PSS_SHA256], 1));
        assert!(is(&[SignatureScheme::ED25519], 0), "the handshake says that there is none");
    }

    #[test]
    fn without_certificates_there_is_no_choice() {
        assert!(Choice::default().choose(Some("a.test"), SCHEMES).is_none());
    }
}
