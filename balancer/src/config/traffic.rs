//! What becomes of requests: how they are shared out, what clients may do, and
//! where it is written down.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use shared_settings::{ConfigError, Sources, parse_bool, parse_duration};

use super::names::{
    ACCESS_LOG, ACCESS_LOG_FORMAT, BODY_TIMEOUT, CLIENT_TIMEOUT, HEAD_TIMEOUT, IDLE_TIMEOUT, MAX_CONCURRENCY,
    MAX_CONNECTIONS_PER_IP, MAX_REQUEST_BODY, MIN_BODY_RATE, QUEUE, QUEUE_TIMEOUT, RESPONSE_TIMEOUT,
    STICKY_SECRET, STRATEGY, TRUST_FORWARDED,
};
use super::{Reader, parse_bytes, parse_positive};
use crate::cli::{AccessLogOptions, BalancingOptions, ClientOptions};
use balancer_access_log::{Format, Target};
use balancer_pool::select::Strategy;
use balancer_pool::{Balancing, ConcurrencyLimit};
use balancer_proxy::ProxyLimits;

/// Requests of the whole cluster that may wait where workers have a cap: as many
/// as Passenger lets wait by default (Phusion Passenger, `max_request_queue_size`).
const QUEUED: usize = 100;
const QUEUE_PATIENCE: Duration = Duration::from_secs(5);
/// A queue beyond this is taken for a slip of the finger.
const LONGEST_QUEUE: usize = 100_000;
/// Shorter secrets can be found by trying.
const SHORTEST_SECRET: usize = 16;

/// Something that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
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

pub(super) fn balancing(options: &BalancingOptions, sources: &Sources) -> Result<Balancing, ConfigError> {
    let read = Reader { sources };
    let queue = read.or(&QUEUE, &options.queue, parse_queue, QUEUED)?;
    let queue_timeout = read.or(&QUEUE_TIMEOUT, &options.queue_timeout, parse_duration, QUEUE_PATIENCE)?;
    let max_concurrency =
        sources.read(&MAX_CONCURRENCY, options.max_concurrency.as_deref(), parse_positive)?;
    Ok(Balancing {
        strategy: read.or(&STRATEGY, &options.strategy, parse_strategy, Strategy::RoundRobin)?,
        concurrency_limit: max_concurrency.map(|max_concurrency| ConcurrencyLimit {
            max_concurrency,
            queue,
            queue_timeout,
        }),
    })
}

pub(super) fn sticky_secret(sources: &Sources) -> Result<Option<Secret>, ConfigError> {
    sources.read_secret(&STICKY_SECRET, None, Secret::parse)
}

pub(super) fn rules(options: &ClientOptions, sources: &Sources) -> Result<ProxyLimits, ConfigError> {
    let read = Reader { sources };
    let default = ProxyLimits::default();
    let per_ip = options.max_connections_per_ip.as_deref();
    Ok(ProxyLimits {
        head_timeout: read.or(&HEAD_TIMEOUT, &options.head_timeout, parse_duration, default.head_timeout)?,
        idle_timeout: read.or(&IDLE_TIMEOUT, &options.idle_timeout, parse_duration, default.idle_timeout)?,
        body_timeout: read.or(&BODY_TIMEOUT, &options.body_timeout, parse_duration, default.body_timeout)?,
        min_body_rate: read.or(&MIN_BODY_RATE, &options.min_body_rate, parse_bytes, default.min_body_rate)?,
        client_timeout: read.or(
            &CLIENT_TIMEOUT,
            &options.client_timeout,
            parse_duration,
            default.client_timeout,
        )?,
        response_timeout: read.or(
            &RESPONSE_TIMEOUT,
            &options.response_timeout,
            parse_duration,
            default.response_timeout,
        )?,
        max_request_body: read.or(
            &MAX_REQUEST_BODY,
            &options.max_request_body,
            parse_bytes,
            default.max_request_body,
        )?,
        max_connections_per_ip: sources
            .read(&MAX_CONNECTIONS_PER_IP, per_ip, |text| text.parse().ok().filter(|&count| count > 0))?,
        trust_forwarded: read.or(
            &TRUST_FORWARDED,
            &options.trust_forwarded,
            parse_bool,
            default.trust_forwarded,
        )?,
        ..default
    })
}

/// None when there is to be no access log.
pub(super) fn access_log(
    options: &AccessLogOptions,
    sources: &Sources,
) -> Result<Option<balancer_access_log::Settings>, ConfigError> {
    let target = sources.read(&ACCESS_LOG, options.access_log.as_deref(), |text| {
        let target = if text == "-" { Target::Stdout } else { Target::File(PathBuf::from(text)) };
        (!text.is_empty()).then_some(target)
    })?;
    let read = Reader { sources };
    let format = read.or(&ACCESS_LOG_FORMAT, &options.access_log_format, parse_format, Format::Combined)?;
    Ok(target.map(|target| balancer_access_log::Settings { target, format }))
}

