//! Begins and ends maintenance, for the control socket.

use balancer_state::ClusterState;
use balancer_state::registry::Registry;
use balancer_state::response::Response;
use serde_json::json;
use shared_protocol::problem::Problem;
use shared_protocol::{EventKind, Maintenance};
use tracing::info;

/// The maintenance that there is.
pub(crate) fn now(registry: &Registry) -> Option<Maintenance> {
    registry.maintenance.retry_after().map(|retry_after_seconds| Maintenance { retry_after_seconds })
}

/// Begins maintenance, or changes when clients are to come back.
pub(crate) fn begin(state: &ClusterState, body: &[u8]) -> Response {
    if state.slots.is_some() {
        let detail = "with --dispatch direct workers get requests without the balancer, which could answer none in \
                      their place: let the program do that";
        return Response::problem(Problem::new(409, detail));
    }
    let wanted = match parse(body) {
        Ok(wanted) => wanted,
        Err(detail) => return Response::problem(Problem::new(400, detail)),
    };
    if now(&state.registry) != Some(wanted) {
        let retry_after = wanted.retry_after_seconds;
        state.registry.maintenance.begin(retry_after);
        let text = format!("maintenance: requests are answered 503, to be tried again after {retry_after} s");
        info!(retry_after, "{text}");
        state.events.note(EventKind::Maintenance, None, None, text);
    }
    Response::json(200, &json!({ "maintenance": wanted }))
}

/// Ends maintenance, if there is one.
pub(crate) fn end(state: &ClusterState) -> Response {
    if now(&state.registry).is_some() {
        state.registry.maintenance.end();
        let text = "maintenance is over: requests go to workers again";
        info!("{text}");
        state.events.note(EventKind::Maintenance, None, None, text);
    }
    Response::json(200, &json!({ "maintenance": null }))
}

fn parse(body: &[u8]) -> Result<Maintenance, String> {
    let most = Maintenance::MAX_RETRY_AFTER_SECONDS;
    let form = format!("the body must be like {{\"retryAfterSeconds\":60}}, with 1 to {most} seconds");
    match serde_json::from_slice::<Maintenance>(body) {
        Ok(wanted) if (1..=most).contains(&wanted.retry_after_seconds) => Ok(wanted),
        Ok(wanted) => Err(format!("{form}, not {}", wanted.retry_after_seconds)),
        Err(err) => Err(format!("{form}: {err}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_begins_changes_and_ends_and_each_is_one_event() {
        let state = ClusterState::default();
        let on =
            |seconds: u32| begin(&state, format!("{{\"retryAfterSeconds\":{seconds}}}").as_bytes()).status;
        assert_eq!(now(&state.registry), None);
        assert_eq!([on(60), on(60), on(90)], [200; 3]);
        assert_eq!(now(&state.registry), Some(Maintenance { retry_after_seconds: 90 }));
        assert_eq!([end(&state).status, end(&state).status], [200; 2]);
        assert_eq!(now(&state.registry), None);
        assert_eq!(state.events.since(0).len(), 3);
    }

    #[test]
    fn what_is_no_maintenance_changes_nothing() {
        let state = ClusterState::default();
        for bad in [
            "",
            "{}",
            "[]",
            "{\"retryAfterSeconds\":0}",
            "{\"retryAfterSeconds\":-1}",
            "{\"retryAfterSeconds\":2592001}",
            "{\"retryAfterSeconds\":1,\"x\":2}",
        ] {
            let response = begin(&state, bad.as_bytes());
            assert_eq!(response.status, 400, "{bad}");
            assert!(response.detail.unwrap().contains("{\"retryAfterSeconds\":60}"));
        }
        assert_eq!(now(&state.registry), None);
    }
}
