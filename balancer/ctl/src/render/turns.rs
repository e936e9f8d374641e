//! Workers that are replaced one by one, and those that do not have the same release, in words.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_protocol::{ReleaseId, Turn, WorkerId, WorkerStatus, in_flight_text};

/// A worker whose successor starts after its end.
pub(super) fn draining(worker: WorkerId, pid: u32, turn: &Turn) -> String {
    let Turn { place, of, requests, long_lived, up_to_ms } = *turn;
    let what = in_flight_text(requests, long_lived).map_or_else(String::new, |what| {
        let up_to = humantime::format_duration(Duration::from_millis(up_to_ms));
        format!(": {what}, up to {up_to}")
    });
    format!("worker {worker}  draining  pid {pid}, {place} of {of}{what}")
}

fn releases(workers: &[WorkerStatus]) -> BTreeMap<ReleaseId, usize> {
    let mut releases = BTreeMap::new();
    for release in workers.iter().filter_map(|worker| worker.release) {
        *releases.entry(release).or_default() += 1;
    }
    releases
}

/// Do the workers have several releases?
pub(super) fn is_mixed(workers: &[WorkerStatus]) -> bool {
    releases(workers).len() > 1
}

/// How many workers have which release, if they have several.
pub(super) fn mixed(workers: &[WorkerStatus]) -> Option<String> {
    let releases = releases(workers);
    let parts = releases.iter().rev().enumerate().map(|(index, (release, count))| {
        let of = if index == 0 { format!(" of {} workers", workers.len()) } else { String::new() };
        let has = if *count == 1 { "has" } else { "have" };
        format!("{count}{of} {has} release {release}")
    });
    is_mixed(workers).then(|| parts.collect::<Vec<_>>().join(", "))
}
