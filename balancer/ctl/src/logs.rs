//! `logs`: what workers have printed, and with `-f` what they print.
//!
//! Lines are read as they come and written by a thread of its own, so that whoever reads
//! slowly here (a pager, a stopped terminal) loses lines and not the connection; how many
//! is said in their place.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use shared_protocol::{Generation, OutputRecord, WorkerId};
use shared_telemetry::{codes, terminal};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::cli::WhichLines;
use crate::cluster::{Cluster, NOT_UNDERSTOOD};
use crate::find::Target;

/// Lines that may wait for whoever reads slowly: some megabytes at most.
const WAITING: usize = 4_096;
const INTERRUPTED: &str = "the connection was interrupted: lines may be missing";

/// Goes on until all is shown, and when it follows until the cluster ends or nobody reads.
///
/// # Errors
/// When the cluster does not answer.
pub(crate) async fn run(
    cluster: Cluster,
    target: &Target,
    which: &WhichLines,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let WhichLines { follow, worker, lines } = which;
    let worker = worker.map_or_else(String::new, |worker| format!("&worker={worker}"));
    let query = |lines: usize| format!("/logs?lines={lines}&follow={follow}{worker}");
    let (queue, waiting) = mpsc::channel(WAITING);
    let printer = Printer { json, colours: terminal::stdout_has_colour(), seen: BTreeMap::new() };
    let written = spawn("writer", move || printer.run(waiting))?;
    let copying = async {
        let mut queue = Queue { queue, missed: 0, follow: *follow };
        let mut cluster = cluster;
        let first = queue.copy(&mut cluster, &query(*lines)).await;
        if let (Err(_), true) = (&first, *follow) {
            // The connection may have broken because nothing was read here for long, as of a
            // stopped process. A cluster that has ended cannot be reached.
            while let Ok(mut again) = target.connect().await {
                // Fails when the printer has ended.
                if queue.queue.send(Item::Interrupted).await.is_err()
                    || queue.copy(&mut again, &query(0)).await.is_ok()
                {
                    break;
                }
            }
            return Ok(());
        }
        first
    };
    tokio::select! {
        copied = copying => copied?,
        () = reader_is_gone(), if *follow => return Ok(ExitCode::SUCCESS),
    }
    // Fails only when the thread has panicked.
    written.await.context("could not write the lines")??;
    Ok(ExitCode::SUCCESS)
}

/// Runs `work` in a thread that does not keep the program from ending.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || drop(done.send(work())))?;
    Ok(result)
}

/// Returns when standard output is a pipe that nobody reads any more, as `head` leaves it;
/// the next line may not come for long (poll(2): POLLERR needs not be asked for).
async fn reader_is_gone() {
    let watch = || loop {
        let mut stdout = [PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::empty())];
        match poll(&mut stdout, None) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(1..) if !stdout[0].revents().contains(PollFlags::NVAL) => return true,
            _ => return false,
        }
    };
    let gone = match spawn("reader", watch) {
        Ok(watching) => watching.await.unwrap_or(false),
        Err(_) => false,
    };
    if !gone {
        std::future::pending().await
    }
}

/// What is shown.
enum Item {
    /// A record, as JSON.
    Line(Bytes),
    /// So many lines found no room.
    Missed(u64),
    /// Nobody knows how many lines were printed in between.
    Interrupted,
}

/// Lines on their way to the printer.
struct Queue {
    queue: mpsc::Sender<Item>,
    /// Lines that found no room since the last one that did.
    missed: u64,
    /// Lines that find no room are lost; otherwise they wait.
    follow: bool,
}

/// The printer has ended, as nobody reads.
struct Unread;

impl Queue {
    /// Queues all lines of the answer.
    async fn copy(&mut self, cluster: &mut Cluster, path: &str) -> anyhow::Result<()> {
        let mut lines = cluster.lines(path).await?;
        loop {
            let line = tokio::select! {
                line = lines.line() => line.context("the cluster went away")?,
                // What was missed is said also when nothing follows.
                told = self.tell_missed(), if self.missed > 0 => match told {
                    Ok(()) => continue,
                    Err(Unread) => return Ok(()),
                },
            };
            let Some(line) = line else { break };
            if let Err(Unread) = self.push(line).await {
                return Ok(());
            }
        }
        if self.missed > 0 {
            // Fails when nobody reads.
            let _ = self.tell_missed().await;
        }
        Ok(())
    }

    async fn push(&mut self, line: Bytes) -> Result<(), Unread> {
        if !self.follow {
            return self.queue.send(Item::Line(line)).await.map_err(|_| Unread);
        }
        if self.missed > 0 && self.try_push(Item::Missed(self.missed))? {
            self.missed = 0;
        }
        let pushed = self.missed == 0 && self.try_push(Item::Line(line))?;
        self.missed += u64::from(!pushed);
        Ok(())
    }

