//! What workers print, line by line, in the primary's log, tagged with the worker, and
//! among the last lines that operators see. Reading never waits for the log, so a flood
//! blocks nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use balancer_state::output::Output;
use shared_protocol::{Generation, OutputStream, WorkerId};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};
use tracing::{debug, error, info, trace, warn};

/// Longer lines are cut, and the cut is marked.
const MAX_LINE: usize = 16 * 1024;

/// Where the lines of one of a process's two streams go, and what they are tagged with.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) worker: WorkerId,
    pub(crate) generation: Generation,
    /// Read for each line.
    pub(crate) pid: Arc<AtomicU32>,
    pub(crate) stream: OutputStream,
    pub(crate) kept: Arc<Output>,
}

impl Relay {
    /// Copies `source` until it ends.
    pub(crate) async fn run(self, source: impl AsyncRead + Unpin) {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while let Ok(true) = read_line(&mut source, &mut line).await {
            let (pid, text) = (self.pid.load(Ordering::Relaxed), String::from_utf8_lossy(&line));
            self.kept.push(self.worker, pid, self.generation, self.stream, &text);
            log(self.worker, pid, &text);
        }
    }
}

/// Reads one line without its end into `line`, at most [`MAX_LINE`] bytes of it;
/// what a longer line has beyond that is skipped. `false` at the end.
async fn read_line(source: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let (mut seen, mut cut) = (false, false);
    loop {
        let chunk = source.fill_buf().await?;
        if chunk.is_empty() {
            break;
        }
        seen = true;
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let text = &chunk[..end.unwrap_or(chunk.len())];
        let room = MAX_LINE - line.len();
        cut |= text.len() > room;
        line.extend_from_slice(&text[..text.len().min(room)]);
        let used = text.len() + usize::from(end.is_some());
        source.consume(used);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if cut {
        line.extend_from_slice(" … (line cut)".as_bytes());
    }
    Ok(seen)
}

/// At the level that the worker's own log gave the line, else as information.
fn log(worker: WorkerId, pid: u32, line: &str) {
    let (level, text) = level_of(line);
    match level {
        Level::Error => error!(%worker, pid, "{text}"),
        Level::Warn => warn!(%worker, pid, "{text}"),
        Level::Info => info!(%worker, pid, "{text}"),
        Level::Debug => debug!(%worker, pid, "{text}"),
        Level::Trace => trace!(%worker, pid, "{text}"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

fn level_of(line: &str) -> (Level, &str) {
    let line = line.trim_end();
    let text = line.trim_start();
    let levels = [
        ("ERROR ", Level::Error),
        ("WARN ", Level::Warn),
        ("INFO ", Level::Info),
        ("DEBUG ", Level::Debug),
        ("TRACE ", Level::Trace),
    ];
    levels
        .iter()
        .find_map(|&(word, level)| Some((level, text.strip_prefix(word)?.trim_start())))
        .unwrap_or((Level::Info, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8], buffer: usize) -> Vec<String> {
        let mut source = BufReader::with_capacity(buffer, input);
        let (mut line, mut all) = (Vec::new(), Vec::new());
        while read_line(&mut source, &mut line).await.unwrap() {
            all.push(String::from_utf8_lossy(&line).into_owned());
        }
        all
    }

    #[tokio::test]
    async fn lines_come_out_whole_however_they_were_written() {
        for buffer in [1, 3, 4096] {
            assert_eq!(lines(b"one\r\ntwo\n\nlast words", buffer).await, ["one", "two", "", "last words"]);
        }
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_one_is_intact() {
        let mut input = vec![b'x'; 1_000_000];
        input.extend_from_slice(b"\nnext\n");
        let all = lines(&input, 4096).await;
        assert_eq!(all.len(), 2);
        assert!(all[0].len() < MAX_LINE + 32 && all[0].ends_with("(line cut)"));
        assert_eq!(all[1], "next");
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_shown_as_far_as_they_go() {
        assert_eq!(lines(b"a\xff\xfeb\n", 4096).await, ["a\u{fffd}\u{fffd}b"]);
    }

    #[test]
    fn the_level_of_a_log_line_is_kept() {
        assert_eq!(level_of(" WARN store lost"), (Level::Warn, "store lost"));
        assert_eq!(level_of("ERROR x"), (Level::Error, "x"));
        assert_eq!(level_of("  plain text "), (Level::Info, "  plain text"));
        assert_eq!(level_of("ERRORS abound"), (Level::Info, "ERRORS abound"));
    }
}
