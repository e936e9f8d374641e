//! How a process gets the port that it listens on.

/// Where one process has its port from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortChoice {
    /// It finds one itself and reports it.
    Own,
    /// It is told one that is reserved for it.
    Reserved,
    /// It is told one that was free when it was looked for.
    Free,
}

/// How processes get their ports. Those that are told one get a reserved port,
/// until it is seen that the program may not be able to bind such a port, because
/// it does not set SO_REUSEADDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortPolicy {
    /// Each process finds one itself.
    Own,
    /// Each process is told one. `proven` says that one has got ready this way.
    Told { reserve: bool, proven: bool },
}

impl PortPolicy {
    /// For programs that are told their port.
    pub const TOLD: Self = Self::Told { reserve: true, proven: false };

    /// For the next process.
    pub fn choice(&self) -> PortChoice {
        match self {
            Self::Own => PortChoice::Own,
            Self::Told { reserve: true, .. } => PortChoice::Reserved,
            Self::Told { reserve: false, .. } => PortChoice::Free,
        }
    }

    /// A process with this port got ready.
    pub fn got_ready(&mut self, port: PortChoice) {
        let current = self.choice();
        if let Self::Told { proven, .. } = self
            && current == port
        {
            *proven = true;
        }
    }

    /// A process with this port ended before it was ready. Returns what the next
    /// process gets, if that changes.
    pub fn ended_early(&mut self, port: PortChoice) -> Option<PortChoice> {
        let current = self.choice();
        match self {
            Self::Told { reserve, proven: false } if current == port => *reserve = !*reserve,
            _ => return None,
        }
        Some(self.choice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_end_early_change_the_policy_once_until_one_gets_ready() {
        use PortChoice::{Free, Reserved};
        let mut policy = PortPolicy::TOLD;
        assert_eq!(policy.ended_early(Reserved), Some(Free));
        assert_eq!(policy.ended_early(Reserved), None, "it was started before the change");
        assert_eq!(policy.choice(), Free);
        assert_eq!(policy.ended_early(Free), Some(Reserved), "that was not the cause: back");
        policy.got_ready(Free);
        assert_eq!(policy.ended_early(Reserved), Some(Free), "another way has proven nothing for this one");
        policy.got_ready(Free);
        assert_eq!(policy.ended_early(Free), None, "it can, so something else was wrong");
        assert_eq!(policy.choice(), Free);
    }

    #[test]
    fn who_finds_a_port_itself_goes_on_doing_so() {
        let mut policy = PortPolicy::Own;
        assert_eq!(policy.ended_early(PortChoice::Own), None);
        policy.got_ready(PortChoice::Own);
        assert_eq!(policy.choice(), PortChoice::Own);
    }
}
