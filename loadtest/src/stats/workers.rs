//! Who answered: requests and connections per worker.

use super::latency::Latency;
use crate::client::framing::Tag;

/// Workers that are told apart; what further ones answer counts as `beyond`.
pub const MAX_WORKERS: usize = 128;

/// What one worker did.
#[derive(Debug, Clone)]
pub struct WorkerTally {
    pub tag: Tag,
    /// Complete responses, whatever their status.
    pub requests: u64,
    /// Of these, the failed ones.
    pub errors: u64,
    /// Connections on which it answered at least once.
    pub connections: u64,
    /// Connections on which nobody else answered.
    pub own_connections: u64,
    pub times: Latency,
}

/// All workers that have answered, in the order of their first answer.
#[derive(Debug, Clone, Default)]
pub struct Workers {
    pub known: Vec<WorkerTally>,
    /// Responses of workers beyond [`MAX_WORKERS`].
    pub beyond: u64,
    /// Responses that name no worker.
    pub unnamed: u64,
}

/// Which workers have answered on one connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    workers: u128,
    /// Where the last one stands: the likeliest one to answer next.
    last: usize,
}

impl Workers {
    /// Where the worker of that name stands; `None` for no or too many names.
    pub fn index(&mut self, tag: &Tag, hint: &Seen) -> Option<usize> {
        if tag.is_empty() {
            self.unnamed += 1;
            return None;
        }
        if self.known.get(hint.last).is_some_and(|worker| worker.tag == *tag) {
            return Some(hint.last);
        }
        if let Some(index) = self.known.iter().position(|worker| worker.tag == *tag) {
            return Some(index);
        }
        if self.known.len() == MAX_WORKERS {
            self.beyond += 1;
            return None;
        }
        self.known.push(WorkerTally::new(*tag));
        Some(self.known.len() - 1)
    }

    /// Counts the connection for a worker that answers on it the first time.
    pub fn note_connection(&mut self, index: usize, seen: &mut Seen) {
        let bit = 1 << index;
        seen.last = index;
        if seen.workers & bit != 0 {
            return;
        }
        self.known[index].connections += 1;
        match seen.workers.count_ones() {
            0 => self.known[index].own_connections += 1,
            1 => self.known[seen.workers.trailing_zeros() as usize].own_connections -= 1,
            _ => {}
        }
        seen.workers |= bit;
    }

    pub fn merge(&mut self, other: &Self) {
        for theirs in &other.known {
            let index = match self.known.iter().position(|worker| worker.tag == theirs.tag) {
                Some(index) => index,
                None if self.known.len() < MAX_WORKERS => {
                    self.known.push(WorkerTally::new(theirs.tag));
                    self.known.len() - 1
                }
                None => {
                    self.beyond += theirs.requests;
                    continue;
                }
            };
            let ours = &mut self.known[index];
            ours.requests += theirs.requests;
            ours.errors += theirs.errors;
            ours.connections += theirs.connections;
            ours.own_connections += theirs.own_connections;
            ours.times.merge(&theirs.times);
        }
        self.beyond += other.beyond;
        self.unnamed += other.unnamed;
    }
}

impl WorkerTally {
    fn new(tag: Tag) -> Self {
        Self { tag, requests: 0, errors: 0, connections: 0, own_connections: 0, times: Latency::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(workers: &mut Workers, seen: &mut Seen, name: &str) {
        let index = workers.index(&Tag::new(name.as_bytes()), seen).unwrap();
        workers.known[index].requests += 1;
        workers.note_connection(index, seen);
    }

    #[test]
    fn connections_are_told_apart_by_how_many_workers_answer_on_them() {
        let mut workers = Workers::default();
        let (mut first, mut second) = (Seen::default(), Seen::default());
        for name in ["1", "1", "1"] {
            answer(&mut workers, &mut first, name);
        }
        for name in ["2", "1", "3", "2"] {
            answer(&mut workers, &mut second, name);
        }
        let tally = |index: usize| {
            let worker = &workers.known[index];
            (worker.requests, worker.connections, worker.own_connections)
        };
        assert_eq!((tally(0), tally(1), tally(2)), ((4, 2, 1), (2, 1, 0), (1, 1, 0)));
    }

    #[test]
    fn merging_goes_by_name_and_names_are_bounded() {
        let (mut left, mut right) = (Workers::default(), Workers::default());
        answer(&mut left, &mut Seen::default(), "1");
        answer(&mut right, &mut Seen::default(), "2");
        answer(&mut right, &mut Seen::default(), "1");
        left.merge(&right);
        assert_eq!(left.known.iter().map(|worker| worker.requests).collect::<Vec<_>>(), [2, 1]);

        let mut many = Workers::default();
        for id in 0..MAX_WORKERS + 5 {
            many.index(&Tag::new(id.to_string().as_bytes()), &Seen::default());
        }
        assert_eq!((many.known.len(), many.beyond), (MAX_WORKERS, 5));
        assert_eq!(many.index(&Tag::default(), &Seen::default()), None);
        assert_eq!(many.unnamed, 1);
    }
}
