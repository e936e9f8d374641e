//! ALPN (RFC 7301): what the server chooses is what it then speaks.

use std::sync::Arc;

use shared_http_client::{Client, Limits, Request, Tls};
use shared_tls_client::{Trust, VERSIONS, client_config};

use super::{Findings, LIMIT, Subject, handshake};
use crate::transport::server_name;

/// Bytes of an answer.
const BODY_LIMIT: usize = 1024 * 1024;

pub(super) async fn judge(subject: &Subject<'_>, findings: &mut Findings) {
    let offered: [&[u8]; 2] = [b"h2", b"http/1.1"];
    let chosen = match handshake(subject, &Trust::Anybody, VERSIONS, &offered, findings).await {
        Ok(stream) => stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec),
        Err(why) => return findings.wrong(format!("ALPN with h2 and http/1.1 ends the handshake: {why}")),
    };
    let speaks_http2 = chosen.as_deref() == Some(b"h2");
    if subject.wants_http2 && !speaks_http2 {
        findings.wrong("HTTP/2 is to be spoken, and h2 is not chosen by ALPN");
    }
    let mut spoken = Vec::new();
    for (http2, name) in [(true, "h2"), (false, "http/1.1")] {
        if http2 && !speaks_http2 {
            continue;
        }
        findings.samples += 1;
        match ask(subject, http2).await {
            Ok(hsts) => spoken.push((name, hsts)),
            Err(why) => findings.wrong(format!("{name} was agreed on, and a request by it fails: {why}")),
        }
    }
    let names: Vec<&str> = spoken.iter().map(|(name, _)| *name).collect();
    findings.good(match chosen {
        Some(_) => format!("{} by ALPN", names.join(" and ")),
        None => format!("{} without ALPN", names.join(" and ")),
    });
    if let Some((_, hsts)) = spoken.first() {
        findings.good(match hsts {
            Some(value) => format!("HSTS is on ({value})"),
            None => "no HSTS".to_owned(),
        });
    }
}

/// Sends a request and gives the field of HSTS (RFC 6797), when there is one.
async fn ask(subject: &Subject<'_>, http2: bool) -> Result<Option<String>, String> {
    let alpn: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
    let config = client_config(&Trust::Anybody, &[alpn]).map_err(|err| err.to_string())?;
    let name = server_name(subject.target).map_err(|err| err.to_string())?;
    let client = Client::new(subject.target.address(), Limits::new(LIMIT, BODY_LIMIT))
        .with_tls(Tls { config: Arc::new(config), name });
    let client = if http2 { client.with_http2() } else { client };
    let response = client
        .send(Request::get(subject.target.path("/cluster/info")))
        .await
        .map_err(|err| err.to_string())?;
    Ok(response.header("strict-transport-security").map(str::to_owned))
}
