//! Numbers as people read them.

/// Milliseconds, in the unit that fits.
pub fn time(ms: f64) -> String {
    match ms {
        _ if ms < 0.000_5 => "0".to_owned(),
        _ if ms < 0.01 => format!("{:.2} µs", ms * 1e3),
        _ if ms < 0.9995 => format!("{:.0} µs", ms * 1e3),
        _ if ms < 9.995 => format!("{ms:.2} ms"),
        _ if ms < 99.95 => format!("{ms:.1} ms"),
        _ if ms < 999.5 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1e3),
    }
}

/// `12,345`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Per second: whole from 100 on, with two decimals below.
pub fn rate(per_second: f64) -> String {
    if per_second >= 100.0 { count(per_second.round() as u64) } else { format!("{per_second:.2}") }
}

/// Bytes, 1 kB = 1,000.
pub fn bytes(n: f64) -> String {
    match n {
        _ if n < 1e3 => format!("{n:.0} B"),
        _ if n < 1e6 => format!("{:.1} kB", n / 1e3),
        _ if n < 1e9 => format!("{:.1} MB", n / 1e6),
        _ => format!("{:.2} GB", n / 1e9),
    }
}

/// Seconds of a run: `8.1 ms`, `10.0 s`, `12 min 5 s`.
pub fn seconds(s: f64) -> String {
    match s {
        _ if s < 1.0 => time(s * 1e3),
        _ if s < 120.0 => format!("{s:.1} s"),
        _ => format!("{} min {} s", (s / 60.0) as u64, (s % 60.0) as u64),
    }
}

/// `n` and its noun, with an s when there are several.
pub fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let times = [0.0, 0.0042, 0.25, 0.9996, 1.234, 12.34, 123.4, 1234.0].map(time);
        assert_eq!(times, ["0", "4.20 µs", "250 µs", "1.00 ms", "1.23 ms", "12.3 ms", "123 ms", "1.23 s"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((rate(12.345), rate(84_211.4)), ("12.35".to_owned(), "84,211".to_owned()));
        assert_eq!([999.0, 1500.0, 2.5e6, 3e9].map(bytes), ["999 B", "1.5 kB", "2.5 MB", "3.00 GB"]);
        assert_eq!([0.0081, 10.0, 725.0].map(seconds), ["8.10 ms", "10.0 s", "12 min 5 s"]);
        assert_eq!(
            (plural(1, "worker"), plural(4, "worker")),
            ("1 worker".to_owned(), "4 workers".to_owned())
        );
    }
}
