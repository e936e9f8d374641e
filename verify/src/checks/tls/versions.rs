//! TLS 1.2 and 1.3 are spoken; 1.0 and 1.1 are refused (RFC 8996).

use shared_tls_client::Trust;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::{Findings, LIMIT, Subject, connect, handshake};

pub(super) async fn judge(subject: &Subject<'_>, findings: &mut Findings) {
    let mut spoken = Vec::new();
    for (name, version) in [("1.3", &TLS13), ("1.2", &TLS12)] {
        // Who it is, is another question.
        match handshake(subject, &Trust::Anybody, &[version], &[], findings).await {
            Ok(_) => spoken.push(name),
            Err(why) => findings.wrong(format!("TLS {name} is not spoken: {why}")),
        }
    }
    if !spoken.is_empty() {
        findings.good(format!("TLS {} spoken", spoken.join(" and ")));
    }
    let mut refused = Vec::new();
    for (name, version) in [("1.1", [3, 2]), ("1.0", [3, 1])] {
        findings.samples += 1;
        match old_hello(subject, version).await {
            Ok(false) => refused.push(name),
            Ok(true) => findings.wrong(format!("TLS {name}, which RFC 8996 forbids, is spoken")),
            Err(why) => findings.wrong(format!("whether TLS {name} is refused could not be seen: {why}")),
        }
    }
    if refused.len() == 2 {
        findings.good("TLS 1.1 and 1.0 refused");
    }
}

/// Does the server go on after a hello of this old version, which no library offers any
/// more? Whatever is no ServerHello of that version is a refusal: an alert, or the end.
async fn old_hello(subject: &Subject<'_>, version: [u8; 2]) -> std::io::Result<bool> {
    let mut socket = connect(subject.target).await?;
    let asked = async {
        socket.write_all(&client_hello(&subject.target.host, version)).await?;
        // A record's head, a handshake message's head, and the version (RFC 5246,
        // sections 6.2.1, 7.4 and 7.4.1.3).
        let mut head = [0; 11];
        match socket.read_exact(&mut head).await {
            Ok(_) => Ok(head[0] == 22 && head[5] == 2 && head[9..] == version),
            Err(_) => Ok(false),
        }
    };
    tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// A ClientHello as clients of that time sent it (RFC 4346, section 7.4.1.2), with the
/// cipher suites that all of them had.
fn client_hello(host: &str, version: [u8; 2]) -> Vec<u8> {
    const SUITES: [u16; 8] = [0xc009, 0xc00a, 0xc013, 0xc014, 0x002f, 0x0035, 0x000a, 0x00ff];
    let mut hello = version.to_vec();
    hello.extend((0..32).map(|_| fastrand::u8(..)));
    hello.push(0); // no session
    hello.extend(with_length(&SUITES.iter().flat_map(|suite| suite.to_be_bytes()).collect::<Vec<_>>()));
    hello.extend([1, 0]); // no compression
    let mut extensions = Vec::new();
    if host.parse::<std::net::IpAddr>().is_err() {
        let name = [&[0][..], &with_length(host.as_bytes())].concat();
        extensions.extend(extension(0, &with_length(&name)));
    }
    // Curves P-256, P-384, and points that are not compressed (RFC 8422, section 5.1).
    extensions.extend(extension(10, &with_length(&[0, 23, 0, 24])));
    extensions.extend(extension(11, &[1, 0]));
    hello.extend(with_length(&extensions));
    let length = u32::try_from(hello.len()).expect("a host name is short").to_be_bytes();
    let message = [&[1][..], &length[1..], &hello].concat();
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length(body)].concat()
}

/// The bytes behind their length in 16 bits.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a host name is short");
    [&length.to_be_bytes()[..], bytes].concat()
}
