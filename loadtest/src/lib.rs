//! A load generator that is right about latency and knows the workers.
//!
//! Data flows one way: [`cli`] (what was typed) → [`plan`] (what it means) →
//! [`client`] (sends, by the times of [`schedule`], and counts in [`stats`]) →
//! [`report`] (figures, with the judgement of [`balance`]) → text, JSON, HTML, CSV.
//! [`session`] surrounds a run with signals and limits, [`find_max`] repeats it,
//! [`compare`] judges two saved results.

pub mod balance;
pub mod cli;
pub mod client;
pub mod compare;
pub mod find_max;
pub mod plan;
pub mod report;
pub mod schedule;
pub mod session;
pub mod stats;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use shared::config::Sources;

use cli::{Cli, Command, CompareArgs, RunArgs};
use plan::condition::Condition;
use plan::{Plan, UsageError};
use report::model::Report;
use report::progress::ProgressLine;
use report::text::{self, Style};
use session::Session;

/// How the program ends, beside [`ExitCode::SUCCESS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// No request succeeded.
    Failed = 1,
    Usage = 2,
    /// The load generator was the limit.
    Invalid = 3,
    /// A threshold was missed.
    Threshold = 99,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Does what the command line says.
///
/// # Errors
/// When that is not possible; a [`UsageError`] among the causes means that the
/// command line is to blame.
pub fn run(cli: &Cli) -> anyhow::Result<Exit> {
    if let Some(Command::Compare(args)) = &cli.command {
        return compare(args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load(&cli.run))
}

fn compare(args: &CompareArgs) -> anyhow::Result<Exit> {
    let (a, b) = (compare::load(&args.a)?, compare::load(&args.b)?);
    let comparison = compare::compare(&a, &b);
    if args.json {
        let json = serde_json::to_string(&comparison).context("could not write the comparison as JSON")?;
        write_out(&(json + "\n"))?;
    } else {
        write_out(&compare::render(&comparison))?;
    }
    Ok(Exit::Ok)
}

async fn load(args: &RunArgs) -> anyhow::Result<Exit> {
    let sources = Sources::load(Path::new(".")).map_err(UsageError::from)?;
    let plan = Arc::new(Plan::new(args, &sources)?);
    let conditions = plan::thresholds(args)?;
    let wanted = args.find_max.as_deref().map(Condition::parse_list).transpose().map_err(UsageError::from)?;
    if outputs_to_stdout(args) > 1 {
        return Err(UsageError::Conflict(
            "only one form can go to standard output (such as --json or --csv -)",
        )
        .into());
    }
    let session = Session::open(&plan).await?;
    if let (Some(text), Some(wanted)) = (&args.find_max, wanted) {
        return find_max(args, &plan, &session, text, &wanted).await;
    }
    let line = ProgressLine::new(args.quiet, String::new(), plan.duration, plan.stop_after);
    let (report, _) = session.run(&plan, &conditions, &mut |progress| line.show(progress)).await?;
    line.clear();
    publish(args, &report)?;
    Ok(exit(&report))
}

/// The report is that of the best step; a search in which no rate held has
/// missed its condition.
async fn find_max(
    args: &RunArgs,
    plan: &Plan,
    session: &Session,
    text: &str,
    wanted: &[Condition],
) -> anyhow::Result<Exit> {
    let loud = !args.quiet && !writes_to_stdout(args);
    let say = |text: &str| if loud { write_out(&format!("{text}\n")) } else { Ok(()) };
    say(&format!(
        "Searching the highest rate that keeps {text}, {:?} per step",
        plan.duration.unwrap_or_default()
    ))?;
    let line = ProgressLine::new(args.quiet, String::new(), plan.duration, None);
    let mut broken = Ok(());
    let found = find_max::find(session, plan, wanted, &mut |_, progress| line.show(progress), &mut |step| {
        line.clear();
        broken = std::mem::replace(&mut broken, Ok(())).and_then(|()| say(&find_max::step_line(step)));
    })
    .await?;
    line.clear();
    broken?;
    say(&format!("\n{}\n", find_max::conclusion(&found, text)))?;
    publish(args, &found.report)?;
    Ok(match (found.search.best, found.limited) {
        _ if session.is_stopped() => Exit::Ok,
        (None, true) => Exit::Invalid,
        (None, false) => Exit::Threshold,
        (Some(_), _) => Exit::Ok,
    })
}

/// Writes the report in every form that was asked for.
fn publish(args: &RunArgs, report: &Report) -> anyhow::Result<()> {
    if !args.quiet && !writes_to_stdout(args) {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = Style { color: io::stdout().is_terminal() && !no_color };
        write_out(&text::render(report, style))?;
    }
    if args.json || args.save.is_some() {
        let json = serde_json::to_string(report).context("could not write the result as JSON")? + "\n";
        if let Some(path) = &args.save {
            write_to(path, &json)?;
        }
        if args.json {
            write_out(&json)?;
        }
    }
    if let Some(path) = &args.csv {
        write_to(path, &report::csv::render(report))?;
    }
    if let Some(path) = &args.html {
        write_to(path, &report::html::render(report))?;
    }
    Ok(())
}

/// Is standard output for a program? Then nothing else may stand there.
fn writes_to_stdout(args: &RunArgs) -> bool {
    outputs_to_stdout(args) > 0
}

fn outputs_to_stdout(args: &RunArgs) -> usize {
    let files = [&args.save, &args.csv, &args.html].into_iter().flatten();
    usize::from(args.json) + files.filter(|path| path.as_os_str() == "-").count()
}

fn write_to(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        return Ok(write_out(text)?);
    }
    std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}

/// A reader that has gone (`| head`) has seen enough.
fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// What a result means for whoever started the program: nothing succeeded,
/// else not valid, else a threshold missed.
fn exit(report: &Report) -> Exit {
    if report.outcome.succeeded == 0 && report.outcome.failed > 0 {
        Exit::Failed
    } else if report.is_invalid() {
        Exit::Invalid
    } else if report.thresholds.iter().any(|threshold| !threshold.passed) {
        Exit::Threshold
    } else {
        Exit::Ok
    }
}
