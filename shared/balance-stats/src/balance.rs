//! The figures of one spread of events over workers.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Tails of χ² with a smaller probability than this are not chance.
const TAIL: f64 = 0.001;
/// With fewer expected events per worker χ² says nothing (Cochran's rule).
const MIN_EXPECTED: f64 = 5.0;

/// How evenly `total` events fell on `workers` workers.
///
/// χ², the coefficient of variation and Jain's index are one statistic in three
/// forms, so whoever judges goes by the size of the effect ([`Balance::even`]) and
/// reports the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    pub workers: usize,
    pub total: u64,
    /// Events per worker if all had the same: Np with p = 1/W.
    pub expected: f64,
    /// Pearson's χ² = Σ(nᵢ−Np)²/(Np).
    pub chi_square: f64,
    /// W−1.
    pub degrees: usize,
    /// The probability of a χ² of at least this, if each event were dispatched
    /// independently with equal chances.
    pub p_value: f64,
    /// Coefficient of variation of the counts: √(χ²/N).
    pub cv: f64,
    /// Jain's fairness index, N/(N+χ²): 1 is perfectly even, 1/W is all on one
    /// worker (Jain, Chiu and Hawe, 1984).
    pub jain: f64,
    /// The largest count over the smallest; `None` when a worker has none.
    pub max_over_min: Option<f64>,
    pub dispatch: Dispatch,
    /// Every |nᵢ−Np| is within [`Balance::tolerance`].
    pub even: bool,
}

impl Balance {
    /// `counts` has one entry for each worker, zero for those without any event.
    /// `None` when nothing was counted.
    pub fn of(counts: &[u64]) -> Option<Self> {
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        let (n, workers) = (total as f64, counts.len());
        let expected = n / workers as f64;
        let chi_square =
            counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum::<f64>();
        let degrees = workers - 1;
        let p_value = upper_tail(chi_square, degrees);
        let (most, least) = (counts.iter().max().copied()?, counts.iter().min().copied()?);
        Some(Self {
            workers,
            total,
            expected,
            chi_square,
            degrees,
            p_value,
            cv: (chi_square / n).sqrt(),
            jain: n / (n + chi_square),
            max_over_min: (least > 0).then(|| most as f64 / least as f64),
            dispatch: Dispatch::of(workers, expected, p_value),
            even: deviation(counts, expected) <= tolerance(workers, expected),
        })
    }

    /// The largest difference from the mean that an even dispatcher may show, in
    /// events: max(0.10·Np, 5√(Np(1−p))), that is 10 % of the mean or five
    /// standard deviations of a fair random choice.
    pub fn tolerance(&self) -> f64 {
        tolerance(self.workers, self.expected)
    }

    /// The largest |nᵢ−Np| of `counts`, from which this was made, in events.
    pub fn deviation(&self, counts: &[u64]) -> f64 {
        deviation(counts, self.expected)
    }
}

fn tolerance(workers: usize, expected: f64) -> f64 {
    let p = 1.0 / workers as f64;
    f64::max(0.10 * expected, 5.0 * (expected * (1.0 - p)).sqrt())
}

fn deviation(counts: &[u64], expected: f64) -> f64 {
    counts.iter().map(|&count| (count as f64 - expected).abs()).fold(0.0, f64::max)
}

/// How a dispatcher seems to choose, by the tails of χ².
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dispatch {
    /// More even than chance: the dispatcher counts, as round-robin does.
    RoundRobinLike,
    /// As even as independent choices with equal chances.
    RandomLike,
    /// Less even than chance.
    Skewed,
    /// Too few events per worker to tell.
    TooFew,
    /// There is one worker, so there is nothing to choose.
    Single,
}

impl Dispatch {
    fn of(workers: usize, expected: f64, p_value: f64) -> Self {
        if workers == 1 {
            Self::Single
        } else if expected < MIN_EXPECTED {
            Self::TooFew
        } else if p_value > 1.0 - TAIL {
            Self::RoundRobinLike
        } else if p_value < TAIL {
            Self::Skewed
        } else {
            Self::RandomLike
        }
    }
}

impl fmt::Display for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobinLike => "round-robin-like",
            Self::RandomLike => "random-like",
            Self::Skewed => "skewed",
            Self::TooFew => "too few",
            Self::Single => "a single worker",
        })
    }
}

/// The probability of a χ² value of at least `x` with `degrees` degrees of
/// freedom (Abramowitz and Stegun, 26.4.19). It is 1 without a degree of freedom.
pub fn upper_tail(x: f64, degrees: usize) -> f64 {
    match ChiSquared::new(degrees as f64) {
        Ok(distribution) if x > 0.0 => distribution.sf(x),
        _ => 1.0,
    }
}
