//! Conditions on a result: `p99<20ms`, `errors<0.1%`, `rps>=1000`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What can be judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// Of the response time in an open loop, of the service time in a closed one.
    Average,
    Minimum,
    Maximum,
    /// 0…100.
    Percentile(f64),
    /// Complete responses per second.
    Rate,
    /// Failed requests, as a count.
    Errors,
    /// Failed requests of all requests, in percent.
    ErrorShare,
    /// Coefficient of variation of the workers' requests.
    Variation,
    /// The busiest worker's requests over the idlest one's.
    MaxOverMin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One condition, and how it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub metric: Metric,
    pub comparison: Comparison,
    /// Nanoseconds for times, otherwise as the metric has it.
    pub limit: f64,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid condition {text:?}: {reason} (right ones are 'p99<20ms', 'errors<0.1%', 'rps>1000', 'cv<0.1')"
)]
pub struct ConditionError {
    text: String,
    reason: String,
}

impl Condition {
    /// Does `value`, in the unit of the metric, meet the condition?
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::LessOrEqual => value <= self.limit,
            Comparison::Greater => value > self.limit,
            Comparison::GreaterOrEqual => value >= self.limit,
        }
    }

    /// Several, between commas.
    ///
    /// # Errors
    /// For the first one that is none.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ConditionError> {
        text.split(',').map(str::parse).collect()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let text = text.trim();
        let refuse = |reason: &str| ConditionError { text: text.to_owned(), reason: reason.to_owned() };
        let at = text.find(['<', '>']).ok_or_else(|| refuse("it has no <, <=, > or >="))?;
        let (name, rest) = text.split_at(at);
        let (comparison, value) = match (rest.strip_prefix("<="), rest.strip_prefix(">=")) {
            (Some(value), _) => (Comparison::LessOrEqual, value),
            (_, Some(value)) => (Comparison::GreaterOrEqual, value),
            _ if rest.starts_with('<') => (Comparison::Less, &rest[1..]),
            _ => (Comparison::Greater, &rest[1..]),
        };
        let value = value.trim();
        let mut metric = metric(name.trim()).ok_or_else(|| {
            refuse("what it judges must be avg, min, max, p50 … p99.9, rps, errors, cv or max/min")
        })?;
        let limit = match metric {
            Metric::Average | Metric::Minimum | Metric::Maximum | Metric::Percentile(_) => {
                let time = parse_time(value).ok_or_else(|| refuse("its limit must be a time with a unit"))?;
                time.as_nanos() as f64
            }
            Metric::Errors => match value.strip_suffix('%') {
                Some(share) => {
                    metric = Metric::ErrorShare;
                    number(share).ok_or_else(|| refuse("its limit must be a number or a percentage"))?
                }
                None => number(value).ok_or_else(|| refuse("its limit must be a number or a percentage"))?,
            },
            _ => number(value).ok_or_else(|| refuse("its limit must be a number"))?,
        };
        Ok(Self { metric, comparison, limit, text: text.to_owned() })
    }
}

fn metric(name: &str) -> Option<Metric> {
    Some(match name {
        "avg" | "mean" => Metric::Average,
        "min" => Metric::Minimum,
        "max" => Metric::Maximum,
        "rps" | "rate" => Metric::Rate,
        "errors" => Metric::Errors,
        "cv" => Metric::Variation,
        "max/min" => Metric::MaxOverMin,
        _ => {
            let percentile = number(name.strip_prefix('p')?)?;
            return (percentile <= 100.0).then_some(Metric::Percentile(percentile));
        }
    })
}

/// Not negative, not infinite.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.trim().parse().ok().filter(|_| plain)
}

/// A time with a unit: `20ms`, `1.5s`, `250us`.
pub fn parse_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (value, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number(value).filter(|_| !value.is_empty())? * scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_parse_and_judge() {
        let parse = |text: &str| text.parse::<Condition>().unwrap();
        let p99 = parse("p99<20ms");
        assert_eq!((p99.metric, p99.limit), (Metric::Percentile(99.0), 20e6));
        assert!(p99.holds(19.9e6) && !p99.holds(20e6));
        assert!(parse("p99 <= 20 ms").holds(20e6));
        assert_eq!(parse("p99.9<1.5s").limit, 1.5e9);
        assert_eq!(parse("errors<0.1%").metric, Metric::ErrorShare);
        assert_eq!(parse("errors<5").metric, Metric::Errors);
        assert!(parse("rps>=1000").holds(1000.0));
        assert_eq!(parse("max/min<1.2").metric, Metric::MaxOverMin);
        assert_eq!(Condition::parse_list("p99<50ms,errors<0.1%").unwrap().len(), 2);
        assert_eq!(parse(" p50<1ms ").to_string(), "p50<1ms");
    }

    #[test]
    fn what_is_no_condition_is_refused_with_examples() {
        for bad in [
            "",
            "p99",
            "p99<",
            "p99<20",
            "p101<1s",
            "px<1s",
            "speed<3",
            "errors<x",
            "errors<-1",
            "p99=20ms",
            "rps>inf",
            "rps>1e5",
        ] {
            let err = bad.parse::<Condition>().unwrap_err().to_string();
            assert!(err.contains("p99<20ms"), "{bad:?}: {err}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("250us"), Some(Duration::from_micros(250)));
        assert_eq!(parse_time("1.5m"), Some(Duration::from_secs(90)));
        for bad in ["", "5", "ms", "1.2.3s", "-1s", "1 x"] {
            assert_eq!(parse_time(bad), None, "{bad:?}");
        }
    }
}
