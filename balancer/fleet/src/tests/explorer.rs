//! Every order of events up to a depth, and from every state that is found: a stop
//! that ends although programs ignore SIGTERM, and a world that behaves from then on.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Instant;

use shared_protocol::ReloadMode;

use super::world::{LIMITS, Running, Step, World, settings};
use crate::{DrainSignal, Limits, Phase, RecyclePolicy, ScaleRange, Settings, StartPolicy};

/// Rounds within which everything must have settled: more than limits are looked at in the
/// longest wait of a slot.
const ROUNDS: usize = 1_000;

/// How a state was reached.
struct Path {
    step: Step,
    before: Option<Rc<Path>>,
}

impl Path {
    fn text(path: &Option<Rc<Self>>) -> String {
        let mut steps = Vec::new();
        let mut next = path;
        while let Some(path) = next {
            steps.push(path.step);
            next = &path.before;
        }
        steps.iter().rev().fold(String::new(), |mut text, step| {
            let _ = write!(text, "{step:?} ");
            text
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub depth: usize,
    pub states: usize,
}

#[derive(Debug)]
pub(super) struct Explored {
    pub states: usize,
    pub steps: usize,
    pub depth: usize,
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Goes breadth first, so that the first violation has the shortest path to it.
///
/// # Errors
/// When something is broken; says what, and the steps that lead there.
pub(super) fn explore(setup: &Setup, bounds: Bounds) -> Result<Explored, String> {
    let base = Instant::now();
    let mut first = World::new(setup.settings.clone(), base, setup.commands);
    if setup.serves {
        first = run(first, |_| false, World::is_settled)?;
    }
    let first = first.normalised(base);
    let mut seen = HashSet::from([fingerprint(&first)]);
    let mut level: Vec<(World, Option<Rc<Path>>)> = vec![(first, None)];
    let mut explored = Explored { states: 1, steps: 0, depth: 0 };
    while !level.is_empty() && explored.depth < bounds.depth && explored.states < bounds.states {
        explored.depth += 1;
        let mut next = Vec::new();
        for (world, path) in level {
            for step in world.steps() {
                explored.steps += 1;
                let mut after = world.clone();
                let path = || Some(Rc::new(Path { step, before: path.clone() }));
                let broken = |why: String| format!("{why}; after {}", Path::text(&path()));
                after.take(step).map_err(broken)?;
                let after = after.normalised(base);
                if seen.insert(fingerprint(&after)) {
                    explored.states += 1;
                    ends_in_order(after.clone()).map_err(broken)?;
                    next.push((after, path()));
                }
            }
        }
        level = next;
    }
    Ok(explored)
}

/// From this state, a stop ends, and so does everything that is under way, with all
/// workers online.
///
/// # Errors
/// When it does not.
pub(super) fn ends_in_order(world: World) -> Result<(), String> {
    let mut stopped = world.clone();
    stopped.take(Step::Stop(LIMITS.drain))?;
    run(stopped, |running| running.killed, World::is_stopped).map_err(|why| format!("a stop {why}"))?;
    let obeys = |running: &Running| running.killed || running.terminated || running.leaving;
    let goal = |world: &World| world.is_settled() || world.is_stopped();
    run(world, obeys, goal).map_err(|why| format!("a world that works again {why}"))?;
    Ok(())
}

/// Lets the world go on as it should, where processes end as `ends` says.
fn run(mut world: World, ends: fn(&Running) -> bool, goal: fn(&World) -> bool) -> Result<World, String> {
    for _ in 0..ROUNDS {
        while !world.questions.is_empty() {
            world.take(Step::Answer(true))?;
        }
        if goal(&world) {
            return Ok(world);
        }
        let step = world.running.iter().find_map(|running| behave(&world, running, ends));
        let step = step.or(world.is_upgrading.then_some(Step::EndUpgrade));
        let deadline = || world.fleet.next_deadline().map(|_| Step::Deadline);
        let Some(step) = step.or_else(deadline) else {
            return Err(format!("is stuck: {}", world.summary()));
        };
        world.take(step)?;
    }
    Err(format!("does not end: {}", world.summary()))
}

/// What a process does next that behaves, if it has something to do.
fn behave(world: &World, running: &Running, ends: fn(&Running) -> bool) -> Option<Step> {
    let of = running.generation;
    if ends(running) {
        return Some(Step::Exited(of));
    }
    let member = world.fleet.members().iter().find(|member| member.generation() == Some(of))?;
    match member.phase {
        _ if running.drains => Some(Step::Drained(of)),
        Phase::Starting { .. } if !running.up => Some(Step::Up(of)),
        Phase::Starting { .. } => Some(Step::Healthy(of)),
        Phase::Online { ref health, .. } if health.misses() > 0 => Some(Step::Healthy(of)),
        Phase::Standby { misses: 1.., .. } => Some(Step::Healthy(of)),
        _ => None,
    }
}

/// Where an exploration begins.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub name: &'static str,
    pub settings: Settings,
    /// All workers are online already.
    pub serves: bool,
    /// How many commands may be given.
    pub commands: u8,
}

pub(super) fn setups() -> Vec<Setup> {
    let setup = |name, settings, serves, commands| Setup { name, settings, serves, commands };
    let recycle = RecyclePolicy { max_requests: Some(1_000), ..RecyclePolicy::default() };
    let two = StartPolicy { parallel: Some(2), processors: 2 };
    let range = Some(ScaleRange { min: 1, max: 2 });
    let fit = StartPolicy { parallel: None, processors: 1 };
    let other = Limits { drain_signal: DrainSignal::Other(12), stream_drain: Some(LIMITS.kill), ..LIMITS };
    let alone = Settings { max_workers: 1, ..settings(1) };
    let turns = |workers| Settings { mode: ReloadMode::OneByOne, ..settings(workers) };
    vec![
        setup("one alone", alone, false, 1),
        setup("another signal", Settings { limits: other, ..settings(1) }, true, 2),
        setup("one boots", settings(1), false, 2),
        setup("one serves", settings(1), true, 3),
        setup("two boot", settings(2), false, 1),
        setup("two serve", settings(2), true, 2),
        setup("two in parallel", Settings { starts: two, ..settings(2) }, true, 1),
        setup("as many as fit", Settings { starts: fit, ..settings(3) }, false, 1),
        setup("two with limits", Settings { recycle, ..settings(2) }, true, 1),
        setup("as the load says", Settings { range, ..settings(1) }, true, 3),
        setup("by turns as well", Settings { range, ..turns(2) }, true, 3),
        setup("one gives up", Settings { give_up_after: Some(2), ..settings(1) }, false, 1),
        setup("two give up", Settings { starts: two, give_up_after: Some(1), ..settings(2) }, false, 1),
        setup("three serve", settings(3), true, 2),
        setup("one has its turn", turns(1), true, 2),
        setup("two take turns", turns(2), true, 2),
        setup("two boot, by turns", turns(2), false, 1),
        setup("two recycle by turns", Settings { recycle, ..turns(2) }, true, 1),
        setup("three take turns", turns(3), true, 1),
        setup("turns end early", Settings { give_up_after: Some(1), ..turns(2) }, false, 1),
    ]
}

fn explore_all(bounds: Bounds) {
    for setup in setups() {
        let (name, start) = (setup.name, Instant::now());
        let Explored { states, steps, depth } =
            explore(&setup, bounds).unwrap_or_else(|why| panic!("{name}: {why}"));
        println!("{name:16} {states:9} states, {steps:9} steps, depth {depth:3}, {:.1?}", start.elapsed());
    }
}

/// `EXPLORE_STATES=200000` goes further, in minutes.
#[test]
fn no_order_of_events_breaks_anything() {
    let states = std::env::var("EXPLORE_STATES").ok().map(|states| states.parse().unwrap());
    explore_all(Bounds { depth: usize::MAX, states: states.unwrap_or(15_000) });
}
