//! `status --watch`: looks at a running cluster every second, until somebody ends it.
//!
//! On a terminal the picture is drawn in place, on the alternate screen, so that what
//! was there before is there again afterwards. Into a pipe go lines without escape
//! codes: one a second and one for each event, or JSON, one object a second.

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::termios::tcgetwinsize;
use shared_telemetry::terminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

use shared_protocol::{Event, Status};

use crate::cluster::Cluster;
use crate::find::Target;
use crate::render::{self, Style};

const EVERY: Duration = Duration::from_secs(1);
/// A cluster that takes longer to answer is shown as one that does not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Of a terminal that does not tell its size.
const USUAL_SIZE: (usize, usize) = (80, 24);
/// Lines for events at least, where workers compete for them.
const EVENTS: usize = 3;

/// What was seen at one moment.
struct Seen {
    status: Status,
    /// Oldest first.
    events: Vec<Event>,
}

/// Goes on until a signal ends it, or nobody reads any more.
///
/// # Errors
/// When the first look fails: later on the cluster may come and go.
pub(crate) async fn run(cluster: Cluster, target: &Target, json: bool) -> anyhow::Result<ExitCode> {
    let mut ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<io::Result<Vec<_>>>()?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut viewer: Box<dyn Viewer> = if json {
        Box::new(Json)
    } else if terminal::stdout_draws() {
        Box::new(Screen::default())
    } else {
        Box::new(Lines::default())
    };
    let mut cluster = Some(cluster);
    let mut first = true;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watching = async {
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = resized.recv() => {}
            }
            let seen = match look(&mut cluster, target).await {
                Err(err) if first => return Err(err),
                seen => seen.map_err(|err| format!("{err:#}")),
            };
            first = false;
            match viewer.show(seen) {
                // Whoever read it has seen enough.
                Err(err) if err.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                shown => shown?,
            }
        }
    };
    let ended = std::future::poll_fn(|context| {
        let ready = ends.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    tokio::select! {
        watched = watching => watched?,
        () = ended => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Over the connection there is, or over a new one if it has broken.
async fn look(cluster: &mut Option<Cluster>, target: &Target) -> anyhow::Result<Seen> {
    let looking = async {
        let mut connected = match cluster.take() {
            Some(connected) => connected,
            None => target.connect().await?,
        };
        let seen =
            Seen { status: connected.read("/status").await?, events: connected.read("/events").await? };
        *cluster = Some(connected);
        anyhow::Ok(seen)
    };
    timeout(ANSWER_TIMEOUT, looking).await.unwrap_or_else(|_| anyhow::bail!("the cluster does not answer"))
}

/// What the reason is when there is nothing to be seen.
type Looked = Result<Seen, String>;

trait Viewer {
    fn show(&mut self, looked: Looked) -> io::Result<()>;
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

struct Json;

impl Viewer for Json {
    fn show(&mut self, looked: Looked) -> io::Result<()> {
        let line = match looked {
            Ok(seen) => serde_json::to_string(&seen.status)?,
            Err(reason) => serde_json::json!({ "error": reason }).to_string(),
        };
        write(&format!("{line}\n"))
    }
}

#[derive(Default)]
struct Lines {
    /// Whose events have been told, and up to which number.
    told: Option<(u32, u64)>,
    away: bool,
}

impl Viewer for Lines {
    fn show(&mut self, looked: Looked) -> io::Result<()> {
        let stamp = |time| humantime::format_rfc3339_seconds(time).to_string();
        let now = stamp(SystemTime::now());
        let seen = match looked {
            Ok(seen) => seen,
            Err(_) if self.away => return Ok(()),
            Err(reason) => {
                self.away = true;
                return write(&format!("{now}  away  {reason}\n"));
            }
        };
        self.away = false;
        let pid = seen.status.list.primary.pid;
        let newest = seen.events.last().map_or(0, |event| event.sequence);
        let told = match self.told {
            Some((before, told)) if before == pid => told,
            // Another primary counts anew; what lies before the first look is not told.
            Some(_) => 0,
            None => newest,
        };
        self.told = Some((pid, newest));
        let mut text = String::new();
        for event in seen.events.iter().filter(|event| event.sequence > told) {
            let at = stamp(UNIX_EPOCH + Duration::from_millis(event.at_ms));
            text.push_str(&format!("{at}  event  {}\n", render::plain(&render::event(event))));
        }
        text.push_str(&format!("{now}  {}\n", render::one_line(&seen.status)));
        write(&text)
    }
}

/// The alternate screen, taken with the first picture and given back when dropped.
#[derive(Default)]
struct Screen {
    taken: bool,
    /// Shown on while the cluster is away.
    last: Option<Seen>,
    /// When the cluster was last seen.
    heard: Option<Instant>,
    /// Processor time of each process at the last look, and when that was.
    used: Option<(Instant, HashMap<u32, f64>)>,
    shares: HashMap<u32, f64>,
}

impl Viewer for Screen {
    fn show(&mut self, looked: Looked) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (width, height) =
            size.map_or(USUAL_SIZE, |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let style = Style { colour: terminal::stdout_has_colour(), width: Some(width) };
        let mut lines = Vec::new();
        match looked {
            Ok(seen) => {
                self.note_cpu(&seen.status);
                self.last = Some(seen);
                self.heard = Some(Instant::now());
            }
            Err(reason) => {
                let silent = self.heard.map_or(0, |heard| heard.elapsed().as_secs());
                lines.push(style.alarm(&format!("AWAY for {silent}s, what follows is old: {reason}")));
            }
        }
        if let Some(seen) = &self.last {
            lines.extend(frame(seen, &self.shares, style, height - lines.len()));
        }
        let mut text = String::new();
        if !self.taken {
            self.taken = true;
            // Alternate screen, no cursor.
            text.push_str("\x1b[?1049h\x1b[?25l");
        }
        text.push_str("\x1b[H");
        // The rest of each line, and below the last one, is cleared; nothing is
        // cleared before it is drawn, so nothing flickers.
        let lines: Vec<_> = lines.into_iter().take(height).map(|line| format!("{line}\x1b[K")).collect();
        text.push_str(&lines.join("\r\n"));
        text.push_str("\x1b[J");
        write(&text)
    }
}

impl Screen {
    fn note_cpu(&mut self, status: &Status) {
        let list = &status.list;
        let all = list.workers.iter().chain(&list.joining).chain(&list.leaving);
        let used: HashMap<_, _> = all.filter_map(|worker| Some((worker.pid?, worker.cpu_seconds?))).collect();
        let now = Instant::now();
        if let Some((at, before)) = &self.used {
            let passed = now.saturating_duration_since(*at).as_secs_f64().max(f64::EPSILON);
            let share = |(pid, used): (&u32, &f64)| Some((*pid, (used - before.get(pid)?).max(0.0) / passed));
            self.shares = used.iter().filter_map(share).collect();
        }
        self.used = Some((now, used));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.taken {
            // The terminal may be gone.
            let _ = write("\x1b[?25h\x1b[?1049l");
        }
    }
}

/// The picture in `height` lines: when there are more workers than fit, the last
/// ones are left out, those that are not online at the latest. Reasons are shown where there
/// is room for them; last lines of programs are among the events.
fn frame(seen: &Seen, cpu: &HashMap<u32, f64>, style: Style, height: usize) -> Vec<String> {
    let mut status = seen.status.clone();
    let room = height.saturating_sub(render::HEAD + EVENTS + 2).max(1);
    let all = status.list.workers.len();
    let hidden = all.saturating_sub(room);
    if hidden > 0 {
        let online =
            |worker: &shared_protocol::WorkerStatus| worker.state == shared_protocol::WorkerState::Online;
        status.list.workers.sort_by_key(online);
        status.list.workers.truncate(room);
        status.list.workers.sort_by_key(|worker| worker.id);
    }
    let list = &mut status.list;
    let rows = list.workers.len() + list.joining.len() + list.leaving.len();
    let spare = room.saturating_sub(rows);
    let all = list.workers.iter_mut().chain(&mut list.joining).chain(&mut list.leaving);
    for (index, worker) in all.filter(|worker| worker.reason.is_some()).enumerate() {
        worker.last_lines.clear();
        if index >= spare {
            worker.reason = None;
        }
    }
    let mut lines = render::status(&status, Some(cpu), style);
    if hidden > 0 {
        lines.push(style.fit(&format!("… and {hidden} more workers")));
    }
    lines.push(String::new());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
    let left = height.saturating_sub(lines.len());
    lines.extend(seen.events.iter().rev().take(left).map(|event| render::aged_event(event, now_ms, style)));
    lines
}
