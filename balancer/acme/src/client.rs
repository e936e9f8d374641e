//! HTTPS to the ACME server: one connection for each request, all of it within bounds.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HOST, RETRY_AFTER};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The directory of Let's Encrypt (letsencrypt.org/docs/acme-protocol-updates).
pub const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Time for one request, from the name's resolution to the last byte of the response.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest response in bytes: a chain of certificates has some KiB.
const LONGEST_RESPONSE: usize = 1 << 20;

/// Why no server could be trusted.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("could not read the certificates in {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("this system trusts no certificate authority: {0}")]
    NoRoots(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The URL of a directory, if it is one: RFC 8555, section 6.1, has HTTPS only.
pub fn directory_url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let is_fit = uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty());
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    (is_fit && !has_user).then(|| text.to_owned())
}

/// Could a server be trusted by the authorities in the file `ca`, or by those of the system?
///
/// # Errors
/// When there are none.
pub fn check_ca(ca: Option<&Path>) -> Result<(), ClientError> {
    roots(ca).map(drop)
}

/// Makes requests for the library.
#[derive(Clone)]
pub(crate) struct Client {
    connector: TlsConnector,
    timeout: Duration,
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// Trusts the authorities in the file `ca`, or those that the system trusts. A request may
    /// take `timeout`.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) fn new(ca: Option<&Path>, timeout: Duration) -> Result<Self, ClientError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), timeout, retry_after: Arc::default() })
    }

    /// What the last response that was an error has asked for. Forgets it.
    pub(crate) fn take_retry_after(&self) -> Option<Duration> {
        self.retry_after.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let url = request.uri().to_string();
        let done = tokio::time::timeout(self.timeout, exchange(&self.connector, request)).await;
        let response = match done {
            Ok(Ok(response)) => response,
            Ok(Err(err)) => return Err(failed(format!("could not ask {url}: {err}"))),
            Err(_) => {
                let seconds = self.timeout.as_secs();
                return Err(failed(format!("{url} has not answered within {seconds} seconds")));
            }
        };
        let status = response.status();
        if !status.is_success() {
            let asked = response.headers().get(RETRY_AFTER).and_then(retry_after);
            *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = asked;
            let says_why = serde_json::from_slice::<serde_json::Value>(response.body())
                .is_ok_and(|body| body.is_object());
            if !says_why && !status.is_redirection() {
                return Err(failed(format!("{url} answered {status} without a reason that can be read")));
            }
            if status.is_redirection() {
                return Err(failed(format!("{url} answered {status}, and redirects are not followed")));
            }
        }
        Ok(BytesResponse::from(response.map(Full::new)))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

async fn exchange(
    connector: &TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let uri = std::mem::take(request.uri_mut());
    // The server names its URLs itself, and must not lead elsewhere than to HTTPS.
    if uri.scheme_str() != Some("https") {
        return Err("it is no https:// URL".into());
    }
    let authority = uri.authority().ok_or("it has no host")?.clone();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse()?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    let socket = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(443))).await?;
    let session = connector.connect(ServerName::try_from(host)?, socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(session)).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST_RESPONSE).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    // The connection ends with the response, and must not be polled once it has.
    tokio::pin!(exchange, connection);
    tokio::select! {
        done = &mut exchange => done,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(err) => Err(err.into()),
        },
    }
}

/// A number of seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let date = || {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(SystemTime::now()).ok()
    };
    text.parse().ok().map(Duration::from_secs).or_else(date)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        let why = found.errors.first().map_or_else(|| "none is installed".to_owned(), ToString::to_string);
        return if roots.is_empty() { Err(ClientError::NoRoots(why)) } else { Ok(roots) };
    };
    let unreadable = |reason: String| ClientError::Unreadable { path: path.to_owned(), reason };
    let text = read(path).map_err(|err| unreadable(err.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|err| unreadable(err.to_string()))?;
        roots.add(certificate).map_err(|err| unreadable(err.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("it has no section -----BEGIN CERTIFICATE-----".to_owned()));
    }
    Ok(roots)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a named pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    std::fs::read(path)
}

fn failed(reason: String) -> Error {
    Error::Other(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_had_by_https_only() {
        for good in [DEFAULT_DIRECTORY, "https://127.0.0.1:14000/dir", "https://[::1]/dir"] {
            assert_eq!(directory_url(good).as_deref(), Some(good));
        }
        for bad in ["", "a.example", "http://a.example/dir", "https://", "https:///dir", "https://u:p@a/dir"]
        {
            assert_eq!(directory_url(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_server_asks_for_a_wait_in_seconds_or_by_a_date() {
        let of = |text| retry_after(&HeaderValue::from_static(text));
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert!(of("Fri, 31 Dec 2100 23:59:59 GMT").unwrap() > Duration::from_secs(1 << 20));
        assert_eq!((of("Fri, 31 Dec 1999 23:59:59 GMT"), of("soon"), of("-1")), (None, None, None));
    }

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        for (content, words) in [("", "BEGIN CERTIFICATE"), ("-----BEGIN CERTIFICATE-----\nA", "ca.pem")] {
            std::fs::write(&path, content).unwrap();
            let err = roots(Some(&path)).unwrap_err().to_string();
            assert!(err.contains(words) && err.contains("ca.pem"), "{err}");
        }
        assert!(roots(Some(directory.path())).unwrap_err().to_string().contains("it is no file"));
    }
}
