//! The pool by itself: picks, limits and waiting, without processes.

mod hash;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shared_protocol::{Generation, WorkerId};
use tokio::time::Instant;

use crate::select::Strategy;
use crate::{
    Affinity, Balancing, Clock, ConcurrencyLimit, Hold, Lease, PickError, PickRequest, Pool, QueueReading,
    WaitPolicy, Worker, Workload,
};

/// The time as it is.
struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(deadline).await;
    }
}

fn worker(id: u32, generation: u64) -> Arc<Worker> {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    Arc::new(Worker::new(WorkerId(id), 100 + id, Generation(generation), address, Arc::default()))
}

fn pool(workers: u32) -> Pool {
    pool_of(workers, Balancing::default())
}

fn pool_of(workers: u32, balancing: Balancing) -> Pool {
    let pool = Pool::new(balancing);
    // Published in the order in which they happen to become ready.
    (1..=workers).rev().for_each(|id| pool.publish(worker(id, u64::from(id))));
    pool
}

fn ids(pool: &Pool, picks: usize) -> Vec<u32> {
    (0..picks).map(|_| pool.pick(PickRequest::default()).unwrap().id.0).collect()
}

#[test]
fn picks_go_round_by_id() {
    assert_eq!(ids(&pool(4), 8), [1, 2, 3, 4, 1, 2, 3, 4]);
}

#[test]
fn picks_are_exact_when_many_threads_pick() {
    let pool = pool(4);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..1_000).for_each(|_| drop(pool.pick(PickRequest::default()))));
        }
    });
    for worker in pool.ready().iter() {
        assert_eq!(worker.requests(), 2_000, "worker {}", worker.id);
    }
}

#[test]
fn a_retry_goes_to_a_worker_that_was_not_excluded() {
    let pool = pool(3);
    let excluded = [Generation(1), Generation(3), Generation(2)];
    for _ in 0..6 {
        let request = PickRequest { excluded: &excluded[..2], ..PickRequest::default() };
        assert_eq!(pool.pick(request).unwrap().id, WorkerId(2));
    }
    assert!(pool.pick(PickRequest { excluded: &excluded, ..PickRequest::default() }).is_none());
}

#[test]
fn a_withdrawn_worker_is_not_picked_even_from_an_old_snapshot() {
    let pool = pool(2);
    let old = pool.ready();
    pool.withdraw(Generation(1));
    assert!(Lease::take(&old[0], None).is_none());
    assert_eq!(old[0].in_flight(), 0);
    assert_eq!(ids(&pool, 3), [2, 2, 2]);
}

#[test]
fn in_flight_lasts_as_long_as_the_lease() {
    let pool = pool(1);
    let lease = pool.pick(PickRequest::default()).unwrap();
    assert_eq!(pool.ready()[0].in_flight(), 1);
    drop(lease);
    assert_eq!(pool.ready()[0].in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_the_last_request() {
    let pool = pool(1);
    let (first, second) =
        (pool.pick(PickRequest::default()).unwrap(), pool.pick(PickRequest::default()).unwrap());
    let worker = Arc::clone(&pool.ready()[0]);
    drop(pool.pick(PickRequest::default()));
    pool.withdraw(worker.generation);
    let drained = tokio::spawn(async move { worker.drained().await });
    drop(first);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!drained.is_finished(), "one is left");
    drop(second);
    tokio::time::timeout(Duration::from_secs(60), drained).await.expect("it is told").unwrap();
}

#[tokio::test]
async fn no_end_of_a_drain_is_missed_when_many_threads_let_go() {
    for _ in 0..500 {
        let pool = Arc::new(pool(1));
        let worker = Arc::clone(&pool.ready()[0]);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let pool = Arc::clone(&pool);
                std::thread::spawn(move || while pool.pick(PickRequest::default()).is_some() {})
            })
            .collect();
        pool.withdraw(worker.generation);
        let drained = tokio::time::timeout(Duration::from_secs(10), worker.drained()).await;
        assert!(drained.is_ok(), "{} are in flight", worker.in_flight());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(worker.in_flight(), 0);
    }
}

