//! Which statuses of an answer to a probe mean that a worker is healthy.

use std::ops::RangeInclusive;

/// Status codes, as a list of codes and ranges of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Codes and ranges with commas between them, such as `200-399,404`; `2xx` is `200-299`.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').map(|part| range(part.trim())).collect::<Option<_>>().map(Self)
    }

    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = text.to_ascii_lowercase().strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let code = |text: &str| text.trim().parse().ok().filter(|code| (100..=599).contains(code));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (code(first)?, code(last)?),
        None => (code(text)?, code(text)?),
    };
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ranges_and_classes_are_taken() {
        for (text, good, bad) in [
            ("200-399", [200, 399], [199, 400]),
            ("200-299,404", [299, 404], [300, 403]),
            (" 200 , 2XX ", [200, 299], [100, 300]),
            ("204", [204, 204], [200, 205]),
        ] {
            let statuses = Statuses::parse(text).unwrap();
            assert!(good.iter().all(|&status| statuses.contains(status)), "{text}");
            assert!(!bad.iter().any(|&status| statuses.contains(status)), "{text}");
        }
        for bad in ["", "ok", "99", "600", "300-200", "200-", "-200", "200,,204", "6xx", "xx", "200 204"] {
            assert_eq!(Statuses::parse(bad), None, "{bad:?}");
        }
    }
}
