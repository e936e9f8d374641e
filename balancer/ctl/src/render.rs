//! The cluster as text, for `status` once and for `status --watch` again and again.

mod turns;

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use shared_protocol::{
    ClusterStatus, Event, EventKind as Kind, Maintenance, Progress, Rates, Sample, ShutdownPhase, Status,
    Upgraded, WorkerState, WorkerStatus, in_flight_text,
};

/// Lines above the workers: title, dashboard, rates, a gap, the table's head.
pub(crate) const HEAD: usize = 5;

/// How a picture may look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) colour: bool,
    /// Columns of the terminal; `None` when there is no bound.
    pub(crate) width: Option<usize>,
}

/// Escape codes of ECMA-48, section 8.3.117.
#[derive(Debug, Clone, Copy)]
enum Colour {
    Good = 32,
    Waiting = 33,
    Bad = 31,
}

impl Style {
    fn paint(self, text: &str, colour: Colour) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", colour as u8) } else { text.to_owned() }
    }

    /// What of `text` finds room in a line. Text must not have escape codes yet.
    pub(crate) fn fit(self, text: &str) -> String {
        plain(text).chars().take(self.width.unwrap_or(usize::MAX)).collect()
    }

    /// A line that must be seen.
    pub(crate) fn alarm(self, text: &str) -> String {
        self.paint(&self.fit(text), Colour::Bad)
    }
}

/// `text` without anything that would steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The cluster at one moment, in one line.
pub(crate) fn one_line(status: &Status) -> String {
    let counts = status.health.workers;
    let rates = status.sample.as_ref().map_or_else(String::new, rates);
    format!(
        "{:<11}  {}/{} workers online  {rates}",
        if status.shutdown.is_some() { "stopping" } else { word(status.health.status).0 },
        counts.online,
        counts.desired
    )
}

fn word(status: ClusterStatus) -> (&'static str, Colour) {
    match status {
        ClusterStatus::Ok => ("ok", Colour::Good),
        ClusterStatus::Degraded => ("degraded", Colour::Waiting),
        ClusterStatus::Unavailable => ("unavailable", Colour::Bad),
    }
}

/// What stands behind `unavailable` while the cluster shuts down.
fn shutdown(phase: ShutdownPhase) -> String {
    match phase {
        ShutdownPhase::Delay { seconds_left } => {
            format!(", shutting down: serves for {:.0} s more", seconds_left.ceil())
        }
        ShutdownPhase::Draining => ", shutting down: finishes what is in flight".to_owned(),
    }
}

/// The cluster at one moment. `cpu` is the share of a core that a process has used
/// lately, by pid, if that is known.
pub(crate) fn status(status: &Status, cpu: Option<&HashMap<u32, f64>>, style: Style) -> Vec<String> {
    let mut lines = vec![title(status, style)];
    if status.listeners.len() > 1 {
        lines.push(style.fit(&format!("listens on {}", status.listeners.join(", "))));
    }
    lines.extend(status.admin.as_ref().map(|admin| style.fit(&format!("dashboard on http://{admin}"))));
    lines.extend(status.sample.as_ref().map(|sample| style.fit(&rates(sample))));
    lines.extend(status.maintenance.map(|maintenance| style.alarm(&self::maintenance(maintenance))));
    lines.extend(certificates(status, style));
    lines.extend(turns::mixed(&status.list.workers).map(|line| style.alarm(&line)));
    lines.push(String::new());
    lines.extend(table(status, cpu, style));
    lines
}

/// The certificate that ends first; all those that are worth a warning.
fn certificates(status: &Status, style: Style) -> Vec<String> {
    let now = SystemTime::now();
    let warnings: Vec<_> = status.certificates.iter().filter_map(|one| one.warning(now)).collect();
    if !warnings.is_empty() {
        return warnings.iter().map(|warning| style.alarm(warning)).collect();
    }
    let first = status.certificates.iter().min_by_key(|one| one.not_after);
    let line = first.map(|first| match status.certificates.len() {
        1 => format!("the certificate for {} {}", first.name, first.expiry(now)),
        all => {
            format!("{all} certificates, the first to end is that for {}: {}", first.name, first.expiry(now))
        }
    });
    line.map(|line| style.fit(&line)).into_iter().collect()
}

/// The maintenance that there is, as a line.
pub(crate) fn maintenance(Maintenance { retry_after_seconds }: Maintenance) -> String {
    format!(
        "maintenance on: requests are answered 503, to be tried again after {retry_after_seconds} s \
         (balancer maintenance off ends it)"
    )
}

