//! Proves or breaks the promises of a cluster, from outside, by HTTP and by what
//! the operating system tells of its processes.
//!
//! - [`cli`]: the flags, as typed
//! - [`context`]: first contact, and what is known of the cluster
//! - [`checks`]: one file per guarantee, judged with [`stats`], told as a [`verdict`]
//! - [`client`] and [`load`]: one request, and many; [`answer_log`] keeps every answer
//! - [`openapi`] and [`observe`]: what answers must look like, and what they tell
//! - [`cluster`] and [`fault`]: private clusters and Redis servers, killed when
//!   dropped, and what is done to them
//! - [`proc`] and [`burn`]: processes of this machine, and work for it
//! - [`report`]: one reporter per format
//!
//! Of the project's crates it uses `shared` alone, for the wire types.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use shared_settings::{Settings, definitions};
use shared_store::RedisUrl;

pub mod answer;
pub mod answer_log;
pub mod burn;
pub mod checks;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod context;
pub mod fault;
pub mod load;
pub mod observe;
pub mod openapi;
pub mod proc;
pub mod report;
pub mod stats;
pub mod target;
pub mod transport;
pub mod verdict;

use checks::Check;
use cli::Cli;
use client::Client;
use cluster::{Cluster, Launcher};
use context::{ContactError, Context, Workers};
use report::{Interrupted, Record, Reporter, Subject, Summary};
use target::Target;
use transport::Transport;

/// Redraws of a waiting line.
const TICK: Duration = Duration::from_millis(100);
/// Workers of a private cluster, unless the user says otherwise.
const SPAWNED_WORKERS: u32 = 4;

/// Exit codes beside those of [`Summary::exit_code`].
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Runs the program. What went wrong is on standard error, in one line.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if cli.list {
        return list().map(|()| ExitCode::SUCCESS);
    }
    let plan = match Plan::new(cli) {
        Ok(plan) => plan,
        Err(err) => return Ok(report_error(&err, USAGE)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not make an event loop")?;
    let code = runtime.block_on(execute(cli, plan));
    // A thread that still computes for a check is not waited for.
    runtime.shutdown_background();
    code
}

fn report_error(err: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("verify: {err:#}");
    ExitCode::from(code)
}

fn list() -> anyhow::Result<()> {
    let width = checks::ALL.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    for check in checks::ALL {
        let mark = if check.disruptive { " (--spawn)" } else { "" };
        writeln!(out, "{:width$}  {}{mark}", check.name, check.proves).context("could not write the list")?;
    }
    Ok(())
}

/// The command line, validated.
struct Plan {
    checks: Vec<&'static Check>,
    target: Target,
    plain: Option<Target>,
    client: Client,
    redis_url: Option<RedisUrl>,
    answer_log: Arc<Mutex<answer_log::AnswerLog>>,
    launcher: Option<Launcher>,
}

impl Plan {
    fn new(cli: &Cli) -> anyhow::Result<Self> {
        let checks = checks::select(&cli.only, &cli.skip, cli.spawn)?;
        let target: Target =
            cli.url.parse().with_context(|| format!("invalid value {:?} from --url", cli.url))?;
        let plain = cli
            .plain_url
            .as_deref()
            .map(|url| url.parse().with_context(|| format!("invalid value {url:?} from --plain-url")));
        let plain: Option<Target> = plain.transpose()?;
        if !target.https && !cli.spawn && checks.iter().all(|check| check.name == checks::TLS) {
            anyhow::bail!(
                "the check tls needs an https:// URL (a right one is --url https://localhost:3443), or --spawn"
            );
        }
        let redis_url = match cli.spawn {
            true => None,
            false => Settings::load_without_flags()?
                .with_flag(&definitions::REDIS_URL, cli.redis_url.as_deref())
                .find_secret(&definitions::REDIS_URL, RedisUrl::parse)?,
        };
        let answer_log: Arc<Mutex<answer_log::AnswerLog>> = Arc::default();
        let transport = Transport { cacert: cli.cacert.clone(), insecure: cli.insecure, http2: cli.http2 };
        let client = Client::new(target.clone(), &transport, Arc::clone(&answer_log))?;
        let workers = cli.workers.unwrap_or(SPAWNED_WORKERS);
        let launcher = match cli.spawn {
            true => Some(Launcher::new(cli.balancer.clone(), workers, Arc::clone(&answer_log))?),
            false => None,
        };
        Ok(Self { checks, target, plain, client, redis_url, answer_log, launcher })
    }
}

/// What ended the run before its time.
enum Interruption {
    Interrupt,
    Terminate,
}

/// The first SIGINT, SIGTERM or SIGHUP.
async fn interruption() -> io::Result<Interruption> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => Interruption::Interrupt,
        _ = terminate.recv() => Interruption::Terminate,
        _ = hangup.recv() => Interruption::Terminate,
    })
}

