//! Charts as SVG, coloured by the page's style.

use std::fmt::Write;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

/// How values become places on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Linear {
        low: f64,
        high: f64,
    },
    /// Both above zero.
    Log {
        low: f64,
        high: f64,
    },
}

impl Scale {
    /// Logarithmic around the values above zero, with room to both sides.
    pub(super) fn log_of(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if high == 0.0 {
            return Self::Log { low: 0.1, high: 1.0 };
        }
        let (low, high) = (low / 1.15, high * 1.15);
        // Less than two decades apart there might be no tick between.
        if high / low < 4.0 {
            Self::Log { low: low / 2.0, high: high * 2.0 }
        } else {
            Self::Log { low, high }
        }
    }

    /// From zero to a bit above the highest value.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let high = values.fold(0.0, f64::max);
        Self::Linear { low: 0.0, high: if high > 0.0 { high * 1.08 } else { 1.0 } }
    }

    /// 0…1.
    fn at(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => (value.max(low) / low).ln() / (high / low).ln(),
        };
        place.clamp(0.0, 1.0)
    }

    /// Round values, at most about six of them.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { low, high } => {
                let rough = (high - low) / 5.0;
                let unit = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * unit);
                let step = step.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * unit);
                let first = (low / step).ceil() as i64;
                let last = (high / step).floor() as i64;
                (first..=last).map(|n| n as f64 * step).collect()
            }
            Self::Log { low, high } => {
                let decades = (high / low).log10();
                let factors: &[f64] = if decades > 3.0 {
                    &[1.0]
                } else if decades > 1.7 {
                    &[1.0, 3.0]
                } else {
                    &[1.0, 2.0, 5.0]
                };
                let every = ((decades / 6.0).ceil() as i32).max(1);
                let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
                let powers = powers.filter(|power| power.rem_euclid(every) == 0);
                let ticks =
                    powers.flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
                ticks.filter(|tick| (low..=high).contains(tick)).collect()
            }
        }
    }
}

/// A chart that is being drawn.
pub(super) struct Chart {
    x: Scale,
    y: Scale,
    body: String,
    title: String,
}

impl Chart {
    /// Axes with ticks; `x_ticks` are (value, text).
    pub(super) fn new(
        title: &str,
        x: Scale,
        y: Scale,
        x_ticks: &[(f64, String)],
        y_text: impl Fn(f64) -> String,
    ) -> Self {
        let mut chart = Self { x, y, body: String::new(), title: title.to_owned() };
        for tick in y.ticks() {
            let at = chart.down(tick);
            chart.push(format_args!(
                "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                y_text(tick)
            ));
        }
        for (tick, text) in x_ticks {
            let at = chart.across(*tick);
            chart.push(format_args!(
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                HEIGHT - 8.0
            ));
        }
        chart
    }

    /// A line through `points`; one point alone is drawn as a dot.
    pub(super) fn line(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        let mut count = 0;
        let mut last = (0.0, 0.0);
        for (x, y) in points {
            last = (self.across(x), self.down(y));
            let command = if count == 0 { 'M' } else { 'L' };
            write!(path, "{command}{:.1} {:.1}", last.0, last.1).expect("writing to a string cannot fail");
            count += 1;
        }
        match count {
            0 => {}
            1 => self.push(format_args!(
                "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>",
                last.0, last.1
            )),
            _ => self.push(format_args!("<path class=\"{class}\" d=\"{path}\"/>")),
        }
    }

    /// A bar from `from` to `to` on the x axis.
    pub(super) fn bar(&mut self, from: f64, to: f64, height: f64, title: &str) {
        let (left, right, top) = (self.across(from), self.across(to), self.down(height));
        let bottom = HEIGHT - BOTTOM;
        self.push(format_args!(
            "<rect class=\"fill\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{title}</title></rect>",
            left,
            (right - left - 0.7).max(0.5),
            (bottom - top).max(0.0)
        ));
    }

    /// A vertical line with a word at its top.
    pub(super) fn mark(&mut self, x: f64, row: u32, text: &str) {
        let at = self.across(x);
        let y = TOP + 10.0 + 14.0 * f64::from(row);
        // A word at the right edge stands before its line.
        let (anchor, shift) = if at > WIDTH * 0.8 { ("end", -4.0) } else { ("start", 4.0) };
        self.push(format_args!(
            "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>",
            HEIGHT - BOTTOM,
            at + shift
        ));
    }

    pub(super) fn finish(self) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            self.title, self.body
        )
    }

    fn across(&self, x: f64) -> f64 {
        LEFT + self.x.at(x) * (WIDTH - LEFT - RIGHT)
    }

    fn down(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.at(y) * (HEIGHT - TOP - BOTTOM)
    }

    fn push(&mut self, what: std::fmt::Arguments<'_>) {
        self.body.write_fmt(what).expect("writing to a string cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_few_and_inside() {
        for scale in [
            Scale::from_zero([84_211.0].into_iter()),
            Scale::from_zero([0.0].into_iter()),
            Scale::Linear { low: 0.0, high: 0.3 },
            Scale::log_of([0.05, 900.0].into_iter()),
            Scale::log_of([1.0, 1.0].into_iter()),
            Scale::log_of([1e-3, 3.6e6].into_iter()),
            Scale::log_of(std::iter::empty()),
        ] {
            let ticks = scale.ticks();
            assert!((1..=12).contains(&ticks.len()), "{scale:?}: {ticks:?}");
            assert!(ticks.iter().all(|tick| (0.0..=1.0).contains(&scale.at(*tick))), "{scale:?}");
        }
    }
}
