//! Errors of TLS in sentences for people.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error};

/// What an error of a handshake, or of a stream over TLS, means. `None` when it is none
/// of TLS.
pub fn of_io(err: &io::Error) -> Option<String> {
    let inner = err.get_ref()?.downcast_ref::<Error>()?;
    Some(of(inner))
}

/// What went wrong in a handshake.
pub fn of_handshake(err: &io::Error) -> String {
    of_io(err).unwrap_or_else(|| match err.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed during the TLS handshake".to_owned(),
        _ => format!("{} during the TLS handshake", without_number(&err.to_string())),
    })
}

pub fn of(err: &Error) -> String {
    match err {
        Error::AlertReceived(alert) => format!("the server sent the TLS alert {}", alert_name(*alert)),
        Error::InvalidMessage(what) => format!("the server does not speak TLS ({what:?})"),
        Error::InvalidCertificate(why) => of_certificate(why),
        other => other.to_string(),
    }
}

/// Is it the certificate that is not accepted?
pub fn is_about_certificate(err: &io::Error) -> bool {
    let inner = err.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::InvalidCertificate(_)))
}

pub fn of_certificate(err: &CertificateError) -> String {
    match err {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate has expired on {}", date(*not_after))
        }
        CertificateError::Expired => "the certificate has expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}", date(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let wanted = match expected {
                ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
                name => name.to_str().into_owned(),
            };
            match presented.is_empty() {
                true => format!("the certificate is not for {wanted}: it names nobody (no subjectAltName)"),
                false => format!("the certificate is not for {wanted} but for {}", presented.join(", ")),
            }
        }
        CertificateError::UnknownIssuer => {
            "the certificate is signed by nobody who is trusted here (self-signed, of an authority of one's own, \
             or sent without the certificates between)"
                .to_owned()
        }
        CertificateError::BadSignature => "the certificate's signature is wrong".to_owned(),
        CertificateError::Revoked => "the certificate was revoked".to_owned(),
        // webpki says this of a certificate of an authority.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "the certificate is self-signed, or of an authority, and not a server's".to_owned()
        }
        other => format!("the certificate is not valid: {other}"),
    }
}

/// `handshake_failure (40)`, as RFC 8446, section 6, has it.
pub fn alert_name(alert: AlertDescription) -> String {
    let camel = format!("{alert:?}");
    if camel.starts_with("Unknown(") {
        return u8::from(alert).to_string();
    }
    let mut name = String::new();
    let mut lower_before = false;
    for c in camel.chars() {
        if c.is_ascii_uppercase() && lower_before {
            name.push('_');
        }
        lower_before = !c.is_ascii_uppercase();
        name.push(c.to_ascii_lowercase());
    }
    format!("{name} ({})", u8::from(alert))
}

/// The day, and the time of it, in UTC.
pub fn date(time: UnixTime) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs())).to_string()
}

/// The system's words in lower case, without Rust's "(os error N)".
pub(crate) fn without_number(text: &str) -> String {
    text.split(" (os error").next().unwrap_or(text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_the_names_of_the_rfc() {
        assert_eq!(alert_name(AlertDescription::HandshakeFailure), "handshake_failure (40)");
        assert_eq!(alert_name(AlertDescription::NoApplicationProtocol), "no_application_protocol (120)");
        assert_eq!(alert_name(AlertDescription::UnknownCA), "unknown_ca (48)");
        assert_eq!(alert_name(AlertDescription::from(200)), "200");
    }

    #[test]
    fn certificates_are_explained_with_dates_and_names() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext { time: at(100), not_after: at(60) };
        assert_eq!(of_certificate(&expired), "the certificate has expired on 1970-01-01T00:01:00Z");
        let expected = ServerName::try_from("127.0.0.1").unwrap();
        let wrong =
            CertificateError::NotValidForNameContext { expected, presented: vec!["a.test".to_owned()] };
        assert_eq!(of_certificate(&wrong), "the certificate is not for 127.0.0.1 but for a.test");
        let io = io::Error::new(io::ErrorKind::InvalidData, Error::InvalidCertificate(wrong));
        assert!(is_about_certificate(&io) && of_handshake(&io).contains("a.test"));
        assert!(of_handshake(&io::ErrorKind::UnexpectedEof.into()).contains("closed during"));
    }
}
