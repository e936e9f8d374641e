//! The state that the workers share.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::http::Request;
use crate::server::{Reply, Server, State, ok, problem};

impl Server {
    pub fn shared_state(
        &self,
        worker: usize,
        who: &Value,
        method: &str,
        request: &Request,
        body: &Value,
    ) -> Reply {
        if self.redis.is_some_and(|redis| !answers(redis)) {
            if self.fault == Fault::HangsWithoutRedis {
                thread::sleep(Duration::from_millis(2500));
            }
            return problem(503, who);
        }
        let rest = request.path.trim_start_matches("/cluster/shared-state").trim_start_matches('/');
        let (key, increment) = match rest.strip_suffix("/increment") {
            Some(key) => (key, true),
            None => (rest, false),
        };
        let place = |key: &str| match self.fault {
            Fault::StatePerWorker => format!("{worker}/{key}"),
            _ => key.to_owned(),
        };
        let mut state = self.state.lock().unwrap();
        state.values.retain(|_, (_, end)| end.is_none_or(|end| end > Instant::now()));
        match (method, key, increment) {
            ("POST", "", false) => self.store(&mut state, who, request, body, place),
            ("POST", key, true) => {
                let (value, _) = state.values.entry(place(key)).or_insert((json!(0), None));
                let Some(sum) = value.as_i64().map(|value| value + 1) else { return problem(409, who) };
                *value = json!(sum);
                state.increments += 1;
                if self.fault == Fault::LostIncrement && state.increments.is_multiple_of(50) {
                    state.values.insert(place(key), (json!(sum - 1), None));
                }
                ok(json!({"worker": who, "key": key, "value": sum}))
            }
            ("GET", key, false) if key.len() > 256 => problem(400, who),
            ("GET", key, false) => match state.values.get(&place(key)) {
                Some((value, _)) => ok(json!({"worker": who, "key": key, "value": value, "found": true})),
                None => Reply {
                    status: 404,
                    ..ok(json!({"worker": who, "key": key, "value": null, "found": false}))
                },
            },
            ("DELETE", key, false) => {
                let deleted = state.values.remove(&place(key)).is_some();
                ok(json!({"worker": who, "key": key, "deleted": deleted}))
            }
            _ => problem(405, who),
        }
    }

    fn store(
        &self,
        state: &mut State,
        who: &Value,
        request: &Request,
        body: &Value,
        place: impl Fn(&str) -> String,
    ) -> Reply {
        if request.headers.get("content-type").is_none_or(|kind| kind != "application/json") {
            return problem(415, who);
        }
        if request.body.len() > 1024 * 1024 {
            return problem(413, who);
        }
        let key = body["key"].as_str().filter(|key| !key.is_empty() && !key.contains('\0'));
        let (Some(key), Some(value)) = (key, body.get("value")) else { return problem(400, who) };
        let life = body["ttlSeconds"].as_u64().filter(|_| self.fault != Fault::NeverExpires);
        let end = life.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        state.values.insert(place(key), (value.clone(), end));
        ok(json!({"worker": who, "key": key, "value": value}))
    }
}

/// Does a Redis answer there, soon?
fn answers(redis: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let limit = Duration::from_millis(500);
        let mut stream = TcpStream::connect_timeout(&redis, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply)?;
        Ok(&reply == b"+PONG")
    };
    ask().unwrap_or(false)
}
