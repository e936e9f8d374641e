//! An ACME server that finds every account, order and domain valid, and lies where it is told
//! to. It checks no signatures: the other side is what is tested.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// What is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// An order is never answered.
    Hang,
    /// As [`Self::Hang`], for a client that waits.
    Forever,
    /// 429, with this `Retry-After`.
    Limit(&'static str),
    /// An order is answered with a page.
    Garbage,
    /// 503, with a page.
    Unavailable,
    Redirect,
    /// The directory leads to plain HTTP.
    PlainUrls,
    /// The body of a response has no end.
    Endless,
    /// A response ends before it should.
    Cut,
    OtherName,
    OtherKey,
    Expired,
    /// Where the certificate should be is a text.
    NoCertificate,
    /// Only DNS-01.
    NotOffered,
    /// The order is invalid at once.
    Invalid,
}

/// Orders that have come.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<(Mutex<usize>, Condvar)>);

impl Watch {
    pub(crate) fn wait_for_order(&self) {
        let orders = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(orders, crate::DEADLINE, |orders| *orders == 0).unwrap();
        assert!(!waited.1.timed_out(), "no order has come");
    }
}

pub(crate) struct Server {
    lie: Lie,
    address: SocketAddr,
    ca: PathBuf,
    watch: Watch,
    over: Arc<AtomicBool>,
    _directory: tempfile::TempDir,
}

