//! The cookie that brings a client back to the worker that served it before.
//!
//! It names the worker's slot, not its process, so it outlives reloads and crashes.
//! It is signed, so that no client chooses a worker by itself: a cookie that is not
//! signed with this cluster's key counts as none.

mod attributes;
mod shared_cache;

use std::time::SystemTime;

use balancer_http1::{Fields, RequestHead, ResponseHead};
use balancer_pool::Affinity;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use shared_protocol::WorkerId;

use crate::cookies;
use crate::field::ProxyField;
use crate::forwarded::{self, ClientIdentity};
use crate::text;

use attributes::LONGEST;
pub use attributes::{CookieAttributes, CookieError, SameSite};

/// Length of a signature in bytes (HMAC with SHA-256, RFC 2104).
const TAG: usize = 32;
/// Digits of the largest id.
const MAX_DIGITS: usize = 10;

/// Writes and reads the cookie.
#[derive(Debug)]
pub struct Sticky {
    key: hmac::Key,
    attributes: CookieAttributes,
}

/// What a request says that matters to the cookie of its response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CookieRequest {
    /// The client speaks HTTPS, to a proxy in front of this one.
    is_https: bool,
    /// The path is one that the cookie is for.
    is_covered: bool,
    /// The response may be stored if it says so: the method is GET or HEAD.
    is_cacheable: bool,
    /// There is an `Authorization` field.
    is_authorized: bool,
}

impl Sticky {
    /// Signs with a key made of `secret`: cookies hold as long as it is the same.
    pub fn with_secret(secret: &[u8], attributes: CookieAttributes) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), attributes }
    }

    /// The worker that a request's cookie names, if this cluster has signed it.
    pub(crate) fn worker_of(&self, fields: &Fields<'_, ProxyField>) -> Option<WorkerId> {
        cookies::named(fields, self.attributes.name()).find_map(|value| self.read(value))
    }

    pub(crate) fn cookie_request(
        &self,
        request: &RequestHead<'_, ProxyField>,
        identity: &ClientIdentity,
    ) -> CookieRequest {
        CookieRequest {
            is_https: forwarded::is_https(&request.fields, identity),
            is_covered: self.attributes.covers(request.resource.path),
            is_cacheable: matches!(request.method, b"GET" | b"HEAD"),
            is_authorized: request.fields.first_named(b"authorization").is_some(),
        }
    }

    /// The cookie of `response`, by `worker`, to a request with this `affinity`, if it is
    /// due. It is not when the client has it already; not below another path, where the
    /// client would not show the one that it has, and would lose its worker to this one; not
    /// when a shared cache may store it. A browser keeps it from the response to an upgrade
    /// as well.
    pub(crate) fn cookie_for(
        &self,
        request: CookieRequest,
        affinity: Option<Affinity>,
        worker: WorkerId,
        response: &ResponseHead<'_, ProxyField>,
    ) -> Option<StickyCookie<'_>> {
        let is_final = response.status >= 200 || response.status == 101;
        let is_due = is_final
            && request.is_covered
            && affinity != Some(Affinity::Worker(worker))
            && !(request.is_cacheable
                && shared_cache::is_storable(&response.fields, request.is_authorized, SystemTime::now()));
        is_due.then_some(StickyCookie { sticky: self, worker, is_https: request.is_https })
    }

    fn read(&self, value: &[u8]) -> Option<WorkerId> {
        let dot = value.iter().position(|&byte| byte == b'.').filter(|&dot| dot <= MAX_DIGITS)?;
        let (id, tag) = (&value[..dot], decode(&value[dot + 1..])?);
        // Only the form that is written here: no other one names the same worker.
        let fits = id.iter().all(u8::is_ascii_digit) && !id.starts_with(b"0");
        let number = std::str::from_utf8(id).ok().filter(|_| fits)?.parse().ok()?;
        let (bytes, length) = self.signed(number);
        hmac::verify(&self.key, &bytes[..length], &tag).ok().map(|()| WorkerId(number))
    }

    /// The signed bytes, and how many they are: name and id, so that a signature fits no
    /// other use of the key.
    fn signed(&self, id: u32) -> ([u8; LONGEST + 4], usize) {
        let (name, mut bytes) = (self.attributes.name(), [0; LONGEST + 4]);
        let length = name.len() + 4;
        bytes[..name.len()].copy_from_slice(name);
        bytes[name.len()..length].copy_from_slice(&id.to_be_bytes());
        (bytes, length)
    }
}

/// The cookie that brings a client back to a worker.
#[derive(Debug, Clone, Copy)]
pub struct StickyCookie<'a> {
    sticky: &'a Sticky,
    worker: WorkerId,
    /// The client speaks HTTPS.
    is_https: bool,
}

impl StickyCookie<'_> {
    /// Appends the field that sets it.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let Self { sticky, worker, is_https } = self;
        out.extend_from_slice(b"Set-Cookie: ");
        out.extend_from_slice(sticky.attributes.name());
        out.push(b'=');
        text::decimal(out, u64::from(worker.0));
        out.push(b'.');
        let (bytes, length) = sticky.signed(worker.0);
        for byte in hmac::sign(&sticky.key, &bytes[..length]).as_ref() {
            out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        sticky.attributes.write(out, is_https);
        out.extend_from_slice(b"\r\n");
    }
}

/// A secret that nobody knows.
///
/// # Errors
/// When the system has no random numbers.
pub fn random_secret() -> Result<[u8; TAG], NoRandom> {
    let mut secret = [0; TAG];
    SystemRandom::new().fill(&mut secret).map_err(|_| NoRandom)?;
    Ok(secret)
}

#[derive(Debug, thiserror::Error)]
#[error("the system has no random numbers for the key of the sticky cookie")]
pub struct NoRandom;

fn decode(hex: &[u8]) -> Option<[u8; TAG]> {
    let mut tag = [0; TAG];
    if hex.len() != 2 * TAG {
        return None;
    }
    for (byte, pair) in tag.iter_mut().zip(hex.chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(tag)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
