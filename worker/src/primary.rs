//! The socket to the primary that a supervised worker has as standard input.
//!
//! Towards the primary it carries [`WorkerMessage`]s, one per line, and from it
//! [`PrimaryMessage`]s. Its end counts as well: when the primary dies, however it dies, the
//! kernel closes the other end, and the worker has nothing left to work for.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use shared_protocol::{PrimaryMessage, TrafficReport, WorkerMessage};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long an answer of the primary may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Questions that may wait for their answers.
const MOST_QUESTIONS: usize = 64;

pub(crate) struct Link {
    socket: UnixStream,
    questions: Arc<Questions>,
}

/// What the primary wants done.
pub(crate) type Commands = mpsc::UnboundedReceiver<PrimaryMessage>;

impl Link {
    /// Takes over standard input.
    pub(crate) fn from_stdin() -> anyhow::Result<Self> {
        let descriptor = io::stdin().as_fd().try_clone_to_owned().context("could not use standard input")?;
        let socket = UnixStream::from(descriptor);
        socket.peer_addr().context(
            "standard input is no socket to a primary; only a primary starts a worker in this way",
        )?;
        Ok(Self { socket, questions: Arc::default() })
    }

    /// Reads what the primary says, and ends this process as soon as it is gone. The thread is
    /// blocked in the kernel until then, and needs no event loop to act.
    pub(crate) fn watch(&self) -> io::Result<Commands> {
        let mut lines = BufReader::with_capacity(1024, self.socket.try_clone()?);
        let questions = Arc::clone(&self.questions);
        // The primary sends each command once.
        let (sender, commands) = mpsc::unbounded_channel();
        thread::Builder::new().name("primary".to_owned()).stack_size(128 * 1024).spawn(move || {
            let mut line = Vec::new();
            loop {
                match lines.read_until(b'\n', &mut line) {
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                    // Nobody is left who would read a log line about it.
                    Ok(0) | Err(_) => process::exit(1),
                    Ok(_) => {}
                }
                match serde_json::from_slice(&line) {
                    Ok(PrimaryMessage::Answer { id, status, body }) => {
                        if let Some(asker) = questions.lock().remove(&id) {
                            // Who has asked may have given up.
                            let _ = asker.send(Answer { status, body });
                        }
                    }
                    // Received until the worker ends.
                    Ok(command) => drop(sender.send(command)),
                    // A later version may have more to say.
                    Err(_) => {}
                }
                line.clear();
            }
        })?;
        Ok(commands)
    }

    pub(crate) fn listening(&self, port: u16) -> anyhow::Result<()> {
        self.send(&WorkerMessage::Listening { port }).context("could not report the port to the primary")
    }

    /// The listening socket is about to close, on whosever order.
    pub(crate) fn leaving(&self) {
        // A primary that is gone does not need to know.
        let _ = self.send(&WorkerMessage::Leaving);
    }

    /// Reports why there will be no worker; the exit code is for the caller.
    pub(crate) fn failed(&self, err: &dyn Display, code: u8) -> ExitCode {
        let reason = format!("{err:#}");
        if self.send(&WorkerMessage::Failed { reason }).is_err() {
            return crate::report(err, code);
        }
        ExitCode::from(code)
    }

    /// Speaks to the primary on behalf of clients.
    pub(crate) fn asker(&self) -> io::Result<Asker> {
        Ok(Asker { socket: self.socket.try_clone()?, questions: Arc::clone(&self.questions) })
    }

    fn send(&self, message: &WorkerMessage) -> io::Result<()> {
        send(&self.socket, message)
    }
}

fn send(mut socket: &UnixStream, message: &WorkerMessage) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    socket.write_all(&line)
}

/// Questions to the primary that wait for their answers.
#[derive(Default)]
struct Questions {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the primary has answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// JSON.
    pub(crate) body: String,
}

pub(crate) struct Asker {
    socket: UnixStream,
    questions: Arc<Questions>,
}

impl Asker {
    /// Reports what was done for clients.
    pub(crate) fn traffic(&self, report: TrafficReport) {
        // A primary that is gone does not need to know.
        let _ = send(&self.socket, &WorkerMessage::Traffic(report));
    }

    /// What the primary answers to a GET of `path`; none if it does not in time, or has too much
    /// to answer already.
    pub(crate) async fn ask(&self, path: &str) -> Option<Answer> {
        let id = self.questions.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.questions.lock();
            if waiting.len() >= MOST_QUESTIONS {
                return None;
            }
            waiting.insert(id, sender);
        }
        let sent = send(&self.socket, &WorkerMessage::Ask { id, path: path.to_owned() });
        let answer = match sent {
            Ok(()) => timeout(ANSWER_LIMIT, answer).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        self.questions.lock().remove(&id);
        answer
    }
}
