//! Reloads that go from one worker to the next.

use balancer_pool::{Clock, WaitPolicy};
use shared_protocol::ReleaseId;
use tokio::time::sleep_until;

use super::*;

/// That of the tests.
struct TestClock;

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        sleep_until(deadline)
    }
}

const ONE_BY_ONE: Option<ReloadMode> = Some(ReloadMode::OneByOne);

impl Cluster {
    fn releases(&self) -> Vec<u64> {
        let entries = self.state.registry.entries();
        entries.iter().map(|entry| entry.release).map(|ReleaseId(release)| release).collect()
    }
}

fn kinds(steps: &[Progress]) -> Vec<String> {
    let kind = |step| serde_json::to_value(step).unwrap()["event"].as_str().unwrap().to_owned();
    steps.iter().map(kind).collect()
}

#[tokio::test(start_paused = true)]
async fn each_worker_ends_before_its_successor_starts() {
    let cluster = Cluster::ready(3).await;
    let steps = cluster.reload_as(ONE_BY_ONE).await;
    let one = ["draining", "stopped", "started", "ready"];
    assert_eq!(kinds(&steps), [&one[..], &one, &one, &["done"]].concat());
    let places = steps.iter().filter_map(|step| match step {
        Progress::Draining { turn: Some(turn), .. } => Some((turn.place, turn.of)),
        _ => None,
    });
    assert_eq!(places.collect::<Vec<_>>(), [(1, 3), (2, 3), (3, 3)]);
    assert_eq!((cluster.online(), cluster.releases()), (vec![4, 5, 6], vec![2, 2, 2]));
    assert_eq!((cluster.reloads(), cluster.system.adopted()), ([1, 0, 0], 1));
    assert!(cluster.state.registry.entries().iter().all(|entry| entry.restarts == 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_ends_it_and_is_started_again_as_it_was() {
    let cluster = Cluster::ready(3).await;
    let (reply, mut progress) = mpsc::channel(64);
    let reply = Some(Reply { progress: reply, awaits_drain: false });
    let leases: Vec<_> = (0..3).map(|_| cluster.state.pool.pick(PickRequest::default()).unwrap()).collect();
    let (second, others): (Vec<_>, _) =
        leases.into_iter().partition(|lease| lease.generation == Generation(2));
    drop(others);
    cluster.handle.send(Command::Reload { mode: ONE_BY_ONE, reply }).await.unwrap();
    while !matches!(progress.recv().await, Some(Progress::Ready { .. })) {}
    cluster.system.behave(Behaviour::Exits);
    drop(second);
    let mut last = None;
    while let Some(step) = progress.recv().await {
        last = Some(step);
    }
    let Some(Progress::Failed { reason, .. }) = last else { panic!("{last:?}") };
    assert_eq!(
        reason,
        "worker 2: ended before it was ready: exit status: 1; 1 of 3 workers has the new release, \
         worker 2 is down and is started again with the old one, worker 3 has the old one"
    );
    cluster.system.behave(Behaviour::Works);
    cluster.eventually("it is back", |cluster| cluster.online().len() == 3).await;
    assert_eq!((cluster.releases(), cluster.reloads()), (vec![2, 1, 1], [0, 0, 1]));
    assert!(cluster.has_event("reload given up half way: worker 2"));
    assert!(matches!(cluster.reload_as(ONE_BY_ONE).await.last(), Some(Progress::Done { .. })));
    assert_eq!(cluster.releases(), [3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_down_has_its_turn_first_and_waits_no_longer() {
    let cluster = Cluster::ready(2).await;
    cluster.system.behave(Behaviour::Exits);
    cluster.system.crash(Generation(2));
    cluster.eventually("it waits for long", |cluster| cluster.system.launches() > 8).await;
    cluster.system.behave(Behaviour::Works);
    let steps = cluster.reload_as(ONE_BY_ONE).await;
    let ready = steps.iter().filter_map(|step| match step {
        Progress::Ready { worker, .. } => Some(worker.0),
        _ => None,
    });
    assert_eq!(ready.collect::<Vec<_>>(), [2, 1]);
    assert_eq!(cluster.releases(), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_the_successor_of_the_only_worker() {
    let cluster = Cluster::ready(1).await;
    let busy = cluster.state.pool.pick(PickRequest::default()).unwrap();
    let reload = {
        let handle = cluster.handle.clone();
        tokio::spawn(async move {
            let (reply, mut progress) = mpsc::channel(64);
            let reply = Some(Reply { progress: reply, awaits_drain: false });
            handle.send(Command::Reload { mode: ONE_BY_ONE, reply }).await.unwrap();
            let mut warnings = 0;
            while let Some(step) = progress.recv().await {
                warnings += usize::from(matches!(step, Progress::Warning { .. }));
            }
            warnings
        })
    };
    cluster.eventually("it gets no further requests", |cluster| cluster.online().is_empty()).await;
    let policy = WaitPolicy {
        starting: Duration::from_secs(5),
        start_horizon: Duration::from_secs(1),
        grace: Duration::from_millis(100),
    };
    let (pool, start) = (Arc::clone(&cluster.state.pool), Instant::now());
    let waits = tokio::spawn(async move {
        let lease = pool.pick_or_wait(PickRequest::default(), policy, &TestClock).await;
        lease.unwrap_or_else(|err| panic!("{err:?} after {:?}", start.elapsed())).generation
    });
    sleep(Duration::from_secs(2)).await;
    assert!(!waits.is_finished(), "the worker has yet to end");
    drop(busy);
    assert_eq!(waits.await.unwrap(), Generation(2));
    assert_eq!(reload.await.unwrap(), 1, "it is said");
}
