//! Who gets requests.

use super::member::Role;
use super::seeded::{Bug, seeded};
use super::{ClusterEvent, Fleet};

impl Fleet {
    /// Takes suspects out of turn while another worker is in turn, and lets those back
    /// that have answered. When all are suspects, all of them get requests: they are busy
    /// rather than broken, and one alone could do even less (Envoy calls this panic mode).
    pub(super) fn settle_turns(&mut self) {
        let limits = self.settings.limits;
        let is_well = |member: &super::Member| member.phase.is_online() && !member.is_suspect(&limits);
        let any_well = self.current().any(is_well) || seeded(Bug::LeavesNobodyInTurn);
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            let Some((health, in_turn)) = member.phase.turn() else { continue };
            let (is_suspect, misses) = (health.is_suspect(&limits), health.misses());
            let is_wanted = !is_suspect || !any_well;
            if member.role != Role::Current
                || is_wanted == in_turn
                || (is_wanted && seeded(Bug::StaysOutOfTurn))
            {
                continue;
            }
            let (worker, Some(generation)) = (member.id, member.generation()) else { continue };
            let effects = member.set_turn(is_wanted);
            self.announce(
                if is_wanted {
                    ClusterEvent::BackInTurn { worker, generation, answered: !is_suspect }
                } else {
                    ClusterEvent::OutOfTurn { worker, generation, misses }
                },
                None,
            );
            self.effects.extend(effects);
        }
    }
}
