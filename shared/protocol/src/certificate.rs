//! Certificates that the cluster shows to clients, and when they end.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// From so long before its end on a certificate is worth a warning: what renews certificates
/// by itself has done so by then (certbot renews 30 days before the end).
const EXPIRES_SOON: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// A certificate that handshakes get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// The first of `names`, or where it comes from if it is for none.
    pub name: String,
    /// The host names and addresses that it is for.
    pub names: Vec<String>,
    /// Where it comes from, such as its file.
    pub source: String,
    /// When it begins to be valid, in seconds since 1970-01-01 UTC.
    pub not_before: u64,
    /// When it ends to be valid, in seconds since 1970-01-01 UTC.
    pub not_after: u64,
}

impl CertificateStatus {
    /// What somebody should know of its dates: clients refuse it, or will soon. Certificates
    /// that live for some days only are warned of when two thirds of their life are over.
    pub fn warning(&self, now: SystemTime) -> Option<String> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let name = &self.name;
        if now < self.not_before {
            let left = in_words(self.not_before - now);
            return Some(format!(
                "the certificate for {name} is valid only in {left} (the clock may be wrong)"
            ));
        }
        if now > self.not_after {
            let past = in_words(now - self.not_after);
            return Some(format!("the certificate for {name} expired {past} ago: clients refuse it"));
        }
        let (left, life) = (self.not_after - now, self.not_after.saturating_sub(self.not_before));
        let is_soon = left <= EXPIRES_SOON.as_secs().min(life / 3);
        is_soon.then(|| format!("the certificate for {name} expires in {}", in_words(left)))
    }

    /// When it ends, for a person to read.
    pub fn expiry(&self, now: SystemTime) -> String {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.not_after.checked_sub(now) {
            Some(left) => format!("expires in {}", in_words(left)),
            None => format!("expired {} ago", in_words(now - self.not_after)),
        }
    }
}

/// A time in its largest unit but one, so that 47 hours are not one day.
fn in_words(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3_600, "hour"),
        _ => (seconds / DAY, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_in_time_and_not_before() {
        let of = |from_day: i64, to_day: i64| {
            let at = |day: i64| (1_000 + day).unsigned_abs() * DAY;
            let status = CertificateStatus {
                name: "a.test".to_owned(),
                names: vec!["a.test".to_owned()],
                source: "a.pem".to_owned(),
                not_before: at(from_day),
                not_after: at(to_day),
            };
            status.warning(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 * DAY))
        };
        assert_eq!(of(-60, 30), None);
        assert_eq!(of(-75, 15), None);
        assert_eq!(of(-76, 14).unwrap(), "the certificate for a.test expires in 14 days");
        assert!(of(-89, 1).unwrap().ends_with("expires in 24 hours"));
        assert!(of(-90, -1).unwrap().contains("expired 24 hours ago"));
        assert!(of(3, 90).unwrap().contains("valid only in 3 days"));
        // Those of six days are renewed after four.
        assert_eq!((of(-3, 3), of(-4, 2).is_some()), (None, true));
    }

    #[test]
    fn times_are_read_at_a_glance() {
        for (seconds, text) in [
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_200, "2 hours"),
            (15 * DAY, "15 days"),
        ] {
            assert_eq!(in_words(seconds), text);
        }
    }
}
