//! Names that a certificate can be had for.

use std::net::IpAddr;

/// Why there can be no certificate for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    #[error("it is an address, and certificates are had for names")]
    Address,
    #[error("a wildcard can be validated only by DNS, which is not done here: name each domain")]
    Wildcard,
    #[error("it is no host name (letters, digits and hyphens between dots; others in their xn-- form)")]
    NoName,
    #[error("it has no dot, and no certificate authority can reach such a name")]
    NoDot,
}

/// The name as certificates have it: in lower case, without a dot at its end.
///
/// # Errors
/// When no server could validate it by HTTP-01 or TLS-ALPN-01, or it is no host name (RFC
/// 1123, section 2.1).
pub fn domain(text: &str) -> Result<String, DomainError> {
    let name = text.trim().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if address.parse::<IpAddr>().is_ok() {
        return Err(DomainError::Address);
    }
    if name.starts_with("*.") {
        return Err(DomainError::Wildcard);
    }
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(DomainError::NoName);
    }
    // A top-level domain of digits alone is what an address with a mistake looks like.
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DomainError::NoName);
    }
    if !name.contains('.') {
        return Err(DomainError::NoDot);
    }
    Ok(name.to_owned())
}

fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(fits)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_and_what_cannot_be_validated_is_refused() {
        for (text, expected) in [
            ("example.com", Ok("example.com")),
            (" Www.Example.COM. ", Ok("www.example.com")),
            ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("192.0.2.1", Err(DomainError::Address)),
            ("[2001:db8::1]", Err(DomainError::Address)),
            ("2001:db8::1", Err(DomainError::Address)),
            ("*.example.com", Err(DomainError::Wildcard)),
            ("192.0.2.256", Err(DomainError::NoName)),
            ("", Err(DomainError::NoName)),
            ("a..example", Err(DomainError::NoName)),
            ("-a.example", Err(DomainError::NoName)),
            ("a_b.example", Err(DomainError::NoName)),
            ("../a.example", Err(DomainError::NoName)),
            ("https://a.example", Err(DomainError::NoName)),
            ("b\u{fc}cher.example", Err(DomainError::NoName)),
            ("localhost", Err(DomainError::NoDot)),
        ] {
            assert_eq!(domain(text), expected.map(str::to_owned), "{text:?}");
        }
        assert_eq!(domain(&format!("{}.example", "a".repeat(64))), Err(DomainError::NoName));
    }
}
