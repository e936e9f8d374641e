//! How clients get to workers: through the balancer, or straight. What only a balancer between
//! could do is refused where there is none, as it would be done for a few requests only: those
//! that are relayed while a slot has no ready worker.

use shared_settings::definitions::{
    ACCESS_LOG, ACCESS_LOG_FORMAT, ACME_DOMAIN, BODY_TIMEOUT, BUFFER_MEMORY, BUFFER_REQUESTS,
    BUFFER_RESPONSES, CLIENT_TIMEOUT, CLUSTER, COMPRESS, DISPATCH, ERROR_PAGES, HALF_CLOSE, HASH_KEY,
    HEAD_TIMEOUT, HSTS, HTTP_REDIRECT, HTTP2, IDLE_TIMEOUT, MAX_CONCURRENCY, MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_IP, MAX_REQUEST_BODY, MAX_REQUESTS, MAX_TUNNELS, MIN_BODY_RATE, QUEUE, QUEUE_TIMEOUT,
    RESPONSE_TIMEOUT, SHUTDOWN_DELAY, STICKY_COOKIE, STICKY_PATH, STICKY_SAME_SITE, STICKY_SECRET,
    STICKY_SECURE, STRATEGY, TLS_CERT, TLS_CLIENT_CA, TLS_DIR, TLS_KEY, TRUST_FORWARDED,
};
use shared_settings::listen::Place;
use shared_settings::{ConfigError, Definition, Settings};

use super::listen::Listening;
use super::mode::Mode;

/// How clients get to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dispatch {
    /// Through the balancer.
    Relay,
    /// Workers accept clients' connections themselves.
    Direct,
}

/// What would be done for relayed requests only.
const OF_A_RELAY: [&Definition; 37] = [
    &STRATEGY.definition,
    &HASH_KEY.definition,
    &STICKY_SECRET.definition,
    &STICKY_COOKIE.definition,
    &STICKY_PATH.definition,
    &STICKY_SAME_SITE.definition,
    &STICKY_SECURE.definition,
    &MAX_CONCURRENCY.definition,
    &QUEUE.definition,
    &QUEUE_TIMEOUT.definition,
    &MAX_TUNNELS.definition,
    &MAX_CONNECTIONS.definition,
    &MAX_CONNECTIONS_PER_IP.definition,
    &TRUST_FORWARDED.definition,
    &HEAD_TIMEOUT.definition,
    &IDLE_TIMEOUT.definition,
    &CLIENT_TIMEOUT.definition,
    &BODY_TIMEOUT.definition,
    &MIN_BODY_RATE.definition,
    &RESPONSE_TIMEOUT.definition,
    &MAX_REQUEST_BODY.definition,
    &BUFFER_REQUESTS.definition,
    &BUFFER_RESPONSES.definition,
    &BUFFER_MEMORY.definition,
    &HALF_CLOSE.definition,
    &ERROR_PAGES.definition,
    &HTTP2.definition,
    &COMPRESS.definition,
    &HTTP_REDIRECT.definition,
    &HSTS.definition,
    &TLS_CERT.definition,
    &TLS_KEY.definition,
    &TLS_DIR.definition,
    &TLS_CLIENT_CA.definition,
    &ACME_DOMAIN.definition,
    &ACCESS_LOG.definition,
    &ACCESS_LOG_FORMAT.definition,
];

/// Of programs. The bundled worker asks the primary how the cluster is, so that the delay of a
/// shutdown can be seen, and says how many requests it has had.
const OF_UNKNOWN_PROGRAMS: [&Definition; 2] = [&SHUTDOWN_DELAY.definition, &MAX_REQUESTS.definition];

