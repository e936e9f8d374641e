//! What concerns requests: how workers share them, what clients may do, and
//! where requests are logged.

use std::fmt;
use std::path::PathBuf;

use shared_settings::definitions::{
    ACCESS_LOG, ACCESS_LOG_FORMAT, BODY_TIMEOUT, BUFFER_MEMORY, BUFFER_REQUESTS, BUFFER_RESPONSES,
    CLIENT_TIMEOUT, COMPRESS, HALF_CLOSE, HEAD_TIMEOUT, HTTP2, IDLE_TIMEOUT, MAX_CONCURRENCY,
    MAX_CONNECTIONS_PER_IP, MAX_REQUEST_BODY, MAX_TUNNELS, MIN_BODY_RATE, QUEUE, QUEUE_TIMEOUT,
    RESPONSE_TIMEOUT, STRATEGY, TRUST_FORWARDED,
};
use shared_settings::{ConfigError, Settings};

use balancer_access_log::{Format, Target};
use balancer_pool::select::Strategy;
use balancer_pool::{Balancing, ConcurrencyLimit};
use balancer_proxy::{Coding, Codings, Http2, ProxyLimits};

/// Shorter secrets can be found by trying.
const SHORTEST_SECRET: usize = 16;

/// Something that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() < SHORTEST_SECRET {
            return Err(format!("it has {} bytes", text.len()));
        }
        Ok(Self(text.as_bytes().to_vec()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

pub(super) fn balancing(settings: &Settings) -> Result<Balancing, ConfigError> {
    let (queue, queue_timeout) = (settings.get(&QUEUE)?, settings.get(&QUEUE_TIMEOUT)?);
    let max_concurrency = settings.find(&MAX_CONCURRENCY)?;
    Ok(Balancing {
        strategy: settings.get_as(&STRATEGY, parse_strategy)?,
        concurrency_limit: max_concurrency.map(|max_concurrency| ConcurrencyLimit {
            max_concurrency,
            queue,
            queue_timeout,
        }),
    })
}

pub(super) fn proxy_limits(settings: &Settings) -> Result<ProxyLimits, ConfigError> {
    Ok(ProxyLimits {
        head_timeout: settings.get(&HEAD_TIMEOUT)?,
        idle_timeout: settings.get(&IDLE_TIMEOUT)?,
        body_timeout: settings.get(&BODY_TIMEOUT)?,
        min_body_rate: settings.get(&MIN_BODY_RATE)?,
        client_timeout: settings.get(&CLIENT_TIMEOUT)?,
        response_timeout: settings.get(&RESPONSE_TIMEOUT)?,
        max_request_body: settings.find(&MAX_REQUEST_BODY)?.unwrap_or(u64::MAX),
        buffer_requests: settings.get(&BUFFER_REQUESTS)?,
        buffer_responses: settings.get(&BUFFER_RESPONSES)?,
        buffer_memory: settings.get(&BUFFER_MEMORY)?,
        max_connections_per_ip: settings.find(&MAX_CONNECTIONS_PER_IP)?,
        max_tunnels: settings.find(&MAX_TUNNELS)?,
        half_close: settings.get(&HALF_CLOSE)?,
        trust_forwarded: settings.get(&TRUST_FORWARDED)?,
        http2: settings.get_as(&HTTP2, parse_http2)?,
        compress: settings.get_as(&COMPRESS, parse_codings)?,
        ..ProxyLimits::default()
    })
}

/// None when there is to be no access log.
pub(super) fn access_log(settings: &Settings) -> Result<Option<balancer_access_log::Settings>, ConfigError> {
    let target = settings.find_as(&ACCESS_LOG, parse_target)?;
    let format = settings.get_as(&ACCESS_LOG_FORMAT, parse_format)?;
    Ok(target.map(|target| balancer_access_log::Settings { target, format }))
}

fn parse_target(text: &str) -> Option<Target> {
    match text {
        "" => None,
        "-" => Some(Target::Stdout),
        path => Some(Target::File(PathBuf::from(path))),
    }
}

fn parse_strategy(text: &str) -> Option<Strategy> {
    Some(match text {
        "round-robin" => Strategy::RoundRobin,
        "least-connections" => Strategy::LeastConnections,
        "power-of-two" => Strategy::PowerOfTwo,
        "sticky" => Strategy::Sticky,
        "hash" => Strategy::Hash,
        _ => return None,
    })
}

fn parse_http2(text: &str) -> Option<Http2> {
    Some(match text {
        "off" => Http2::Off,
        "tls" => Http2::Tls,
        "on" => Http2::On,
        _ => return None,
    })
}

fn parse_codings(text: &str) -> Option<Codings> {
    match text {
        "off" => Some(Codings::default()),
        "on" => Some(Codings::new(Coding::ALL)),
        list => {
            let named = |name: &str| Coding::ALL.into_iter().find(|coding| coding.name() == name.trim());
            list.split(',').map(named).collect::<Option<Vec<_>>>().map(Codings::new)
        }
    }
}

fn parse_format(text: &str) -> Option<Format> {
    match text {
        "combined" => Some(Format::Combined),
        "json" => Some(Format::Json),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared_settings::Definition;
    use shared_settings::definitions::STICKY_SECRET;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        Settings::from_parts(variables, "")
    }

    #[test]
    fn there_is_a_queue_where_there_is_a_cap() {
        let none = balancing(&settings(&[("CLUSTER_QUEUE", "7")])).unwrap();
        assert_eq!((none.strategy, none.concurrency_limit), (Strategy::RoundRobin, None));
        let queue = settings(&[("CLUSTER_MAX_CONCURRENCY", "2"), ("CLUSTER_QUEUE", "0")]);
        let limit = balancing(&queue).unwrap().concurrency_limit.unwrap();
        let queue_timeout = Duration::from_secs(5);
        assert_eq!(limit, ConcurrencyLimit { max_concurrency: 2, queue: 0, queue_timeout });
    }

    /// The words of a definition's "expected …".
    fn words(definition: &Definition) -> impl Iterator<Item = &'static str> {
        definition.expects.split([' ', ',']).filter(|word| !matches!(*word, "" | "or"))
    }

    #[test]
    fn every_name_that_is_offered_is_taken_and_no_other() {
        for name in words(&STRATEGY) {
            assert!(balancing(&settings(&[("CLUSTER_STRATEGY", name)])).is_ok(), "{name}");
        }
        for name in words(&ACCESS_LOG_FORMAT) {
            assert!(access_log(&settings(&[("CLUSTER_ACCESS_LOG_FORMAT", name)])).is_ok(), "{name}");
        }
        for name in words(&HTTP2) {
            assert!(proxy_limits(&settings(&[("CLUSTER_HTTP2", name)])).is_ok(), "{name}");
        }
        assert!(proxy_limits(&settings(&[("CLUSTER_HTTP2", "true")])).is_err());
        let err = balancing(&settings(&[("CLUSTER_STRATEGY", "random")])).unwrap_err().to_string();
        assert!(err.contains("CLUSTER_STRATEGY"), "{err}");
        assert!(access_log(&settings(&[("CLUSTER_ACCESS_LOG_FORMAT", "xml")])).is_err());
    }

    #[test]
    fn responses_are_compressed_with_what_is_named_in_its_order() {
        let of = |text| proxy_limits(&settings(&[("CLUSTER_COMPRESS", text)])).map(|limits| limits.compress);
        assert_eq!(of("on").unwrap(), Codings::new(Coding::ALL));
        assert_eq!(of("off").unwrap(), Codings::default());
        assert_eq!(of("gzip, zstd,gzip").unwrap(), Codings::new([Coding::Gzip, Coding::Zstd]));
        for bad in ["true", "brotli", "gzip,", ",", "gzip,on", "GZIP", "gzip zstd"] {
            let err = of(bad).unwrap_err().to_string();
            assert!(err.contains("CLUSTER_COMPRESS") && err.contains("zstd, br and gzip"), "{bad}: {err}");
        }
    }

    #[test]
    fn what_nobody_sets_stays_as_it_is() {
        let limits = proxy_limits(&settings(&[])).unwrap();
        assert_eq!(format!("{limits:?}"), format!("{:?}", ProxyLimits::default()));
    }

    #[test]
    fn a_secret_is_long_and_never_shown() {
        let secret =
            |value| settings(&[("CLUSTER_STICKY_SECRET", value)]).find_secret(&STICKY_SECRET, Secret::parse);
        let err = secret("hunter2").unwrap_err().to_string();
        assert!(err.contains("CLUSTER_STICKY_SECRET") && err.contains("7 bytes"), "{err}");
        assert!(!err.contains("hunter2"), "{err}");
        let secret = secret("0123456789abcdef").unwrap();
        assert_eq!(secret.as_ref().map(Secret::expose), Some(b"0123456789abcdef".as_slice()));
        assert_eq!(format!("{secret:?}"), "Some(Secret)");
    }

    #[test]
    fn the_access_log_is_off_until_it_has_a_place() {
        let of = |variables: &[(&str, &str)]| access_log(&settings(variables)).unwrap();
        assert_eq!(of(&[("CLUSTER_ACCESS_LOG_FORMAT", "json")]), None);
        let log = of(&[("CLUSTER_ACCESS_LOG", "-"), ("CLUSTER_ACCESS_LOG_FORMAT", "json")]).unwrap();
        assert_eq!((log.target, log.format), (Target::Stdout, Format::Json));
        let log = of(&[("CLUSTER_ACCESS_LOG", "a.log")]).unwrap();
        assert_eq!((log.target, log.format), (Target::File("a.log".into()), Format::Combined));
    }
}
