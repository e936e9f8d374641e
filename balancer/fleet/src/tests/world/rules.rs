//! What must hold after each step.

use shared_protocol::{Generation, WorkerId};

use super::{Running, Step, World};
use crate::{ClusterEvent, Effect, Phase, RolloutKind};

impl World {
    /// Probes alone never take the whole cluster down.
    pub(super) fn check_ejection(&mut self, worker: WorkerId, generation: Generation) -> Result<(), String> {
        let others = self.running.iter().filter(|running| running.published);
        let others = others.filter(|running| running.generation != generation);
        let is_published = |running: &Running| running.generation == generation && running.published;
        let serves = self.running.iter().any(is_published);
        let answers = others.clone().any(|running| running.healthy) || !serves;
        if !answers && !self.ejected.is_empty() {
            return Err(format!("worker {worker} is taken out while another is and nobody answers"));
        }
        let hung = self.running.iter_mut().find(|running| running.generation == generation);
        hung.into_iter().for_each(|running| running.hung = true);
        if self.running.iter().any(|running| running.generation == generation && running.published) {
            self.ejected.push(worker);
        }
        Ok(())
    }

    /// Who serves goes on serving unless there is a reason.
    pub(super) fn check_withdrawals(&self, step: Step, effects: &[Effect]) -> Result<(), String> {
        let shared = matches!(step, Step::Stop | Step::Kill)
            || effects.iter().any(|effect| {
                let Effect::Announce { event, .. } = effect else { return false };
                matches!(
                    event,
                    ClusterEvent::Switched { .. }
                        | ClusterEvent::RolloutBegan { kind: RolloutKind::Shrink { .. }, .. }
                )
            });
        for effect in effects {
            let Effect::Withdraw(of) = effect else { continue };
            if !shared && !is_hung(effects, *of) && step.subject() != Some(*of) {
                return Err(format!("process {of} is withdrawn without a reason"));
            }
        }
        Ok(())
    }

    /// A rollout that is refused or fails before its switch changes nothing.
    pub(super) fn check_failures(
        &self,
        step: Step,
        effects: &[Effect],
        before: &[Generation],
    ) -> Result<(), String> {
        let failed = effects.iter().any(|effect| {
            let Effect::Announce { event, .. } = effect else { return false };
            event.is_final() && !matches!(event, ClusterEvent::RolloutDone { .. })
        });
        let began = |effect: &Effect| {
            matches!(effect, Effect::Announce { event: ClusterEvent::RolloutBegan { .. }, .. })
        };
        if !failed || matches!(step, Step::Stop | Step::Kill) || effects.iter().any(began) {
            return Ok(());
        }
        let stays = |of: Generation| {
            step.subject() == Some(of) || is_hung(effects, of) || self.published().contains(&of)
        };
        if before.iter().all(|&of| stays(of)) {
            return Ok(());
        }
        Err(format!("a failed rollout has cost one of {before:?}"))
    }

    pub(super) fn check_state(&self) -> Result<(), String> {
        let published = self.running.iter().filter(|running| running.published);
        let mut ids: Vec<_> = published.map(|running| running.worker).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two processes of worker {} are published", pair[0]));
        }
        for member in self.fleet.members() {
            let served = member
                .generation()
                .and_then(|generation| self.running.iter().find(|running| running.generation == generation));
            let is_online = matches!(member.phase, Phase::Online { .. });
            if is_online != served.is_some_and(|running| running.published) {
                return Err(format!("worker {} is published or online, but not both", member.id));
            }
        }
        Ok(())
    }
}

/// Was this process taken out because it is hung?
fn is_hung(effects: &[Effect], of: Generation) -> bool {
    effects.iter().any(|effect| {
        matches!(effect, Effect::Announce { event: ClusterEvent::Hung { generation, .. }, .. }
            if *generation == of)
    })
}
