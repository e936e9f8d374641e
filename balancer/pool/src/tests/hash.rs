//! Picks by key: which worker, and which one when that cannot be had.

use super::*;
use crate::HashKey;

fn by_key(number: u32) -> PickRequest<'static> {
    let key = HashKey::new(&number.to_le_bytes());
    PickRequest { affinity: Some(Affinity::Key(key)), ..PickRequest::default() }
}

/// The workers of a key in its order: each one is asked for while those before are excluded.
fn order(pool: &Pool, number: u32) -> Vec<Lease> {
    let mut leases: Vec<Lease> = Vec::new();
    loop {
        let excluded: Vec<_> = leases.iter().map(|lease| lease.generation).collect();
        let Some(lease) = pool.pick(PickRequest { excluded: &excluded, ..by_key(number) }) else {
            return leases;
        };
        leases.push(lease);
    }
}

fn ids_of(leases: &[Lease]) -> Vec<u32> {
    leases.iter().map(|lease| lease.id.0).collect()
}

fn picked(pool: &Pool, number: u32) -> u32 {
    pool.pick(by_key(number)).unwrap().id.0
}

#[test]
fn a_key_keeps_its_worker_and_its_order_whoever_else_comes() {
    let pool = pool_of(4, by(Strategy::Hash));
    let orders: Vec<_> = (0..64).map(|number| ids_of(&order(&pool, number))).collect();
    let homes: std::collections::HashSet<_> = orders.iter().map(|order| order[0]).collect();
    assert_eq!(homes.len(), 4, "keys differ");
    for _ in 0..3 {
        for (number, order) in (0..).zip(&orders) {
            assert_eq!(picked(&pool, number), order[0]);
        }
    }
    assert_eq!(orders, (0..64).map(|number| ids_of(&order(&pool, number))).collect::<Vec<_>>());
}

#[test]
fn a_key_moves_to_its_next_worker_and_comes_back() {
    let pool = pool_of(4, by(Strategy::Hash));
    for number in 0..64 {
        let leases = order(&pool, number);
        let ids = ids_of(&leases);
        pool.withdraw(leases[0].generation);
        assert_eq!(picked(&pool, number), ids[1], "the second one of its own order");
        pool.withdraw(leases[1].generation);
        assert_eq!(picked(&pool, number), ids[2]);
        // Another process of the same slot takes its place.
        pool.publish(worker(ids[1], 1_000 + u64::from(number)));
        assert_eq!(picked(&pool, number), ids[1]);
        pool.publish(worker(ids[0], 2_000 + u64::from(number)));
        assert_eq!(picked(&pool, number), ids[0]);
    }
}

#[test]
fn a_worker_that_comes_or_goes_moves_no_other_key() {
    let pool = pool_of(4, by(Strategy::Hash));
    let four: Vec<_> = (0..2_000).map(|number| picked(&pool, number)).collect();
    pool.publish(worker(5, 5));
    for (number, &home) in (0..).zip(&four) {
        let now = picked(&pool, number);
        assert!(now == home || now == 5, "{number} moved from {home} to {now}");
    }
    pool.withdraw(Generation(5));
    assert_eq!(four, (0..2_000).map(|number| picked(&pool, number)).collect::<Vec<_>>());
}

#[test]
fn a_worker_that_is_full_is_passed_over_until_it_has_room() {
    let pool = limited(3, Strategy::Hash, ConcurrencyLimit { max_concurrency: 1, ..LIMIT });
    let leases: Vec<_> = (0..3).map(|_| pool.pick(by_key(7)).unwrap()).collect();
    assert!(pool.pick(by_key(7)).is_none(), "all are full");
    let ids = ids_of(&leases);
    drop(leases);
    assert_eq!(ids, ids_of(&order(&pool, 7)), "they were filled in the order of the key");
    assert_eq!(picked(&pool, 7), ids[0]);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_workers_are_all_full_waits_for_any_of_them() {
    let pool = limited(2, Strategy::Hash, ConcurrencyLimit { max_concurrency: 1, ..LIMIT });
    let mut leases: Vec<_> = (0..2).map(|_| pool.pick(by_key(7)).unwrap()).collect();
    let waiter = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.pick_or_wait(by_key(7), NO_WAIT, &RealClock).await }
    });
    waiting(&pool, 1).await;
    let second = leases.pop().unwrap();
    let id = second.id;
    drop(second);
    assert_eq!(waiter.await.unwrap().unwrap().id, id);
}

#[test]
fn many_threads_find_all_room_and_no_more() {
    let pool = limited(3, Strategy::Hash, LIMIT);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                for _ in 0..2_000 {
                    if let Some(lease) = pool.pick(by_key(number)) {
                        assert!(lease.in_flight() <= 2);
                    }
                }
            });
        }
    });
    let leases: Vec<_> = (0..12).filter_map(|_| pool.pick(by_key(1))).collect();
    assert_eq!(leases.len(), 6, "all room is used");
}

#[test]
fn a_key_leads_to_no_worker_that_is_full_of_tunnels() {
    let pool = pool_of(2, by(Strategy::Hash));
    let upgrade = PickRequest { max_tunnels: Some(1), ..by_key(3) };
    let mut first = pool.pick(upgrade).unwrap();
    first.hold(Hold::Tunnel);
    assert_ne!(pool.pick(upgrade).unwrap().id, first.id);
    assert_eq!(picked(&pool, 3), first.id.0, "other requests are not concerned");
}

#[test]
fn without_a_key_workers_take_turns() {
    assert_eq!(ids(&pool_of(3, by(Strategy::Hash)), 6), [1, 2, 3, 1, 2, 3]);
}
