//! The statistics that checks judge by: pure functions of counts and times.

use std::time::Duration;

/// How requests were spread over `counts.len()` workers.
///
/// χ², the coefficient of variation and Jain's index are one statistic in three
/// dresses (CV = √(χ²/N), Jain = N/(N+χ²)), so checks gate on the effect size,
/// the largest deviation from the mean, and report the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    pub total: u64,
    pub workers: usize,
    /// Requests that each worker would have had: N·p.
    pub expected: f64,
    /// Largest |nᵢ − N·p|, in requests.
    pub deviation: f64,
    pub chi_squared: f64,
}

impl Spread {
    /// `counts` has one entry per worker, also for those that got nothing.
    pub fn of(counts: &[u64]) -> Self {
        let total: u64 = counts.iter().sum();
        let expected = total as f64 / counts.len().max(1) as f64;
        let differences = || counts.iter().map(|&count| (count as f64 - expected).abs());
        let deviation = differences().fold(0.0, f64::max);
        let chi_squared = if total == 0 { 0.0 } else { differences().map(|d| d * d).sum::<f64>() / expected };
        Self { total, workers: counts.len(), expected, deviation, chi_squared }
    }

    /// Largest deviation that an even dispatcher may show, in requests:
    /// max(10 % of N·p, five standard deviations of a fair random choice).
    pub fn tolerance(&self) -> f64 {
        let p = 1.0 / self.workers.max(1) as f64;
        f64::max(0.10 * self.expected, 5.0 * (self.expected * (1.0 - p)).sqrt())
    }

    pub fn is_balanced(&self) -> bool {
        self.deviation <= self.tolerance()
    }

    /// Coefficient of variation of the counts.
    pub fn variation(&self) -> f64 {
        if self.total == 0 { 0.0 } else { (self.chi_squared / self.total as f64).sqrt() }
    }

    /// Jain's fairness index: 1 is even, 1/W is all on one worker.
    pub fn jain(&self) -> f64 {
        if self.total == 0 { 1.0 } else { self.total as f64 / (self.total as f64 + self.chi_squared) }
    }

    /// What kind of dispatch the tails of χ² tell of.
    pub fn kind(&self) -> Dispatch {
        if self.workers < 2 || self.expected < 5.0 {
            return Dispatch::TooFew;
        }
        let below = chi_squared_below(self.chi_squared, self.workers - 1);
        match below {
            below if below < 0.001 => Dispatch::RoundRobinLike,
            below if below > 0.999 => Dispatch::Skewed,
            _ => Dispatch::RandomLike,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// More even than chance would be.
    RoundRobinLike,
    RandomLike,
    Skewed,
    /// Fewer than five expected per worker: χ² says nothing.
    TooFew,
}

impl Dispatch {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobinLike => "round-robin-like",
            Self::RandomLike => "random-like",
            Self::Skewed => "skewed",
            Self::TooFew => "too few",
        }
    }
}

/// Independent requests after which a fair random choice has missed one of
/// `workers` workers with probability 10⁻⁶ at most: W(ln W + 13.8), from the
/// union bound W·e^(−N/W).
pub fn coverage_samples(workers: usize) -> usize {
    let w = workers.max(1) as f64;
    (w * (w.ln() + 13.8)).ceil() as usize
}

