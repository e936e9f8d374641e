//! Is the load spread evenly, and what kind of dispatch does it look like?

mod chi_square;

pub use chi_square::upper_tail;
use serde::{Deserialize, Serialize};

/// Tails of χ² beyond this are no chance.
const TAIL: f64 = 0.001;
/// Fewer expected per worker than this, and χ² says nothing (Cochran's rule).
const MIN_EXPECTED: f64 = 5.0;

/// How a dispatcher seems to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dispatch {
    /// More even than chance: someone counts, as round-robin does.
    RoundRobinLike,
    /// As even as independent, equal chances would have it.
    RandomLike,
    /// Less even than chance.
    Skewed,
    /// Too few requests per worker to tell.
    TooFew,
    /// One worker: there is nothing to choose.
    Single,
}

/// How evenly `total` events fell on `workers` workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    pub workers: usize,
    pub total: u64,
    /// Per worker, were all alike: Np with p = 1/W.
    pub expected: f64,
    /// Pearson's χ² = Σ(nᵢ−Np)²/(Np).
    pub chi_square: f64,
    /// W−1.
    pub degrees: usize,
    /// Probability of a χ² of at least this, were each event dispatched
    /// independently with equal chances.
    pub p_value: f64,
    /// Coefficient of variation of the counts: √(χ²/N).
    pub cv: f64,
    /// Jain's fairness index, N/(N+χ²): 1 is perfectly even, 1/W is all on one
    /// (Jain, Chiu and Hawe, 1984).
    pub jain: f64,
    /// Most over least; `None` when a worker has none.
    pub max_over_min: Option<f64>,
    pub dispatch: Dispatch,
    /// Every |nᵢ−Np| ≤ max(0.10·Np, 5√(Np(1−p))): no difference that matters.
    pub even: bool,
}

impl Balance {
    /// `None` when nothing was counted.
    pub fn of(counts: &[u64]) -> Option<Self> {
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        let (n, workers) = (total as f64, counts.len());
        let p = 1.0 / workers as f64;
        let expected = n * p;
        let chi_square =
            counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum::<f64>();
        let degrees = workers - 1;
        let p_value = upper_tail(chi_square, degrees);
        let tolerance = f64::max(0.10 * expected, 5.0 * (expected * (1.0 - p)).sqrt());
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
            dispatch: dispatch(workers, expected, p_value),
            even: counts.iter().all(|&count| (count as f64 - expected).abs() <= tolerance),
        })
    }

    /// One sentence on evenness and one on the dispatch; `what` is what was
    /// counted, in the plural.
    pub fn sentence(&self, names: &[String], counts: &[u64], what: &str) -> String {
        if self.workers == 1 {
            return format!("All {what} went to one worker ({}).", names[0]);
        }
        let share = |count: u64| 100.0 * count as f64 / self.total as f64;
        let even = 100.0 / self.workers as f64;
        let far = |&index: &usize| (counts[index] as f64 - self.expected).abs();
        let furthest = (0..counts.len()).max_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or_default();
        let evenness = if self.dispatch == Dispatch::TooFew {
            format!("{} {what} over {} workers are too few to judge the balance.", self.total, self.workers)
        } else if self.even {
            let (least, most) = (counts.iter().min(), counts.iter().max());
            let (least, most) = (least.map_or(0.0, |&n| share(n)), most.map_or(0.0, |&n| share(n)));
            format!(
                "Well balanced: every worker has {least:.1} % to {most:.1} % of the {what} (even: {even:.1} %)."
            )
        } else {
            format!(
                "Not balanced: worker {} has {:.1} % of the {what}, where {even:.1} % would be even.",
                names[furthest],
                share(counts[furthest])
            )
        };
        let chi = format!("χ² = {:.2}, p {}", self.chi_square, p_text(self.p_value));
        let dispatch = match self.dispatch {
            Dispatch::RoundRobinLike => {
                format!(" Dispatch looks like round-robin: more even than chance ({chi}).")
            }
            Dispatch::RandomLike => format!(" Dispatch looks random, with equal chances ({chi})."),
            Dispatch::Skewed => format!(" Dispatch is skewed: less even than chance ({chi})."),
            Dispatch::TooFew | Dispatch::Single => String::new(),
        };
        evenness + &dispatch
    }
}