#[test]
fn a_replacement_takes_its_predecessors_place() {
    let pool = pool(3);
    let old = pool.ready();
    pool.publish(worker(2, 9));
    assert!(Lease::take(&old[1], None).is_none(), "it gets nothing more");
    let generations: Vec<_> = pool.ready().iter().map(|worker| worker.generation.0).collect();
    assert_eq!(generations, [1, 9, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_starting_worker_but_not_for_nothing() {
    const POLICY: WaitPolicy = WaitPolicy {
        starting: Duration::from_secs(5),
        start_horizon: Duration::from_secs(1),
        grace: Duration::from_millis(200),
    };
    let pool = Arc::new(Pool::default());
    let start = Instant::now();
    assert!(pool.pick_or_wait(PickRequest::default(), POLICY, &RealClock).await.is_err());
    assert_eq!(start.elapsed(), POLICY.grace);
    pool.set_next_start(Some(Instant::now() + Duration::from_secs(20)));
    assert!(pool.pick_or_wait(PickRequest::default(), POLICY, &RealClock).await.is_err());
    assert_eq!(start.elapsed(), POLICY.grace * 2);

    pool.set_next_start(Some(Instant::now() + Duration::from_millis(900)));
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move {
            pool.pick_or_wait(PickRequest::default(), POLICY, &RealClock).await.ok().map(|lease| lease.id)
        }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    pool.publish(worker(1, 1));
    assert_eq!(waiting.await.unwrap(), Some(WorkerId(1)));
}

fn by(strategy: Strategy) -> Balancing {
    Balancing { strategy, concurrency_limit: None }
}

#[test]
fn the_least_loaded_worker_is_picked_and_retries_go_elsewhere() {
    let pool = pool_of(3, by(Strategy::LeastConnections));
    let first: Vec<_> = (0..3).map(|_| pool.pick(PickRequest::default()).unwrap()).collect();
    assert_eq!(first.iter().map(|lease| lease.id.0).collect::<Vec<_>>(), [1, 2, 3], "equals take turns");
    drop(first.into_iter().nth(1));
    let held = pool.pick(PickRequest { excluded: &[Generation(2)], ..PickRequest::default() }).unwrap();
    assert_ne!(held.id, WorkerId(2));
}

#[test]
fn who_holds_a_request_is_avoided() {
    let pool = pool_of(3, by(Strategy::LeastConnections));
    let busy = pool.pick(PickRequest::default()).unwrap();
    assert!((0..30).all(|_| pool.pick(PickRequest::default()).unwrap().id != busy.id));
    let pool = pool_of(2, by(Strategy::PowerOfTwo));
    let busy = pool.pick(PickRequest::default()).unwrap();
    assert!((0..30).all(|_| pool.pick(PickRequest::default()).unwrap().id != busy.id));
}

#[test]
fn a_bound_request_goes_to_its_worker_while_that_is_ready() {
    let pool = pool_of(3, by(Strategy::Sticky));
    let bound = PickRequest { affinity: Some(Affinity::Worker(WorkerId(2))), ..PickRequest::default() };
    for _ in 0..5 {
        assert_eq!(pool.pick(bound).unwrap().id, WorkerId(2));
    }
    assert_eq!(ids(&pool, 3), [1, 2, 3], "that takes nobody's turn");
    assert_ne!(pool.pick(PickRequest { excluded: &[Generation(2)], ..bound }).unwrap().id, WorkerId(2));
    pool.withdraw(Generation(2));
    assert!((0..4).all(|_| pool.pick(bound).is_some()));
}

const LIMIT: ConcurrencyLimit =
    ConcurrencyLimit { max_concurrency: 2, queue: 3, queue_timeout: Duration::from_secs(5) };
const NO_WAIT: WaitPolicy =
    WaitPolicy { starting: Duration::ZERO, start_horizon: Duration::ZERO, grace: Duration::ZERO };

fn limited(workers: u32, strategy: Strategy, limit: ConcurrencyLimit) -> Arc<Pool> {
    Arc::new(pool_of(workers, Balancing { strategy, concurrency_limit: Some(limit) }))
}

/// Waits in the queue; the lease is passed on as it comes.
fn wait_for(pool: &Arc<Pool>, affinity: Option<u32>) -> tokio::task::JoinHandle<Result<Lease, PickError>> {
    let pool = Arc::clone(pool);
    tokio::spawn(async move {
        let request = PickRequest {
            affinity: affinity.map(|id| Affinity::Worker(WorkerId(id))),
            ..PickRequest::default()
        };
        pool.pick_or_wait(request, NO_WAIT, &RealClock).await
    })
}

async fn waiting(pool: &Pool, count: usize) {
    while pool.queued() != count {
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_limit_holds_across_threads() {
    for strategy in [Strategy::RoundRobin, Strategy::LeastConnections, Strategy::PowerOfTwo] {
        let pool = limited(2, strategy, LIMIT);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Some(lease) = pool.pick(PickRequest::default()) {
                            assert!(lease.in_flight() <= 2);
                        }
                    }
                });
            }
        });
        let leases: Vec<_> = (0..8).filter_map(|_| pool.pick(PickRequest::default())).collect();
        assert_eq!(leases.len(), 4, "{strategy:?}: all room is used");
    }
}

