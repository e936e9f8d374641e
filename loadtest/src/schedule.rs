//! When each request of an open loop is meant to be sent.
//!
//! The times are a pure function of the request's number, so that a sender who
//! falls behind loses nothing: what it sends late is measured from when it
//! should have been sent, and no queue of pending sends is kept.

use std::time::Duration;

/// Arrivals at an even rate, or at one that changes linearly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Warm-up before the measured part, at the rate `from`.
    lead: f64,
    /// Requests per second at the start of the measured part.
    from: f64,
    /// Change of the rate, in requests per second per second.
    slope: f64,
    /// The measured part ends here, in seconds from its start.
    over: f64,
}

impl Schedule {
    /// `rate` requests per second, after a warm-up of `lead` at the same rate,
    /// for as long as `over` says.
    pub fn constant(rate: f64, over: Option<Duration>, lead: Duration) -> Self {
        let over = over.map_or(f64::INFINITY, |over| over.as_secs_f64());
        Self { lead: lead.as_secs_f64(), from: rate, slope: 0.0, over }
    }

    /// From one rate to another in `over`, evenly; the warm-up has rate `from`.
    pub fn ramp(from: f64, to: f64, over: Duration, lead: Duration) -> Self {
        let over = over.as_secs_f64();
        Self { lead: lead.as_secs_f64(), from, slope: (to - from) / over, over }
    }

    /// When request number `k` (from 0) is meant to be sent, counted from the
    /// start of the warm-up; `None` when the schedule ends before it.
    pub fn intended(&self, k: u64) -> Option<Duration> {
        let in_lead = self.in_lead();
        let k = k as f64;
        if k < in_lead {
            return Some(Duration::from_secs_f64(k / self.from));
        }
        // from·t + slope·t²/2 = j, solved in the form that also stands slope 0.
        let j = k - in_lead;
        let discriminant = self.from * self.from + 2.0 * self.slope * j;
        if discriminant < 0.0 {
            return None;
        }
        let t = if j == 0.0 { 0.0 } else { 2.0 * j / (self.from + discriminant.sqrt()) };
        (t.is_finite() && t < self.over).then(|| Duration::from_secs_f64(self.lead + t))
    }

    /// How many requests are meant to be sent before `t`, counted from the
    /// start of the warm-up.
    pub fn due_before(&self, t: Duration) -> u64 {
        let t = t.as_secs_f64();
        if t <= self.lead {
            return (t * self.from).ceil() as u64;
        }
        let t = (t - self.lead).min(self.over);
        (self.in_lead() + self.from * t + self.slope * t * t / 2.0 - 1e-9).ceil().max(0.0) as u64
    }

    /// Requests of the warm-up, whole.
    fn in_lead(&self) -> f64 {
        (self.lead * self.from).ceil()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(schedule: &Schedule, k: u64) -> f64 {
        schedule.intended(k).unwrap().as_secs_f64()
    }

    #[test]
    fn a_constant_rate_is_even_for_as_long_as_one_likes() {
        let schedule = Schedule::constant(4_000.0, None, Duration::ZERO);
        assert_eq!(seconds(&schedule, 0), 0.0);
        assert!((seconds(&schedule, 1) - 0.000_25).abs() < 1e-9);
        // After 10 days the distance is still exact to a microsecond.
        let late = 4_000 * 86_400 * 10;
        assert!((seconds(&schedule, late + 1) - seconds(&schedule, late) - 0.000_25).abs() < 1e-6);
        assert_eq!(schedule.due_before(SECOND), 4_000);
        let bounded = Schedule::constant(4_000.0, Some(SECOND), Duration::ZERO);
        assert!(bounded.intended(3_999).is_some() && bounded.intended(4_000).is_none());
        assert_eq!(bounded.due_before(SECOND * 2), 4_000);
    }

    #[test]
    fn a_ramp_sends_the_area_under_its_line() {
        let schedule = Schedule::ramp(100.0, 300.0, SECOND * 10, Duration::ZERO);
        assert_eq!(schedule.due_before(SECOND * 10), 2_000);
        assert!(schedule.intended(1_999).is_some());
        assert_eq!(schedule.intended(2_000), None);
        // Half the time: 100·5 + 20·25/2 = 750 requests.
        assert!((seconds(&schedule, 750) - 5.0).abs() < 1e-9);
        let gap = |k| seconds(&schedule, k + 1) - seconds(&schedule, k);
        assert!((gap(0) - 1.0 / 100.0).abs() < 1e-4 && (gap(1_998) - 1.0 / 300.0).abs() < 1e-5);
    }

    #[test]
    fn a_ramp_may_fall_and_may_begin_at_nothing() {
        let falling = Schedule::ramp(200.0, 0.0, SECOND * 2, Duration::ZERO);
        assert_eq!(falling.due_before(SECOND * 2), 200);
        assert!(falling.intended(199).is_some());
        assert_eq!(falling.intended(201), None);
        let rising = Schedule::ramp(0.0, 200.0, SECOND * 2, Duration::ZERO);
        assert_eq!(seconds(&rising, 0), 0.0);
        assert!((seconds(&rising, 50) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_warm_up_comes_first() {
        let schedule = Schedule::ramp(100.0, 200.0, SECOND, SECOND);
        assert!((seconds(&schedule, 50) - 0.5).abs() < 1e-9);
        assert!((seconds(&schedule, 100) - 1.0).abs() < 1e-9);
        assert_eq!(schedule.due_before(SECOND), 100);
        assert_eq!(schedule.due_before(SECOND * 2), 250);
    }

    #[test]
    fn counting_and_sending_agree() {
        for schedule in [
            Schedule::constant(333.0, None, Duration::from_millis(100)),
            Schedule::ramp(50.0, 500.0, SECOND * 3, Duration::from_millis(250)),
        ] {
            for k in (0..600).step_by(37) {
                let at = schedule.intended(k).unwrap();
                assert_eq!(schedule.due_before(at + Duration::from_micros(1)), k + 1, "{schedule:?} {k}");
            }
        }
    }
}
