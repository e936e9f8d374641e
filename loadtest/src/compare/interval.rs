//! Confidence intervals, 95 % throughout.

use serde::Serialize;

/// Two-sided 95 % point of the normal distribution.
pub(super) const Z95: f64 = 1.959_963_985;

/// Fewer stretches of time per run make no interval.
const MIN_BATCHES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    pub fn around(middle: f64, reach: f64) -> Self {
        Self { low: middle - reach, high: middle + reach }
    }

    /// In percent of `base`.
    pub fn relative_to(self, base: f64) -> Self {
        let scale = if base > 0.0 { 100.0 / base } else { 0.0 };
        Self { low: self.low * scale, high: self.high * scale }
    }
}

/// Of the difference of two means, B − A, for unequal variances (Welch, 1947).
/// `None` for fewer than five values on a side. Neighbouring
/// stretches of time resemble each other, so each variance is widened by the
/// first autocorrelation r as for an AR(1) process, (1+r)/(1−r).
pub fn welch(a: &[f64], b: &[f64]) -> Option<Interval> {
    if a.len() < MIN_BATCHES || b.len() < MIN_BATCHES {
        return None;
    }
    let ((mean_a, error_a), (mean_b, error_b)) = (mean_and_error(a), mean_and_error(b));
    let sum = error_a + error_b;
    if sum == 0.0 {
        return Some(Interval::around(mean_b - mean_a, 0.0));
    }
    let degrees =
        sum.powi(2) / (error_a.powi(2) / (a.len() - 1) as f64 + error_b.powi(2) / (b.len() - 1) as f64);
    Some(Interval::around(mean_b - mean_a, t95(degrees) * sum.sqrt()))
}

/// The mean, and the square of its standard error.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    if squares == 0.0 {
        return (mean, 0.0);
    }
    let products = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>();
    let r = (products / squares).clamp(0.0, 0.9);
    (mean, squares / (n - 1.0) / n * (1.0 + r) / (1.0 - r))
}

/// Two-sided 95 % point of Student's t, by the expansion of Cornish and Fisher
/// (Abramowitz and Stegun, 26.7.5); within 1 % from 4 degrees on.
fn t95(degrees: f64) -> f64 {
    let (z, n) = (Z95, degrees.max(1.0));
    let g1 = (z.powi(3) + z) / 4.0;
    let g2 = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let g3 = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + g1 / n + g2 / n.powi(2) + g3 / n.powi(3)
}

/// Of a quantile, from the order statistics: the ranks n·q ± z·√(n·q·(1−q))
/// (Conover, Practical Nonparametric Statistics, 3.2). `None` when the upper
/// rank is beyond the values. In the unit of the histogram.
pub fn quantile_interval(histogram: &[(u64, u64)], quantile: f64) -> Option<Interval> {
    let n: u64 = histogram.iter().map(|(_, count)| count).sum();
    let (middle, reach) = (n as f64 * quantile, Z95 * (n as f64 * quantile * (1.0 - quantile)).sqrt());
    let (low, high) = ((middle - reach).floor(), (middle + reach).ceil() + 1.0);
    if low < 1.0 || high > n as f64 {
        return None;
    }
    Some(Interval { low: at_rank(histogram, low as u64), high: at_rank(histogram, high as u64) })
}

/// The value of rank `rank`, from 1.
fn at_rank(histogram: &[(u64, u64)], rank: u64) -> f64 {
    let mut seen = 0;
    for &(value, count) in histogram {
        seen += count;
        if seen >= rank {
            return value as f64;
        }
    }
    histogram.last().map_or(0.0, |&(value, _)| value as f64)
}

/// Of the difference of two shares, B − A, in percentage points, from the
/// Wilson intervals of both (Newcombe, 1998, method 10). `None` without requests.
pub(super) fn proportions(a: (u64, u64), b: (u64, u64)) -> Option<Interval> {
    if a.1 == 0 || b.1 == 0 {
        return None;
    }
    let ((pa, wa), (pb, wb)) = (wilson(a), wilson(b));
    let difference = pb - pa;
    let low = difference - ((pb - wb.low).powi(2) + (wa.high - pa).powi(2)).sqrt();
    let high = difference + ((wb.high - pb).powi(2) + (pa - wa.low).powi(2)).sqrt();
    Some(Interval { low: 100.0 * low, high: 100.0 * high })
}

/// A share and its interval (Wilson, 1927).
fn wilson((count, n): (u64, u64)) -> (f64, Interval) {
    let (n, z2) = (n as f64, Z95 * Z95);
    let p = count as f64 / n;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let reach = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    (p, Interval::around(middle, reach))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_is_that_of_the_tables() {
        for (degrees, want) in [(4.0, 2.776), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (120.0, 1.980)] {
            assert!((t95(degrees) / want - 1.0).abs() < 0.01, "{degrees}: {}", t95(degrees));
        }
    }

    #[test]
    fn shares_are_those_of_the_published_example() {
        // Newcombe (1998), table II, method 10: 56/70 − 48/80 is 0.0524…0.3339.
        let interval = proportions((48, 80), (56, 70)).unwrap();
        assert!((interval.low - 5.24).abs() < 0.01 && (interval.high - 33.39).abs() < 0.01, "{interval:?}");
    }

    /// Intervals are right 95 times in 100: counted on samples of known source.
    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut means, mut medians) = (0, 0);
        for _ in 0..1_000 {
            let mut sample = |shift: f64| (0..20).map(|_| shift + random.f64()).collect::<Vec<_>>();
            let interval = welch(&sample(10.0), &sample(12.0)).unwrap();
            means += u32::from(interval.low <= 2.0 && 2.0 <= interval.high);
            let mut values: Vec<u64> = (0..500).map(|_| random.u64(0..1_000_000)).collect();
            values.sort_unstable();
            let histogram: Vec<(u64, u64)> = values.into_iter().map(|value| (value, 1)).collect();
            let interval = quantile_interval(&histogram, 0.9).unwrap();
            medians += u32::from(interval.low <= 900_000.0 && 900_000.0 <= interval.high);
        }
        assert!((930..=995).contains(&means), "{means}");
        assert!((930..=985).contains(&medians), "{medians}");
    }

    #[test]
    fn too_little_makes_no_interval() {
        assert_eq!(welch(&[1.0; 4], &[1.0; 9]), None);
        assert_eq!(quantile_interval(&[(5, 100)], 0.99), None);
        assert_eq!(quantile_interval(&[], 0.5), None);
        assert_eq!(proportions((0, 0), (1, 2)), None);
        assert_eq!(welch(&[3.0; 9], &[3.0; 9]), Some(Interval { low: 0.0, high: 0.0 }));
    }
}
