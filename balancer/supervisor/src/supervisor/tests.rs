//! The event loop with made-up processes and a clock that the tests' waiting moves.

mod fake;
mod one_by_one;

use std::time::Duration;

use balancer_pool::{Hold, PickRequest};
use balancer_state::ClusterState;
use shared_protocol::{Generation, Progress, ReloadMode, WorkerState};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::handle::{Handle, Reply};
use crate::probe::Check;
use balancer_fleet::{DrainSignal, Limits, PortPolicy, RecyclePolicy, ScaleTo, StartPolicy};
use fake::{Behaviour, FakeSystem};

const LIMITS: Limits = Limits {
    startup: Duration::from_secs(30),
    drain: Duration::from_secs(20),
    stream_drain: None,
    drain_signal: DrainSignal::Terminate,
    kill: Duration::from_secs(5),
    hang: Duration::from_secs(30),
    fall: 3,
    rise: 1,
};
/// Longer than anything that is waited for here.
const DEADLINE: Duration = Duration::from_secs(300);

fn probing() -> Probing {
    Probing {
        check: Check::Http("/health".to_owned()),
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        host: None,
        statuses: None,
    }
}

struct Cluster {
    state: ClusterState,
    handle: Handle,
    system: FakeSystem,
    task: JoinHandle<Ended>,
}

impl Cluster {
    fn start(workers: usize) -> Self {
        Self::start_with(workers, RecyclePolicy::default())
    }

    fn start_with(workers: usize, recycle: RecyclePolicy) -> Self {
        Self::start_as(workers, recycle, Behaviour::Works, None)
    }

    fn start_as(
        workers: usize,
        recycle: RecyclePolicy,
        behaviour: Behaviour,
        give_up_after: Option<u32>,
    ) -> Self {
        let (state, system) = (ClusterState::default(), FakeSystem::default());
        let (limits, ports) = (LIMITS, PortPolicy::Own);
        let starts = StartPolicy { parallel: None, processors: 2 };
        let (mode, range) = (ReloadMode::All, None);
        let settings =
            Settings { workers, max_workers: 4, mode, range, limits, recycle, starts, ports, give_up_after };
        system.behave(behaviour);
        let supervisor = Supervisor::new(settings, probing(), system.clone(), state.clone());
        let (handle, commands) = Handle::new(Vec::new);
        let task = tokio::spawn(supervisor.run(commands));
        Self { state, handle, system, task }
    }

    async fn ready(workers: usize) -> Self {
        let cluster = Self::start(workers);
        cluster.eventually("all workers are online", |cluster| cluster.online().len() == workers).await;
        cluster
    }

    /// The generations that get requests, by their ids.
    fn online(&self) -> Vec<u64> {
        self.state.pool.ready().iter().map(|worker| worker.generation.0).collect()
    }

    async fn eventually(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < DEADLINE, "{what}: {:?}", self.state.events.since(0));
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn command(&self, command: impl FnOnce(Option<Reply>) -> Command) -> Vec<Progress> {
        let (reply, mut progress) = mpsc::channel(64);
        let reply = Reply { progress: reply, awaits_drain: false };
        self.handle.send(command(Some(reply))).await.unwrap();
        let mut all = Vec::new();
        while let Some(step) = timeout(DEADLINE, progress.recv()).await.expect("an answer comes") {
            all.push(step);
        }
        all
    }

    async fn reload(&self) -> Vec<Progress> {
        self.reload_as(None).await
    }

    async fn reload_as(&self, mode: Option<ReloadMode>) -> Vec<Progress> {
        self.command(|reply| Command::Reload { mode, reply }).await
    }

    async fn scale(&self, to: usize) -> Vec<Progress> {
        self.command(|reply| Command::Scale { to: ScaleTo::Exactly(to), reply }).await
    }

    /// Those that were done, rolled back, and given up half way.
    fn reloads(&self) -> [u64; 3] {
        use balancer_state::counters::ReloadOutcome::{Done, Partial, RolledBack};
        [Done, RolledBack, Partial].map(|outcome| self.state.counters.reloads(outcome))
    }

    fn has_event(&self, detail: &str) -> bool {
        self.state.events.since(0).iter().any(|event| event.detail.contains(detail))
    }
}

