//! How many requests a statement needs, and what a count of them is worth.

/// The number of independent requests after which a fair random choice has missed
/// one of `workers` workers with a probability of at most 10⁻⁶: W(ln W + 13.8),
/// from the union bound W·e^(−N/W).
pub fn to_reach_all(workers: usize) -> usize {
    let w = workers.max(1) as f64;
    (w * (w.ln() + 13.8)).ceil() as usize
}

/// The upper bound of a failure rate, at 95 % confidence, when none of `n`
/// requests failed: 3/n, the rule of three (Hanley and Lippman-Hand, 1983).
pub fn rule_of_three(n: usize) -> f64 {
    3.0 / n.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_are_reached_after_as_many_as_the_union_bound_says() {
        assert_eq!(to_reach_all(4), 61);
        assert_eq!(to_reach_all(8), 128);
        assert_eq!(to_reach_all(1), 14);
        assert_eq!(to_reach_all(0), 14);
        for workers in [2_usize, 16, 256] {
            let (w, n) = (workers as f64, to_reach_all(workers) as f64);
            assert!(w * (1.0 - 1.0 / w).powf(n) <= 1.02e-6, "{workers}");
        }
    }

    #[test]
    fn no_failure_in_many_requests_bounds_the_rate() {
        assert!((rule_of_three(300) - 0.01).abs() < 1e-12);
        assert!((rule_of_three(0) - 3.0).abs() < 1e-12);
        // (1 − 3/n)ⁿ is what the confidence leaves.
        assert!((1.0 - rule_of_three(1000)).powi(1000) < 0.05);
    }
}
