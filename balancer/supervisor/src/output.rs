//! What workers print: passed on line by line, and kept among the last lines that
//! operators see. Reading never waits for whoever reads the log, so a flood blocks nobody.
//!
//! ```text
//! a worker's stream ─► lines: whole lines, or parts ─► form: tagged, raw or merged ─► sink
//!                                                                └─► the last lines
//! ```

mod form;
mod lines;
mod object;
mod prefix;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use balancer_state::output::Output;
use shared_protocol::{Generation, OutputStream, WorkerId};
use shared_telemetry::{Sink, Source};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use form::{Form, Ready};
use lines::Lines;
use prefix::{Member, Slots};

pub use settings::{OutputMode, OutputSettings};

/// Bytes that are read at a time: at first, and when there is much.
const READ: (usize, usize) = (8 * 1024, 64 * 1024);

/// Where everything goes that workers print.
#[derive(Debug)]
pub struct WorkerOutput {
    pub(crate) settings: OutputSettings,
    /// The log.
    log: Sink,
    /// Standard output, where it is used.
    stdout: Option<Sink>,
    kept: Arc<Output>,
    slots: Slots,
}

impl WorkerOutput {
    /// `stdout` is needed for [`OutputMode::Raw`]; `kept` gets the last lines.
    pub fn new(settings: OutputSettings, log: Sink, stdout: Option<Sink>, kept: Arc<Output>) -> Self {
        Self { settings, log, stdout, kept, slots: Slots::default() }
    }

    fn sink(&self, stream: OutputStream) -> &Sink {
        match (stream, self.settings.mode, &self.stdout) {
            (OutputStream::Stdout, OutputMode::Raw, Some(stdout)) => stdout,
            _ => &self.log,
        }
    }
}

/// The process that prints.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    pub(crate) worker: WorkerId,
    pub(crate) generation: Generation,
    /// Of a supervised program once it is known, until then of its shim.
    pub(crate) pid: Arc<AtomicU32>,
    member: Arc<Member>,
}

impl Printer {
    pub(crate) fn new(
        worker: WorkerId,
        generation: Generation,
        pid: Arc<AtomicU32>,
        output: &WorkerOutput,
    ) -> Self {
        Self { worker, generation, pid, member: Arc::new(output.slots.join(worker)) }
    }

    /// Copies `source`, which is its `stream`, until it ends.
    pub(crate) async fn relay(
        self,
        mut source: impl AsyncRead + Unpin,
        stream: OutputStream,
        output: Arc<WorkerOutput>,
    ) {
        let mut lines = Lines::new(output.settings.mode);
        let mut form = Form::new(output.settings, self.worker, stream);
        let mut size = READ.0;
        loop {
            let deadline = lines.deadline;
            let read = source.read_buf(lines.buffer(size));
            let read = match deadline {
                Some(deadline) => timeout_at(deadline, read).await,
                None => Ok(read.await),
            };
            form.begin(self.pid.load(Ordering::Relaxed), &self.member);
            let more = match read {
                Err(_) => {
                    lines.take_partial(&mut |piece| form.add(piece));
                    true
                }
                Ok(Ok(count @ 1..)) => {
                    size = if count >= size { READ.1.min(2 * size) } else { READ.0 };
                    lines.take_whole(Instant::now(), &mut |piece| form.add(piece));
                    true
                }
                Ok(Ok(0) | Err(_)) => {
                    lines.finish(&mut |piece| form.add(piece));
                    false
                }
            };
            self.pass_on(&mut form, stream, &output);
            if !more {
                return;
            }
            // One that floods leaves the event loop to others in between.
            tokio::task::yield_now().await;
        }
    }

    fn pass_on(&self, form: &mut Form, stream: OutputStream, output: &WorkerOutput) {
        let Ready { text, lines, kept } = form.take();
        if !text.is_empty() {
            let source = Source(self.generation.0 * 2 + u64::from(stream == OutputStream::Stderr));
            output.sink(stream).write(source, &text, lines);
        }
        if !kept.is_empty() {
            let pid = self.pid.load(Ordering::Relaxed);
            output.kept.push_all(self.worker, pid, self.generation, stream, kept);
        }
    }
}