fn title(status: &Status, style: Style) -> String {
    let health = &status.health;
    let (word, colour) = word(health.status);
    let range = status.range.map_or_else(String::new, |range| format!(" ({}..{})", range.min, range.max));
    let text = style.fit(&format!(
        "{word}{} on {}  {}/{} workers online{range}  primary {}, up {}, version {}",
        status.shutdown.map_or_else(String::new, shutdown),
        status.listeners.first().cloned().unwrap_or_else(|| format!("http://{}", status.address)),
        health.workers.online,
        health.workers.desired,
        status.list.primary.pid,
        humantime::format_duration(Duration::from_secs(status.uptime_seconds as u64)),
        status.version,
    ));
    match text.strip_prefix(word) {
        Some(rest) => format!("{}{rest}", style.paint(word, colour)),
        None => text,
    }
}

/// One second of traffic, in words.
pub(crate) fn rates(sample: &Sample) -> String {
    let Rates { requests, errors, p50, p95, p99 } = &sample.all;
    format!(
        "{requests} requests/s  p50 {} p95 {} p99 {} ms  {errors} errors/s  {} in flight",
        millis(*p50),
        millis(*p95),
        millis(*p99),
        sample.in_flight
    )
}

fn millis(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
        None => "-".to_owned(),
    }
}

/// What happened, without the time.
pub(crate) fn event(event: &Event) -> String {
    let whom = event.worker.map_or_else(|| "cluster".to_owned(), |worker| format!("worker {worker}"));
    let pid = event.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    format!("{whom:<10}  {:<10}  {}{pid}", event.kind.to_string(), event.detail)
}

/// As [`event`], with its age and in colour: `now_ms` since 1970.
pub(crate) fn aged_event(happened: &Event, now_ms: u64, style: Style) -> String {
    let seconds = now_ms.saturating_sub(happened.at_ms) / 1000;
    let age = match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3600),
    };
    let line = style.fit(&format!("{age:>4} ago  {}", event(happened)));
    match happened.kind {
        Kind::Crashed | Kind::Hung | Kind::NotReady | Kind::PortTaken => style.paint(&line, Colour::Bad),
        _ => line,
    }
}

struct Column {
    title: &'static str,
    /// Columns with the highest number are left out first where there is no room.
    dispensable: u8,
    left: bool,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0).max(self.title.len())
    }

    fn cell(&self, text: &str, width: usize) -> String {
        if self.left { format!("{text:<width$}") } else { format!("{text:>width$}") }
    }
}

