//! How a member ends that has long-lived connections.

use std::time::Duration;

use super::member_life::{FIRST, KILL, LIMITS, Life, TERMINATE, WITHDRAW, close};
use crate::{DrainSignal, Effect, Limits};

const SECOND: Duration = Duration::from_secs(1);

/// A member that was retired five seconds ago and has only long-lived connections now, and
/// what is done about it.
fn only_long_lived(limits: &Limits) -> (Life, Vec<Effect>) {
    let mut life = Life::online();
    life.limits = *limits;
    life.member.retire(limits, life.now);
    life.now += 5 * SECOND;
    let effects = life.member.only_long_lived(true, limits, life.now);
    (life, effects)
}

#[test]
fn long_lived_connections_have_what_is_left_of_the_drain_and_the_program_is_told_at_once() {
    let left = LIMITS.drain - 5 * SECOND;
    let (mut life, effects) = only_long_lived(&LIMITS);
    assert_eq!(effects, [TERMINATE, close(Some(left))]);
    let told = life.now;
    assert_eq!(life.at_deadline(), [KILL]);
    assert_eq!(life.now, told + left + LIMITS.kill);

    let (mut life, _) = only_long_lived(&LIMITS);
    life.now += SECOND;
    let closed = life.now;
    assert_eq!(life.member.drained(&LIMITS, life.now), []);
    assert_eq!(life.at_deadline(), [KILL]);
    assert_eq!(life.now, closed + LIMITS.kill, "nothing keeps it any more");
}

#[test]
fn a_program_that_is_told_in_another_way_gets_its_sigterm_last() {
    let short = Some(3 * SECOND);
    for (drain_signal, told) in [
        (DrainSignal::Other(12), Some(Effect::SignalDrain { generation: FIRST, signal: 12 })),
        (DrainSignal::Off, None),
    ] {
        let limits = Limits { drain_signal, stream_drain: short, ..LIMITS };
        let (mut life, effects) = only_long_lived(&limits);
        assert_eq!(effects, told.into_iter().chain([close(short)]).collect::<Vec<_>>());
        let told = life.now;
        assert_eq!(life.at_deadline(), [TERMINATE, close(None)]);
        assert_eq!(life.now, told + 3 * SECOND);
        let (mut life, _) = only_long_lived(&limits);
        assert_eq!(life.member.drained(&limits, life.now), [TERMINATE]);
    }
}

#[test]
fn whoever_is_cut_short_has_no_more_time_than_others_that_end() {
    let (mut life, _) = only_long_lived(&LIMITS);
    assert!(life.member.finishes(&LIMITS, life.now));
    let half = LIMITS.kill / 2;
    assert_eq!(life.member.cut_short(&LIMITS, life.now), [close(Some(half))]);
    assert!(!life.member.finishes(&LIMITS, life.now));
    let cut = life.now;
    assert_eq!(life.at_deadline(), [KILL]);
    assert_eq!(life.now, cut + LIMITS.kill);
}

#[test]
fn a_stop_shortens_the_time_of_a_drain() {
    let (mut life, _) = only_long_lived(&LIMITS);
    let effects = life.member.stop_for_good(SECOND, true, &LIMITS, life.now);
    assert_eq!(effects, [close(Some(SECOND))]);
    let stopped = life.now;
    assert_eq!(life.at_deadline(), [KILL]);
    assert_eq!(life.now, stopped + SECOND + LIMITS.kill);
}

#[test]
fn a_stop_gives_long_lived_connections_their_time() {
    let mut life = Life::online();
    let effects = life.member.stop_for_good(4 * SECOND, true, &LIMITS, life.now);
    assert_eq!(effects, [WITHDRAW, TERMINATE, close(Some(4 * SECOND)), Effect::AwaitDrain(FIRST)]);
    let stopped = life.now;
    assert_eq!(life.at_deadline(), [KILL]);
    assert_eq!(life.now, stopped + 4 * SECOND + LIMITS.kill);

    let mut life = Life::online();
    let effects = life.member.stop_for_good(Duration::ZERO, true, &LIMITS, life.now);
    assert_eq!(effects, [WITHDRAW, TERMINATE, close(None)]);
}

#[test]
fn a_program_that_would_die_of_sigterm_gets_it_when_its_connections_are_gone() {
    let mut life = Life::online();
    life.member.retire(&LIMITS, life.now);
    assert_eq!(life.member.only_long_lived(false, &LIMITS, life.now), [close(Some(LIMITS.drain))]);
    let mut closed = Life::online();
    closed.member.retire(&LIMITS, closed.now);
    closed.member.only_long_lived(false, &LIMITS, closed.now);
    assert_eq!(closed.member.drained(&LIMITS, closed.now), [TERMINATE]);
    let began = life.now;
    assert_eq!(life.at_deadline(), [TERMINATE, close(None)]);
    assert_eq!(life.now, began + LIMITS.drain);

    let mut life = Life::online();
    let effects = life.member.stop_for_good(4 * SECOND, false, &LIMITS, life.now);
    assert_eq!(effects, [WITHDRAW, close(Some(4 * SECOND)), Effect::AwaitDrain(FIRST)]);
    assert_eq!(life.at_deadline(), [TERMINATE, close(None)]);
}
