//! A load generator that is right about latency and knows the workers.
//!
//! Data flows one way: [`cli`] (what was typed) → [`plan`] (what it means) →
//! [`client`] (sends, by the times of [`schedule`], and counts in [`stats`]) →
//! [`report`] (figures, with the judgement of [`balance`]) → [`output`].
//! [`session`] surrounds a run with signals and limits, [`find_max`] repeats it,
//! [`compare`] judges two saved results.

pub mod balance;
pub mod cli;
pub mod client;
pub mod compare;
pub mod find_max;
pub mod output;
pub mod plan;
pub mod report;
pub mod schedule;
pub mod session;
pub mod stats;

use std::process::ExitCode;
use std::sync::Arc;

use shared_settings::Settings;

use cli::{Cli, Command, CompareArgs, RunArgs};
use compare::CompareError;
use find_max::{Found, Step};
use output::{OutputError, forms_on_stdout, print, publish};
use plan::condition::Condition;
use plan::{Plan, UsageError};
use report::model::Report;
use report::progress::ProgressLine;
use session::{Session, SessionError};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// Nothing listens, no request succeeded, or the program itself failed.
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

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("could not start: {0}")]
    Runtime(std::io::Error),
}

impl Error {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// Does what the command line says.
///
/// # Errors
/// When that is not possible; failed requests are a result.
pub fn run(cli: &Cli) -> Result<Exit, Error> {
    if let Some(Command::Compare(args)) = &cli.command {
        return compare_results(args);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(load(&cli.run))
}

fn compare_results(args: &CompareArgs) -> Result<Exit, Error> {
    let (a, b) = (compare::load(&args.a)?, compare::load(&args.b)?);
    let comparison = compare::compare(&a, &b);
    if args.json {
        print(&(serde_json::to_string(&comparison).map_err(OutputError::from)? + "\n"))?;
    } else {
        print(&compare::render(&comparison))?;
    }
    Ok(Exit::Ok)
}

async fn load(args: &RunArgs) -> Result<Exit, Error> {
    // Settings only choose the default URL: with another one, a `.env` that
    // happens to lie here is none of our business.
    let settings = match &args.url {
        Some(_) => Settings::default(),
        None => Settings::load_without_flags().map_err(UsageError::from)?,
    };
    let plan = Arc::new(Plan::new(args, &settings)?);
    let conditions = plan::conditions(&args.thresholds)?;
    if forms_on_stdout(args) > 1 {
        let what = "only one form can go to standard output (such as --json or --csv -)";
        return Err(UsageError::Conflict(what).into());
    }
    if let Some(text) = &args.find_max {
        let wanted = plan::conditions(std::slice::from_ref(text))?;
        return search(args, &plan, text, &wanted).await;
    }
    let session = Session::open(&plan).await?;
    let line = ProgressLine::new(args.quiet, plan.duration, plan.stop_after);
    let report = session.run(&plan, &conditions, &mut |progress| line.show(progress)).await?;
    line.clear();
    publish(args, &report)?;
    Ok(exit(&report))
}

/// The report is that of the best step; a search in which no rate held has
/// missed its condition.
async fn search(args: &RunArgs, plan: &Plan, text: &str, wanted: &[Condition]) -> Result<Exit, Error> {
    let session = Session::open(plan).await?;
    let loud = !args.quiet && forms_on_stdout(args) == 0;
    let tell = |text: &str| if loud { print(&format!("{text}\n")) } else { Ok(()) };
    let step = humantime::format_duration(plan.duration.unwrap_or_default());
    tell(&format!("Searching the highest rate that keeps {text}, {step} per step"))?;
    let line = ProgressLine::new(args.quiet, plan.duration, None);
    let mut told = Ok(());
    let mut on_step = |step: &Step| {
        line.clear();
        if told.is_ok() {
            told = tell(&find_max::step_line(step));
        }
    };
    let found =
        find_max::find(&session, plan, wanted, &mut |progress| line.show(progress), &mut on_step).await?;
    line.clear();
    told?;
    tell(&format!("\n{}\n", find_max::conclusion(&found, text)))?;
    publish(args, &found.report)?;
    Ok(exit_of_search(&found, session.is_stopped()))
}

fn exit_of_search(found: &Found, stopped: bool) -> Exit {
    match found.search.best {
        Some(_) => Exit::Ok,
        None if stopped => Exit::Ok,
        None if found.limited => Exit::Invalid,
        None => Exit::Threshold,
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
