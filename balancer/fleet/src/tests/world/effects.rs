//! What the effects of the fleet do to the world.

use shared_protocol::Generation;

use super::{Hand, Question, Running, Step, World};
use crate::{ClusterEvent, Effect, Launch, Member, RequestId, Requester, Role, RolloutKind};

impl World {
    pub(super) fn carry_out(&mut self, effect: &Effect, step: Option<Step>) -> Result<(), String> {
        match *effect {
            Effect::Launch(launch) => self.launch(launch),
            Effect::OpenRelease(release) => {
                self.last_release = release;
                self.questions.push_back(Question::Open);
                Ok(())
            }
            Effect::AdoptRelease(release) if self.releases.contains(&release) => Ok(()),
            Effect::AdoptRelease(release) => Err(format!("release {release} was not opened")),
            Effect::DropRelease(release) => {
                self.releases.retain(|&open| open != release);
                self.changes_untold &= self.releases.contains(&self.last_release);
                Ok(())
            }
            Effect::Measure { .. } => {
                self.questions.push_back(Question::Measure);
                Ok(())
            }
            Effect::MeasureStarts => {
                self.questions.push_back(Question::Starts);
                Ok(())
            }
            Effect::BeginUpgrade(result) => self.begin_upgrade(result),
            Effect::Announce { ref event, requester } => self.hear(event, requester, step),
            Effect::Examine(of) => {
                self.questions.push_back(Question::Examine(of));
                Ok(())
            }
            Effect::Probe(of)
            | Effect::Protect(of)
            | Effect::Publish(of)
            | Effect::Withdraw(of)
            | Effect::AwaitDrain(of)
            | Effect::Close { generation: of, .. }
            | Effect::SignalDrain { generation: of, .. }
            | Effect::Terminate(of)
            | Effect::Kill(of) => self.act_on(of, effect, step),
        }
    }

    fn launch(&mut self, launch: Launch) -> Result<(), String> {
        let Launch { worker, generation, release, .. } = launch;
        if self.fleet.is_stopping() {
            return Err(format!("worker {worker} is launched though the cluster is stopping"));
        }
        if !self.releases.contains(&release) {
            return Err(format!("worker {worker} is launched from a release that is not open"));
        }
        self.check_launch(&launch)?;
        if release == self.last_release && self.changes_untold {
            return Err(format!("worker {worker} has a new release and nobody was told what it changes"));
        }
        let starting = self.running.iter().filter(|running| running.is_starting()).count();
        if starting >= self.fleet.settings.starts.parallel.unwrap_or(usize::MAX) {
            return Err(format!("worker {worker} is launched while {starting} are starting"));
        }
        if self.running.iter().filter(|running| running.worker == worker).count() >= 3 {
            return Err(format!("worker {worker} gets a fourth process"));
        }
        let abandoned = |member: &Member| member.id == worker && member.role == Role::Abandoned;
        if launch.on_trial && self.fleet.members().iter().any(abandoned) {
            return Err(format!("a candidate of worker {worker} is launched beside one of a failed rollout"));
        }
        self.questions.push_back(Question::Launch(generation));
        self.running.push(Running {
            generation,
            worker,
            release,
            up: false,
            probed: false,
            healthy: false,
            ready: false,
            hung: false,
            hand: Hand::Nothing,
            misses: 0,
            heard: self.now,
            published: false,
            serves: false,
            drains: false,
            only_long_lived: false,
            closed: false,
            retired: false,
            awaited_by: None,
            leaving: false,
            terminated: false,
            killed: false,
        });
        Ok(())
    }

