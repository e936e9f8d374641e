//! The χ² distribution's tails.

/// The probability of a χ² value of at least `x` with `degrees` degrees of
/// freedom: Q(degrees/2, x/2), the regularised upper incomplete gamma function
/// (Abramowitz and Stegun, 26.4.19). `degrees` 0 gives 1.
pub fn upper_tail(x: f64, degrees: usize) -> f64 {
    if degrees == 0 || x <= 0.0 {
        return 1.0;
    }
    let (a, x) = (degrees as f64 / 2.0, x / 2.0);
    if x < a + 1.0 { 1.0 - lower_series(a, x) } else { upper_fraction(a, x) }
}

/// P(a, x) by its series (Numerical Recipes, 3rd edition, 6.2.5).
fn lower_series(a: f64, x: f64) -> f64 {
    let mut term = 1.0 / a;
    let mut sum = term;
    let mut n = a;
    for _ in 0..10_000 {
        n += 1.0;
        term *= x / n;
        sum += term;
        if term < sum * 1e-16 {
            break;
        }
    }
    (sum * scale(a, x)).clamp(0.0, 1.0)
}

/// Q(a, x) by its continued fraction, in Lentz's way (Numerical Recipes, 6.2.7).
fn upper_fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..10_000 {
        let an = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = an * d + b;
        d = 1.0 / if d.abs() < TINY { TINY } else { d };
        c = b + an / c;
        if c.abs() < TINY {
            c = TINY;
        }
        let change = d * c;
        h *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (h * scale(a, x)).clamp(0.0, 1.0)
}

/// xᵃ·e⁻ˣ / Γ(a).
fn scale(a: f64, x: f64) -> f64 {
    (a * x.ln() - x - ln_gamma(a)).exp()
}

/// ln Γ(x) for x > 0, by Lanczos (g = 7, n = 9; relative error below 1e-14).
fn ln_gamma(x: f64) -> f64 {
    const G: f64 = 7.0;
    const COEFFICIENTS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // The reflection formula.
        let sine = (std::f64::consts::PI * x).sin();
        return (std::f64::consts::PI / sine).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let t = x + G + 0.5;
    let sum = COEFFICIENTS
        .iter()
        .enumerate()
        .skip(1)
        .fold(COEFFICIENTS[0], |sum, (i, coefficient)| sum + coefficient / (x + i as f64));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