fn failure(progress: &[Progress]) -> &str {
    match progress.last() {
        Some(Progress::Failed { reason, .. }) => reason,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn workers_start_and_serve() {
    let cluster = Cluster::start(2);
    let entries = cluster.state.registry.entries();
    assert!(entries.iter().all(|entry| entry.state == WorkerState::Starting), "shown from the beginning");
    cluster.eventually("both are online", |cluster| cluster.online() == [1, 2]).await;
    assert!(cluster.has_event("online after"));
    assert_eq!(cluster.system.launches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_crashed_worker_is_replaced_and_gets_no_request_meanwhile() {
    let cluster = Cluster::ready(2).await;
    cluster.system.crash(Generation(1));
    cluster.eventually("it is withdrawn", |cluster| cluster.online() == [2]).await;
    cluster.eventually("it is replaced", |cluster| cluster.online() == [3, 2]).await;
    assert!(cluster.has_event("because of crash, restart number 1"));
    assert_eq!(cluster.state.registry.entries()[0].restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_says_what_it_does_and_is_over_at_the_switch() {
    let cluster = Cluster::ready(1).await;
    let lease = cluster.state.pool.pick(PickRequest::default()).unwrap();
    let steps = cluster.reload().await;
    let kinds: Vec<_> =
        steps.iter().map(|step| serde_json::to_value(step).unwrap()["event"].clone()).collect();
    assert_eq!(kinds, ["started", "ready", "switched", "draining", "done"]);
    assert!(matches!(steps.last(), Some(Progress::Done { requests: 1, long_lived: 0, .. })), "{steps:?}");
    assert_eq!(cluster.online(), [2]);
    // The next one ends what still drains.
    cluster.reload().await;
    assert_eq!(cluster.online(), [3]);
    assert!(cluster.has_event("is told to end before its drain timeout"));
    cluster.eventually("the first one is gone", |cluster| !cluster.system.is_running(Generation(1))).await;
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_drain_is_answered_after_the_last_request() {
    let cluster = Cluster::ready(1).await;
    let lease = cluster.state.pool.pick(PickRequest::default()).unwrap();
    let reload = tokio::spawn({
        let handle = cluster.handle.clone();
        async move {
            let (reply, mut progress) = mpsc::channel(64);
            let reply = Reply { progress: reply, awaits_drain: true };
            handle.send(Command::Reload { mode: None, reply: Some(reply) }).await.unwrap();
            let mut all = Vec::new();
            while let Some(step) = progress.recv().await {
                all.push(step);
            }
            all
        }
    });
    cluster.eventually("the new one serves", |cluster| cluster.online() == [2]).await;
    sleep(Duration::from_secs(10)).await;
    assert!(!reload.is_finished() && cluster.system.is_running(Generation(1)), "a request is under way");
    let let_go = Instant::now();
    drop(lease);
    let progress = reload.await.unwrap();
    assert_eq!(let_go.elapsed(), Duration::ZERO, "nobody polls for it");
    let steps: Vec<_> =
        progress.iter().map(|step| serde_json::to_value(step).unwrap()["event"].clone()).collect();
    assert_eq!(steps, ["started", "ready", "switched", "draining", "stopped", "done"]);
    assert_eq!(cluster.reloads(), [1, 0, 0]);
    assert_eq!(cluster.system.adopted(), 1);
    assert_eq!(cluster.state.registry.entries()[0].restarts, 0, "a reload is no restart");
}

#[tokio::test(start_paused = true)]
async fn a_broken_reload_is_rolled_back() {
    let cluster = Cluster::ready(2).await;
    for (behaviour, complaint) in [
        (Behaviour::Exits, "worker 1: ended before it was ready: exit status: 1"),
        (Behaviour::Hangs, "worker 1: not ready within 30s (--startup-timeout): it has not been heard of"),
        (Behaviour::Unhealthy, "worker 1: not ready within 30s (--startup-timeout): answered 500"),
    ] {
        cluster.system.behave(behaviour);
        let progress = cluster.reload().await;
        assert_eq!(failure(&progress), complaint);
        assert_eq!(cluster.online(), [1, 2]);
        assert!(cluster.has_event("reload given up, the old workers stay"));
        cluster.eventually("what was tried is gone", |cluster| cluster.system.running() == 2).await;
    }
    assert_eq!(cluster.reloads(), [0, 3, 0]);
    cluster.system.behave(Behaviour::Works);
    assert!(matches!(cluster.reload().await.last(), Some(Progress::Done { workers: 2, .. })));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_begin_is_an_event_as_well() {
    let cluster = Cluster::ready(1).await;
    cluster.system.lose_release();
    assert_eq!(failure(&cluster.reload().await), "the release is gone");
    assert!(cluster.has_event("no reload: the release is gone"));
    assert_eq!(cluster.reloads(), [0, 1, 0]);
    assert_eq!(failure(&cluster.scale(0).await), "a cluster has at least one worker");
    assert_eq!(failure(&cluster.scale(5).await), "5 workers find no room; 4 is the most");
    assert!(cluster.has_event("number of workers stays 1: 5 workers find no room"));
    assert_eq!(cluster.online(), [1]);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_workers_changes() {
    let cluster = Cluster::ready(1).await;
    assert!(matches!(cluster.scale(3).await.last(), Some(Progress::Done { workers: 3, .. })));
    assert_eq!(cluster.online(), [1, 2, 3]);
    assert!(matches!(cluster.scale(2).await.last(), Some(Progress::Done { workers: 2, .. })));
    assert_eq!((cluster.online(), cluster.system.running()), (vec![1, 2], 2));
    cluster.handle.try_send(Command::Scale { to: ScaleTo::More(1), reply: None }).unwrap();
    cluster.eventually("a signal adds one", |cluster| cluster.online() == [1, 2, 4]).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_tried_again_later_and_later() {
    let cluster = Cluster::start(1);
    cluster.system.behave(Behaviour::CannotLaunch);
    cluster.eventually("it waits", |cluster| cluster.has_event("next start in")).await;
    assert!(cluster.has_event("could not be started: no such program"));
    assert_eq!(cluster.state.registry.entries()[0].state, WorkerState::Backoff);
    cluster.system.behave(Behaviour::Works);
    cluster.eventually("it is online", |cluster| cluster.online().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_hung_worker_is_replaced() {
    let cluster = Cluster::ready(2).await;
    cluster.system.freeze(Generation(1));
    cluster.eventually("it is out of turn", |cluster| cluster.online() == [2]).await;
    assert!(cluster.system.is_running(Generation(1)));
    assert_eq!(cluster.state.registry.entries()[0].state, WorkerState::Unhealthy);
    cluster.eventually("it is replaced", |cluster| cluster.online() == [3, 2]).await;
    assert!(!cluster.system.is_running(Generation(1)));
    assert!(cluster.has_event("has answered no health probe for 15 s, with nothing in hand"));
}

#[tokio::test(start_paused = true)]
async fn a_busy_worker_is_out_of_turn_until_it_answers() {
    let cluster = Cluster::ready(2).await;
    let lease = cluster.state.pool.pick(PickRequest::default()).unwrap();
    cluster.system.freeze(lease.generation);
    cluster.eventually("it is out of turn", |cluster| cluster.online() == [2]).await;
    sleep(LIMITS.hang - Duration::from_secs(5)).await;
    assert_eq!(cluster.online(), [2]);
    cluster.system.thaw(lease.generation);
    cluster.eventually("it is in turn again", |cluster| cluster.online() == [1, 2]).await;
    assert!(cluster.has_event("it has answered a probe"));
    assert_eq!(cluster.system.launches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_requests_stand_still_is_replaced_after_the_hang_timeout() {
    let cluster = Cluster::ready(2).await;
    let lease = cluster.state.pool.pick(PickRequest::default()).unwrap();
    let (still, mut waits) = (Instant::now(), cluster.state.pool.pick(PickRequest::default()).unwrap());
    cluster.system.freeze(lease.generation);
    cluster.system.freeze(waits.generation);
    waits.hold(Hold::ClientWait);
    cluster
        .eventually("all miss their probes and are in turn", |cluster| {
            cluster.has_event("no other worker answers its probes either") || cluster.online() == [2]
        })
        .await;
    cluster.eventually("one is replaced", |cluster| cluster.online() == [3]).await;
    let took = still.elapsed();
    assert!(took >= LIMITS.hang && took < LIMITS.hang + LIMITS.kill, "{took:?}");
    assert!(cluster.has_event("none of its requests has moved for 30 s"));
    sleep(2 * LIMITS.hang).await;
    assert!(cluster.system.is_running(waits.generation), "its client does not go on");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_reached_a_limit_is_replaced_first() {
    let recycle = RecyclePolicy { max_requests: Some(2), ..RecyclePolicy::default() };
    let cluster = Cluster::start_with(1, recycle);
    cluster.eventually("it is online", |cluster| cluster.online() == [1]).await;
    (0..2).for_each(|_| drop(cluster.state.pool.pick(PickRequest::default()).unwrap()));
    cluster.eventually("its successor serves", |cluster| cluster.online() == [2]).await;
    assert!(cluster.has_event("has reached max-requests"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_everything_within_the_kill_timeout() {
    let cluster = Cluster::ready(2).await;
    cluster.system.behave(Behaviour::Stubborn);
    cluster.system.crash(Generation(1));
    cluster.eventually("a stubborn one serves", |cluster| cluster.online() == [3, 2]).await;
    let start = Instant::now();
    cluster.handle.send(Command::Stop { long_lived: Duration::ZERO }).await.unwrap();
    timeout(DEADLINE, cluster.task).await.expect("it ends").unwrap();
    assert_eq!(start.elapsed().as_secs(), LIMITS.kill.as_secs());
    assert_eq!(cluster.system.running(), 0);
    assert!(cluster.state.pool.ready().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_reload_answers_the_requester() {
    let cluster = Cluster::ready(1).await;
    cluster.system.behave(Behaviour::Hangs);
    let (reply, mut progress) = mpsc::channel(64);
    let reply = Reply { progress: reply, awaits_drain: false };
    cluster.handle.send(Command::Reload { mode: None, reply: Some(reply) }).await.unwrap();
    assert!(matches!(progress.recv().await, Some(Progress::Started { .. })));
    cluster.handle.send(Command::Kill).await.unwrap();
    let reason = "the cluster is stopping".to_owned();
    assert_eq!(progress.recv().await, Some(Progress::Failed { reason, last_lines: vec![] }));
    assert_eq!(progress.recv().await, None);
    timeout(DEADLINE, cluster.task).await.expect("it ends").unwrap();
    assert_eq!(cluster.system.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_anybody_to_command_it_the_cluster_ends() {
    let Cluster { handle, system, task, .. } = Cluster::ready(2).await;
    drop(handle);
    timeout(DEADLINE, task).await.expect("it ends").unwrap();
    assert_eq!(system.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_never_gets_ready_ends_with_its_reason_whatever_fails() {
    for (behaviour, why) in [
        (Behaviour::Exits, "worker 1: ended before it was ready: exit status: 1"),
        (Behaviour::CannotLaunch, "worker 1: could not be started: no such program"),
        (Behaviour::Unhealthy, "not ready within 30s (--startup-timeout): answered 500"),
    ] {
        let cluster = Cluster::start_as(2, RecyclePolicy::default(), behaviour, Some(3));
        cluster
            .eventually("a reason is shown", |cluster| {
                cluster.state.registry.entries().iter().any(|entry| entry.reason.is_some())
            })
            .await;
        let ended = timeout(20 * DEADLINE, cluster.task).await.expect("it gives up").unwrap();
        let Ended::GaveUp(reason) = ended else { panic!("{ended:?}") };
        assert!(
            reason.text.starts_with("no worker has ever been ready, and each of the 2 workers has failed 3")
        );
        assert!(reason.text.contains(why), "{}", reason.text);
    }
    let cluster = Cluster::start_as(1, RecyclePolicy::default(), Behaviour::Works, Some(1));
    cluster.eventually("it is online", |cluster| cluster.online() == [1]).await;
    cluster.system.behave(Behaviour::Exits);
    cluster.system.crash(Generation(1));
    cluster.eventually("it is tried on and on", |cluster| cluster.system.launches() > 5).await;
}