/// Nearest-rank percentile, `p` in 0…100; `None` without samples.
pub fn percentile(samples: &[Duration], p: f64) -> Option<Duration> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (p / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

pub fn median(samples: &[Duration]) -> Option<Duration> {
    percentile(samples, 50.0)
}

/// Upper bound of a failure rate, at 95 % confidence, when none of `n` requests
/// failed: the rule of three.
pub fn rule_of_three(n: usize) -> f64 {
    3.0 / n.max(1) as f64
}

/// P(χ² ≤ x) for `degrees` degrees of freedom: the regularised lower incomplete
/// gamma function P(k/2, x/2) (NIST Digital Library of Mathematical Functions,
/// 8.2.4), by its series 8.7.1 or its continued fraction 8.9.2.
pub fn chi_squared_below(x: f64, degrees: usize) -> f64 {
    let (a, x) = (degrees as f64 / 2.0, x / 2.0);
    if x <= 0.0 {
        return 0.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-15 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return (sum * scale).min(1.0);
    }
    // Lentz's method on the continued fraction of the upper function.
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / tiny;
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..10_000 {
        let an = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = 1.0 / nonzero(an * d + b, tiny);
        c = nonzero(b + an / c, tiny);
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (1.0 - scale * h).clamp(0.0, 1.0)
}

fn nonzero(x: f64, tiny: f64) -> f64 {
    if x.abs() < tiny { tiny } else { x }
}

/// ln Γ(a) for a multiple of one half, by the recurrence Γ(a+1) = a·Γ(a) from
/// Γ(1) = 1 and Γ(½) = √π.
fn ln_gamma(a: f64) -> f64 {
    let whole = a.fract() == 0.0;
    let (mut n, mut sum) = if whole { (1.0, 0.0) } else { (0.5, std::f64::consts::PI.sqrt().ln()) };
    while n < a {
        sum += f64::ln(n);
        n += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-4
    }

    #[test]
    fn chi_squared_has_the_values_of_the_tables() {
        assert!(close(chi_squared_below(7.815, 3), 0.95), "{}", chi_squared_below(7.815, 3));
        assert!(close(chi_squared_below(0.352, 3), 0.05));
        assert!(close(chi_squared_below(3.841, 1), 0.95));
        assert!(close(chi_squared_below(18.307, 10), 0.95));
        assert!(close(chi_squared_below(124.342, 100), 0.95));
        assert_eq!(chi_squared_below(0.0, 3), 0.0);
        assert!(close(chi_squared_below(1e6, 3), 1.0));
    }

    #[test]
    fn an_even_spread_is_balanced_and_looks_like_round_robin() {
        let even = Spread::of(&[1000, 1000, 1000, 1000]);
        assert!(even.is_balanced());
        assert_eq!((even.chi_squared, even.jain(), even.variation()), (0.0, 1.0, 0.0));
        assert_eq!(even.kind(), Dispatch::RoundRobinLike);
        let random = Spread::of(&[1023, 968, 1031, 978]);
        assert!(random.is_balanced());
        assert_eq!(random.kind(), Dispatch::RandomLike);
    }

    #[test]
    fn sixty_forty_is_skewed() {
        for counts in [&[1200, 800][..], &[1200, 1200, 800, 800]] {
            let spread = Spread::of(counts);
            assert!(!spread.is_balanced(), "{spread:?}");
            assert_eq!(spread.kind(), Dispatch::Skewed);
        }
        let one = Spread::of(&[4000, 0, 0, 0]);
        assert!(!one.is_balanced());
        assert!(close(one.jain(), 0.25));
    }

    #[test]
    fn the_three_statistics_are_one() {
        let spread = Spread::of(&[10, 20, 30]);
        assert!(close(spread.variation(), (spread.chi_squared / 60.0).sqrt()));
        assert!(close(spread.chi_squared, 10.0));
        assert!(close(spread.tolerance(), 5.0 * (20.0 * 2.0 / 3.0_f64).sqrt()));
    }

    #[test]
    fn nothing_is_too_few() {
        assert_eq!(Spread::of(&[1, 2, 3]).kind(), Dispatch::TooFew);
        assert_eq!(Spread::of(&[0, 0]).kind(), Dispatch::TooFew);
        assert_eq!(Spread::of(&[]).kind(), Dispatch::TooFew);
    }

    #[test]
    fn coverage_needs_as_many_as_the_union_bound_says() {
        assert_eq!(coverage_samples(4), 61);
        assert_eq!(coverage_samples(8), 128);
        assert_eq!(coverage_samples(1), 14);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let samples: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&samples, 99.0), Some(Duration::from_millis(99)));
        assert_eq!(percentile(&samples, 100.0), Some(Duration::from_millis(100)));
        assert_eq!(median(&samples), Some(Duration::from_millis(50)));
        assert_eq!(median(&samples[..1]), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&[], 50.0), None);
        assert!(close(rule_of_three(300), 0.01));
    }
}
