//! Long random lives of a fleet.

use std::collections::HashSet;
use std::mem::Discriminant;
use std::time::{Duration, Instant};

use shared_protocol::ReloadMode;

use super::explorer::{ends_in_order, setups};
use super::world::{Hand, LIMITS, Reply, Step, World};
use crate::{ClusterEvent, ScaleTo, Settings};

/// Steps of one life; then a new one begins.
const LIFE: usize = 2_000;
/// Kinds of events that there are.
const EVENTS: usize = 36;
/// Between two looks at whether everything would end in order.
const LOOK: usize = 500;

/// One life with this seed; returns its end and how many steps it took.
///
/// # Errors
/// When something is broken; says what, and after how many steps.
pub(super) fn live(settings: Settings, seed: u64, steps: usize) -> Result<(World, usize), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(settings, Instant::now(), u8::MAX);
    let mut last = Vec::new();
    for count in 1..=steps {
        let step = choose(&world, &mut random);
        last.push(step);
        let broken = |why: String| {
            let tail = &last[last.len().saturating_sub(12)..];
            format!("{why}; seed {seed}, step {count}: … {tail:?}")
        };
        world.commands = u8::MAX;
        world.take(step).map_err(broken)?;
        if count % LOOK == 0 || count == steps {
            ends_in_order(world.clone()).map_err(broken)?;
        }
        if world.is_stopped() {
            return Ok((world, count));
        }
    }
    Ok((world, steps))
}

fn reply(random: &mut fastrand::Rng) -> Reply {
    random.choice(Reply::ALL).unwrap_or(Reply::None)
}

fn choose(world: &World, random: &mut fastrand::Rng) -> Step {
    if !world.questions.is_empty() {
        return Step::Answer(random.u8(..) < 230);
    }
    // The whole cluster is stopped seldom, and asked for changes now and then.
    match random.u32(..20_000) {
        0..4 => return Step::Stop(if random.bool() { LIMITS.drain } else { Duration::ZERO }),
        4..6 => return Step::Kill,
        6..500 => {
            let mode = random.choice([None, Some(ReloadMode::All), Some(ReloadMode::OneByOne)]).flatten();
            return Step::Reload(mode, reply(random));
        }
        500..1_000 => {
            let amount = random.usize(0..5);
            let to = match random.u8(..3) {
                0 => ScaleTo::Exactly(amount),
                1 => ScaleTo::More(amount),
                _ => ScaleTo::Fewer(amount),
            };
            return Step::Scale(to, reply(random));
        }
        1_000..1_200 if world.fleet.settings.range.is_some() => return Step::Autoscale(random.usize(0..4)),
        1_200..1_400 if !world.is_upgrading => return Step::BeginUpgrade,
        1_000..1_400 if world.is_upgrading => return Step::EndUpgrade,
        1_000..4_000 => return Step::Deadline,
        4_000..5_000 => return Step::Pass(Duration::from_millis(random.u64(..2_000))),
        _ => {}
    }
    let Some(running) = random.choice(&world.running) else { return Step::Deadline };
    let of = running.generation;
    let goes = running.killed || running.terminated || running.leaving;
    match random.u8(..) {
        0..2 => Step::Exited(of),
        2..3 => Step::Leaving(of),
        3..5 if running.probed && !running.healthy => Step::PortTaken(of),
        5..8 => Step::CouldNotStart(of),
        8..10 if running.probed => Step::NotProbed(of),
        10..50 if running.probed => {
            let hand = if running.serves { random.choice(Hand::ALL) } else { None };
            Step::Missed(of, hand.unwrap_or(Hand::Nothing))
        }
        50..150 if goes => Step::Exited(of),
        150..190 if running.drains => Step::OnlyLongLived(of),
        _ if running.drains => Step::Drained(of),
        _ if !running.up => Step::Up(of),
        _ if running.probed => Step::Healthy(of),
        _ => Step::Deadline,
    }
}

/// So many steps in many lives; returns how many lives they were, and the kinds of
/// events that were announced in them.
///
/// # Errors
/// As [`live`].
pub(super) fn live_often(steps: usize) -> Result<(usize, HashSet<Discriminant<ClusterEvent>>), String> {
    let (mut lives, mut taken, mut heard) = (0, 0, HashSet::new());
    let setups = setups();
    while taken < steps {
        let settings = setups[lives % setups.len()].settings.clone();
        let (world, steps) = live(settings, lives as u64, LIFE)?;
        taken += steps;
        heard.extend(world.heard);
        lives += 1;
    }
    Ok((lives, heard))
}

#[test]
fn no_random_life_breaks_anything() {
    let steps = std::env::var("SCHEDULE_STEPS").ok().and_then(|steps| steps.parse().ok());
    let (steps, start) = (steps.unwrap_or(2_000_000), Instant::now());
    let (lives, heard) = live_often(steps).unwrap_or_else(|why| panic!("{why}"));
    println!("{steps} steps in {lives} lives of up to {LIFE}, {:.1?}", start.elapsed());
    assert_eq!(heard.len(), EVENTS, "nothing that can happen is left out");
}
