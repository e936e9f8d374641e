//! One order, from the account to a certificate that has been checked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use balancer_tls::{Certificate, Tls};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, KeyAuthorization, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The server is asked how far it is at growing intervals, as RFC 8555, section 7.5.1, wants.
const ASKING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).timeout(Duration::from_secs(90));

/// How the server looks whether a domain leads here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By a request to port 80 (RFC 8555, section 8.3).
    Http01,
    /// By a handshake at port 443 (RFC 8737).
    TlsAlpn01,
}

/// Where answers to challenges by HTTP are put.
pub trait HttpAnswers: Send + Sync {
    fn insert(&self, token: &str, key_authorization: &str);
    fn remove(&self, token: &str);
}

/// Where answers to challenges are put.
#[derive(Clone)]
pub struct Answers {
    pub http: Arc<dyn HttpAnswers>,
    pub tls: Arc<Tls>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("{}", describe(.0))]
    Server(#[from] Error),
    #[error("{domain} was not validated by {}: {reason}", kind.name())]
    Rejected { domain: String, kind: ChallengeKind, reason: String },
    #[error("the server does not offer {} for {domain}", kind.name())]
    NotOffered { domain: String, kind: ChallengeKind },
    #[error("the server's certificate cannot be used: {0}")]
    Unusable(String),
    #[error("a key could not be made: {0}")]
    Key(#[from] rcgen::Error),
}

/// A certificate, and the text of its file.
pub(crate) struct Issued {
    pub(crate) certificate: Certificate,
    pub(crate) pem: String,
}

impl ChallengeKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "HTTP-01",
            Self::TlsAlpn01 => "TLS-ALPN-01",
        }
    }

    fn challenge_type(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}

/// Orders a certificate for `domain`; `source` is where it will be kept. No answer to a
/// challenge is left when this ends, also by being dropped.
pub(crate) async fn order(
    account: &Account,
    domain: &str,
    kind: ChallengeKind,
    answers: &Answers,
    source: &str,
) -> Result<Issued, OrderError> {
    let identifiers = [Identifier::Dns(domain.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let placed = answer(&mut order, domain, kind, answers).await?;
    if order.state().status == OrderStatus::Pending {
        let polled = order.poll_ready(&ASKING).await;
        if !matches!(polled, Ok(OrderStatus::Ready)) {
            if let Some(reason) = rejection(&mut order).await {
                return Err(OrderError::Rejected { domain: domain.to_owned(), kind, reason });
            }
            polled?;
        }
    }
    drop(placed);
    let key = KeyPair::generate()?;
    let mut request = CertificateParams::new([domain.to_owned()])?;
    request.distinguished_name = DistinguishedName::new();
    order.finalize_csr(request.serialize_request(&key)?.der()).await?;
    let chain = match order.state().status {
        OrderStatus::Valid => order.certificate().await?.ok_or(Error::Str("certificate"))?,
        _ => order.poll_certificate(&ASKING).await?,
    };
    let certificate = check(&chain, &key, domain, source, SystemTime::now()).map_err(OrderError::Unusable)?;
    Ok(Issued { certificate, pem: format!("{}\n{}", chain.trim_end(), key.serialize_pem()) })
}

/// Answers the challenges of all authorizations that are not valid yet.
async fn answer(
    order: &mut Order,
    domain: &str,
    kind: ChallengeKind,
    answers: &Answers,
) -> Result<Vec<Placed>, OrderError> {
    let mut placed = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let mut challenge = authorization
            .challenge(kind.challenge_type())
            .ok_or_else(|| OrderError::NotOffered { domain: domain.to_owned(), kind })?;
        let key_authorization = challenge.key_authorization();
        placed.push(Placed::new(domain, kind, &challenge.token, &key_authorization, answers)?);
        challenge.set_ready().await?;
    }
    Ok(placed)
}

/// Why the server has not believed an answer.
async fn rejection(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Some(in_words(problem));
        }
    }
    None
}

/// An answer that the server may look at, for as long as this lives.
struct Placed {
    answers: Answers,
    kind: ChallengeKind,
    /// The token, or the domain.
    name: String,
}

