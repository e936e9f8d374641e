//! What must hold while workers are replaced one by one, and of releases at any time.

use shared_protocol::{ReleaseId, ReloadMode, WorkerId};

use super::super::replacing::renamed;
use super::{Step, World};
use crate::{ClusterEvent, Effect, Launch, Left, Member, Phase, Role};

impl World {
    /// Gives releases that are open numbers from 1; returns them in order.
    pub(super) fn rename_releases(&mut self) -> Vec<ReleaseId> {
        let mut known = self.releases.clone();
        let opening = self.fleet.rollout.as_ref().and_then(|rollout| rollout.release);
        known.extend(opening.filter(|opening| !self.releases.contains(opening)));
        known.sort_unstable();
        let rename = |release: &mut ReleaseId| *release = renamed(&known, *release);
        self.releases.iter_mut().for_each(rename);
        self.releases.sort_unstable();
        rename(&mut self.last_release);
        self.running.iter_mut().for_each(|running| rename(&mut running.release));
        let fleet = &mut self.fleet;
        fleet.members.iter_mut().for_each(|member| rename(&mut member.release));
        fleet.releases.open.iter_mut().for_each(rename);
        fleet.releases.open.sort_unstable();
        rename(&mut fleet.releases.running);
        fleet.releases.last = ReleaseId(known.len() as u64);
        if let Some(rollout) = &mut fleet.rollout {
            rollout.release.iter_mut().for_each(rename);
            rollout.rename_before(rename);
        }
        known
    }

    pub(super) fn mode(&self) -> Option<ReloadMode> {
        self.fleet.rollout.as_ref().map(|rollout| rollout.mode)
    }

    /// A slot has one process at a time, and each comes back as it was.
    pub(super) fn check_launch(&self, launch: &Launch) -> Result<(), String> {
        let Launch { worker, release, on_trial, .. } = *launch;
        let is_down = self.replacing.down == Some(worker);
        let takes_turns = self.fleet.settings.mode == ReloadMode::OneByOne
            && ![self.replacing.mode, self.mode()].contains(&Some(ReloadMode::All));
        if (is_down || takes_turns) && self.running.iter().any(|running| running.worker == worker) {
            return Err(format!("worker {worker} gets a process beside another one"));
        }
        match self.replacing.served.get(&worker) {
            Some(&served) if served != release && !(on_trial || is_down) => {
                Err(format!("worker {worker} comes back with release {release}, and had {served}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn hear_replacing(&mut self, event: &ClusterEvent) -> Result<(), String> {
        match event {
            ClusterEvent::TakenDown { worker, alone, .. } => {
                if let Some(down) = self.replacing.down.replace(*worker) {
                    return Err(format!("worker {worker} is taken down while worker {down} is"));
                }
                if self.replacing.had.contains(worker) {
                    return Err(format!("worker {worker} is replaced a second time"));
                }
                self.replacing.had.push(*worker);
                let others = self.running.iter().filter(|running| running.worker != *worker);
                let nobody = others.filter(|running| running.serves).count() == 0;
                let is_current = |member: &&Member| member.role == Role::Current;
                let is_last = self.fleet.members().iter().filter(is_current).count() > 1;
                let served = self.running.iter().any(|running| running.worker == *worker && running.serves);
                if nobody && is_last && served {
                    return Err(format!("worker {worker} is taken down and nobody else serves"));
                }
                if nobody != *alone {
                    return Err(format!("worker {worker} is said to be alone: {alone}"));
                }
            }
            ClusterEvent::RolloutDone { .. } | ClusterEvent::RolloutFailed { .. } => {
                if let ClusterEvent::RolloutFailed { left: Left::Mixed(mixed), .. } = event
                    && mixed.down != self.replacing.down
                {
                    return Err(format!("{:?} is said to be down", mixed.down));
                }
                (self.replacing.down, self.replacing.had) = (None, Vec::new());
            }
            _ => {}
        }
        Ok(())
    }

    /// The first successor that fails ends the rollout, and no release is open without a
    /// use. `ids` are those of the slots.
    pub(super) fn check_replacing(
        &mut self,
        step: Step,
        effects: &[Effect],
        ids: &[WorkerId],
    ) -> Result<(), String> {
        self.replacing.served.retain(|id, _| ids.contains(id));
        let waits = |id| {
            let mut members = self.fleet.members().iter();
            members.any(|member| member.id == id && matches!(member.phase, Phase::Backoff { .. }))
        };
        let fails = |effect: &Effect| {
            let Effect::Announce { event, .. } = effect else { return None };
            match event {
                ClusterEvent::NotReadyInTime { worker, .. }
                | ClusterEvent::Exited { worker, expected: false, .. } => Some(*worker),
                // The one before may not have been launched yet.
                ClusterEvent::LaunchFailed { worker, .. } => Some(*worker).filter(|id| waits(*id)),
                _ => None,
            }
        };
        let failed = effects.iter().find_map(fails).filter(|failed| self.replacing.down == Some(*failed));
        if let Some(worker) = failed {
            return Err(format!("worker {worker} has failed at {step:?} and the rollout goes on"));
        }
        let members = self.fleet.members().iter();
        let mut used: Vec<_> = members.map(|member| member.release).collect();
        let rollout = self.fleet.rollout.as_ref();
        used.extend(rollout.into_iter().flat_map(|rollout| rollout.releases()));
        used.push(self.fleet.releases.running);
        match self.releases.iter().find(|release| !used.contains(release)) {
            Some(release) => Err(format!("release {release} is kept open for nobody")),
            None => Ok(()),
        }
    }
}
