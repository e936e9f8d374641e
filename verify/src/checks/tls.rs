//! Clients get TLS 1.2 and 1.3 alone, a valid certificate with its chain, and the
//! protocol that ALPN names; plain HTTP beside it leads there.

mod alpn;
mod certificate;
mod private;
mod redirect;
mod versions;

use std::time::Duration;

use shared_http_client::Address;
use shared_tls_client::{Trust, client_config_of_versions, words};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::SupportedProtocolVersion;

use crate::context::Context;
use crate::target::Target;
use crate::transport::{Transport, server_name};
use crate::verdict::{Judged, Verdict};

/// For one connection, handshake included.
const LIMIT: Duration = Duration::from_secs(10);

/// What is judged.
struct Subject<'a> {
    target: &'a Target,
    transport: &'a Transport,
    /// Where plain HTTP is redirected to the target.
    plain: Option<Target>,
    /// Nothing may listen at `plain`.
    plain_is_a_guess: bool,
    /// The cluster says that it speaks HTTP/2.
    wants_http2: bool,
}

/// What was found, a sentence each.
#[derive(Debug, Default)]
struct Findings {
    good: Vec<String>,
    /// To be seen to, and no fault yet.
    warnings: Vec<String>,
    wrong: Vec<String>,
    samples: usize,
}

impl Findings {
    fn good(&mut self, sentence: impl Into<String>) {
        self.good.push(sentence.into());
    }

    fn wrong(&mut self, sentence: impl Into<String>) {
        self.wrong.push(sentence.into());
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
type Socket = Box<dyn Stream>;

pub async fn run(context: &Context) -> Judged {
    let target = context.client.target();
    if !target.https {
        return match &context.launcher {
            Some(launcher) => private::run(launcher).await,
            None => Err(Verdict::not_applicable("the cluster is asked by plain HTTP (name it by https://)")),
        };
    }
    let subject = Subject {
        target,
        transport: context.client.transport(),
        plain_is_a_guess: context.plain.is_none(),
        plain: context.plain.clone().or_else(|| target.plain_by_custom()),
        wants_http2: context.client.transport().http2,
    };
    judge(&subject).await
}

async fn judge(subject: &Subject<'_>) -> Judged {
    let mut findings = Findings::default();
    versions::judge(subject, &mut findings).await;
    certificate::judge(subject, &mut findings).await;
    alpn::judge(subject, &mut findings).await;
    redirect::judge(subject, &mut findings).await;
    let passed = findings.wrong.is_empty();
    let mut told = if passed { findings.good } else { findings.wrong.clone() };
    told.splice(0..0, findings.warnings.into_iter().map(|warning| format!("warning: {warning}")));
    let threshold = "TLS 1.2 and 1.3 alone, a certificate of a trusted authority, in time, for this name and with its \
                     chain, ALPN that tells the truth, plain HTTP redirected";
    Ok(Verdict::judge(passed, told.join("; "), threshold, findings.samples, findings.wrong))
}

async fn connect(target: &Target) -> std::io::Result<Socket> {
    let connecting = async {
        Ok(match target.address() {
            Address::Tcp { host, port } => {
                Box::new(TcpStream::connect((host.as_str(), port)).await?) as Socket
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    };
    tokio::time::timeout(LIMIT, connecting).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// A handshake, or why there is none.
async fn handshake(
    subject: &Subject<'_>,
    trust: &Trust,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
    findings: &mut Findings,
) -> Result<TlsStream<Socket>, String> {
    findings.samples += 1;
    let config = client_config_of_versions(trust, alpn, versions).map_err(|err| err.to_string())?;
    let name = server_name(subject.target).map_err(|err| err.to_string())?;
    let socket = connect(subject.target).await.map_err(|err| err.to_string())?;
    let connecting = TlsConnector::from(std::sync::Arc::new(config)).connect(name, socket);
    match tokio::time::timeout(LIMIT, connecting).await {
        Ok(done) => done.map_err(|err| words::of_handshake(&err)),
        Err(_) => Err(format!("no handshake within {LIMIT:?}")),
    }
}