impl Placed {
    fn new(
        domain: &str,
        kind: ChallengeKind,
        token: &str,
        authorization: &KeyAuthorization,
        answers: &Answers,
    ) -> Result<Self, OrderError> {
        let name = match kind {
            ChallengeKind::Http01 => {
                answers.http.insert(token, authorization.as_str());
                token.to_owned()
            }
            ChallengeKind::TlsAlpn01 => {
                let certificate = challenge_certificate(domain, authorization.digest().as_ref())?;
                answers.tls.begin_challenge(domain, &certificate);
                domain.to_owned()
            }
        };
        Ok(Self { answers: answers.clone(), kind, name })
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        match self.kind {
            ChallengeKind::Http01 => self.answers.http.remove(&self.name),
            ChallengeKind::TlsAlpn01 => self.answers.tls.end_challenge(&self.name),
        }
    }
}

/// The self-signed certificate that proves who answers (RFC 8737, section 3).
fn challenge_certificate(domain: &str, digest: &[u8]) -> Result<Certificate, OrderError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let made = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Certificate::of_challenge(made.der().clone(), key).map_err(|err| OrderError::Unusable(err.to_string()))
}

/// Is `chain` what was ordered? Servers may be wrong, and a wrong certificate must not replace
/// a good one.
fn check(
    chain: &str,
    key: &KeyPair,
    domain: &str,
    source: &str,
    now: SystemTime,
) -> Result<Certificate, String> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|err| err.to_string())?;
    for (index, one) in chain.iter().enumerate() {
        X509Certificate::from_der(one)
            .map_err(|err| format!("number {} of its chain does not parse: {err}", index + 1))?;
    }
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let certificate = Certificate::new(chain, key, source.to_owned()).map_err(|err| err.to_string())?;
    let status = certificate.status();
    if !status.names.iter().any(|name| name == domain) {
        return Err(format!("it is for {}, and not for {domain}", status.names.join(", ")));
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if status.not_after <= now || status.not_after <= status.not_before {
        return Err("it is expired".to_owned());
    }
    Ok(certificate)
}

fn describe(err: &Error) -> String {
    match err {
        Error::Api(problem) => in_words(problem),
        Error::Json(err) => format!("the server's answer does not parse: {err}"),
        err => err.to_string(),
    }
}

/// A problem document (RFC 7807) as one line, whatever the server has put into it.
fn in_words(problem: &instant_acme::Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("about:blank");
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let details = problem.subproblems.iter().filter_map(|one| one.detail.as_deref());
    let details: Vec<_> = problem.detail.as_deref().into_iter().chain(details).collect();
    let text = format!("{} ({kind})", details.join("; "));
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(visible).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_with_a_certificate_for_the_domain() {
        let made = challenge_certificate("a.test", &[7; 32]).unwrap();
        assert_eq!(made.status().names, ["a.test"]);
    }

    #[test]
    fn a_certificate_that_was_not_ordered_is_refused() {
        let key = KeyPair::generate().unwrap();
        let made =
            |name: &str| CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let good = made("a.test");
        let check = |chain: &str, key: &KeyPair| {
            check(chain, key, "a.test", "a", SystemTime::now()).map(|found| found.status().name.clone())
        };
        assert_eq!(check(&good, &key), Ok("a.test".to_owned()));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let other = KeyPair::generate().unwrap();
        for (chain, key, words) in [
            (made("b.test"), &key, "it is for b.test"),
            (good.clone(), &other, "does not belong"),
            (String::new(), &key, "there is none"),
            (format!("{good}{broken}"), &key, "number 2 of its chain"),
            (format!("{broken}{good}"), &key, "number 1 of its chain"),
        ] {
            let err = check(&chain, key).unwrap_err();
            assert!(err.contains(words), "{words}: {err}");
        }
        let late = SystemTime::now() + Duration::from_secs(1 << 40);
        assert!(super::check(&good, &key, "a.test", "a", late).unwrap_err().contains("expired"));
    }
}
