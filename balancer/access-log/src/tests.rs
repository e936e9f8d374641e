//! The access log by itself: files, slow readers and its end.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use shared_protocol::WorkerId;

use crate::writer::Output;
use crate::{AccessLog, Format, LogFields, Record, RequestSummary, RequestText, Settings, Target};

fn record(client: &[u8]) -> Record {
    Record {
        fields: Box::new(LogFields::new(RequestText { client: Some(client), ..RequestText::default() })),
        at: SystemTime::UNIX_EPOCH,
        summary: RequestSummary {
            worker: WorkerId(1),
            status: 200,
            attempts: 1,
            total: Duration::ZERO,
            upstream: Duration::ZERO,
            received: 0,
            sent: 0,
            fault: None,
        },
    }
}

#[test]
fn parts_are_found_again() {
    let text = RequestText {
        client: Some(b"c"),
        request_line: None,
        referer: Some(b""),
        user_agent: Some(b"agent"),
        request_id: Some(b"id"),
        trace_id: Some(b"trace"),
    };
    let fields = LogFields::new(text);
    let found = fields.text();
    assert_eq!((found.client, found.request_line), (Some(b"c".as_slice()), None));
    assert_eq!(found.referer, Some(b"".as_slice()));
    assert_eq!((found.user_agent, found.request_id), (Some(b"agent".as_slice()), Some(b"id".as_slice())));
    assert_eq!(found.trace_id, Some(b"trace".as_slice()));
}

#[test]
fn what_was_recorded_is_written_when_the_log_ends_and_others_cannot_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    std::fs::write(&path, "before\n").unwrap();
    std::fs::remove_file(&path).unwrap();
    let settings = Settings { target: Target::File(path.clone()), format: Format::Combined };
    let dropped = Arc::new(AtomicU64::new(0));
    let (log, guard) = AccessLog::open(&settings, Arc::clone(&dropped)).unwrap();
    (0..1_000).for_each(|number| log.write(record(format!("client{number}").as_bytes())));
    drop(guard);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1_000);
    assert!(text.lines().last().unwrap().starts_with("client999 - - ["), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
}

#[test]
fn a_file_that_is_there_is_added_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    std::fs::write(&path, "before\n").unwrap();
    let settings = Settings { target: Target::File(path.clone()), format: Format::Json };
    let (log, guard) = AccessLog::open(&settings, Arc::default()).unwrap();
    log.write(record(b"after"));
    drop(guard);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("before\n{") && text.contains("\"after\""), "{text}");
}

#[test]
fn who_does_not_read_costs_lines_and_nothing_else() {
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    let dropped = Arc::new(AtomicU64::new(0));
    let (log, guard) =
        AccessLog::start(Output::File(file), None, Format::Combined, Arc::clone(&dropped), 64).unwrap();
    let long = vec![b'x'; 1000];
    let mut written = 0;
    while dropped.load(Ordering::Relaxed) == 0 {
        log.write(record(&long));
        written += 1;
        assert!(written < 100_000, "something was dropped at last");
    }
    let lost = dropped.load(Ordering::Relaxed);
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text.lines().count() as u64)
    });
    drop(guard);
    drop(log);
    assert_eq!(reading.join().unwrap().unwrap() + lost, written, "the others arrive");
}

#[test]
fn a_path_that_cannot_be_opened_is_named() {
    let path = PathBuf::from("/nonexistent/access.log");
    let settings = Settings { target: Target::File(path), format: Format::Combined };
    let err = AccessLog::open(&settings, Arc::default()).unwrap_err().to_string();
    assert!(err.starts_with("could not open the access log /nonexistent/access.log: "), "{err}");
    assert!(err.contains("--access-log"), "{err}");
}
