use serde_json::json;
use shared_protocol::WorkerId;

use super::*;

const PLAIN: Style = Style { colour: false, width: None };

fn a_status() -> Status {
    let worker = |id: u32, state: &str| {
        json!({"id": id, "pid": 1000 + id, "state": state, "stateSeconds": 3723.5, "port": 40000, "uptime": null,
               "restarts": 1, "lastRestart": "crash", "requests": 12, "inFlight": 3, "rss": "9.50 MB"})
    };
    let rates = json!({"requests": 250, "errors": 2, "p50": 0.74, "p95": 3.2, "p99": 41.6});
    let sample = json!({"atMs": 1, "requests": 500, "errors": 2, "p50": 0.74, "p95": null, "p99": 41.6,
                        "inFlight": 6, "workers": {"1": rates}});
    serde_json::from_value(json!({
        "version": "1.2.3", "address": "127.0.0.1:3100", "admin": "127.0.0.1:3180", "uptimeSeconds": 61.0,
        "health": {"status": "degraded", "workers": {"online": 1, "desired": 2}}, "sample": sample,
        "primary": {"pid": 999}, "count": 2, "workers": [worker(1, "online"), worker(2, "backoff")],
        "joining": [worker(1, "starting")],
    }))
    .unwrap()
}

#[test]
fn the_picture_says_what_is_known() {
    let text = status(&a_status(), Some(&HashMap::from([(1001, 0.256)])), PLAIN).join("\n");
    assert!(text.starts_with("degraded on http://127.0.0.1:3100  1/2 workers online  primary 999, up 1m 1s"));
    assert!(text.contains("500 requests/s  p50 0.7 p95 - p99 42 ms  2 errors/s  6 in flight"), "{text}");
    let rows: Vec<_> = text.lines().skip_while(|line| !line.contains("STATE")).skip(1).collect();
    let words = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words(rows[0]), "1 1001 40000 online 1h 2m 250 42 12 3 9.50 MB 26% 1 (crash)");
    assert_eq!(words(rows[1]), "2 1002 40000 backoff 1h 2m 0 - 12 3 9.50 MB - 1 (crash)");
    assert_eq!(words(rows[2]), "1 1001 40000 starting 1h 2m - - 12 3 9.50 MB 26% 1 (crash)");
    assert!(!text.contains('\x1b'));
}

#[test]
fn a_shutdown_is_shown_with_what_it_still_does() {
    let shown = |phase| {
        let stopping = Status { shutdown: Some(phase), ..a_status() };
        (status(&stopping, None, PLAIN)[0].clone(), one_line(&stopping))
    };
    let (title, line) = shown(ShutdownPhase::Delay { seconds_left: 6.2 });
    assert!(title.contains("shutting down: serves for 7 s more on http://127.0.0.1:3100"), "{title}");
    assert!(line.starts_with("stopping     1/2"), "{line}");
    assert!(shown(ShutdownPhase::Draining).0.contains("shutting down: finishes what is in flight"));
}

#[test]
fn a_narrow_terminal_loses_the_least_important_columns() {
    for width in [20, 40, 60, 80, 100, 120] {
        let style = Style { colour: false, width: Some(width) };
        let lines = status(&a_status(), None, style);
        let least = 36;
        assert!(lines.iter().all(|line| line.chars().count() <= width.max(least)), "{width}: {lines:#?}");
        let head = lines.iter().find(|line| line.contains("STATE")).unwrap();
        assert_eq!(head.contains("PORT"), width >= 100, "{width}: {head}");
        assert!(head.contains("ID"), "{head}");
    }
}

#[test]
fn colours_are_there_when_wanted_and_do_not_shift_anything() {
    let coloured = status(&a_status(), None, Style { colour: true, width: Some(80) }).join("\n");
    assert!(coloured.contains("\x1b[33mdegraded\x1b[0m on") && coloured.contains("\x1b[31mbackoff"));
    let bare = [31, 32, 33, 0].iter().fold(coloured, |text, code| text.replace(&format!("\x1b[{code}m"), ""));
    assert_eq!(bare, status(&a_status(), None, Style { colour: false, width: Some(80) }).join("\n"));
}

#[test]
fn events_have_an_age_and_cannot_steer_the_terminal() {
    let happened = Event {
        sequence: 1,
        at_ms: 5_000,
        kind: Kind::Crashed,
        worker: Some(WorkerId(2)),
        pid: Some(7),
        detail: "said \x1b[2J".to_owned(),
    };
    let line = aged_event(&happened, 130_000, Style { colour: false, width: Some(60) });
    assert_eq!(line, "  2m ago  worker 2    crashed     said  [2J (pid 7)");
    assert_eq!(aged_event(&happened, 0, Style { colour: false, width: Some(9) }), "  0s ago ");
}

#[test]
fn who_is_not_ready_says_why_below_its_row_and_where_it_is_if_that_is_unusual() {
    let mut seen = a_status();
    let worker = &mut seen.list.workers[1];
    worker.reason = Some("listens on 0.0.0.0:9292".to_owned());
    worker.last_lines = vec!["warming up".to_owned(), "\x1b[2J".to_owned()];
    seen.list.workers[0].address = Some("[::1]:40000".to_owned());
    seen.list.workers[0].reason = Some("is online, so that nobody cares".to_owned());
    let lines = status(&seen, None, PLAIN);
    let row = lines.iter().position(|line| line.contains("backoff")).unwrap();
    assert_eq!(lines[row + 1..row + 4], ["    listens on 0.0.0.0:9292", "    | warming up", "    |  [2J"]);
    assert!(lines[row - 1].contains(" [::1]:40000 ") && !lines.concat().contains("nobody cares"));
    let coloured = status(&seen, None, Style { colour: true, width: Some(20) }).join("\n");
    assert!(coloured.contains("\x1b[31m    listens on 0.0.0\x1b[0m"), "{coloured}");
}
