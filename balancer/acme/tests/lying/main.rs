//! What an honest server does not do: it hangs, it limits, and what it says is not true. The
//! honest one of the other tests is Pebble, in the program's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use balancer_acme::{Answers, ChallengeKind, HttpAnswers, Manager, Observer, Settings, Store};
use balancer_tls::{Sources, Tls};
use shared_protocol::CertificateStatus;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use server::{Lie, Server};

const DOMAIN: &str = "a.test";
/// Long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a manager has told.
#[derive(Debug)]
enum Told {
    Loaded,
    Issued,
    Failed(String, Duration),
    Postponed(String, Duration),
    Scheduled,
    Other(String),
}

struct Recorder(UnboundedSender<Told>);

impl Recorder {
    fn tell(&self, told: Told) {
        let _ = self.0.send(told);
    }
}

impl Observer for Recorder {
    fn loaded(&self, _: &CertificateStatus) {
        self.tell(Told::Loaded);
    }
    fn unusable(&self, reason: &str) {
        self.tell(Told::Other(reason.to_owned()));
    }
    fn issued(&self, _: &CertificateStatus) {
        self.tell(Told::Issued);
    }
    fn not_kept(&self, reason: &str) {
        self.tell(Told::Other(reason.to_owned()));
    }
    fn failed(&self, _: &str, reason: &str, wait: Duration) {
        self.tell(Told::Failed(reason.to_owned(), wait));
    }
    fn postponed(&self, _: &str, reason: &str, wait: Duration, file: &Path) {
        assert!(file.is_file());
        self.tell(Told::Postponed(reason.to_owned(), wait));
    }
    fn scheduled(&self, _: std::time::SystemTime) {
        self.tell(Told::Scheduled);
    }
}

struct NoAnswers;

impl HttpAnswers for NoAnswers {
    fn insert(&self, _: &str, _: &str) {}
    fn remove(&self, _: &str) {}
}

/// A manager that keeps what it has in `root`, and what it tells.
fn manager(server: &Server, root: &Path) -> (Manager, UnboundedReceiver<Told>) {
    let settings = Settings {
        domains: vec![DOMAIN.to_owned()],
        email: None,
        directory_url: server.url(),
        ca: Some(server.ca().to_owned()),
        root: root.to_owned(),
        challenges: vec![ChallengeKind::TlsAlpn01],
        request_timeout: if server.lie() == Lie::Hang { Duration::from_millis(300) } else { DEADLINE },
    };
    let sources = Sources { pairs: vec![], directory: None, client_ca: None };
    let tls = Tls::new(sources, vec![], |_| {}).unwrap();
    let answers = Answers { http: Arc::new(NoAnswers), tls: Arc::new(tls) };
    let (sender, receiver) = unbounded_channel();
    (Manager::open(settings, answers, Arc::new(Recorder(sender))).unwrap(), receiver)
}

/// Lets it work until it sleeps; what it has told besides.
async fn until_it_sleeps(manager: Manager, mut told: UnboundedReceiver<Told>) -> Vec<Told> {
    let mut all = Vec::new();
    let watching = async {
        while let Some(told) = told.recv().await {
            match told {
                Told::Scheduled => return,
                Told::Other(reason) => panic!("{reason}"),
                told => all.push(told),
            }
        }
    };
    let work = async {
        tokio::select! {
            () = manager.run() => panic!("it has a domain, and does not end"),
            () = watching => {}
        }
    };
    tokio::time::timeout(DEADLINE, work).await.expect("it has something to say");
    all
}

fn is_kept(server: &Server, root: &Path) -> bool {
    Store::at(root, &server.url()).certificate(DOMAIN).unwrap().is_some()
}

