//! Courses of load, and what the number of workers makes of them.

use std::time::{Duration, Instant};

use super::{Autoscaler, LoadSample, ScaleRange, ScaleReason, ScaleStep, UP_PACE};

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(60);

/// A program whose demand is `cpu` processors, and where `requests` at a time are limited.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    cpu: f64,
    /// Requests that clients have under way.
    requests: f64,
}

/// A cluster on a machine of so many processors, where each worker has one thread.
struct Course {
    scaler: Autoscaler,
    range: ScaleRange,
    now: Instant,
    start: Instant,
    workers: usize,
    processors: usize,
    max_concurrency: Option<u64>,
    crashes: u64,
    memory_is_short: bool,
    steps: Vec<(Duration, ScaleStep)>,
}

impl Course {
    fn new(min: usize, max: usize) -> Self {
        let (now, range) = (Instant::now(), ScaleRange { min, max });
        Self {
            scaler: Autoscaler::new(range, WINDOW),
            range,
            now,
            start: now,
            workers: min,
            processors: 4,
            max_concurrency: None,
            crashes: 0,
            memory_is_short: false,
            steps: Vec::new(),
        }
    }

    fn capped(min: usize, max: usize, max_concurrency: u64) -> Self {
        Self { max_concurrency: Some(max_concurrency), ..Self::new(min, max) }
    }

    fn second(&mut self, demand: Demand) {
        self.now += SECOND;
        let cpu = demand.cpu.min(self.workers as f64).min(self.processors as f64);
        let places = self.max_concurrency.map_or(f64::MAX, |most| (most as usize * self.workers) as f64);
        let in_flight = demand.requests.min(places);
        let waiting = demand.requests - in_flight;
        let sample = LoadSample {
            workers: self.workers,
            cpu,
            processors: self.processors,
            cpu_left: self.processors as f64 - cpu,
            max_concurrency: self.max_concurrency,
            in_flight: in_flight.round() as u64,
            waiting,
            waited: waiting as u64,
            longest: Duration::from_millis(240),
            rejected: 0,
            crashes: self.crashes,
            memory_is_short: self.memory_is_short,
        };
        if let Some(step) = self.scaler.decide(sample, self.now) {
            assert!(self.range.contains(step.to), "{step:?}");
            assert_ne!(step.to, self.workers, "a step goes somewhere");
            if let Some((before, _)) = self.steps.last() {
                assert!(self.now - self.start - *before >= UP_PACE, "{step:?} comes too soon");
            }
            self.steps.push((self.now - self.start, step));
            self.workers = step.to;
        }
    }

    fn seconds(&mut self, count: u64, demand: impl Fn(u64) -> Demand) -> &mut Self {
        (0..count).for_each(|second| self.second(demand(second)));
        self
    }

    fn directions(&self) -> (usize, usize) {
        let is_up = |(_, step): &&(Duration, ScaleStep)| !matches!(step.reason, ScaleReason::Idle { .. });
        let up = self.steps.iter().filter(is_up).count();
        (up, self.steps.len() - up)
    }
}

fn cpu(cpu: f64) -> Demand {
    Demand { cpu, requests: 0.0 }
}

fn requests(requests: f64) -> Demand {
    Demand { cpu: 0.0, requests }
}

#[test]
fn busy_workers_get_others_while_processors_are_left() {
    let mut course = Course::new(1, 8);
    course.seconds(2, |_| cpu(9.0));
    assert_eq!(course.workers, 1, "a moment is no load");
    course.seconds(30, |_| cpu(9.0));
    assert_eq!(course.workers, 4, "more than there are processors would not help: {:?}", course.steps);
    let over = 3 * SECOND;
    assert_eq!(course.steps[0].1, ScaleStep { to: 2, reason: ScaleReason::Busy { percent: 100, over } });
    let mut alone = Course { processors: 1, ..Course::new(1, 8) };
    assert_eq!(alone.seconds(100, |_| cpu(9.0)).workers, 1);
}

#[test]
fn a_queue_gets_as_many_workers_as_it_needs() {
    let mut course = Course::capped(1, 8, 1);
    course.seconds(3, |_| requests(4.0));
    let reason =
        ScaleReason::Queue { waited: 9, longest: Duration::from_millis(240), rejected: 0, over: 3 * SECOND };
    assert_eq!(course.steps, [(3 * SECOND, ScaleStep { to: 2, reason })], "at most twice as many at once");
    course.seconds(60, |_| requests(4.0));
    assert_eq!(course.workers, 4, "{:?}", course.steps);
    course.seconds(60, |_| requests(40.0));
    assert_eq!(course.workers, 8, "more than processors, as they wait");
}

