//! What can be wrong with the balancer.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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
    /// A descriptor is kept for each two hundredth request.
    LeaksSlowly,
    /// A kilobyte is kept for each request.
    LeaksMemory,
    /// What Redis holds is not what the API says.
    KeepsStateElsewhere,
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
    /// One request in a thousand is lost while a reload goes on.
    ReloadDrops,
    /// A reload does nothing and says that it succeeded.
    ReloadOnlySaysSo,
    /// A reload that fails, and says so, kills the old workers all the same.
    BrokenReloadKills,
    /// A reload that cannot succeed says that it did.
    BrokenReloadSaysOk,
    /// One request in a hundred is lost while the cluster is scaled.
    ScaleDrops,
    /// Scaling does nothing and says that it succeeded.
    ScaleOnlySaysSo,
    /// TLS 1.0 and 1.1 are spoken.
    TlsOld,
    /// TLS 1.3 is not spoken.
    TlsWithout13,
    /// The certificate has expired.
    TlsExpired,
    /// The certificate is somebody else's.
    TlsWrongName,
    /// The certificate is signed by nobody who is known.
    TlsStranger,
    /// The certificate comes without the one of its issuer.
    TlsIncompleteChain,
    /// HTTP/2 is agreed on and not spoken.
    TlsWrongAlpn,
    /// Plain HTTP is served beside TLS.
    TlsPlainAsWell,
}

impl Fault {
    /// Processes of this machine are looked at, so its workers must be some.
    pub fn leaks(self) -> bool {
        matches!(self, Self::LeaksDescriptors | Self::LeaksSlowly | Self::LeaksMemory)
    }

    /// Of so many requests during a change, one is lost.
    pub fn loses_one_in(self) -> Option<usize> {
        match self {
            Self::ReloadDrops => Some(1000),
            Self::ScaleDrops => Some(100),
            _ => None,
        }
    }
}
