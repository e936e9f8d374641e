//! The checks: one file per guarantee, one line per check here.
//!
//! Invariant: a check never repeats a request in silence, never passes without
//! evidence, and undoes its faults (what it starts dies when it is dropped).

use std::pin::Pin;
use std::time::Duration;

use crate::context::Context;
use crate::verdict::{Judged, Outcome, Verdict, seconds};

pub mod availability;
pub mod balance;
pub mod broken_reload;
pub mod conformance;
pub mod counter;
pub mod coverage;
pub mod cpu;
pub mod crash;
pub mod errors;
pub mod expiry;
pub mod graceful_stop;
pub mod hang;
pub mod headers;
pub mod interference;
pub mod leaks;
pub mod local_state;
pub mod memory;
pub mod out_of_band;
pub mod primary_killed;
pub mod redis_outage;
pub mod reload;
pub mod repeated_crash;
pub mod round_robin;
pub mod scale;
pub mod shared_state;
pub mod tls;
pub mod workers;

/// The check that judges the certificate, so that it runs where nobody trusts it.
pub const TLS: &str = "tls";
/// A check that takes longer than this judges a cluster that is too slow for it.
const LIMIT: Duration = Duration::from_secs(60);
const DISRUPTIVE_LIMIT: Duration = Duration::from_secs(180);

type Running<'a> = Pin<Box<dyn Future<Output = Judged> + 'a>>;

pub struct Check {
    pub name: &'static str,
    /// Ends the sentence "it proves that …".
    pub proves: &'static str,
    /// Breaks something: private clusters only.
    pub disruptive: bool,
    /// Judges who the workers are, which an operator who reloads or scales the
    /// cluster meanwhile makes impossible.
    steady: bool,
    run: for<'a> fn(&'a Context) -> Running<'a>,
}

impl Check {
    pub async fn run(&self, context: &Context) -> Verdict {
        if let Some(why) = context.untrusted.as_ref().filter(|_| self.name != TLS) {
            return Verdict::inconclusive(format!("{why} (--cacert FILE or --insecure lets it be judged)"));
        }
        let before = if self.steady { context.membership().await } else { None };
        let limit = if self.disruptive { DISRUPTIVE_LIMIT } else { LIMIT };
        let verdict = match tokio::time::timeout(limit, (self.run)(context)).await {
            Ok(judged) => judged.unwrap_or_else(|early| early),
            Err(_) => {
                let reason = format!("not over after {}: the answers are too slow", seconds(limit));
                Verdict::inconclusive(reason)
            }
        };
        let Some(before) = before.filter(|_| verdict.outcome == Outcome::Failed) else { return verdict };
        match context.membership().await.is_some_and(|now| before.changed_on_purpose(&now)) {
            true => Verdict::inconclusive(format!(
                "workers were replaced or scaled during the check; it saw: {}",
                verdict.figure
            )),
            false => verdict,
        }
    }
}

const fn live(
    name: &'static str,
    proves: &'static str,
    run: for<'a> fn(&'a Context) -> Running<'a>,
) -> Check {
    Check { name, proves, disruptive: false, steady: false, run }
}

/// As [`live`], for a check that needs the same workers all the time.
const fn steady(
    name: &'static str,
    proves: &'static str,
    run: for<'a> fn(&'a Context) -> Running<'a>,
) -> Check {
    Check { steady: true, ..live(name, proves, run) }
}

const fn disruptive(
    name: &'static str,
    proves: &'static str,
    run: for<'a> fn(&'a Context) -> Running<'a>,
) -> Check {
    Check { disruptive: true, ..live(name, proves, run) }
}

