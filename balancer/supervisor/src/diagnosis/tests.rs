//! Facts and the words for them.

use shared_process::sockets::TreeSockets;

use super::*;

const ASKED: &str = "127.0.0.1:40693";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A look at a program that listens on these addresses.
fn listening(on: &[&str]) -> Look {
    let tcp = on.iter().map(|on| Listener { address: address(on), waiting: 0 }).collect();
    Look { sockets: TreeSockets { processes: 1, tcp, ..TreeSockets::default() }, ..Look::default() }
}

fn words(look: &Look, finding: Finding) -> String {
    let check = Check::Http("/health".to_owned());
    let facts =
        Facts { asked: Some(address(ASKED)), check: &check, look: Some(look), finding: Some(&finding) };
    Cause::of(facts).unwrap().to_string()
}

#[test]
fn what_a_program_listens_on_is_told_against_what_it_was_asked() {
    let table: &[(&[&str], &str)] = &[
        (&["0.0.0.0:9292"], "listens on 0.0.0.0:9292, not on $HOST:$PORT 127.0.0.1:40693"),
        (&["[::]:3000"], "listens on [::]:3000, not on $HOST:$PORT 127.0.0.1:40693"),
        (
            &["127.0.0.1:8000", "127.0.0.1:9229"],
            "listens on 127.0.0.1:8000 and 127.0.0.1:9229, not on $HOST:$PORT 127.0.0.1:40693",
        ),
        (
            &["192.0.2.7:40693"],
            "listens on 192.0.2.7:40693, not on $HOST:$PORT 127.0.0.1:40693: the port is right, the address \
             is not (Next.js goes by $HOSTNAME)",
        ),
        (
            &["1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3", "1.1.1.1:4", "1.1.1.1:5"],
            "listens on 1.1.1.1:1 and 1.1.1.1:2 and 1.1.1.1:3 and 1.1.1.1:4 and others, not on $HOST:$PORT \
             127.0.0.1:40693",
        ),
    ];
    for (on, expected) in table {
        assert_eq!(words(&listening(on), Finding::Refused), *expected);
    }
}

#[test]
fn what_a_program_answers_that_listens_where_it_should_is_told() {
    let second = Duration::from_secs(1);
    for on in [ASKED, "0.0.0.0:40693", "[::]:40693", "[::1]:40693"] {
        let look = listening(&[on, "127.0.0.1:9229"]);
        let table = [
            (Finding::Refused, format!("listens on {on}, and has yet to answer")),
            (
                Finding::Silent(second),
                format!("accepts connections on {on}, but has not answered GET /health within 1s (--health-timeout)"),
            ),
            (
                Finding::Status(503),
                "answers GET /health with 503: --health-path names another path, --health-status the statuses \
                 that count as healthy"
                    .to_owned(),
            ),
            (Finding::NotHttp, format!("does not speak HTTP on {on}: for another protocol, --health-path tcp asks")),
            (Finding::Closed, format!("closes connections on {on} without an answer to GET /health")),
            (Finding::Other("odd".to_owned()), "odd".to_owned()),
        ];
        for (finding, expected) in table {
            let words = words(&look, finding);
            assert!(words.starts_with(&expected), "{words}");
        }
    }
    let mut full = listening(&[ASKED]);
    full.sockets.tcp[0].waiting = 2;
    assert_eq!(
        words(&full, Finding::Silent(second)),
        format!("listens on {ASKED}, but accepts no connections")
    );
}

#[test]
fn who_listens_on_nothing_is_busy_or_waits_or_cannot_be_seen() {
    let nothing = listening(&[]);
    assert_eq!(words(&nothing, Finding::Refused), "listens on nothing yet, and sleeps");
    let busy = Look { is_busy: true, ..nothing.clone() };
    assert_eq!(words(&busy, Finding::Refused), "listens on nothing yet, and uses the processor: still busy");
    let mut connecting = nothing.clone();
    connecting.sockets.connecting = vec![address("10.0.0.5:5432")];
    let expected = "listens on nothing yet: waits for a connection to 10.0.0.5:5432";
    assert_eq!(words(&connecting, Finding::Refused), expected);
    let mut unix = nothing.clone();
    unix.sockets.unix = vec!["/tmp/x.sock".to_owned()];
    let expected = format!("listens on the Unix socket /tmp/x.sock, not on $HOST:$PORT {ASKED}");
    assert_eq!(words(&unix, Finding::Refused), expected);
    let mut hidden = nothing.clone();
    hidden.sockets.is_hidden = true;
    assert!(words(&hidden, Finding::Refused).contains("runs as another user"));
    assert!(words(&hidden, Finding::Status(500)).starts_with("answers GET /health with 500"));
    let holder = Some(Named { pid: 7, name: "thief".to_owned() });
    let held = Look { holder, ..listening(&["0.0.0.0:1"]) };
    let expected = format!("its $HOST:$PORT {ASKED} is held by another program: 7 thief");
    assert_eq!(words(&held, Finding::Silent(Duration::from_secs(1))), expected);
}

#[test]
fn without_a_look_the_last_probe_must_do_and_without_either_nothing_is_said() {
    let check = Check::Tcp;
    let none = Facts { asked: Some(address(ASKED)), check: &check, look: None, finding: None };
    assert_eq!(Cause::of(none), None);
    let silent = Finding::Silent(Duration::from_secs(1));
    let cause = Cause::of(Facts { finding: Some(&silent), ..none }).unwrap();
    assert!(cause.to_string().contains("has not answered a probe within 1s"), "{cause}");
    let look = listening(&[]);
    let cause = Cause::of(Facts { asked: None, look: Some(&look), ..none });
    assert_eq!(cause, Some(Cause::Nothing { is_busy: false }));
}

#[test]
fn what_changes_all_the_time_is_no_news() {
    let topic = |is_busy| Cause::Nothing { is_busy }.topic();
    assert_eq!(topic(true), topic(false));
    let elsewhere = |on: &str| Cause::Elsewhere { listens: vec![address(on)], asked: address(ASKED) };
    assert_ne!(elsewhere("0.0.0.0:1").topic(), elsewhere("0.0.0.0:2").topic());
    assert_ne!(elsewhere("0.0.0.0:1").topic(), topic(true));
}

#[test]
fn the_end_of_a_program_is_told_by_what_it_leaves_behind() {
    let words = |code, left, listened| ended("exit status: 3", code, left, listened);
    let left = Some((77, "nginx"));
    assert_eq!(
        words(Some(0), left, false),
        "went into the background: the command has ended with code 0 and left 77 nginx running; have it stay \
         in the foreground"
    );
    assert!(words(Some(0), None, false).starts_with("ended with code 0 before it listened: is it a server?"));
    assert_eq!(words(Some(0), None, true), "ended with code 0 before it was ready");
    assert_eq!(words(Some(3), left, false), "ended before it was ready: exit status: 3");
    assert_eq!(words(None, None, false), "ended before it was ready: exit status: 3");
}
