//! The header fields that the proxy reads, replaces or drops, besides the standard ones.

use balancer_http1::CustomField;

/// A field with a meaning to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyField {
    RequestId,
    WorkerId,
    ForwardedFor,
    /// What else a client may say of where its request came from.
    Forwarded,
    /// Is never passed on. `Proxy` would become the variable `HTTP_PROXY` of a CGI
    /// program (CVE-2016-5385, "httpoxy").
    Dangerous,
}

impl CustomField for ProxyField {
    #[inline]
    fn of(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            5 if is("proxy") => Some(Self::Dangerous),
            9 if is("x-real-ip") || is("forwarded") => Some(Self::Forwarded),
            11 if is("x-worker-id") => Some(Self::WorkerId),
            12 if is("x-request-id") => Some(Self::RequestId),
            15 if is("x-forwarded-for") => Some(Self::ForwardedFor),
            16 if is("x-forwarded-host") || is("x-forwarded-port") => Some(Self::Forwarded),
            17 if is("x-forwarded-proto") => Some(Self::Forwarded),
            _ => None,
        }
    }
}