/// All checks, in the order in which they run.
pub const ALL: &[Check] = &[
    live("availability", "100 of 100 requests are answered", |c| Box::pin(availability::run(c))),
    steady("coverage", "every worker gets requests", |c| Box::pin(coverage::run(c))),
    steady("balance", "no worker gets notably more or fewer requests than another", |c| {
        Box::pin(balance::run(c))
    }),
    steady(
        "round-robin",
        "requests one after another go to the workers in turn, on one connection too",
        |c| Box::pin(round_robin::run(c)),
    ),
    live("shared-state", "what is written through one worker is read through every other", |c| {
        Box::pin(shared_state::run(c))
    }),
    live(
        "shared-counter",
        "concurrent increments through all workers: none is lost, none counted twice",
        |c| Box::pin(counter::run(c)),
    ),
    live(
        "expiry",
        "a value with a time to live is there before it and gone, for all workers, after it",
        |c| Box::pin(expiry::run(c)),
    ),
    live("out-of-band", "Redis itself holds what the API says", |c| Box::pin(out_of_band::run(c))),
    live("local-state", "each worker counts alone: memory is not shared", |c| Box::pin(local_state::run(c))),
    steady("cpu-distribution", "computations run in parallel, on all workers", |c| Box::pin(cpu::run(c))),
    live("cpu-interference", "computations do not hold up other requests", |c| {
        Box::pin(interference::run(c))
    }),
    live("memory", "the memory figures of every worker are sound", |c| Box::pin(memory::run(c))),
    live("errors", "bad requests get errors in the form of RFC 9457, and kill nobody", |c| {
        Box::pin(errors::run(c))
    }),
    live("headers", "every answer names its worker and its request", |c| Box::pin(headers::run(c))),
    live("leaks", "descriptors and memory stop growing under load that goes on", |c| Box::pin(leaks::run(c))),
    steady("workers", "the primary's list of workers agrees with who answers", |c| Box::pin(workers::run(c))),
    live(TLS, "clients get TLS 1.2 and 1.3 alone, a valid certificate, and what ALPN says", |c| {
        Box::pin(tls::run(c))
    }),
    disruptive("crash", "a crash loses no GET, and only that worker is replaced, at once", |c| {
        Box::pin(crash::run(c))
    }),
    disruptive(
        "repeated-crash",
        "each worker may crash in turn, and no acknowledged increment is lost",
        |c| Box::pin(repeated_crash::run(c)),
    ),
    disruptive("hang", "a worker that hangs is replaced, and nobody waits for it for ever", |c| {
        Box::pin(hang::run(c))
    }),
    disruptive("graceful-stop", "requests in flight are finished on SIGTERM, and nothing is left", |c| {
        Box::pin(graceful_stop::run(c))
    }),
    disruptive("reload", "reloads replace every worker under traffic, and no request fails", |c| {
        Box::pin(reload::run(c))
    }),
    disruptive("broken-reload", "a reload that cannot succeed says so and changes nothing", |c| {
        Box::pin(broken_reload::run(c))
    }),
    disruptive("scale", "the number of workers changes under traffic, and no request fails", |c| {
        Box::pin(scale::run(c))
    }),
    disruptive("redis-outage", "without Redis only its routes fail, soon, and they come back with it", |c| {
        Box::pin(redis_outage::run(c))
    }),
    disruptive("primary-killed", "no process and no port outlives a primary that is killed", |c| {
        Box::pin(primary_killed::run(c))
    }),
    // Last: it judges what all the others have seen.
    live("conformance", "every answer conforms to the server's own OpenAPI description", |c| {
        Box::pin(conformance::run(c))
    }),
];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SelectionError {
    #[error("there is no check {name:?}{}; the checks are {}", suggestion(name), names().join(", "))]
    Unknown { name: String },
    #[error("{name} is disruptive and runs on private clusters only: add --spawn")]
    Disruptive { name: String },
    #[error("no check is left to run")]
    Nothing,
}

fn names() -> Vec<&'static str> {
    ALL.iter().map(|check| check.name).collect()
}

/// What a mistyped name may have been meant to be, as a remark.
fn suggestion(name: &str) -> String {
    let distance = |known: &&str| strsim::damerau_levenshtein(&name.to_lowercase(), known);
    let near = names().into_iter().min_by_key(distance).filter(|known| distance(known) <= known.len() / 3);
    near.map(|known| format!(" (did you mean {known}?)")).unwrap_or_default()
}

/// The checks that the user asked for, in their order of running.
///
/// # Errors
/// When a name is unknown, or nothing is left.
pub fn select(only: &[String], skip: &[String], spawn: bool) -> Result<Vec<&'static Check>, SelectionError> {
    for name in only.iter().chain(skip) {
        let found = ALL.iter().find(|check| check.name == name);
        let found = found.ok_or_else(|| SelectionError::Unknown { name: name.clone() })?;
        if found.disruptive && !spawn && only.contains(name) {
            return Err(SelectionError::Disruptive { name: name.clone() });
        }
    }
    let wanted = |check: &&Check| {
        let named = |list: &[String]| list.iter().any(|name| name == check.name);
        (only.is_empty() || named(only)) && !named(skip) && (spawn || !check.disruptive)
    };
    let selected: Vec<_> = ALL.iter().filter(wanted).collect();
    if selected.is_empty() { Err(SelectionError::Nothing) } else { Ok(selected) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn selected(only: &[&str], skip: &[&str], spawn: bool) -> Result<Vec<&'static str>, SelectionError> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        Ok(select(&owned(only), &owned(skip), spawn)?.iter().map(|check| check.name).collect())
    }

    #[test]
    fn names_are_unique() {
        assert_eq!(names().iter().collect::<HashSet<_>>().len(), ALL.len());
    }

    #[test]
    fn disruptive_checks_need_a_private_cluster() {
        assert_eq!(selected(&[], &[], true).unwrap(), names());
        assert!(!selected(&[], &[], false).unwrap().contains(&"crash"));
        let err = selected(&["crash"], &[], false).unwrap_err();
        assert_eq!(err.to_string(), "crash is disruptive and runs on private clusters only: add --spawn");
        assert!(selected(&[], &["crash"], false).is_ok());
    }

    #[test]
    fn checks_are_chosen_by_name() {
        assert_eq!(selected(&["balance", "availability"], &[], false).unwrap(), ["availability", "balance"]);
        assert_eq!(selected(&["balance"], &["balance"], false).unwrap_err(), SelectionError::Nothing);
        let err = selected(&["ballance"], &[], false).unwrap_err().to_string();
        let start = "there is no check \"ballance\" (did you mean balance?); the checks are availability, ";
        assert!(err.starts_with(start), "{err}");
        assert_eq!(suggestion("Leak"), " (did you mean leaks?)");
        assert_eq!(suggestion("sharedstate"), " (did you mean shared-state?)");
        assert_eq!(suggestion("cpu"), "");
        assert_eq!(suggestion(""), "");
    }
}
