//! Settings that somebody has set and that do nothing, as another one is missing beside them:
//! a slip, more often than not.

use shared_settings::definitions::{
    ACCESS_LOG, ACCESS_LOG_FORMAT, ADMIN, ADMIN_HOSTS, HASH_KEY, HEALTH_HOST, HEALTH_PATH, HEALTH_STATUS,
    MAX_CONCURRENCY, QUEUE, QUEUE_TIMEOUT, SHUTDOWN_DELAY, STICKY_COOKIE, STICKY_PATH, STICKY_SAME_SITE,
    STICKY_SECRET, STICKY_SECURE, STRATEGY,
};
use shared_settings::{Definition, Settings};

/// Settings that need another one.
struct Dependents {
    settings: &'static [&'static Definition],
    /// What to say of each of them.
    says: &'static str,
    is_given: fn(&Settings) -> bool,
}

const DEPENDENTS: [Dependents; 7] = [
    Dependents {
        settings: &[&HASH_KEY.definition],
        says: "has no effect: it needs --strategy hash",
        is_given: |settings| value(settings, &STRATEGY.definition) == "hash",
    },
    Dependents {
        settings: &[
            &STICKY_COOKIE.definition,
            &STICKY_PATH.definition,
            &STICKY_SAME_SITE.definition,
            &STICKY_SECURE.definition,
            &STICKY_SECRET.definition,
        ],
        says: "has no effect: it needs --strategy sticky",
        is_given: |settings| value(settings, &STRATEGY.definition) == "sticky",
    },
    Dependents {
        settings: &[&QUEUE.definition, &QUEUE_TIMEOUT.definition],
        says: "has no effect: it needs --max-concurrency",
        is_given: |settings| settings.source(&MAX_CONCURRENCY).is_some(),
    },
    Dependents {
        settings: &[&ACCESS_LOG_FORMAT.definition],
        says: "has no effect: it needs --access-log",
        is_given: |settings| settings.source(&ACCESS_LOG).is_some(),
    },
    Dependents {
        settings: &[&HEALTH_HOST.definition, &HEALTH_STATUS.definition],
        says: "has no effect: it needs a path as --health-path, and not tcp",
        is_given: |settings| value(settings, &HEALTH_PATH.definition) != "tcp",
    },
    Dependents {
        settings: &[&ADMIN_HOSTS.definition],
        says: "has no effect: it needs --admin",
        is_given: |settings| value(settings, &ADMIN.definition) != "off",
    },
    // Clients of somebody else's program are answered by it: see Config::public_probe.
    Dependents {
        settings: &[&SHUTDOWN_DELAY.definition],
        says: "is seen in the answer of the admin listener's /health only, as --health-path is / or tcp",
        is_given: |settings| {
            let probe = value(settings, &HEALTH_PATH.definition);
            let is_off = settings.get(&SHUTDOWN_DELAY).is_ok_and(|delay| delay.is_zero());
            is_off || settings.command().is_empty() || !matches!(probe, "/" | "tcp")
        },
    },
];

/// One sentence for each of them.
pub(super) fn without_effect(settings: &Settings) -> impl Iterator<Item = String> {
    let missing = DEPENDENTS.iter().filter(|dependents| !(dependents.is_given)(settings));
    missing.flat_map(|dependents| {
        let set = dependents.settings.iter().filter_map(|definition| settings.source(definition));
        set.map(|(_, origin)| format!("{origin} {}", dependents.says))
    })
}

fn value<'a>(settings: &'a Settings, definition: &'static Definition) -> &'a str {
    settings.source(definition).map_or(definition.default.as_str(), |(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[(&str, &str)]) -> Vec<String> {
        without_effect(&Settings::from_parts(variables, "")).collect()
    }

    #[test]
    fn what_does_nothing_without_another_setting_is_said() {
        for (variable, value, with) in [
            ("CLUSTER_HASH_KEY", "client-ip", ("CLUSTER_STRATEGY", "hash")),
            ("CLUSTER_STICKY_COOKIE", "a", ("CLUSTER_STRATEGY", "sticky")),
            ("CLUSTER_STICKY_PATH", "/a", ("CLUSTER_STRATEGY", "sticky")),
            ("CLUSTER_STICKY_SAME_SITE", "lax", ("CLUSTER_STRATEGY", "sticky")),
            ("CLUSTER_STICKY_SECURE", "true", ("CLUSTER_STRATEGY", "sticky")),
            ("CLUSTER_STICKY_SECRET", "0123456789abcdef", ("CLUSTER_STRATEGY", "sticky")),
            ("CLUSTER_QUEUE", "5", ("CLUSTER_MAX_CONCURRENCY", "4")),
            ("CLUSTER_QUEUE_TIMEOUT", "5s", ("CLUSTER_MAX_CONCURRENCY", "4")),
            ("CLUSTER_ACCESS_LOG_FORMAT", "json", ("CLUSTER_ACCESS_LOG", "-")),
        ] {
            let sentences = said(&[(variable, value)]);
            assert!(
                matches!(&sentences[..], [one] if one.contains(variable) && one.contains("no effect")),
                "{variable}: {sentences:?}"
            );
            assert!(!sentences[0].contains("0123456789"), "{sentences:?}");
            assert!(said(&[(variable, value), with]).is_empty(), "{variable} with {with:?}");
        }
        for (variable, value, without) in [
            ("CLUSTER_HEALTH_HOST", "a", ("CLUSTER_HEALTH_PATH", "tcp")),
            ("CLUSTER_HEALTH_STATUS", "200", ("CLUSTER_HEALTH_PATH", "tcp")),
            ("CLUSTER_ADMIN_HOSTS", "a", ("CLUSTER_ADMIN", "off")),
        ] {
            assert!(said(&[(variable, value)]).is_empty(), "{variable}");
            assert_eq!(said(&[(variable, value), without]).len(), 1, "{variable} with {without:?}");
        }
        assert!(said(&[]).is_empty());
    }

    #[test]
    fn a_delay_that_balancers_in_front_cannot_see_is_said() {
        let of = |probe, command: &[&str]| {
            let variables = [("CLUSTER_SHUTDOWN_DELAY", "5s"), ("CLUSTER_HEALTH_PATH", probe)];
            let settings = Settings::from_parts(&variables, "").with_file("", command).unwrap();
            without_effect(&settings).count()
        };
        assert_eq!([of("/", &["x"]), of("tcp", &["x"]), of("/up", &["x"]), of("/", &[])], [1, 1, 0, 0]);
    }
}
