use super::*;

fn of(counts: &[u64]) -> Balance {
    Balance::of(counts).unwrap()
}

#[test]
fn figures_are_those_of_their_definitions() {
    // By hand: N 100, Np 25; deviations −5, 5, 0, 0: χ² = 50/25 = 2.
    let counts = [20, 30, 25, 25];
    let balance = of(&counts);
    assert_eq!((balance.chi_square, balance.degrees), (2.0, 3));
    assert!((balance.p_value - 0.572_407).abs() < 1e-5);
    // The standard deviation over the mean: √12.5 / 25.
    assert!((balance.cv - 12.5_f64.sqrt() / 25.0).abs() < 1e-12);
    // (Σx)² / (n·Σx²) = 10000 / (4·2550).
    assert!((balance.jain - 10_000.0 / 10_200.0).abs() < 1e-12);
    assert_eq!(balance.max_over_min, Some(1.5));
    assert_eq!(balance.dispatch, Dispatch::RandomLike);
    assert_eq!(balance.deviation(&counts), 5.0);
    assert!((balance.tolerance() - 5.0 * (25.0 * 0.75_f64).sqrt()).abs() < 1e-12);
    assert!((of(&[4000, 0, 0, 0]).jain - 0.25).abs() < 1e-12);
}

#[test]
fn the_tolerance_is_ten_percent_where_chance_is_smaller() {
    let even = of(&[10_000, 10_000, 10_000, 10_000]);
    assert_eq!(even.tolerance(), 1000.0);
    assert!(even.even && of(&[11_000, 9_000, 10_000, 10_000]).even);
    assert!(!of(&[11_001, 8_999, 10_000, 10_000]).even);
    for counts in [&[1200, 800][..], &[1200, 1200, 800, 800], &[4000, 0, 0, 0]] {
        assert!(!of(counts).even, "{counts:?}");
        assert_eq!(of(counts).dispatch, Dispatch::Skewed);
    }
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

/// Critical values as printed in every table (NIST/SEMATECH e-Handbook of
/// Statistical Methods, 1.3.6.7.4): (degrees, upper tail, value).
const TABLE: [(usize, f64, f64); 24] = [
    (1, 0.10, 2.706),
    (1, 0.05, 3.841),
    (1, 0.01, 6.635),
    (1, 0.001, 10.828),
    (2, 0.05, 5.991),
    (2, 0.01, 9.210),
    (3, 0.99, 0.115),
    (3, 0.95, 0.352),
    (3, 0.90, 0.584),
    (3, 0.10, 6.251),
    (3, 0.05, 7.815),
    (3, 0.025, 9.348),
    (3, 0.01, 11.345),
    (3, 0.001, 16.266),
    (7, 0.95, 2.167),
    (7, 0.05, 14.067),
    (7, 0.001, 24.322),
    (10, 0.05, 18.307),
    (15, 0.05, 24.996),
    (30, 0.05, 43.773),
    (50, 0.01, 76.154),
    (100, 0.05, 124.342),
    (100, 0.001, 149.449),
    (100, 0.95, 77.929),
];

#[test]
fn tails_are_those_of_the_published_table() {
    for (degrees, tail, value) in TABLE {
        // Three printed decimals of the value give the tail to this much.
        let got = upper_tail(value, degrees);
        assert!((got - tail).abs() < 0.002 * tail.max(0.1), "{degrees} {value}: {got} for {tail}");
        // And the tail lies between those of the neighbouring printed values.
        let (low, high) = (upper_tail(value + 0.000_6, degrees), upper_tail(value - 0.000_6, degrees));
        assert!(low <= tail && tail <= high, "{degrees} {value}: {tail} not in {low}…{high}");
    }
}

#[test]
fn two_degrees_have_a_closed_form() {
    for x in [0.001, 0.5, 1.0, 3.0, 10.0, 50.0, 300.0] {
        let (got, want) = (upper_tail(x, 2), (-x / 2.0_f64).exp());
        assert!((got / want - 1.0).abs() < 1e-11, "{x}: {got} for {want}");
    }
}

#[test]
fn the_ends_are_sound() {
    assert_eq!(upper_tail(0.0, 3), 1.0);
    assert_eq!(upper_tail(5.0, 0), 1.0);
    assert!(upper_tail(1e7, 3) < 1e-300);
    assert!(upper_tail(1e-9, 127) > 0.999_999);
}

#[test]
fn the_saved_form_is_kept() {
    let text = serde_json::to_string(&of(&[20, 30, 25, 25])).unwrap();
    assert!(text.contains(r#""chiSquare":2.0"#) && text.contains(r#""dispatch":"random-like""#), "{text}");
}