    /// Waits for room, and says how many lines were missed.
    async fn tell_missed(&mut self) -> Result<(), Unread> {
        let room = self.queue.reserve().await.map_err(|_| Unread)?;
        room.send(Item::Missed(std::mem::take(&mut self.missed)));
        Ok(())
    }

    /// Whether there was room.
    fn try_push(&self, item: Item) -> Result<bool, Unread> {
        match self.queue.try_send(item) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Closed(_)) => Err(Unread),
        }
    }
}

/// Writes lines to standard output.
struct Printer {
    json: bool,
    colours: bool,
    /// The process of each worker whose lines were seen first; `None` when there were several.
    seen: BTreeMap<WorkerId, Option<Generation>>,
}

impl Printer {
    fn run(mut self, mut waiting: mpsc::Receiver<Item>) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        while let Some(item) = waiting.blocking_recv() {
            let text = match item {
                Item::Line(line) => self.line(&line)?,
                Item::Missed(missed) => self.record(&OutputRecord::Missed { missed })?,
                Item::Interrupted if self.json => {
                    format!("{}\n", serde_json::json!({ "error": INTERRUPTED }))
                }
                Item::Interrupted => format!("-- {INTERRUPTED}\n"),
            };
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                // Whoever read it has seen enough.
                Err(err) if err.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> anyhow::Result<String> {
        self.record(&serde_json::from_slice(line).context(NOT_UNDERSTOOD)?)
    }

    fn record(&mut self, record: &OutputRecord) -> anyhow::Result<String> {
        if self.json {
            return Ok(serde_json::to_string(record)? + "\n");
        }
        Ok(match record {
            OutputRecord::Missed { missed: 1 } => "-- 1 line was missed\n".to_owned(),
            OutputRecord::Missed { missed } => format!("-- {missed} lines were missed\n"),
            OutputRecord::Line(line) => {
                let first = self.seen.entry(line.worker).or_insert(Some(line.generation));
                if *first != Some(line.generation) {
                    *first = None;
                }
                let text = codes::harmless(&line.text, self.colours);
                match first {
                    Some(_) => format!("{}| {text}\n", line.worker),
                    None => format!("{}:{}| {text}\n", line.worker, line.pid),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use shared_protocol::{OutputLine, OutputStream};

    use super::*;

    fn record(worker: u32, generation: u64, text: &str) -> OutputRecord {
        OutputRecord::Line(OutputLine {
            sequence: 1,
            at_ms: 0,
            worker: WorkerId(worker),
            pid: 700 + generation as u32,
            generation: Generation(generation),
            stream: OutputStream::Stdout,
            text: text.to_owned(),
        })
    }

    #[test]
    fn lines_name_the_worker_and_the_process_once_there_were_two() {
        let mut printer = Printer { json: false, colours: false, seen: BTreeMap::new() };
        let records = [
            record(1, 1, "\x1b[31mup\x1b[2J"),
            record(2, 2, "up"),
            record(1, 3, "up"),
            record(1, 1, "old"),
            OutputRecord::Missed { missed: 12 },
            record(2, 2, "still"),
        ];
        let text: String = records.iter().map(|record| printer.record(record).unwrap()).collect();
        assert_eq!(text, "1| up\n2| up\n1:703| up\n1:701| old\n-- 12 lines were missed\n2| still\n");
        printer.json = true;
        assert_eq!(printer.record(&records[4]).unwrap(), "{\"missed\":12}\n");
        assert!(printer.line(b"{}").is_err());
    }

    #[tokio::test]
    async fn lines_that_find_no_room_are_counted_in_their_place() {
        let (queue, mut waiting) = mpsc::channel(3);
        let mut queue = Queue { queue, missed: 0, follow: true };
        for n in 1..=5 {
            assert!(queue.push(n.to_string().into()).await.is_ok());
        }
        let next = |waiting: &mut mpsc::Receiver<Item>| match waiting.try_recv().unwrap() {
            Item::Line(line) => String::from_utf8(line.to_vec()).unwrap(),
            Item::Missed(missed) => format!("missed {missed}"),
            Item::Interrupted => unreachable!("it was not"),
        };
        let mut shown: Vec<_> = (0..2).map(|_| next(&mut waiting)).collect();
        assert!(queue.push("6".into()).await.is_ok());
        shown.extend((0..3).map(|_| next(&mut waiting)));
        assert_eq!(shown, ["1", "2", "3", "missed 2", "6"]);
        queue.missed = 7;
        assert!(queue.tell_missed().await.is_ok());
        assert_eq!((next(&mut waiting), queue.missed), ("missed 7".to_owned(), 0));
        drop(waiting);
        assert!(queue.push(Bytes::new()).await.is_err());
    }
}
