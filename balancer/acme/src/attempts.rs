//! Failed attempts, as they are kept over restarts: a cluster that is started again and again
//! must not ask again and again, as servers count.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::schedule::{Failures, LONGEST_RETRY_AFTER};

/// Characters of a reason that are kept.
const REASON: usize = 500;

/// What is kept of the attempts for a domain that have failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub(crate) failures: Failures,
    /// Why the last one has failed.
    pub(crate) reason: String,
}

impl Attempts {
    /// Is it too early for the next one?
    pub(crate) fn is_waited_for(&self) -> bool {
        self.failures.not_before > SystemTime::now()
    }

    pub(crate) fn to_json(&self) -> String {
        let seconds = self.failures.not_before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let reason: String = self.reason.chars().take(REASON).collect();
        json!({"failed": self.failures.count, "notBefore": seconds.as_secs(), "reason": reason}).to_string()
    }

    /// `None` for what does not parse. However wrong the clock was, the wait from `now` on is
    /// no longer than a server may ask for.
    pub(crate) fn parse(text: &[u8], now: SystemTime) -> Option<Self> {
        let kept: Value = serde_json::from_slice(text).ok()?;
        let count = u32::try_from(kept["failed"].as_u64()?).unwrap_or(u32::MAX);
        let not_before =
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(kept["notBefore"].as_u64()?))?;
        let not_before = not_before.min(now + LONGEST_RETRY_AFTER);
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let reason = kept["reason"].as_str()?.chars().map(visible).take(REASON).collect();
        Some(Self { failures: Failures { count, not_before }, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds| now + Duration::from_secs(seconds);
        let kept = |seconds, reason: &str| Attempts {
            failures: Failures { count: 3, not_before: at(seconds) },
            reason: reason.to_owned(),
        };
        let again = |kept: &Attempts| Attempts::parse(kept.to_json().as_bytes(), now).unwrap();
        assert_eq!(again(&kept(90, "no \"luck\"")), kept(90, "no \"luck\""));
        assert_eq!(again(&kept(1 << 30, "a\nb")).failures.not_before, now + LONGEST_RETRY_AFTER);
        assert_eq!(again(&kept(1 << 30, "a\n\x1b[1mb")).reason, "a  [1mb");
        for broken in
            ["", "{}", "[]", r#"{"failed":-1,"notBefore":1,"reason":""}"#, r#"{"failed":1,"notBefore":1}"#]
        {
            assert_eq!(Attempts::parse(broken.as_bytes(), now), None, "{broken}");
        }
        let late = format!(r#"{{"failed":99999999999,"notBefore":{},"reason":""}}"#, u64::MAX);
        assert_eq!(Attempts::parse(late.as_bytes(), now), None);
    }
}