#[tokio::test]
async fn what_is_no_certificate_for_the_domain_is_said_and_not_used() {
    for (lie, words) in [
        (Lie::Hang, "has not answered within 0 seconds"),
        (Lie::Limit("3600"), "too many certificates (5) already issued (rateLimited)"),
        (Lie::Garbage, "the server's answer does not parse"),
        (Lie::Unavailable, "answered 503 Service Unavailable without a reason that can be read"),
        (Lie::Redirect, "redirects are not followed"),
        (Lie::PlainUrls, "it is no https:// URL"),
        (Lie::Endless, "length limit exceeded"),
        (Lie::Cut, "could not ask"),
        (Lie::OtherName, "it is for b.test, and not for a.test"),
        (Lie::OtherKey, "does not belong"),
        (Lie::Expired, "it is expired"),
        (Lie::NoCertificate, "the server's certificate cannot be used"),
        (Lie::NotOffered, "the server does not offer TLS-ALPN-01 for a.test"),
        (Lie::Invalid, "no (orderNotReady)"),
    ] {
        let (server, root) = (Server::start(lie), tempfile::tempdir().unwrap());
        let (manager, told) = manager(&server, root.path());
        let told = until_it_sleeps(manager, told).await;
        let [Told::Failed(reason, wait)] = &told[..] else { panic!("{lie:?}: {told:?}") };
        assert!(reason.contains(words) && !reason.contains('\n'), "{lie:?}: {reason}");
        let least = if lie == Lie::Limit("3600") { 3_600 } else { 30 };
        assert!((least..=least + 10).contains(&wait.as_secs()), "{lie:?}: {wait:?}");
        assert!(!is_kept(&server, root.path()), "{lie:?}");
    }
}

#[tokio::test]
async fn the_truth_is_kept_and_nothing_is_ordered_again() {
    let (server, root) = (Server::start(Lie::None), tempfile::tempdir().unwrap());
    let (first, first_told) = manager(&server, root.path());
    // Another cluster, which has none either.
    let (second, second_told) = manager(&server, root.path());
    let told = until_it_sleeps(first, first_told).await;
    assert!(matches!(told[..], [Told::Issued]), "{told:?}");
    let told = until_it_sleeps(second, second_told).await;
    assert!(matches!(told[..], [Told::Issued]), "{told:?}");
    let (third, third_told) = manager(&server, root.path());
    let told = until_it_sleeps(third, third_told).await;
    assert!(matches!(told[..], [Told::Loaded]), "{told:?}");
    assert_eq!(server.orders(), 1);
}

#[tokio::test]
async fn a_start_asks_no_sooner_than_the_server_wants() {
    let (server, root) = (Server::start(Lie::Limit("7200")), tempfile::tempdir().unwrap());
    let (first, first_told) = manager(&server, root.path());
    let (other, other_told) = manager(&server, root.path());
    let told = until_it_sleeps(first, first_told).await;
    assert!(matches!(&told[..], [Told::Failed(..)]), "{told:?}");
    assert_eq!(server.orders(), 1);
    // It knew of no failure as it started.
    let told = until_it_sleeps(other, other_told).await;
    assert!(told.is_empty(), "{told:?}");
    for _ in 0..3 {
        let (again, told) = manager(&server, root.path());
        let told = until_it_sleeps(again, told).await;
        let [Told::Postponed(reason, wait)] = &told[..] else { panic!("{told:?}") };
        assert!(reason.contains("already issued") && (7_100..=7_200).contains(&wait.as_secs()), "{wait:?}");
    }
    assert_eq!(server.orders(), 1);
    // Somebody has seen to it, and does not want to wait.
    let failed = Store::at(root.path(), &server.url()).path().join("a.test.failed.json");
    std::fs::remove_file(failed).unwrap();
    let (again, told) = manager(&server, root.path());
    until_it_sleeps(again, told).await;
    assert_eq!(server.orders(), 2);
}

#[tokio::test]
async fn an_attempt_that_was_cut_short_counts() {
    let (server, root) = (Server::start(Lie::Forever), tempfile::tempdir().unwrap());
    let (first, _told) = manager(&server, root.path());
    let first = tokio::spawn(first.run());
    let ordered = tokio::task::spawn_blocking({
        let server = server.watch();
        move || server.wait_for_order()
    });
    tokio::time::timeout(DEADLINE, ordered).await.unwrap().unwrap();
    first.abort();
    let _ = first.await;
    let (again, told) = manager(&server, root.path());
    let told = until_it_sleeps(again, told).await;
    let [Told::Postponed(reason, wait)] = &told[..] else { panic!("{told:?}") };
    assert!(reason.contains("cut short") && wait.as_secs() <= 40, "{reason} {wait:?}");
    assert_eq!(server.orders(), 1);
}