fn table(status: &Status, cpu: Option<&HashMap<u32, f64>>, style: Style) -> Vec<String> {
    let list = &status.list;
    let workers: Vec<_> = list.workers.iter().chain(&list.joining).chain(&list.leaving).collect();
    let none = Rates::default();
    // Rates are counted by slot; a second process of a slot has none of its own.
    let rates = |worker: &WorkerStatus| -> Option<&Rates> {
        let sample = status.sample.as_ref().filter(|_| list.workers.iter().any(|own| own == worker))?;
        Some(sample.workers.get(&worker.id.0).unwrap_or(&none))
    };
    let dash = || "-".to_owned();
    let column = |title, dispensable, cell: &dyn Fn(&WorkerStatus) -> Option<String>| Column {
        title,
        dispensable,
        left: false,
        cells: workers.iter().map(|worker| cell(worker).unwrap_or_else(dash)).collect(),
    };
    let mut columns = vec![
        column("ID", 0, &|worker| Some(worker.id.to_string())),
        column("PID", 6, &|worker| worker.pid.map(|pid| pid.to_string())),
        column("PORT", 8, &|worker| port(worker)),
        Column { left: true, ..column("STATE", 0, &|worker| Some(worker.state.to_string())) },
        column("FOR", 2, &|worker| Some(how_long(worker.state_seconds))),
        column("REQ/S", 1, &|worker| rates(worker).map(|rates| rates.requests.to_string())),
        column("P99 MS", 3, &|worker| rates(worker).map(|rates| millis(rates.p99))),
        column("REQUESTS", 7, &|worker| Some(worker.requests.to_string())),
        column("IN FLIGHT", 4, &|worker| Some(worker.in_flight.to_string())),
        column("MEMORY", 5, &|worker| worker.rss.clone()),
    ];
    if turns::is_mixed(&list.workers) {
        columns.push(column("RELEASE", 0, &|worker| worker.release.map(|release| release.to_string())));
    }
    if let Some(cpu) = cpu {
        let share =
            |worker: &WorkerStatus| cpu.get(&worker.pid?).map(|share| format!("{:.0}%", share * 100.0));
        columns.push(column("CPU", 6, &share));
    }
    columns.push(Column {
        left: true,
        ..column("RESTARTS", 1, &|worker| {
            Some(match &worker.last_restart {
                Some(reason) => format!("{} ({reason})", worker.restarts),
                None => worker.restarts.to_string(),
            })
        })
    });
    let widest = style.width.unwrap_or(usize::MAX);
    while columns.iter().map(|column| column.width() + 2).sum::<usize>() > widest.saturating_add(2) {
        let least = columns.iter().map(|column| column.dispensable).max().unwrap_or(0);
        if least == 0 {
            break;
        }
        columns.retain(|column| column.dispensable < least);
    }
    let line = |row: Option<usize>| {
        let cells = columns.iter().map(|column| {
            let text = row.map_or(column.title, |row| &column.cells[row]);
            let cell = column.cell(text, column.width());
            match row.filter(|_| column.title == "STATE") {
                Some(row) => style.paint(&cell, state_colour(workers[row].state)),
                None => cell,
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rows = (0..workers.len()).flat_map(|row| {
        let why = workers[row].state != WorkerState::Online;
        let notes = if why { notes(workers[row], style) } else { Vec::new() };
        std::iter::once(line(Some(row))).chain(notes)
    });
    std::iter::once(line(None)).chain(rows).collect()
}

/// Why a worker is not ready, and what it has printed last, below its row.
fn notes(worker: &WorkerStatus, style: Style) -> Vec<String> {
    let reason = worker.reason.iter().map(|reason| style.alarm(&format!("    {reason}")));
    let lines = worker.last_lines.iter().map(|line| style.fit(&format!("    | {line}")));
    reason.chain(lines).collect()
}

/// With its address where that is not the usual one.
fn port(worker: &WorkerStatus) -> Option<String> {
    let usual = |address: &&String| !address.starts_with("127.0.0.1:");
    worker.address.as_ref().filter(usual).cloned().or_else(|| worker.port.map(|port| port.to_string()))
}

fn state_colour(state: WorkerState) -> Colour {
    match state {
        WorkerState::Online => Colour::Good,
        WorkerState::Starting | WorkerState::Draining => Colour::Waiting,
        WorkerState::Unhealthy | WorkerState::Hung | WorkerState::Backoff | WorkerState::Failed => {
            Colour::Bad
        }
    }
}

/// The two largest units, such as `3h 12m`.
fn how_long(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// Rows as lines, their cells below one another.
pub(crate) fn aligned<const N: usize>(rows: Vec<[String; N]>) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Writes one line to standard output; a reader that has gone away is no failure.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// One step of a change, as a line; none for the failure, which is the error.
pub(crate) fn describe(step: &Progress) -> Option<String> {
    Some(match step {
        Progress::Waiting => "waits for another change to be done".to_owned(),
        Progress::Changes(changes) => {
            let summary = changes.summary();
            let parts = summary.split("; ").filter(|part| !part.is_empty());
            let parts = parts.chain(changes.notes.iter().map(String::as_str));
            parts.map(plain).collect::<Vec<_>>().join("\n")
        }
        Progress::Started { worker, pid } => format!("worker {worker}  started   pid {pid}"),
        Progress::Ready { worker, pid, after_ms } => {
            format!("worker {worker}  ready     pid {pid}, after {after_ms} ms")
        }
        Progress::Successor { pid } => format!("balancer  started   pid {pid}"),
        Progress::SuccessorOnline { online, workers } => {
            format!("balancer  {online} of {workers} {} ready", plural(*workers))
        }
        Progress::Upgraded(Upgraded { from_pid, pid, from_version, version, workers, after_ms }) => {
            let version = if from_version == version {
                format!("version {version} as before")
            } else {
                format!("version {from_version} → {version}")
            };
            format!(
                "upgraded: pid {from_pid} → {pid}, {version}, {workers} {}, after {after_ms} ms; the old one \
                 finishes what it has",
                plural(*workers)
            )
        }
        Progress::Switched { workers } => format!("{} from now on", takes(*workers)),
        Progress::Draining { worker, pid, turn: None } => format!("worker {worker}  draining  pid {pid}"),
        Progress::Draining { worker, pid, turn: Some(turn) } => turns::draining(*worker, *pid, turn),
        Progress::Stopped { worker, pid } => format!("worker {worker}  stopped   pid {pid}"),
        Progress::Done { workers, after_ms, requests, long_lived } => {
            let left = left_behind(*requests, *long_lived);
            format!("done: {workers} {}, after {after_ms} ms{left}", plural(*workers))
        }
        Progress::Warning { reason } => format!("warning: {reason}"),
        Progress::Failed { .. } => return None,
    })
}

/// What goes on in workers that were replaced, if anything does.
fn left_behind(requests: u64, long_lived: u64) -> String {
    let text = in_flight_text(requests, long_lived);
    text.map_or_else(String::new, |text| format!("; {text} of the old ones end in the background"))
}

fn plural(workers: usize) -> &'static str {
    if workers == 1 { "worker" } else { "workers" }
}

fn takes(workers: usize) -> String {
    let verb = if workers == 1 { "takes" } else { "take" };
    format!("{workers} new {} {verb} requests", plural(workers))
}

#[cfg(test)]
mod tests;
