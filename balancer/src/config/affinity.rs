//! What leads a client's requests to one worker, for the strategies that do so.

use shared_protocol::Secret as Generated;
use shared_settings::definitions::{
    HASH_KEY, STICKY_COOKIE, STICKY_PATH, STICKY_SAME_SITE, STICKY_SECRET, STICKY_SECURE,
};
use shared_settings::{ConfigError, Settings};

use balancer_pool::select::Strategy;
use balancer_proxy::sticky::{CookieAttributes, CookieError, NoRandom, SameSite, Sticky, random_secret};
use balancer_proxy::{AffinitySource, HashKeySource};

use super::traffic::Secret;

/// What requests are led by. It is checked whole, whatever the strategy.
#[derive(Debug, Clone)]
pub(crate) struct Affinity {
    hash_key: HashKeySource,
    cookie: CookieAttributes,
    /// The key of the sticky cookie's signature, if somebody has chosen one.
    secret: Option<Secret>,
}

impl Affinity {
    pub(super) fn new(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            hash_key: settings.get_as(&HASH_KEY, HashKeySource::parse)?,
            cookie: cookie(settings)?,
            secret: settings.find_secret(&STICKY_SECRET, Secret::parse)?,
        })
    }

    /// The source that `strategy` needs, and the secret that signs sticky cookies if nobody has
    /// chosen one. It lives in the primary, so that cookies outlive every worker, and is the one
    /// that a predecessor has `left`; that is kept for a later successor, whatever the strategy.
    ///
    /// # Errors
    /// When a secret is to be made and the system has no random numbers.
    pub(crate) fn source(
        &self,
        strategy: Strategy,
        left: Option<&Generated>,
    ) -> Result<(AffinitySource, Option<Generated>), NoRandom> {
        let source = match strategy {
            Strategy::RoundRobin | Strategy::LeastConnections | Strategy::PowerOfTwo => AffinitySource::None,
            Strategy::Hash => AffinitySource::Key(self.hash_key.clone()),
            Strategy::Sticky => {
                let sticky =
                    |secret: &[u8]| AffinitySource::Cookie(Sticky::with_secret(secret, self.cookie.clone()));
                if let Some(chosen) = &self.secret {
                    return Ok((sticky(chosen.expose()), None));
                }
                let generated = match left.and_then(Generated::expose) {
                    Some(left) => left,
                    None => random_secret()?.to_vec(),
                };
                return Ok((sticky(&generated), Some(Generated::new(&generated))));
            }
        };
        Ok((source, left.cloned()))
    }
}