/// # Errors
/// For a value that is none, and for settings that contradict it.
pub(super) fn dispatch(
    settings: &Settings,
    mode: Mode,
    listening: &Listening,
    has_command: bool,
) -> Result<Dispatch, ConfigError> {
    let dispatch = settings.get_as(&DISPATCH, |text| match text {
        "relay" => Some(Dispatch::Relay),
        "direct" => Some(Dispatch::Direct),
        _ => None,
    })?;
    if dispatch == Dispatch::Relay {
        return Ok(dispatch);
    }
    let origin = settings.source(&DISPATCH).map_or_else(String::new, |(_, origin)| match origin {
        shared_settings::Origin::Flag(_) => "--dispatch direct".to_owned(),
        origin => format!("direct ({origin})"),
    });
    let refuse = |other: &str, why: &str| {
        Err(ConfigError::Conflict(format!(
            "{other} and {origin} contradict each other, as {why}: leave one out, for example --dispatch relay"
        )))
    };
    if mode == Mode::Single {
        return refuse(&CLUSTER.names(), "a single process accepts connections itself anyway");
    }
    let unknown = OF_UNKNOWN_PROGRAMS.into_iter().filter(|_| has_command);
    for definition in OF_A_RELAY.into_iter().chain(unknown) {
        if let Some((value, other)) = settings.source(definition)
            && !value.is_empty()
        {
            let why = "workers accept clients' connections themselves, and no balancer stands between";
            return refuse(&other.to_string(), why);
        }
    }
    match &listening.all[..] {
        [one] if matches!(one.listen.place, Place::Tcp(_)) && one.listen.proxy_protocol.is_none() => {
            Ok(dispatch)
        }
        [one] => refuse(
            &format!("{} ({})", one.listen, one.origin),
            "workers accept connections of one plain TCP address, without the PROXY protocol",
        ),
        all => refuse(
            &format!("{} addresses ({})", all.len(), all.last().map_or("", |one| &one.origin)),
            "workers accept connections of one plain TCP address",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER_OF_TWO: Mode = Mode::Cluster { workers: 2, max: None };

    fn of(variables: &[(&str, &str)], mode: Mode) -> Result<Dispatch, String> {
        let variables = [variables, &[("CLUSTER_DISPATCH", "direct")]].concat();
        let settings = Settings::from_parts(&variables, "");
        let listening = Listening::new(&settings, mode).map_err(|err| err.to_string())?;
        dispatch(&settings, mode, &listening, true).map_err(|err| err.to_string())
    }

    #[test]
    fn what_only_a_balancer_between_could_do_is_refused() {
        assert_eq!(of(&[], CLUSTER_OF_TWO), Ok(Dispatch::Direct));
        // These two are refused alone for want of a certificate.
        let parts = [TLS_KEY.variable, TLS_CLIENT_CA.variable];
        let all = OF_A_RELAY.into_iter().filter(|definition| !parts.contains(&definition.variable));
        for definition in all.chain(OF_UNKNOWN_PROGRAMS) {
            // Whether the value is one is somebody else's business, but for listeners.
            let value = if definition.variable == HTTP_REDIRECT.variable {
                "127.0.0.1:0?https-port=1"
            } else if definition.variable == HSTS.variable {
                "1d"
            } else {
                "1"
            };
            let variables = [(definition.variable, value)];
            let err = of(&variables, CLUSTER_OF_TWO).unwrap_err();
            assert!(err.contains(definition.variable) && err.contains("CLUSTER_DISPATCH"), "{err}");
            assert!(!err.contains('\n'), "{err}");
        }
        for listen in ["unix:/a", "127.0.0.1:1,127.0.0.1:2", "127.0.0.1:1?proxy-protocol=10.0.0.0/8"] {
            let err = of(&[("CLUSTER_LISTEN", listen)], CLUSTER_OF_TWO).unwrap_err();
            assert!(err.contains("CLUSTER_LISTEN") && err.contains("one plain TCP address"), "{err}");
        }
        assert!(of(&[], Mode::Single).unwrap_err().contains("--cluster"));
    }

    #[test]
    fn a_delay_is_for_bundled_workers_which_ask_the_primary_how_the_cluster_is() {
        let settings =
            Settings::from_parts(&[("CLUSTER_DISPATCH", "direct"), ("CLUSTER_SHUTDOWN_DELAY", "1s")], "");
        let listening = Listening::new(&settings, CLUSTER_OF_TWO).unwrap();
        assert!(dispatch(&settings, CLUSTER_OF_TWO, &listening, false).is_ok());
        assert!(dispatch(&settings, CLUSTER_OF_TWO, &listening, true).is_err());
    }
}
