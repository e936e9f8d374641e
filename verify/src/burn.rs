//! Work for this machine's processors, done by this program: to know what a busy
//! machine does to figures that were taken on it.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Threads that compute. Dropping it ends them soon.
#[derive(Debug)]
pub struct Burner {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Burner {
    /// `threads` threads that each do `work` so many `times`.
    pub fn times(threads: usize, times: usize, work: impl Fn() + Clone + Send + 'static) -> Self {
        Self::start(threads, Some(times), work)
    }

    /// `threads` threads that compute until this is dropped.
    pub fn until_dropped(threads: usize) -> Self {
        Self::start(threads, None, || {
            fibonacci(22);
        })
    }

    fn start(threads: usize, times: Option<usize>, work: impl Fn() + Clone + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..threads)
            .map(|_| {
                let (stop, work) = (Arc::clone(&stop), work.clone());
                thread::spawn(move || {
                    let mut left = times.unwrap_or(usize::MAX);
                    while left > 0 && !stop.load(Ordering::Relaxed) {
                        work();
                        left -= 1;
                    }
                })
            })
            .collect();
        Self { stop, threads }
    }

    /// Waits until all is done.
    pub fn join(mut self) {
        for thread in self.threads.drain(..) {
            // The work is arithmetic and does not panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Processors that this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// The slow way, as the workers compute it: the point is the work.
pub fn fibonacci(n: u32) -> u64 {
    match std::hint::black_box(n) {
        0 => 0,
        1 => 1,
        n => fibonacci(n - 1) + fibonacci(n - 2),
    }
}