/// What all its connections share.
struct Shared {
    lie: Lie,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    watch: Watch,
    issuer: Issuer<'static, KeyPair>,
    /// The last one that was issued.
    chain: Mutex<String>,
    over: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, own.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let chain = vec![CertificateDer::from_pem_slice(own.pem().as_bytes()).unwrap()];
        let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = builder.unwrap().with_no_client_auth().with_single_cert(chain, private).unwrap();
        let mut authority = CertificateParams::new([]).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "authority");
        let shared = Arc::new(Shared {
            lie,
            address,
            config: Arc::new(config),
            watch: Watch::default(),
            issuer: Issuer::new(authority, KeyPair::generate().unwrap()),
            chain: Mutex::default(),
            over: Arc::default(),
        });
        let (watch, over) = (shared.watch.clone(), Arc::clone(&shared.over));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A client that has gone is none of its concerns.
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { lie, address, ca, watch, over, _directory: directory }
    }

    pub(crate) fn lie(&self) -> Lie {
        self.lie
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/directory", self.address)
    }

    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    pub(crate) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    pub(crate) fn orders(&self) -> usize {
        *self.watch.0.0.lock().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// What a request is answered with.
struct Reply {
    status: &'static str,
    fields: String,
    body: String,
}

impl Reply {
    fn json(status: &'static str, body: Value) -> Self {
        Self { status, fields: "Content-Type: application/json\r\n".to_owned(), body: body.to_string() }
    }

    fn page(status: &'static str) -> Self {
        Self { status, fields: "Content-Type: text/html\r\n".to_owned(), body: "<html>".to_owned() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields += &format!("{name}: {value}\r\n");
        self
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let session = ServerConnection::new(Arc::clone(&self.config)).ok()?;
        let mut client = BufReader::new(StreamOwned::new(session, stream));
        let (mut line, mut length) = (String::new(), 0);
        client.read_line(&mut line).ok()?;
        let target = line.split(' ').nth(1)?.to_owned();
        loop {
            line.clear();
            client.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        client.read_exact(&mut body).ok()?;
        let payload = || -> Option<Value> {
            let message: Value = serde_json::from_slice(&body).ok()?;
            serde_json::from_slice(&decode(message["payload"].as_str()?)?).ok()
        };
        let Reply { status, fields, body } = self.reply(&target, payload().unwrap_or_default())?;
        let said = match self.lie {
            Lie::Endless if target == "/order" => usize::MAX >> 1,
            Lie::Cut if target == "/order" => body.len() + 100,
            _ => body.len(),
        };
        let head = format!("HTTP/1.1 {status}\r\n{fields}Replay-Nonce: n\r\nContent-Length: {said}\r\n\r\n");
        let client = client.get_mut();
        client.write_all(head.as_bytes()).ok()?;
        client.write_all(body.as_bytes()).ok()?;
        if said == usize::MAX >> 1 {
            // It ends when the client has enough.
            std::io::copy(&mut std::io::repeat(b' '), client).ok()?;
        }
        client.conn.send_close_notify();
        client.flush().ok()
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.lie == Lie::PlainUrls { "http" } else { "https" };
        format!("{scheme}://{}{path}", self.address)
    }

    fn reply(&self, target: &str, payload: Value) -> Option<Reply> {
        let url = |path: &str| self.url(path);
        Some(match target {
            "/directory" => {
                let urls = json!({"newNonce": url("/nonce"), "newAccount": url("/account"),
                    "newOrder": url("/order"), "revokeCert": url("/revoke"), "keyChange": url("/change")});
                Reply::json("200 OK", urls)
            }
            "/nonce" => Reply { status: "200 OK", fields: String::new(), body: String::new() },
            "/account" => {
                Reply::json("201 Created", json!({"status": "valid"})).with("Location", &url("/account/1"))
            }
            "/order" => self.new_order()?,
            "/authorization" => {
                let status = if self.lie == Lie::NotOffered { "pending" } else { "valid" };
                let challenges =
                    json!([{"type": "dns-01", "url": url("/challenge"), "token": "t", "status": "pending"}]);
                let identifier = json!({"type": "dns", "value": "a.test"});
                let state = json!({"status": status, "identifier": identifier, "challenges": challenges});
                Reply::json("200 OK", state)
            }
            "/finalize" if self.lie == Lie::Invalid => {
                let problem = json!({"type": "urn:ietf:params:acme:error:orderNotReady", "detail": "no"});
                Reply::json("403 Forbidden", problem)
            }
            "/finalize" => {
                *self.chain.lock().unwrap() = self.issue(&decode(payload["csr"].as_str()?)?)?;
                Reply::json("200 OK", self.order("valid"))
            }
            "/order/1" => Reply::json("200 OK", self.order("ready")),
            "/certificate" => {
                let chain = self.chain.lock().unwrap().clone();
                Reply { status: "200 OK", fields: String::new(), body: chain }
            }
            _ => Reply::page("404 Not Found"),
        })
    }

    fn order(&self, status: &str) -> Value {
        json!({"status": status, "identifiers": [{"type": "dns", "value": "a.test"}],
            "authorizations": [self.url("/authorization")], "finalize": self.url("/finalize"),
            "certificate": self.url("/certificate")})
    }

    fn new_order(&self) -> Option<Reply> {
        *self.watch.0.0.lock().unwrap() += 1;
        self.watch.0.1.notify_all();
        let limited = json!({"type": "urn:ietf:params:acme:error:rateLimited",
            "detail": "too many certificates (5)\nalready issued"});
        Some(match self.lie {
            Lie::Hang | Lie::Forever => {
                while !self.over.load(Ordering::Relaxed) {
                    std::thread::park_timeout(std::time::Duration::from_millis(50));
                }
                return None;
            }
            Lie::Limit(seconds) => Reply::json("429 Too Many Requests", limited).with("Retry-After", seconds),
            Lie::Garbage => Reply::page("201 Created").with("Location", &self.url("/order/1")),
            Lie::Unavailable => Reply::page("503 Service Unavailable"),
            Lie::Redirect => Reply::page("302 Found").with("Location", &self.url("/elsewhere")),
            lie => {
                let status = if lie == Lie::Invalid { "invalid" } else { "ready" };
                Reply::json("201 Created", self.order(status)).with("Location", &self.url("/order/1"))
            }
        })
    }

    /// A certificate for the request that is `csr`.
    fn issue(&self, csr: &[u8]) -> Option<String> {
        let mut request = CertificateSigningRequestParams::from_der(&csr.to_vec().into()).ok()?;
        let other = ["b.test".to_owned()];
        match self.lie {
            Lie::NoCertificate => return Some("there is none".to_owned()),
            Lie::OtherName => {
                request.params.subject_alt_names = CertificateParams::new(other).ok()?.subject_alt_names
            }
            Lie::Expired => request.params.not_after = date_time_ymd(2001, 1, 1),
            Lie::OtherKey => {
                let key = KeyPair::generate().ok()?;
                return Some(request.params.signed_by(&key, &self.issuer).ok()?.pem());
            }
            _ => {}
        }
        Some(request.signed_by(&self.issuer).ok()?.pem())
    }
}

/// Base64 for URLs, without padding (RFC 4648, section 5).
fn decode(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        bits = bits << 6 | DIGITS.iter().position(|&digit| digit == byte)? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}