#[test]
fn a_queue_in_front_of_busy_processors_gets_no_more_workers_than_these() {
    let mut course = Course::capped(1, 16, 1);
    course.seconds(100, |_| Demand { cpu: 20.0, requests: 20.0 });
    assert_eq!(course.workers, 4, "{:?}", course.steps);
}

#[test]
fn requests_that_only_wait_are_no_load_unless_they_are_limited() {
    let mut course = Course::new(1, 8);
    course.seconds(600, |_| Demand { cpu: 0.05, requests: 500.0 });
    assert_eq!(course.steps, []);
    let mut limited = Course::capped(1, 8, 100);
    limited.seconds(600, |_| Demand { cpu: 0.05, requests: 500.0 });
    assert!(limited.workers >= 5, "{:?}", limited.steps);
    assert_eq!(limited.directions().1, 0);
}

#[test]
fn down_it_goes_slowly_and_one_at_a_time() {
    let mut course = Course::capped(1, 4, 1);
    course.seconds(30, |_| requests(6.0));
    assert_eq!(course.workers, 4);
    let steps = course.steps.len();
    course.seconds(WINDOW.as_secs() - 1, |_| requests(0.0));
    assert_eq!(course.workers, 4, "not before the window has passed");
    course.seconds(200, |_| requests(0.0));
    assert_eq!(course.workers, 1);
    let down = &course.steps[steps..];
    assert_eq!(down.iter().map(|(_, step)| step.to).collect::<Vec<_>>(), [3, 2, 1]);
    assert!(down.windows(2).all(|pair| pair[1].0 - pair[0].0 >= WINDOW / 5), "{down:?}");
    assert!(matches!(down[0].1.reason, ScaleReason::Idle { tenths: Some(_), over: WINDOW, .. }));
}

#[test]
fn one_high_moment_within_the_window_keeps_the_workers() {
    let mut course = Course::new(1, 4);
    course.seconds(30, |_| cpu(3.0));
    let workers = course.workers;
    assert!(workers >= 3);
    // For five seconds in each fifty.
    course.seconds(600, |second| cpu(if second % 50 < 5 { 3.0 } else { 0.1 }));
    assert_eq!((course.workers, course.directions().1), (workers, 0), "{:?}", course.steps);
}

#[test]
fn a_constant_load_leads_into_one_direction_at_most() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let concurrency = random.choice([None, Some(1), Some(2), Some(10)]).flatten();
        let most = random.usize(1..10);
        let mut course = Course { max_concurrency: concurrency, ..Course::new(random.usize(1..=most), most) };
        course.workers = random.usize(course.range.min..=most);
        course.processors = random.usize(1..9);
        let most = if concurrency.is_some() { 12.0 } else { 500.0 };
        let demand = Demand { cpu: random.f64() * 8.0, requests: random.f64() * most };
        course.seconds(2_000, |_| demand);
        let (up, down) = course.directions();
        assert!(up == 0 || down == 0, "seed {seed}: {demand:?} on {concurrency:?}: {:?}", course.steps);
        let (last, now) = (course.steps.last().map(|(at, _)| *at), course.now - course.start);
        assert!(last.is_none_or(|last| now - last > 10 * WINDOW), "seed {seed} has not settled");
    }
}

#[test]
fn noise_around_any_load_makes_no_steps_back_and_forth() {
    for tenth in 1..40 {
        let mut random = fastrand::Rng::with_seed(tenth);
        let mut course = Course::new(1, 8);
        let mean = tenth as f64 / 10.0;
        (0..3_600).for_each(|_| course.second(cpu(mean * (0.9 + 0.2 * random.f64()))));
        let (up, down) = course.directions();
        assert!(up <= 3 && down <= 1, "{mean}: {:?}", course.steps);
    }
}

#[test]
fn random_arrivals_make_no_steps_back_and_forth() {
    for tenth in [2, 5, 8, 12, 20, 30] {
        let mut random = fastrand::Rng::with_seed(tenth);
        let mut course = Course::capped(1, 8, 1);
        let mean = tenth as f64 / 10.0;
        // Exponential gaps, and ten requests a second of a tenth of a second each for each one
        // that is under way on average.
        for _ in 0..7_200 {
            let (mut passed, mut count) = (0.0, 0.0);
            while passed < 1.0 {
                passed += -(1.0 - random.f64()).ln() / (mean * 10.0);
                count += 1.0;
            }
            course.second(requests(count / 10.0));
        }
        let (up, down) = course.directions();
        assert!(up + down <= 12, "{mean}: {:?}", course.steps);
    }
}

