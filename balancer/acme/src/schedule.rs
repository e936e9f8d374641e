//! When a certificate is ordered. Pure: the time and chance come in as parameters.

use std::time::{Duration, SystemTime};

/// The wait after the first failure. With [`FACTOR`], five attempts take 20 minutes and the
/// sixth comes after an hour: Let's Encrypt allows five failed validations of a name an hour
/// (letsencrypt.org/docs/rate-limits).
const FIRST_WAIT: Duration = Duration::from_secs(30);
const FACTOR: u32 = 3;
/// The longest wait that failures alone lead to.
const LONGEST_WAIT: Duration = Duration::from_secs(12 * 60 * 60);
/// The longest wait that a server can ask for; longer ones are a mistake or a lie.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A clock may be set, and no timer tells: the decision is taken again at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(6 * 60 * 60);

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// Attempts that have failed since the last one that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    pub count: u32,
    /// The next attempt is not before.
    pub not_before: SystemTime,
}

/// What is to be done for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Order,
    /// Decide again after this time. It is never zero.
    Wait(Duration),
}

impl Validity {
    /// When the certificate is to be renewed: at two thirds of its life, and up to a
    /// thirtieth of it later, as `chance` from 0 to 1 says, so that many do not come at once.
    pub fn renewal(&self, chance: f64) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + life * 2 / 3 + life.mul_f64(chance.clamp(0.0, 1.0) / 30.0)
    }
}

/// Decides what is to be done at `now` for a domain that has this certificate, or none.
/// `chance` from 0 to 1 stays the same for the life of a certificate.
pub fn next_action(
    now: SystemTime,
    certificate: Option<Validity>,
    failures: Option<Failures>,
    chance: f64,
) -> Action {
    let due = certificate.map_or(now, |certificate| certificate.renewal(chance));
    let due = failures.map_or(due, |failures| due.max(failures.not_before));
    match due.duration_since(now) {
        Ok(left) if !left.is_zero() => Action::Wait(left.min(LONGEST_SLEEP)),
        _ => Action::Order,
    }
}

/// How long to wait after the failure number `count`, counted from 1: growing, bounded, up to
/// a quarter longer by `chance`, and at least as long as the server has asked for.
pub fn wait_after(count: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    let exponent = count.saturating_sub(1).min(10);
    let wait = FIRST_WAIT.saturating_mul(FACTOR.saturating_pow(exponent)).min(LONGEST_WAIT);
    let wait = wait.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 4.0);
    wait.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 * DAY + seconds)
    }

    #[test]
    fn certificates_are_ordered_when_there_is_none_and_at_two_thirds_of_their_life() {
        let ninety = Some(Validity { not_before: at(0), not_after: at(90 * DAY) });
        let six = Some(Validity { not_before: at(0), not_after: at(6 * DAY) });
        let failed = |not_before| Some(Failures { count: 1, not_before: at(not_before) });
        let wait = |seconds| Action::Wait(Duration::from_secs(seconds));
        for (now, certificate, failures, chance, expected) in [
            (0, None, None, 0.0, Action::Order),
            (0, None, failed(30), 0.0, wait(30)),
            (30, None, failed(30), 0.0, Action::Order),
            (0, ninety, None, 0.0, wait(DAY / 4)),
            (60 * DAY - 1, ninety, None, 0.0, wait(1)),
            (60 * DAY, ninety, None, 0.0, Action::Order),
            (60 * DAY, ninety, None, 1.0, wait(DAY / 4)),
            (63 * DAY, ninety, None, 1.0, Action::Order),
            (4 * DAY, six, None, 0.0, Action::Order),
            (60 * DAY, ninety, failed(60 * DAY + 90), 0.0, wait(90)),
            (91 * DAY, ninety, None, 0.0, Action::Order),
        ] {
            assert_eq!(next_action(at(now), certificate, failures, chance), expected, "{now} {chance}");
        }
        // One that begins later, as the clock is wrong, is not ordered again.
        let later = Some(Validity { not_before: at(DAY), not_after: at(91 * DAY) });
        assert_eq!(next_action(at(0), later, None, 0.0), wait(DAY / 4));
        // One that ends before it begins is none.
        let wrong = Some(Validity { not_before: at(0), not_after: at(0) });
        assert_eq!(next_action(at(0), wrong, None, 0.0), Action::Order);
    }

    #[test]
    fn waits_grow_up_to_a_bound_and_the_server_can_ask_for_longer_ones() {
        let seconds = |count, chance| wait_after(count, None, chance).as_secs();
        assert_eq!([1, 2, 3, 4, 5].map(|count| seconds(count, 0.0)), [30, 90, 270, 810, 2_430]);
        assert_eq!((seconds(4, 1.0), seconds(u32::MAX, 0.0)), (1_012, 12 * 60 * 60));
        let asked = |seconds| wait_after(1, Some(Duration::from_secs(seconds)), 0.0).as_secs();
        assert_eq!((asked(5), asked(3_600), asked(u64::MAX)), (30, 3_600, 7 * DAY));
    }
}
