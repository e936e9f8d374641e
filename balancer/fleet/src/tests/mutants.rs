//! The table of seeded bugs: each is found by the explorer, by the rule that is meant
//! for it. Whether random lives find it as well is shown beside.

use super::explorer::{Bounds, explore, setups};
use super::schedule::live_often;
use crate::seeded::{Bug, with};

/// A bug, and a part of what the rule that finds it says.
const TABLE: &[(Bug, &str)] = &[
    (Bug::DeadStaysPublished, "has ended and stays published"),
    (Bug::CandidatePublished, "two processes of worker"),
    (Bug::SwitchKeepsOld, "two processes of worker"),
    (Bug::SwitchesEarly, "comes at the wrong time"),
    (Bug::FailureStopsCurrent, "a world that works again is stuck: members are [Failed]"),
    (Bug::StartsBesideAbandoned, "is launched beside one of a failed rollout"),
    (Bug::RestartsBeforeExit, "a stop is stuck"),
    (Bug::StopForgetsRequester, "1 wait for an answer"),
    (Bug::AnswersAtSwitch, "answers somebody a second time"),
    (Bug::KeepsChangesQuiet, "nobody was told what it changes"),
    (Bug::LosesQueued, "a world that works again"),
    (Bug::StopForgetsQueued, "1 wait for an answer"),
    (Bug::ResolvesEarly, "workers was asked for where there are"),
    (Bug::NeverKills, "a stop is stuck"),
    (Bug::StopForgetsStopping, "is launched though the cluster is stopping"),
    (Bug::BackoffForEver, "a world that works again is stuck"),
    (Bug::EjectsAll, "while another is and nobody answers"),
    (Bug::IgnoresPortTaken, "comes at the wrong time"),
    (Bug::DoneWhileDraining, "is done while those that it has retired still run"),
    (Bug::KeepsOlderDrain, "drain at the same time"),
    (Bug::WaitsForLongLived, "waits for connections"),
    (Bug::StopForgetsDrains, "has more time than the stop"),
    (Bug::LeavesConnections, "keeps what it has"),
    (Bug::TellsTwice, "is told to end a second time"),
    (Bug::TellsWhoDiesOfIt, "would die of SIGTERM"),
    (Bug::KillsTheBusy, "is taken for hung with"),
    (Bug::BlamesTheClient, "is taken for hung with Clients in hand"),
    (Bug::SparesTheStalled, "has stood still for"),
    (Bug::LeavesNobodyInTurn, "nobody is in turn though some are online"),
    (Bug::StaysOutOfTurn, "answers and is out of turn"),
    (Bug::OpenGate, "is launched while 1 are starting"),
    (Bug::ForgetsTheQueue, "waits at the gate and nobody looks"),
    (Bug::ForgetsWhoWasReady, "gives up though a worker has been ready"),
    (Bug::GivesUpForOne, "gives up though worker"),
    (Bug::StepsDuringRollout, "begins beside"),
    (Bug::StepsCutDrains, "a step cuts"),
    (Bug::StepsBeyondRange, "are not within"),
    (Bug::ScalesBeyondRange, "are not within"),
    (Bug::UpgradesDuringTurns, "an upgrade begins beside Reload"),
    (Bug::ChangesDuringUpgrade, "begins during an upgrade"),
    (Bug::StepsDuringUpgrade, "begins during an upgrade"),
    (Bug::GivesUpDuringUpgrade, "gives up during an upgrade"),
    (Bug::NeverGivesUp, "and the cluster goes on"),
    (Bug::TakesTwoDown, "is taken down while worker"),
    (Bug::StartsBesideOld, "gets a process beside another one"),
    (Bug::GoesOnAfterFailure, "and the rollout goes on"),
    (Bug::ReplacesTwice, "is replaced a second time"),
    (Bug::KeepsFailedRelease, "comes back with release"),
    (Bug::LeavesNobody, "is taken down and nobody else serves"),
    (Bug::KeepsReleases, "is kept open for nobody"),
];

/// States that are explored for each setup before random lives are tried.
const STATES: usize = 4_000;
const RANDOM_STEPS: usize = 200_000;

/// What the explorer finds, and whether random lives find anything.
fn judge(bug: Bug) -> (Option<String>, bool) {
    with(Some(bug), || {
        let bounds = Bounds { depth: usize::MAX, states: STATES };
        let explored = setups().iter().find_map(|setup| explore(setup, bounds).err());
        (explored, live_often(RANDOM_STEPS).is_err())
    })
}

#[test]
fn each_seeded_bug_is_found_by_the_rule_meant_for_it() {
    let mut missed = Vec::new();
    println!("{:22} {:8} {:6} what was found", "bug", "explorer", "random");
    for &(bug, rule) in TABLE {
        let name = format!("{bug:?}");
        let (explored, lived) = judge(bug);
        let why = explored.as_deref().unwrap_or_default();
        println!(
            "{name:22} {:8} {lived:6} {}",
            explored.is_some(),
            why.chars().take(160).collect::<String>()
        );
        if explored.is_none() || !why.contains(rule) {
            missed.push(format!("{name}: {why}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