#[tokio::test(start_paused = true)]
async fn who_came_first_is_served_first_and_nobody_overtakes() {
    let pool = limited(1, Strategy::RoundRobin, LIMIT);
    let mut held: Vec<_> = (0..2).map(|_| pool.pick(PickRequest::default()).unwrap()).collect();
    let first = wait_for(&pool, None);
    waiting(&pool, 1).await;
    let second = wait_for(&pool, None);
    waiting(&pool, 2).await;
    held.pop();
    assert!(pool.pick(PickRequest::default()).is_none(), "the room was somebody's already");
    let lease = first.await.unwrap().unwrap();
    assert_eq!((pool.queued(), lease.in_flight()), (1, 2));
    drop(lease);
    assert!(second.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_length_and_time() {
    let pool = limited(1, Strategy::RoundRobin, LIMIT);
    let held: Vec<_> = (0..2).map(|_| pool.pick(PickRequest::default()).unwrap()).collect();
    let waiters: Vec<_> = (0..3).map(|_| wait_for(&pool, None)).collect();
    waiting(&pool, 3).await;
    assert_eq!(wait_for(&pool, None).await.unwrap().unwrap_err(), PickError::QueueFull);
    let start = Instant::now();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap_err(), PickError::QueueTimeout(LIMIT.queue_timeout));
    }
    assert_eq!(start.elapsed(), LIMIT.queue_timeout);
    let stats = pool.queue_stats().unwrap();
    let counts =
        [&stats.full, &stats.timed_out, &stats.client_left].map(|count| count.load(Ordering::Relaxed));
    assert_eq!((pool.queued(), counts), (0, [1, 3, 0]));
    drop(held);
    assert_eq!(pool.ready()[0].in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_gives_up_the_place_even_with_a_lease_in_hand() {
    let pool = limited(1, Strategy::RoundRobin, LIMIT);
    let mut held: Vec<_> = (0..2).map(|_| pool.pick(PickRequest::default()).unwrap()).collect();
    let (leaver, patient) = (wait_for(&pool, None), wait_for(&pool, None));
    waiting(&pool, 2).await;
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    assert_eq!(pool.queued(), 1);
    assert_eq!(pool.queue_stats().unwrap().client_left.load(Ordering::Relaxed), 1);
    // The lease is on its way when its taker goes: the next one gets the room.
    let late = wait_for(&pool, None);
    waiting(&pool, 2).await;
    held.pop();
    patient.abort();
    assert!(patient.await.is_err());
    let lease = late.await.unwrap().unwrap();
    drop((lease, held));
    assert_eq!((pool.queued(), pool.ready()[0].in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_worker_is_room_and_one_that_goes_frees_those_affinity_it() {
    let pool = limited(2, Strategy::Sticky, ConcurrencyLimit { max_concurrency: 1, ..LIMIT });
    let held: Vec<_> = (0..2).map(|_| pool.pick(PickRequest::default()).unwrap()).collect();
    let (bound, free) = (wait_for(&pool, Some(1)), wait_for(&pool, None));
    waiting(&pool, 2).await;
    pool.publish(worker(3, 3));
    assert_eq!(free.await.unwrap().unwrap().id, WorkerId(3), "the first in the queue waits for another");
    waiting(&pool, 1).await;
    pool.withdraw(Generation(1));
    assert_eq!(bound.await.unwrap().unwrap().id, WorkerId(3), "its worker is gone");
    drop(held);
}

#[test]
fn nobody_is_forgotten_when_many_threads_come_and_go() {
    let pool =
        limited(2, Strategy::LeastConnections, ConcurrencyLimit { max_concurrency: 1, queue: 64, ..LIMIT });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let clients = (0..8).map(|_| {
                        let pool = Arc::clone(&pool);
                        tokio::spawn(async move {
                            for _ in 0..200 {
                                let lease = pool
                                    .pick_or_wait(PickRequest::default(), NO_WAIT, &RealClock)
                                    .await
                                    .unwrap();
                                assert_eq!(lease.in_flight(), 1);
                                tokio::task::yield_now().await;
                            }
                        })
                    });
                    for client in clients.collect::<Vec<_>>() {
                        client.await.unwrap();
                    }
                });
            });
        }
    });
    assert_eq!(pool.queued(), 0);
    assert_eq!(pool.ready().iter().map(|worker| worker.requests()).sum::<u64>(), 4 * 8 * 200);
}

