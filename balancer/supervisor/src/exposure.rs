//! Programs that can be reached past the balancer.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// What was said of addresses beyond loopback that programs listen on.
#[derive(Debug, Default)]
pub(crate) struct Exposure {
    told: BTreeSet<IpAddr>,
}

impl Exposure {
    /// A program has got ready that listens on `bound`. Says whether that is to be told.
    pub(crate) fn is_news(&mut self, bound: SocketAddr) -> bool {
        !bound.ip().is_loopback() && self.told.insert(bound.ip())
    }

    /// A reload is done: what of the programs that are left listens on none of these any
    /// more is news when it happens again.
    pub(crate) fn retain(&mut self, bound: impl Iterator<Item = SocketAddr>) {
        let bound: BTreeSet<_> = bound.map(|bound| bound.ip()).collect();
        self.told.retain(|told| bound.contains(told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_again_when_a_reload_has_changed_it() {
        let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let (all, loopback) = (address("0.0.0.0:1"), address("127.0.0.1:1"));
        let mut exposure = Exposure::default();
        assert!(!exposure.is_news(loopback) && !exposure.is_news(address("[::1]:1")));
        assert!(exposure.is_news(all) && !exposure.is_news(address("0.0.0.0:2")));
        assert!(exposure.is_news(address("[::]:1")), "another one");
        exposure.retain([address("0.0.0.0:7")].into_iter());
        assert!(!exposure.is_news(all), "a reload that has changed nothing");
        exposure.retain([loopback].into_iter());
        assert!(exposure.is_news(all), "a reload had mended it");
    }
}
