//! Why the load has led to another number of workers, in words.

use std::time::Duration;

use balancer_fleet::{ScaleReason, ScaleStep};
use humantime::format_duration;

/// The step with its reason, such as `3 → 4 workers: 12 requests waited in the queue for up
/// to 240 ms over 3 s`.
pub(super) fn step(from: usize, to: usize, reason: &ScaleReason) -> String {
    format!("{from} → {to} {}: {}", if to == 1 { "worker" } else { "workers" }, why(reason))
}

/// That the number stays `workers`, though the load asks for this step.
pub(super) fn held(workers: usize, step: &ScaleStep) -> String {
    let ScaleStep { to, reason } = step;
    format!("number of workers stays {workers} instead of {to}, as memory is short: {}", why(reason))
}

fn why(reason: &ScaleReason) -> String {
    match *reason {
        ScaleReason::Queue { waited, longest, rejected, over } => {
            let plural = if waited == 1 { "" } else { "s" };
            let mut text =
                format!("{waited} request{plural} waited in the queue for up to {} ms", longest.as_millis());
            if rejected > 0 {
                text.push_str(&format!(" and {rejected} found it full"));
            }
            text + &format!(" over {} s", over.as_secs())
        }
        ScaleReason::Busy { percent, over } => {
            format!("the workers used {percent} % of a CPU each over {} s", over.as_secs())
        }
        ScaleReason::Idle { percent, tenths, over } => {
            let cpu = f64::from(percent) / 100.0;
            let mut text = format!("fewer were enough for {}: at most {cpu:.2} CPUs", span(over));
            if let Some(tenths) = tenths {
                text.push_str(&format!(" and {:.1} requests at a time", f64::from(tenths) / 10.0));
            }
            text + " for all of them together"
        }
    }
}

fn span(time: Duration) -> String {
    format_duration(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_what_was_seen() {
        let over = Duration::from_secs(3);
        let longest = Duration::from_millis(240);
        let queue = |waited, rejected| ScaleReason::Queue { waited, longest, rejected, over };
        for (to, reason, text) in [
            (4, queue(12, 0), "3 → 4 workers: 12 requests waited in the queue for up to 240 ms over 3 s"),
            (
                6,
                queue(1, 7),
                "3 → 6 workers: 1 request waited in the queue for up to 240 ms and 7 found it full over 3 s",
            ),
            (
                4,
                ScaleReason::Busy { percent: 93, over },
                "3 → 4 workers: the workers used 93 % of a CPU each over 3 s",
            ),
            (
                2,
                ScaleReason::Idle { percent: 20, tenths: Some(14), over: Duration::from_secs(300) },
                "3 → 2 workers: fewer were enough for 5m: at most 0.20 CPUs and 1.4 requests at a time for all \
                 of them together",
            ),
            (
                1,
                ScaleReason::Idle { percent: 0, tenths: None, over },
                "3 → 1 worker: fewer were enough for 3s: at most 0.00 CPUs for all of them together",
            ),
        ] {
            assert_eq!(step(3, to, &reason), text);
        }
    }

    #[test]
    fn a_step_that_is_held_says_why_and_what_it_would_be_for() {
        let reason = ScaleReason::Busy { percent: 93, over: Duration::from_secs(3) };
        assert_eq!(
            held(3, &ScaleStep { to: 4, reason }),
            "number of workers stays 3 instead of 4, as memory is short: the workers used 93 % of a CPU each \
             over 3 s"
        );
    }
}
