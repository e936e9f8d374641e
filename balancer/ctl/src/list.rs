//! The clusters that run, in a line each.

use serde_json::{Value, json};

use crate::peer::User;
use crate::render::{aligned, plain};
use crate::running::Running;

/// A head, and a line for each cluster.
pub(crate) fn table(running: &[Running]) -> Vec<String> {
    let head = ["PORT", "PID", "USER", "WORKERS", "HEALTH", "CONTROL"].map(str::to_owned);
    let rows = running.iter().map(|found| {
        let dash = || "-".to_owned();
        let health = found.status.as_ref().map(|status| &status.health);
        [
            match (found.port, &found.status) {
                (Some(port), _) => port.to_string(),
                (None, Some(status)) => plain(&status.address),
                (None, None) => dash(),
            },
            found.pid.to_string(),
            User(found.user).name(),
            health
                .map_or_else(dash, |health| format!("{}/{}", health.workers.online, health.workers.desired)),
            match (health, &found.control) {
                (Some(health), _) => health.status.to_string(),
                (None, Some(_)) => "no answer".to_owned(),
                (None, None) => "unknown".to_owned(),
            },
            match &found.control {
                Some(path) => plain(&path.display().to_string()),
                None => format!("lost (kill -TERM {0} stops it, kill -HUP {0} reloads it)", found.pid),
            },
        ]
    });
    aligned(std::iter::once(head).chain(rows).collect())
}

/// The same for programs.
pub(crate) fn values(running: &[Running]) -> Value {
    let each = running.iter().map(|found| {
        let health = found.status.as_ref().map(|status| &status.health);
        json!({
            "port": found.port,
            "listeners": found.status.as_ref().map(|status| &status.listeners),
            "pid": found.pid,
            "user": User(found.user).name(),
            "control": found.control,
            "health": health,
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_has_a_line() {
        let running = |port, control: Option<&str>| Running {
            pid: 4711,
            user: 4_000_000,
            control: control.map(Into::into),
            status: None,
            port,
        };
        let running =
            [running(Some(3100), Some("/run/user/4000000/balancer-3100.sock")), running(None, None)];
        assert_eq!(
            table(&running),
            [
                "PORT  PID   USER     WORKERS  HEALTH     CONTROL",
                "3100  4711  4000000  -        no answer  /run/user/4000000/balancer-3100.sock",
                "-     4711  4000000  -        unknown    lost (kill -TERM 4711 stops it, kill -HUP 4711 reloads it)",
            ]
        );
        assert_eq!(values(&running)[0]["port"], 3100);
        assert_eq!(values(&running)[1]["control"], Value::Null);
    }
}
