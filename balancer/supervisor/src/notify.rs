//! Tells a service manager how the cluster is, if there is one that asked to be
//! told (sd_notify(3)). Without one nothing here does anything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::debug;

/// Variables of the protocol; they are meant for this process alone.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

static IS_MAIN: AtomicBool = AtomicBool::new(true);

/// The cluster serves; `status` says more to a person.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    match now {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
        Err(_) => tell(&[NotifyState::Reloading, NotifyState::Status("reloading")]),
    }
}

/// The cluster is going away; `status` says to a person what it still does.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Another process is the main one of the service from now on; `status` says so to a person.
pub fn succeeded(pid: u32, status: &str) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Status(status)]);
    set_main(false);
}

/// Is this the main process of the service? One that is not yet, or no longer, says nothing:
/// with `NotifyAccess=all` its end would be taken for the end of the service, and its signs of
/// life for those of the main process (systemd.service(5)).
pub fn set_main(is_main: bool) {
    IS_MAIN.store(is_main, Ordering::Relaxed);
}

fn tell(states: &[NotifyState<'_>]) {
    if !IS_MAIN.load(Ordering::Relaxed) {
        return;
    }
    if let Err(err) = sd_notify::notify(states) {
        debug!(%err, "could not notify the service manager");
    }
}

/// Says to the service manager's watchdog, at each tick, that whoever waits for
/// the tick is alive.
pub struct Watchdog(Option<Interval>);

/// For the program's main loop.
pub fn watchdog() -> Watchdog {
    // Twice as often as asked for, as sd_watchdog_enabled(3) recommends.
    let every = sd_notify::watchdog_enabled().map(|limit| (limit / 2).max(Duration::from_millis(1)));
    Watchdog(every.map(|every| {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }))
}

impl Watchdog {
    /// Waits for the next time; for ever when no watchdog watches.
    pub async fn tick(&mut self) {
        match &mut self.0 {
            None => std::future::pending().await,
            Some(ticks) => {
                ticks.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        }
    }
}