#[test]
fn a_square_wave_is_followed_only_where_it_is_slow() {
    // Two hours each; periods near the window and its multiples.
    for period in [10, 30, 60, 110, 120, 122, 130, 150, 180, 240, 360, 600, 1_200] {
        let mut course = Course::new(1, 4);
        course.seconds(7_200, |second| cpu(if second % period < period / 2 { 3.2 } else { 0.2 }));
        let (up, down) = course.directions();
        let (changes, half, waves) = (up + down, period / 2, 7_200 / period);
        let went_up = |step: &ScaleStep| !matches!(step.reason, ScaleReason::Idle { .. });
        let turns = course.steps.windows(2).filter(|pair| went_up(&pair[0].1) != went_up(&pair[1].1)).count();
        if half < WINDOW.as_secs() {
            assert!(changes <= 3, "period {period}: {:?}", course.steps);
        } else if half < 2 * WINDOW.as_secs() {
            // Steps down were taken back soon, so that the window grew longer than the wave.
            assert!(changes <= 25, "period {period}: {changes} steps in {waves} waves: {:?}", course.steps);
        }
        assert!(turns as u64 <= 2 * waves, "period {period}: {turns} turns in {waves} waves");
    }
}

#[test]
fn no_step_up_while_workers_crash_or_memory_is_short() {
    let mut course = Course::new(1, 4);
    course.seconds(1, |_| cpu(0.0));
    for _ in 0..20 {
        course.crashes += 1;
        course.seconds(5, |_| cpu(2.0));
    }
    assert_eq!(course.steps, []);
    course.memory_is_short = true;
    course.seconds(100, |_| cpu(2.0));
    assert_eq!(course.steps, []);
    course.memory_is_short = false;
    course.seconds(5, |_| cpu(2.0));
    assert!(course.workers > 1);
    course.scaler.failed(course.now);
    course.workers = 1;
    course.seconds(25, |_| cpu(2.0));
    assert_eq!(course.workers, 1, "the last attempt has failed");
    course.seconds(25, |_| cpu(2.0));
    assert!(course.workers > 1);
}

#[test]
fn a_step_that_memory_is_too_short_for_is_told_once() {
    let mut course = Course { memory_is_short: true, ..Course::new(1, 4) };
    let mut told = Vec::new();
    let mut seconds = |course: &mut Course, count, load| {
        for _ in 0..count {
            course.second(cpu(load));
            told.extend(course.scaler.take_held().map(|step| (step.to, course.now - course.start)));
        }
        std::mem::take(&mut told)
    };
    assert_eq!(seconds(&mut course, 300, 0.1), [], "nothing is asked for");
    assert_eq!(seconds(&mut course, 300, 2.0), [(2, 303 * SECOND)]);
    // Less load for a moment is the same shortage, and for long it is another one.
    assert_eq!(seconds(&mut course, 30, 0.1), []);
    assert_eq!(seconds(&mut course, 30, 2.0), []);
    assert_eq!(seconds(&mut course, 120, 0.1), []);
    assert_eq!(seconds(&mut course, 30, 2.0).len(), 1);
    course.memory_is_short = false;
    assert_eq!(seconds(&mut course, 10, 2.0), [], "the step is taken");
    assert!(course.workers > 1);
    course.memory_is_short = true;
    assert_eq!(seconds(&mut course, 60, 4.0).len(), 1, "the next one is not");
}

#[test]
fn the_number_of_somebody_else_stays_for_a_while() {
    let mut course = Course::new(1, 4);
    course.seconds(100, |_| cpu(0.1));
    course.workers = 4;
    course.scaler.overruled(course.now);
    course.seconds(WINDOW.as_secs(), |_| cpu(0.1));
    assert_eq!(course.workers, 4);
    course.seconds(100, |_| cpu(0.1));
    assert_eq!(course.workers, 1);
    course.scaler.overruled(course.now);
    course.seconds(29, |_| cpu(4.0));
    assert_eq!(course.workers, 1);
    course.seconds(10, |_| cpu(4.0));
    assert!(course.workers > 1);
}

#[test]
fn whatever_comes_the_range_and_the_pace_are_kept() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let max = random.usize(1..20);
        let concurrency = [None, Some(random.u64(1..50))];
        let mut course = Course::new(random.usize(1..=max), max);
        course.max_concurrency = *random.choice(&concurrency).unwrap();
        for _ in 0..2_000 {
            // `second` checks both.
            course.second(Demand { cpu: random.f64() * 20.0, requests: random.f64() * 100.0 });
            match random.u8(..) {
                0 => course.scaler.pause(),
                1 => course.scaler.failed(course.now),
                2 => course.scaler.overruled(course.now),
                3 => course.crashes += 1,
                _ => {}
            }
        }
    }
}
