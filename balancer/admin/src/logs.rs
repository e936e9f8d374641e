//! `GET /logs`: the last lines that workers have printed, and with `follow` those to come.
//! On the control socket only, as lines may hold what is nobody else's business.

use std::sync::Arc;

use balancer_state::output::{Cursor, Output};
use balancer_state::response::Response;
use bytes::Bytes;
use shared_protocol::problem::Problem;
use shared_protocol::{OutputLine, OutputRecord, WorkerId};
use tokio::sync::mpsc;

use crate::http::{LINES, Reply};

/// Lines from before that are shown unless a number is asked for; as many as PM2 shows.
const USUAL_LINES: usize = 15;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    worker: Option<WorkerId>,
    lines: usize,
    follow: bool,
}

impl Query {
    /// # Errors
    /// Names what is not understood.
    fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self { worker: None, lines: USUAL_LINES, follow: false };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong =
                || format!("{pair:?} is not understood: expected for example worker=2&lines=100&follow=true");
            match name {
                "worker" => query.worker = Some(WorkerId(value.parse().map_err(|_| wrong())?)),
                "lines" => query.lines = value.parse().map_err(|_| wrong())?,
                "follow" => query.follow = value.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        Ok(query)
    }
}

pub(crate) fn reply(output: &Arc<Output>, query: &str) -> Reply {
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(detail) => return Response::problem(Problem::new(400, detail)).into(),
    };
    let (parts, body) = mpsc::channel(1);
    tokio::spawn(send(Arc::clone(output), query, parts));
    Reply::stream(LINES, body)
}

async fn send(output: Arc<Output>, query: Query, parts: mpsc::Sender<Bytes>) {
    // Before the first look, so that nothing is missed in between.
    let mut newest = output.watch();
    let (last, mut cursor) = output.tail(query.worker, query.lines);
    let mut next = text(last, 0);
    loop {
        // An empty part would end the body.
        if !next.is_empty() && parts.send(next).await.is_err() {
            return;
        }
        if !query.follow {
            return;
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            () = parts.closed() => return,
        }
        next = following(&output, &mut cursor);
    }
}

fn following(output: &Output, cursor: &mut Cursor) -> Bytes {
    let (lines, missed) = output.next(cursor);
    text(lines, missed)
}

fn text(lines: Vec<OutputLine>, missed: u64) -> Bytes {
    let missed = (missed > 0).then_some(OutputRecord::Missed { missed });
    let records = missed.into_iter().chain(lines.into_iter().map(OutputRecord::Line));
    let mut text = Vec::new();
    for record in records {
        serde_json::to_writer(&mut text, &record).expect("records are structs that always serialise");
        text.push(b'\n');
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use shared_protocol::{Generation, OutputStream};

    use super::*;

    #[test]
    fn queries_are_understood_or_refused() {
        let usual = Query { worker: None, lines: USUAL_LINES, follow: false };
        assert_eq!(Query::parse(""), Ok(usual));
        let all = Query { worker: Some(WorkerId(2)), lines: 0, follow: true };
        assert_eq!(Query::parse("worker=2&lines=0&follow=true"), Ok(all));
        for wrong in ["worker=x", "worker=", "worker=-1", "lines=many", "follow", "follow=1", "x=1"] {
            assert!(Query::parse(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[tokio::test]
    async fn who_reads_slowly_is_told_what_was_missed_and_goes_on() {
        let output = Arc::new(Output::default());
        let print = |texts: Vec<String>| {
            output.push_all(WorkerId(1), 7, Generation(1), OutputStream::Stdout, texts);
        };
        print(vec!["before".to_owned()]);
        let (parts, mut body) = mpsc::channel(1);
        let query = Query { worker: None, lines: 15, follow: true };
        let sending = tokio::spawn(send(Arc::clone(&output), query, parts));
        let mut records = Vec::new();
        let mut receive = async |body: &mut mpsc::Receiver<Bytes>| {
            let part = body.recv().await.unwrap();
            let new = part.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
            records.extend(new.map(|line| serde_json::from_slice::<OutputRecord>(line).unwrap()));
            records.len()
        };
        assert_eq!(receive(&mut body).await, 1);
        print((0..3_000).map(|n| format!("line {n}")).collect());
        assert_eq!(receive(&mut body).await, 1_002);
        drop(body);
        sending.await.unwrap();
        assert_eq!(records[1], OutputRecord::Missed { missed: 2_000 });
        let OutputRecord::Line(last) = records.last().unwrap() else { panic!("the last one is a line") };
        assert_eq!((last.text.as_str(), last.sequence), ("line 2999", 3_001));
    }
}
