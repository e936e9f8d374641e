//! What can be wrong with the server.

/// What is wrong with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// One request in twenty fails.
    Flaky,
    /// All requests go to one worker.
    Sticky,
    /// One worker is never used.
    Unused,
    /// Two workers get 60 % of the requests.
    SixtyForty,
    /// Each connection stays with its worker, and workers are drawn by lot.
    Random,
    /// "Shared" state is per worker.
    StatePerWorker,
    /// One increment in fifty is acknowledged and lost.
    LostIncrement,
    /// A time to live is ignored.
    NeverExpires,
    /// One local counter for all workers.
    SharedCounter,
    /// Computations wait for each other.
    Serial,
    /// A worker that computes does not answer.
    BlocksEventLoop,
    /// The heap is the resident memory renamed.
    RenamedMemory,
    /// Errors are plain text.
    PlainErrors,
    /// The request's own id is not kept.
    ForgetsRequestId,
    /// A dead worker is never restarted, but still listed.
    DeadWorker,
    /// Answers are not as the description says.
    WrongForm,
    /// A descriptor is kept for each tenth request.
    LeaksDescriptors,
    /// A crash is never made good.
    NeverRestarts,
    /// A crash replaces all workers.
    RestartsAll,
    /// Requests fail for a while after a crash.
    DropsRequests,
    /// A hung worker is waited for, and not replaced.
    IgnoresHang,
    /// Increments are lost when a worker crashes.
    ForgetsOnCrash,
    /// SIGTERM is as good as SIGKILL.
    DiesOnTerm,
    /// A child lives on.
    LeavesOrphan,
    /// Store calls hang when Redis is away.
    HangsWithoutRedis,
}