fn parse_strategy(text: &str) -> Option<Strategy> {
    Some(match text {
        "round-robin" => Strategy::RoundRobin,
        "least-connections" => Strategy::LeastConnections,
        "power-of-two" => Strategy::PowerOfTwo,
        "sticky" => Strategy::Sticky,
        _ => return None,
    })
}

fn parse_queue(text: &str) -> Option<usize> {
    text.parse().ok().filter(|&length| length <= LONGEST_QUEUE)
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
    use super::*;

    fn sources(variables: &[(&str, &str)]) -> Sources {
        let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        Sources::from_parts(variables, "").unwrap()
    }

    #[test]
    fn there_is_a_queue_where_there_is_a_cap() {
        let none = balancing(&BalancingOptions::default(), &sources(&[("CLUSTER_QUEUE", "7")])).unwrap();
        assert_eq!((none.strategy, none.concurrency_limit), (Strategy::RoundRobin, None));
        let options = BalancingOptions { max_concurrency: Some("2".to_owned()), ..Default::default() };
        let limit =
            balancing(&options, &sources(&[("CLUSTER_QUEUE", "0")])).unwrap().concurrency_limit.unwrap();
        assert_eq!(
            limit,
            ConcurrencyLimit { max_concurrency: 2, queue: 0, queue_timeout: Duration::from_secs(5) }
        );
    }

    #[test]
    fn wrong_values_are_refused() {
        for (variable, value) in [
            ("CLUSTER_STRATEGY", "random"),
            ("CLUSTER_MAX_CONCURRENCY", "0"),
            ("CLUSTER_QUEUE", "-1"),
            ("CLUSTER_QUEUE", "100001"),
            ("CLUSTER_QUEUE_TIMEOUT", "0s"),
        ] {
            let err = balancing(&BalancingOptions::default(), &sources(&[(variable, value)])).unwrap_err();
            assert!(err.to_string().contains(variable), "{err}");
        }
        for (variable, value) in [
            ("CLUSTER_MAX_CONNECTIONS_PER_IP", "0"),
            ("CLUSTER_MAX_CONNECTIONS_PER_IP", "4294967296"),
            ("CLUSTER_MIN_BODY_RATE", "fast"),
            ("CLUSTER_MAX_REQUEST_BODY", "0"),
            ("CLUSTER_TRUST_FORWARDED", "maybe"),
        ] {
            let err = rules(&ClientOptions::default(), &sources(&[(variable, value)])).unwrap_err();
            assert!(err.to_string().contains(variable), "{err}");
        }
    }

    #[test]
    fn what_nobody_sets_stays_as_it_is() {
        let rules = rules(&ClientOptions::default(), &sources(&[])).unwrap();
        assert_eq!(format!("{rules:?}"), format!("{:?}", ProxyLimits::default()));
    }

    #[test]
    fn a_secret_is_long_and_never_shown() {
        let err = sticky_secret(&sources(&[("CLUSTER_STICKY_SECRET", "hunter2")])).unwrap_err().to_string();
        assert!(err.contains("CLUSTER_STICKY_SECRET") && err.contains("7 bytes"), "{err}");
        assert!(!err.contains("hunter2"), "{err}");
        let secret = sticky_secret(&sources(&[("CLUSTER_STICKY_SECRET", "0123456789abcdef")])).unwrap();
        assert_eq!(secret.as_ref().map(Secret::expose), Some(b"0123456789abcdef".as_slice()));
        assert_eq!(format!("{secret:?}"), "Some(Secret)");
    }

    #[test]
    fn the_access_log_is_off_until_it_has_a_place() {
        let of = |variables: &[(&str, &str)]| {
            access_log(&AccessLogOptions::default(), &sources(variables)).unwrap()
        };
        assert_eq!(of(&[("CLUSTER_ACCESS_LOG_FORMAT", "json")]), None);
        let settings = of(&[("CLUSTER_ACCESS_LOG", "-"), ("CLUSTER_ACCESS_LOG_FORMAT", "json")]).unwrap();
        assert_eq!((settings.target, settings.format), (Target::Stdout, Format::Json));
        let settings = of(&[("CLUSTER_ACCESS_LOG", "a.log")]).unwrap();
        assert_eq!((settings.target, settings.format), (Target::File("a.log".into()), Format::Combined));
    }
}
