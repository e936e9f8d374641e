//! Which serving thread gets a connection. The kernel gives each thread as many
//! as the others only in the long run; a thread that has more than its share by
//! chance, and keeps them, would make all of its clients wait longer.

use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// So many connections more than another thread has, and a new one goes to that
/// one. Handing it over costs a wake-up, which should not happen for each.
const LEAD: usize = 4;

/// A connection that has been accepted.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// One on its way to another thread, out of the event loop of the first.
#[derive(Debug)]
pub(super) struct Handed {
    stream: StdTcpStream,
    peer: SocketAddr,
    permit: Option<OwnedSemaphorePermit>,
    place: Place,
}

impl Handed {
    /// Puts it into the event loop of this thread.
    pub(super) fn arrival(self) -> io::Result<(Arrival, Place)> {
        let Self { stream, peer, permit, place } = self;
        Ok((Arrival { stream: TcpStream::from_std(stream)?, peer, permit }, place))
    }
}

/// A serving thread, as the others see it.
#[derive(Debug)]
struct Lane {
    open: Arc<AtomicUsize>,
    door: mpsc::UnboundedSender<Handed>,
}

/// A connection counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All serving threads, from the place of one of them.
#[derive(Debug)]
pub(super) struct Lanes {
    all: Arc<[Lane]>,
    own: usize,
    /// What others have accepted for this one. The permits bound it.
    pub(super) handed: mpsc::UnboundedReceiver<Handed>,
}

impl Lanes {
    pub(super) fn new(threads: usize) -> Vec<Self> {
        let (all, doors): (Vec<_>, Vec<_>) = (0..threads)
            .map(|_| {
                let (door, handed) = mpsc::unbounded_channel();
                (Lane { open: Arc::default(), door }, handed)
            })
            .unzip();
        let all: Arc<[Lane]> = all.into();
        let lanes = doors.into_iter().enumerate();
        lanes.map(|(own, handed)| Self { all: Arc::clone(&all), own, handed }).collect()
    }

    /// Hands the arrival to another thread, or gives it back to be served here.
    pub(super) fn assign(&self, arrival: Arrival) -> Option<(Arrival, Place)> {
        let open = |lane: &Lane| lane.open.load(Ordering::Relaxed);
        let chosen = choose(self.all.iter().map(open), self.own);
        if chosen == self.own {
            return Some((arrival, self.stay()));
        }
        let place = Place::take(&self.all[chosen].open);
        let Arrival { stream, peer, permit } = arrival;
        // The descriptor is this process's own, so taking it out does not fail.
        let stream = stream.into_std().ok()?;
        // That thread takes connections until the program ends, and then nobody does.
        let _ = self.all[chosen].door.send(Handed { stream, peer, permit, place });
        None
    }

    /// A place for a connection that is served here in any case.
    pub(super) fn stay(&self) -> Place {
        Place::take(&self.all[self.own].open)
    }
}

/// The one with the fewest, if it has fewer by more than the lead.
fn choose(open: impl Iterator<Item = usize> + Clone, own: usize) -> usize {
    let mine = open.clone().nth(own).unwrap_or(0);
    let least = open.enumerate().min_by_key(|&(_, open)| open);
    least.filter(|&(_, open)| open + LEAD < mine).map_or(own, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(open: &[usize], own: usize) -> usize {
        choose(open.iter().copied(), own)
    }

    #[test]
    fn a_thread_keeps_what_it_accepts_until_it_leads() {
        assert_eq!(chosen(&[0], 0), 0);
        assert_eq!(chosen(&[LEAD, 0], 0), 0);
        assert_eq!(chosen(&[LEAD + 1, 0], 0), 1);
        assert_eq!(chosen(&[LEAD + 1, 0], 1), 1);
        assert_eq!(chosen(&[9, 3, 2, 3], 0), 2, "the one with the fewest");
    }
}