    fn act_on(&mut self, of: Generation, effect: &Effect, step: Option<Step>) -> Result<(), String> {
        let Some(running) = self.running.iter_mut().find(|running| running.generation == of) else {
            // What is withdrawn because it has ended is gone here already.
            let gone = step == Some(Step::Exited(of)) && *effect == Effect::Withdraw(of);
            return if gone { Ok(()) } else { Err(format!("{effect:?} is for a process that is not there")) };
        };
        let misplaced = match effect {
            Effect::Publish(_) => running.published || !running.ready,
            Effect::Withdraw(_) => !running.published,
            Effect::SignalDrain { .. } => !running.only_long_lived && !self.fleet.is_stopping(),
            Effect::AwaitDrain(_) | Effect::Close { .. } | Effect::Terminate(_) | Effect::Kill(_) => {
                running.published
            }
            _ => !running.up,
        };
        if running.terminated && matches!(effect, Effect::Terminate(_)) {
            return Err(format!("process {of} is told to end a second time"));
        }
        let is_early = match step {
            Some(Step::OnlyLongLived(_)) => true,
            Some(Step::Stop(long_lived)) => !long_lived.is_zero() && (running.serves || running.drains),
            _ => false,
        };
        if is_early && running.dies_of_terminate() && matches!(effect, Effect::Terminate(_)) {
            return Err(format!("process {of} would die of SIGTERM and gets it early"));
        }
        if misplaced {
            return Err(format!("{effect:?} comes at the wrong time"));
        }
        match effect {
            Effect::Probe(_) => running.probed = true,
            Effect::Protect(_) | Effect::SignalDrain { .. } => {}
            Effect::Close { over: None, .. } => running.closed = true,
            Effect::Close { .. } => {}
            Effect::Publish(_) => {
                if !running.serves {
                    running.heard = self.now;
                }
                (running.published, running.serves) = (true, true);
                let worker = running.worker;
                self.replacing.serves(worker, running.release);
                self.ejected.retain(|&id| id != worker);
            }
            Effect::Withdraw(_) => running.published = false,
            Effect::AwaitDrain(_) => (running.drains, running.serves) = (true, false),
            Effect::Terminate(_) => {
                (running.terminated, running.serves) = (true, false);
                self.lost(of);
            }
            _ => running.killed = true,
        }
        Ok(())
    }

    /// This process will not serve any more. If it was to replace a hung one, then
    /// its slot has another trouble from now on.
    pub(super) fn lost(&mut self, of: Generation) {
        if let Some(running) = self.running.iter().find(|running| running.generation == of && !running.hung) {
            self.ejected.retain(|&id| id != running.worker);
        }
    }

    fn hear(
        &mut self,
        event: &ClusterEvent,
        requester: Option<RequestId>,
        step: Option<Step>,
    ) -> Result<(), String> {
        let kind = std::mem::discriminant(event);
        if !self.heard.contains(&kind) {
            self.heard.push(kind);
        }
        self.hear_replacing(event)?;
        match event {
            ClusterEvent::ReleaseChanged { .. } => self.changes_untold = false,
            ClusterEvent::ReloadQueued => self.reload_queued = true,
            ClusterEvent::RolloutBegan { kind: RolloutKind::Reload, .. }
            | ClusterEvent::ReleaseNotOpened { .. } => self.reload_queued = false,
            ClusterEvent::RolloutBegan {
                kind: RolloutKind::Grow { to } | RolloutKind::Shrink { to },
                workers,
                ..
            } => self.check_relative(requester, *workers, *to)?,
            ClusterEvent::Draining { generation, .. } => {
                let running = self.running.iter_mut().find(|running| running.generation == *generation);
                let awaits = |waiting: &&Requester| waiting.awaits_drain && Some(waiting.id) == requester;
                let awaited_by = self.waiting.iter().find(awaits).map(|waiting| waiting.id);
                running.into_iter().for_each(|running| {
                    (running.retired, running.awaited_by) = (true, awaited_by);
                });
            }
            ClusterEvent::Hung { worker, generation, .. } => {
                self.check_verdict(*worker, *generation)?;
                self.check_ejection(*worker, *generation)?;
            }
            &ClusterEvent::GaveUp { tries, .. } => {
                self.check_end(tries)?;
                self.is_upgrading = false;
            }
            ClusterEvent::DrainDone { kind, .. } => {
                let still = |running: &Running| running.awaited_by == requester && requester.is_some();
                if self.running.iter().any(still) {
                    return Err(format!("{kind:?} is done while those that it has retired still run"));
                }
            }
            _ => {}
        }
        let Some(requester) = requester.filter(|_| event.is_final()) else { return Ok(()) };
        let place = self.waiting.iter().position(|waiting| waiting.id == requester);
        let place = place.ok_or_else(|| format!("{event:?} answers somebody a second time, at {step:?}"))?;
        self.waiting.remove(place);
        self.asked.retain(|&(asking, _)| asking != requester);
        Ok(())
    }
}
