//! The certificate: who has signed it, for whom and for how long, and with its chain.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shared_tls_client::{Trust, VERSIONS};
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Findings, Subject, handshake};

/// Time that is left below which somebody has to see to it.
const SOON: Duration = Duration::from_secs(14 * 86_400);
const DAY: u64 = 86_400;

pub(super) async fn judge(subject: &Subject<'_>, findings: &mut Findings) {
    let chain = match handshake(subject, &Trust::Anybody, VERSIONS, &[], findings).await {
        Ok(stream) => stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec(),
        Err(why) => return findings.wrong(format!("no certificate was seen: {why}")),
    };
    let Some(Ok((_, leaf))) = chain.first().map(|leaf| X509Certificate::from_der(leaf)) else {
        return findings.wrong("the certificate does not parse");
    };
    match handshake(subject, &subject.transport.authorities(), VERSIONS, &[], findings).await {
        Ok(_) => {
            let count = chain.len();
            let of =
                if count == 1 { "alone".to_owned() } else { format!("with {} more behind it", count - 1) };
            findings.good(format!(
                "the certificate of {} is valid for {}, sent {of}",
                leaf.issuer(),
                subject.target.host
            ));
        }
        Err(why) => {
            findings.wrong(why);
            findings.wrong.extend(gap(&chain));
        }
    }
    time_left(&leaf, findings);
}

/// A certificate whose issuer's one is not behind it, unless it is its own issuer.
fn gap(chain: &[CertificateDer<'_>]) -> Option<String> {
    let parsed: Vec<_> =
        chain.iter().filter_map(|one| Some(X509Certificate::from_der(one).ok()?.1)).collect();
    let last = parsed.last()?;
    let own = last.issuer() == last.subject();
    (!own).then(|| {
        format!(
            "the server sends {} certificates, and the last one is signed by {}: unless that is an authority, the \
             chain is not complete",
            parsed.len(),
            last.issuer()
        )
    })
}

fn time_left(leaf: &X509Certificate<'_>, findings: &mut Findings) {
    let end = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or_default();
    let end = UNIX_EPOCH + Duration::from_secs(end);
    let day = humantime::format_rfc3339_seconds(end);
    // What has expired is said where trust is.
    let Ok(left) = end.duration_since(SystemTime::now()) else { return };
    let days = left.as_secs() / DAY;
    let sentence = format!("the certificate ends in {days} days, on {day}");
    if left < SOON { findings.warnings.push(sentence) } else { findings.good(sentence) }
}