async fn execute(cli: &Cli, plan: Plan) -> anyhow::Result<ExitCode> {
    let mut reporter = report::reporter(cli.format);
    let mut interruption = std::pin::pin!(interruption());
    let began = Instant::now();
    let ready = tokio::select! {
        biased;
        signal = &mut interruption => {
            let signal = signal?;
            // Whatever was started until now is gone already.
            eprintln!("verify: interrupted before the first check");
            return Ok(ExitCode::from(code(&signal)));
        }
        ready = prepare(cli, &plan) => ready,
    };
    // Dropped at the very end, or with an error: the private cluster.
    let (context, _cluster) = match ready {
        Ok(ready) => ready,
        Err(err) => return Ok(report_error(&err, UNREACHABLE)),
    };
    let all = plan.checks.len();
    reporter.begin(&subject(&context, all)).context("could not write the report")?;
    let mut records = Vec::new();
    let mut interrupted = None;
    for check in plan.checks {
        let started = Instant::now();
        // Dropping a running check undoes what it did.
        let verdict = tokio::select! {
            biased;
            signal = &mut interruption => {
                interrupted = Some((signal?, check.name));
                break;
            }
            verdict = observed(check, &context, reporter.as_mut()) => verdict?,
        };
        let record = Record { check, verdict, took: started.elapsed(), again: again(cli, check) };
        reporter.finished(&record).context("could not write the report")?;
        records.push(record);
    }
    let cut = interrupted.as_ref().map(|&(_, during)| Interrupted { during, missing: all - records.len() });
    let summary = Summary::of(&records, began.elapsed(), cut);
    reporter.end(&records, &summary).context("could not write the report")?;
    Ok(ExitCode::from(interrupted.map_or(summary.exit_code(), |(signal, _)| code(&signal))))
}

fn code(signal: &Interruption) -> u8 {
    match signal {
        Interruption::Interrupt => INTERRUPTED,
        Interruption::Terminate => TERMINATED,
    }
}

/// Starts the private cluster, if one is wanted, and makes contact.
async fn prepare(cli: &Cli, plan: &Plan) -> anyhow::Result<(Context, Option<Cluster>)> {
    let cluster = match &plan.launcher {
        Some(launcher) => Some(launcher.launch(&[]).await?),
        None => None,
    };
    let client = match &cluster {
        Some(cluster) => cluster.client.clone(),
        None => plan.client.clone(),
    };
    let stated = if cli.spawn { Some(cli.workers.unwrap_or(SPAWNED_WORKERS)) } else { cli.workers };
    let contact = |client| Context::contact(client, cli.wait, stated, plan.redis_url.clone());
    let mut context = match contact(client).await {
        // One check says more of it; the others need to know whom they speak to.
        Err(ContactError::Untrusted { why, .. })
            if plan.checks.iter().any(|check| check.name == checks::TLS) =>
        {
            let anybody = plan.client.transport().trusting_anybody();
            let client = Client::new(plan.target.clone(), &anybody, Arc::clone(&plan.answer_log))?;
            let mut context = contact(client).await?;
            context.untrusted = Some(why);
            context
        }
        contacted => contacted?,
    };
    context.launcher.clone_from(&plan.launcher);
    context.plain.clone_from(&plan.plain);
    Ok((context, cluster))
}

/// Runs a check while the reporter shows that time passes.
async fn observed(
    check: &'static Check,
    context: &Context,
    reporter: &mut dyn Reporter,
) -> anyhow::Result<verdict::Verdict> {
    let started = Instant::now();
    reporter.started(check).context("could not write the report")?;
    let mut running = std::pin::pin!(check.run(context));
    loop {
        tokio::select! {
            biased;
            verdict = &mut running => return Ok(verdict),
            () = tokio::time::sleep(TICK) => {
                reporter.waiting(check, started.elapsed()).context("could not write the report")?;
            }
        }
    }
}

fn subject(context: &Context, checks: usize) -> Subject {
    let workers = match context.workers {
        Workers::Stated(1) => "1 worker".to_owned(),
        Workers::Stated(n) => format!("{n} workers"),
        Workers::Seen(n) => format!("{n} workers seen"),
        Workers::Alone => "a single process".to_owned(),
    };
    let store = match context.backend {
        Some(shared_protocol::StoreKind::Redis) => ", state in Redis",
        Some(shared_protocol::StoreKind::Embedded) => ", embedded state",
        None => "",
    };
    let private = if context.launcher.is_some() { "private cluster of " } else { "" };
    Subject {
        url: context.client.target().to_string(),
        description: format!("{private}{workers}{store}"),
        checks,
    }
}

/// The command that runs one check again, on the same target. A password stays
/// out of it: the variable works as well.
fn again(cli: &Cli, check: &Check) -> String {
    let program = if std::env::var_os("CARGO").is_some() { "cargo run -p verify --" } else { "verify" };
    let mut command = format!("{program} ");
    if cli.spawn {
        command.push_str("--spawn ");
        if let Some(balancer) = &cli.balancer {
            command.push_str(&format!("--balancer {} ", balancer.display()));
        }
    } else {
        command.push_str(&format!("--url {} ", cli.url));
    }
    for (flag, value) in [
        ("--cacert", cli.cacert.as_ref().map(|path| path.display().to_string())),
        ("--plain-url", cli.plain_url.clone()),
    ] {
        command.push_str(&value.map(|value| format!("{flag} {value} ")).unwrap_or_default());
    }
    for (flag, given) in [("--insecure ", cli.insecure), ("--http2 ", cli.http2)] {
        command.push_str(if given { flag } else { "" });
    }
    if let Some(workers) = cli.workers {
        command.push_str(&format!("--workers {workers} "));
    }
    command.push_str(&format!("--only {}", check.name));
    command
}