fn cookie(settings: &Settings) -> Result<CookieAttributes, ConfigError> {
    let name = settings.get_as(&STICKY_COOKIE, CookieAttributes::parse_name)?;
    let path = settings.get_as(&STICKY_PATH, CookieAttributes::parse_path)?;
    let same_site = settings.get_as(&STICKY_SAME_SITE, SameSite::parse)?;
    let is_secure = settings.get(&STICKY_SECURE)?;
    CookieAttributes::new(name, path, same_site, is_secure).map_err(|error| {
        let (set, other) = match error {
            CookieError::SameSiteNone => (STICKY_SAME_SITE.names(), STICKY_SECURE.names()),
            CookieError::SecurePrefix => (STICKY_COOKIE.names(), STICKY_SECURE.names()),
            CookieError::HostPrefix => (STICKY_COOKIE.names(), STICKY_PATH.names()),
        };
        let cure = match error {
            CookieError::HostPrefix => "leave out",
            CookieError::SameSiteNone | CookieError::SecurePrefix => "set",
        };
        ConfigError::Conflict(format!("{error}: {cure} {other} as well, or change {set}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affinity(variables: &[(&str, &str)]) -> Result<Affinity, String> {
        let settings = Settings::from_parts(variables, "");
        Affinity::new(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn what_nobody_sets_stays_as_it_is() {
        let affinity = affinity(&[]).unwrap();
        assert_eq!(affinity.cookie, CookieAttributes::default());
        assert_eq!((affinity.hash_key, affinity.secret), (HashKeySource::ClientIp, None));
    }

    #[test]
    fn every_form_that_is_offered_is_taken_and_no_other() {
        for text in HASH_KEY.expects.split([' ', ',']).filter(|word| !matches!(*word, "" | "or")) {
            assert!(affinity(&[("CLUSTER_HASH_KEY", text)]).is_ok(), "{text}");
        }
        for text in STICKY_SAME_SITE.value_name.split('|') {
            let secure = ("CLUSTER_STICKY_SECURE", "true");
            assert!(affinity(&[("CLUSTER_STICKY_SAME_SITE", text), secure]).is_ok(), "{text}");
        }
        for (variable, example, bad) in [
            ("CLUSTER_HASH_KEY", HASH_KEY.example, "sid"),
            ("CLUSTER_STICKY_COOKIE", STICKY_COOKIE.example, "a b"),
            ("CLUSTER_STICKY_PATH", STICKY_PATH.example, "app"),
            ("CLUSTER_STICKY_SAME_SITE", "strict", "Lax"),
        ] {
            assert!(affinity(&[(variable, example)]).is_ok(), "{variable}");
            let error = affinity(&[(variable, bad)]).unwrap_err();
            assert!(error.contains(variable) && error.contains(bad), "{error}");
        }
    }

    #[test]
    fn cookies_that_browsers_drop_are_refused() {
        let refused = |variables: &[(&str, &str)], names: [&str; 2]| {
            let error = affinity(variables).unwrap_err();
            assert!(names.iter().all(|name| error.contains(name)), "{error}");
        };
        refused(&[("CLUSTER_STICKY_SAME_SITE", "none")], ["--sticky-same-site", "set --sticky-secure"]);
        refused(&[("CLUSTER_STICKY_COOKIE", "__Secure-a")], ["--sticky-cookie", "set --sticky-secure"]);
        let secure = ("CLUSTER_STICKY_SECURE", "true");
        let host = ("CLUSTER_STICKY_COOKIE", "__Host-a");
        refused(
            &[host, secure, ("CLUSTER_STICKY_PATH", "/b")],
            ["--sticky-cookie", "leave out --sticky-path"],
        );
        assert!(affinity(&[host, secure]).is_ok());
    }

    #[test]
    fn strategies_have_the_source_that_they_need() {
        let affinity = affinity(&[("CLUSTER_HASH_KEY", "query:id")]).unwrap();
        let source = |strategy| affinity.source(strategy, None).unwrap().0;
        assert!(matches!(source(Strategy::RoundRobin), AffinitySource::None));
        assert!(matches!(source(Strategy::Sticky), AffinitySource::Cookie(_)));
        let query = HashKeySource::Query("id".to_owned());
        assert!(matches!(source(Strategy::Hash), AffinitySource::Key(key) if key == query));
    }

    #[test]
    fn a_generated_secret_is_handed_on_and_a_chosen_one_is_not() {
        let of = |variables: &[(&str, &str)], strategy, left: Option<&Generated>| {
            affinity(variables).unwrap().source(strategy, left).unwrap().1
        };
        let generated = of(&[], Strategy::Sticky, None);
        assert!(generated.is_some());
        assert_ne!(of(&[], Strategy::Sticky, None), generated);
        for strategy in [Strategy::Sticky, Strategy::RoundRobin, Strategy::Hash] {
            assert_eq!(of(&[], strategy, generated.as_ref()), generated);
        }
        let chosen = [("CLUSTER_STICKY_SECRET", "0123456789abcdef")];
        assert_eq!(of(&chosen, Strategy::Sticky, generated.as_ref()), None);
        assert_eq!(of(&[], Strategy::RoundRobin, None), None);
    }
}
