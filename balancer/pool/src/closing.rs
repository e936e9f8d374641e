//! How those who hold a worker learn that they are to let go of it: long-lived connections
//! one after the other, so that their clients do not all come back in the same moment, and
//! at a deadline everything at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{self, Clock};

/// What those who hold a worker are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// `count` long-lived connections are to end, spread evenly over this time.
    LongLived {
        over: Duration,
        count: u64,
    },
    /// Everything is to end.
    All,
}

/// The request of a worker's owner to those who hold it.
#[derive(Debug)]
pub(crate) struct Closing {
    asked: watch::Sender<Asked>,
    /// Long-lived connections that have taken their turn.
    turns: AtomicU64,
}

impl Default for Closing {
    fn default() -> Self {
        Self { asked: watch::Sender::new(Asked::Nothing), turns: AtomicU64::new(0) }
    }
}

impl Closing {
    /// `count` long-lived connections are to end within `over`.
    pub(crate) fn ask_long_lived(&self, over: Duration, count: u64) {
        self.turns.store(0, Ordering::Relaxed);
        self.asked.send_if_modified(|asked| {
            let changes = *asked != Asked::All;
            if changes {
                *asked = Asked::LongLived { over, count };
            }
            changes
        });
    }

    /// Everything is to end now.
    pub(crate) fn ask_all(&self) {
        self.asked.send_replace(Asked::All);
    }

    /// Is anything to end?
    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.borrow() != Asked::Nothing
    }

    /// Is everything to end?
    #[inline]
    pub(crate) fn is_asked_of_all(&self) -> bool {
        *self.asked.borrow() == Asked::All
    }

    /// Ready when a holder is to let go, who has a long-lived connection or a request.
    pub(crate) async fn ends(&self, is_long_lived: bool, clock: &impl Clock) {
        let mut asked = self.asked.subscribe();
        let matters = |asked: &Asked| match asked {
            Asked::Nothing => false,
            Asked::LongLived { .. } => is_long_lived,
            Asked::All => true,
        };
        let mut next = asked.wait_for(matters).await.map_or(Asked::Nothing, |asked| *asked);
        while let Asked::LongLived { over, count } = next {
            // The last turn is at the end of the time, for whoever came after the count as well.
            let turn = self.turns.fetch_add(1, Ordering::Relaxed) + 1;
            let wait = over.mul_f64((turn as f64 / count.max(1) as f64).min(1.0));
            match clock::until(clock, clock.now() + wait, asked.changed()).await {
                None => return,
                Some(_) => next = *asked.borrow_and_update(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;

    struct TokioClock;

    impl Clock for TokioClock {
        fn now(&self) -> Instant {
            Instant::now()
        }

        async fn sleep_until(&self, deadline: Instant) {
            tokio::time::sleep_until(deadline).await;
        }
    }

    /// When each of so many holders lets go, in ms from now.
    async fn let_go(closing: &Arc<Closing>, long_lived: usize, requests: usize) -> Vec<u128> {
        let start = Instant::now();
        let holders = (0..long_lived + requests).map(|index| {
            let closing = Arc::clone(closing);
            tokio::spawn(async move {
                closing.ends(index < long_lived, &TokioClock).await;
                start.elapsed().as_millis()
            })
        });
        let mut all = Vec::new();
        for holder in holders.collect::<Vec<_>>() {
            all.push(holder.await.unwrap());
        }
        all.sort_unstable();
        all
    }

    #[tokio::test(start_paused = true)]
    async fn long_lived_connections_end_one_after_the_other() {
        let closing = Arc::new(Closing::default());
        closing.ask_long_lived(Duration::from_secs(4), 4);
        let asks_all = tokio::spawn({
            let closing = Arc::clone(&closing);
            async move {
                tokio::time::sleep(Duration::from_secs(10)).await;
                closing.ask_all();
            }
        });
        let ends = let_go(&closing, 6, 2).await;
        assert_eq!(ends, [1_000, 2_000, 3_000, 4_000, 4_000, 4_000, 10_000, 10_000]);
        asks_all.await.unwrap();
        assert!(closing.is_asked_of_all());
        assert_eq!(let_go(&closing, 1, 1).await, [0, 0], "whoever comes later as well");
    }

    #[tokio::test(start_paused = true)]
    async fn everything_ends_at_once_whatever_was_asked_before() {
        let closing = Arc::new(Closing::default());
        closing.ask_long_lived(Duration::from_secs(100), 2);
        let ends = tokio::spawn({
            let closing = Arc::clone(&closing);
            async move { let_go(&closing, 2, 1).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        closing.ask_all();
        closing.ask_long_lived(Duration::from_secs(100), 2);
        assert_eq!(ends.await.unwrap(), [1_000, 1_000, 1_000]);
    }
}