fn dispatch(workers: usize, expected: f64, p_value: f64) -> Dispatch {
    if workers == 1 {
        Dispatch::Single
    } else if expected < MIN_EXPECTED {
        Dispatch::TooFew
    } else if p_value > 1.0 - TAIL {
        Dispatch::RoundRobinLike
    } else if p_value < TAIL {
        Dispatch::Skewed
    } else {
        Dispatch::RandomLike
    }
}

/// `= 0.042`, `< 0.001`, `> 0.999`.
pub fn p_text(p: f64) -> String {
    match p {
        _ if p < 0.001 => "< 0.001".to_owned(),
        _ if p > 0.999 => "> 0.999".to_owned(),
        _ => format!("= {p:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[u64]) -> Balance {
        Balance::of(counts).unwrap()
    }

    #[test]
    fn figures_are_those_of_their_definitions() {
        // By hand: N 100, Np 25; deviations −5, 5, 0, 0: χ² = 50/25 = 2.
        let balance = of(&[20, 30, 25, 25]);
        assert_eq!((balance.chi_square, balance.degrees), (2.0, 3));
        assert!((balance.p_value - 0.572_407).abs() < 1e-5);
        // The standard deviation over the mean: √12.5 / 25.
        assert!((balance.cv - 12.5_f64.sqrt() / 25.0).abs() < 1e-12);
        // (Σx)² / (n·Σx²) = 10000 / (4·2550).
        assert!((balance.jain - 10_000.0 / 10_200.0).abs() < 1e-12);
        assert_eq!(balance.max_over_min, Some(1.5));
        assert_eq!(balance.dispatch, Dispatch::RandomLike);
    }

    #[test]
    fn tails_tell_the_dispatch() {
        assert_eq!(of(&[2500, 2500, 2500, 2500]).dispatch, Dispatch::RoundRobinLike);
        assert_eq!(of(&[2501, 2500, 2499, 2500]).dispatch, Dispatch::RoundRobinLike);
        assert_eq!(of(&[2560, 2440, 2530, 2470]).dispatch, Dispatch::RandomLike);
        assert_eq!(of(&[4000, 2000, 2000, 2000]).dispatch, Dispatch::Skewed);
        assert_eq!(of(&[3, 4, 2, 5]).dispatch, Dispatch::TooFew);
        assert_eq!(of(&[100]).dispatch, Dispatch::Single);
        assert!(Balance::of(&[]).is_none() && Balance::of(&[0, 0]).is_none());
        let skewed = of(&[4000, 2000, 2000, 2000]);
        assert!(!skewed.even);
        assert!(of(&[2560, 2440, 2530, 2470]).even);
        assert_eq!(of(&[10, 0]).max_over_min, None);
    }

    #[test]
    fn independent_equal_chances_are_seldom_called_anything_else() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut others = 0;
        for _ in 0..2_000 {
            let mut counts = [0_u64; 4];
            (0..400).for_each(|_| counts[random.usize(..4)] += 1);
            others += u32::from(of(&counts).dispatch != Dispatch::RandomLike);
        }
        // Both tails together are 0.002: 4 of 2,000 are expected.
        assert!(others <= 15, "{others} of 2000");
    }

    #[test]
    fn the_sentence_names_who_and_how_much() {
        let names = ["1", "2", "3", "4"].map(str::to_owned);
        let even = of(&[25, 25, 25, 25]).sentence(&names, &[25, 25, 25, 25], "requests");
        assert!(even.starts_with("Well balanced: every worker has 25.0 % to 25.0 %"), "{even}");
        assert!(even.contains("like round-robin"), "{even}");
        let counts = [100, 100, 100, 700];
        let skewed = of(&counts).sentence(&names, &counts, "requests");
        assert!(skewed.contains("worker 4 has 70.0 %") && skewed.contains("p < 0.001"), "{skewed}");
        assert!(of(&[9]).sentence(&names, &[9], "requests").contains("one worker (1)"));
    }
}
