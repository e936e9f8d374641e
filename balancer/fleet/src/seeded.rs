//! Bugs that tests put into the fleet, one at a time, to show that the explorer and
//! the random schedules find them. Outside of tests there are none: the condition
//! is a constant, and nothing of it is left in the program.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A process that has ended goes on getting requests.
    DeadStaysPublished,
    /// A candidate gets requests as soon as it is ready.
    CandidatePublished,
    /// The switch does not retire those that are replaced.
    SwitchKeepsOld,
    /// The switch does not wait for candidates that are still starting.
    SwitchesEarly,
    /// A failed rollout takes those down that it was to replace.
    FailureStopsCurrent,
    /// A candidate starts beside one of a failed rollout that has not ended.
    StartsBesideAbandoned,
    /// A slow start is tried again before its process has ended.
    RestartsBeforeExit,
    /// The requester of a rollout that is cut off by the stop gets no answer.
    StopForgetsRequester,
    /// A requester who waits for those that are retired is answered at the switch already.
    AnswersAtSwitch,
    /// A reload does not say what its release changes.
    KeepsChangesQuiet,
    /// A rollout that nobody waits for is dropped while another is under way.
    LosesQueued,
    /// The requester of a change that waits for its turn gets no answer at the stop.
    StopForgetsQueued,
    /// A relative change that waits for its turn is taken for one of now.
    ResolvesEarly,
    /// A process that does not stop is not killed.
    NeverKills,
    /// A stop does not hold for a process that is being replaced.
    StopForgetsStopping,
    /// The end of a wait is not a deadline.
    BackoffForEver,
    /// All suspects are taken out together.
    EjectsAll,
    /// The port of a stranger is taken for the own one.
    IgnoresPortTaken,
    /// A wait for those that are retired is over while some of them still run.
    DoneWhileDraining,
    /// A slot retires another process while its last one drains.
    KeepsOlderDrain,
    /// A candidate waits for the long-lived connections of one that was retired before.
    WaitsForLongLived,
    /// A process that was told to end during a drain keeps its time when the cluster stops.
    StopForgetsDrains,
    /// What a process still has at the end of its drain is not closed.
    LeavesConnections,
    /// A process that was told to end early is told so again at the end of its drain.
    TellsTwice,
    /// A process that does not handle SIGTERM gets it while it has long-lived connections.
    TellsWhoDiesOfIt,
    /// A worker that misses its probes is hung, whatever it has in hand.
    KillsTheBusy,
    /// A worker is hung because its clients do not go on.
    BlamesTheClient,
    /// A worker whose requests do not move is never hung.
    SparesTheStalled,
    /// All suspects are out of turn together.
    LeavesNobodyInTurn,
    /// A worker that has answered again stays out of turn.
    StaysOutOfTurn,
    /// All starts go through the gate together.
    OpenGate,
    /// The gate does not look again while somebody waits.
    ForgetsTheQueue,
    /// A cluster that has been ready gives up.
    ForgetsWhoWasReady,
    /// The cluster gives up because of one slot alone.
    GivesUpForOne,
    /// A step that the load asks for begins during a rollout.
    StepsDuringRollout,
    /// A step takes time from processes that finish what they have.
    StepsCutDrains,
    /// A step leads to a number beyond the range.
    StepsBeyondRange,
    /// An operator's number is taken although it is beyond the range.
    ScalesBeyondRange,
    /// An upgrade begins while workers are replaced one by one.
    UpgradesDuringTurns,
    /// A reload, a change of the number or a replacement begins during an upgrade.
    ChangesDuringUpgrade,
    /// A step that the load asks for begins during an upgrade.
    StepsDuringUpgrade,
    /// The cluster gives up during an upgrade, which may be the cure.
    GivesUpDuringUpgrade,
    /// A cluster that never gets ready goes on for ever.
    NeverGivesUp,
    /// One by one: the next worker goes down before the last one is back.
    TakesTwoDown,
    /// One by one: a process starts beside another one of its slot.
    StartsBesideOld,
    /// One by one: the rollout waits for a successor that has failed.
    GoesOnAfterFailure,
    /// One by one: a worker has its turn again.
    ReplacesTwice,
    /// One by one: a worker whose successor has failed is not started as it was before.
    KeepsFailedRelease,
    /// One by one: the last worker that serves is replaced because of a limit.
    LeavesNobody,
    /// A release stays open that nothing is started from.
    KeepsReleases,
}

#[cfg(test)]
thread_local! {
    static SEEDED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Is the fleet to have this bug?
#[cfg(test)]
pub(crate) fn seeded(bug: Bug) -> bool {
    SEEDED.get() == Some(bug)
}

/// Is the fleet to have this bug?
#[cfg(not(test))]
pub(crate) const fn seeded(_: Bug) -> bool {
    false
}

/// Runs `test` on this thread with this bug in the fleet.
#[cfg(test)]
pub(crate) fn with<T>(bug: Option<Bug>, test: impl FnOnce() -> T) -> T {
    SEEDED.set(bug);
    let result = test();
    SEEDED.set(None);
    result
}