#[test]
fn a_tunnel_gives_its_place_back_and_is_still_waited_for() {
    let limit = ConcurrencyLimit { max_concurrency: 1, queue: 0, queue_timeout: Duration::ZERO };
    let pool = pool_of(1, Balancing { concurrency_limit: Some(limit), ..Balancing::default() });
    let mut tunnel = pool.pick(PickRequest::default()).unwrap();
    assert!(pool.pick(PickRequest::default()).is_none());
    tunnel.hold(Hold::Tunnel);
    let request = pool.pick(PickRequest::default()).unwrap();
    let worker = Arc::clone(&pool.ready()[0]);
    assert_eq!((worker.in_flight(), worker.tunnels(), worker.workload().requests), (2, 1, 1));
    drop(request);
    tunnel.hold(Hold::Request);
    assert_eq!((worker.in_flight(), worker.tunnels(), worker.workload().requests), (1, 1, 0));
    drop(tunnel);
    assert_eq!((worker.in_flight(), worker.tunnels()), (0, 0));
}

#[test]
fn what_a_worker_has_in_hand_is_told_apart() {
    let pool = pool(1);
    let worker = Arc::clone(&pool.ready()[0]);
    let counts = || {
        let Workload { requests, client_waits, abandoned, .. } = worker.workload();
        (requests, client_waits, abandoned)
    };
    let mut lease = pool.pick(PickRequest::default()).unwrap();
    let before = worker.workload().moved;
    assert_eq!(counts(), (1, 0, 0));
    lease.hold(Hold::ClientWait);
    assert_eq!(counts(), (1, 1, 0));
    lease.hold(Hold::Stream);
    assert_eq!(counts(), (0, 0, 0));
    assert_eq!(worker.workload().moved, before);
    lease.moved();
    lease.abandoned();
    drop(lease);
    assert!(worker.workload().moved > before);
    assert_eq!((counts(), worker.in_flight()), ((0, 0, 1), 0));
}

#[test]
fn a_worker_that_was_out_of_turn_is_published_again() {
    let pool = pool(2);
    let worker = Arc::clone(&pool.ready()[0]);
    pool.withdraw(worker.generation);
    assert_eq!(ids(&pool, 2), [2, 2]);
    pool.publish(worker);
    assert_eq!(ids(&pool, 2), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn tunnels_have_a_limit_of_their_own() {
    let pool = pool(2);
    let upgrade = PickRequest { max_tunnels: Some(1), ..PickRequest::default() };
    let mut tunnels: Vec<_> = (0..2).map(|_| pool.pick(upgrade).unwrap()).collect();
    let mut late = pool.pick(upgrade).unwrap();
    assert!(tunnels.iter_mut().all(|lease| lease.hold_tunnel(Some(1))));
    assert!(!late.hold_tunnel(Some(1)), "whoever comes second is told so");
    assert_eq!(pool.ready().iter().map(|worker| worker.tunnels()).collect::<Vec<_>>(), [1, 1]);
    drop(late);
    assert!(pool.pick(upgrade).is_none());
    let start = Instant::now();
    let refused = pool.pick_or_wait(upgrade, NO_WAIT, &RealClock).await.unwrap_err();
    assert_eq!((refused, start.elapsed()), (PickError::MaxTunnels, Duration::ZERO), "nobody waits for it");
    assert!(pool.pick(PickRequest::default()).is_some(), "other requests are not concerned");
    let id = tunnels.pop().unwrap().id;
    assert_eq!(pool.pick(upgrade).unwrap().id, id);
    // A cookie does not lead beyond the limit.
    let other = PickRequest { affinity: Some(Affinity::Worker(tunnels[0].id)), ..upgrade };
    assert_eq!(pool.pick(other).unwrap().id, id);
}

#[tokio::test(start_paused = true)]
async fn the_course_of_the_queue_is_read_once() {
    let pool = limited(1, Strategy::RoundRobin, LIMIT);
    assert!(pool.read_queue().is_some_and(|reading| reading == QueueReading::default()));
    let mut held: Vec<_> = (0..2).map(|_| pool.pick(PickRequest::default()).unwrap()).collect();
    let first = wait_for(&pool, None);
    waiting(&pool, 1).await;
    pool.read_queue();
    tokio::time::advance(Duration::from_secs(1)).await;
    let second = wait_for(&pool, None);
    waiting(&pool, 2).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let reading = pool.read_queue().unwrap();
    assert!((reading.waiting - 1.5).abs() < 0.01, "one for a second, then two: {reading:?}");
    assert_eq!(reading.joined, 1);
    assert!(reading.longest >= Duration::from_secs(2), "it still waits: {reading:?}");
    held.clear();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    let reading = pool.read_queue().unwrap();
    assert!(reading.waiting < 0.01 && reading.joined == 0 && reading.longest >= Duration::from_secs(2));
    assert_eq!(pool.read_queue().unwrap().longest, Duration::ZERO);
}
