//! The cookie that brings a client back to the worker that served it before.
//!
//! It names the worker's slot, not its process, so it outlives reloads and crashes.
//! It is signed, so that no client chooses a worker by itself: a cookie that is not
//! signed with this cluster's key counts as none.

use ring::hmac;
use ring::rand::SystemRandom;
use shared_protocol::WorkerId;

use balancer_http1::Fields;

use crate::field::ProxyField;
use crate::text;

/// The cookie's name; also part of what is signed.
const NAME: &str = "cluster_worker";
/// Length of a signature in bytes (HMAC with SHA-256, RFC 2104).
const TAG: usize = 32;
/// Digits of the largest id.
const MAX_DIGITS: usize = 10;

/// Writes and reads the cookie.
#[derive(Debug)]
pub struct Sticky {
    key: hmac::Key,
}

impl Sticky {
    /// Signs with a random key, which ends with this primary.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, NoRandom> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| NoRandom)?;
        Ok(Self { key })
    }

    /// Signs with a key made of `secret`, so that cookies outlive the primary.
    pub fn with_secret(secret: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// The worker that a request's cookie names, if this cluster has signed it.
    pub(crate) fn worker_of(&self, fields: &Fields<'_, ProxyField>) -> Option<WorkerId> {
        fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(b"cookie"))
            .flat_map(|field| field.value.split(|&byte| byte == b';'))
            .filter_map(|pair| pair.trim_ascii().strip_prefix(NAME.as_bytes())?.strip_prefix(b"="))
            .find_map(|value| self.read(value))
    }

    fn read(&self, value: &[u8]) -> Option<WorkerId> {
        let dot = value.iter().position(|&byte| byte == b'.').filter(|&dot| dot <= MAX_DIGITS)?;
        let (id, tag) = (&value[..dot], decode(&value[dot + 1..])?);
        // Only the form that is written here: no other one names the same worker.
        let fits = id.iter().all(u8::is_ascii_digit) && !id.starts_with(b"0");
        let number = std::str::from_utf8(id).ok().filter(|_| fits)?.parse().ok()?;
        hmac::verify(&self.key, &signed(number), &tag).ok().map(|()| WorkerId(number))
    }

    /// Appends the field that brings the client back to `worker`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, worker: WorkerId, secure: bool) {
        out.extend_from_slice(b"Set-Cookie: ");
        out.extend_from_slice(NAME.as_bytes());
        out.push(b'=');
        text::decimal(out, u64::from(worker.0));
        out.push(b'.');
        for byte in hmac::sign(&self.key, &signed(worker.0)).as_ref() {
            out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        out.extend_from_slice(b"; Path=/; HttpOnly; SameSite=Lax");
        out.extend_from_slice(if secure { b"; Secure\r\n".as_slice() } else { b"\r\n" });
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the system has no random numbers for the key of the sticky cookie")]
pub struct NoRandom;

/// The signed bytes: name and id, so that a signature fits no other use of the key.
fn signed(id: u32) -> [u8; NAME.len() + 4] {
    let mut bytes = [0; NAME.len() + 4];
    bytes[..NAME.len()].copy_from_slice(NAME.as_bytes());
    bytes[NAME.len()..].copy_from_slice(&id.to_be_bytes());
    bytes
}

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
mod tests {
    use balancer_http1::{FieldBuffer, RequestHead};

    use super::*;

    fn cookie(sticky: &Sticky, worker: u32, secure: bool) -> String {
        let mut out = Vec::new();
        sticky.write(&mut out, WorkerId(worker), secure);
        String::from_utf8(out).unwrap()
    }

    fn pair(sticky: &Sticky, worker: u32) -> String {
        let cookie = cookie(sticky, worker, false);
        cookie["Set-Cookie: ".len()..].split(';').next().unwrap().to_owned()
    }

    fn read(sticky: &Sticky, fields: &str) -> Option<u32> {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut buffer = FieldBuffer::default();
        let request = RequestHead::parse(head.as_bytes(), &mut buffer).unwrap();
        sticky.worker_of(&request.fields).map(|id| id.0)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let sticky = Sticky::random().unwrap();
        for id in [1, 2, 10, 512, u32::MAX] {
            let pair = pair(&sticky, id);
            assert_eq!(read(&sticky, &format!("Cookie: {pair}\r\n")), Some(id));
            assert_eq!(read(&sticky, &format!("cookie: a=b; {pair};c=d\r\n")), Some(id));
            assert_eq!(read(&sticky, &format!("Cookie: a=b\r\nCookie: {pair}\r\n")), Some(id));
        }
    }

    #[test]
    fn the_cookie_is_for_the_browser_alone() {
        let sticky = Sticky::with_secret(b"0123456789abcdef");
        let plain = cookie(&sticky, 3, false);
        assert!(plain.starts_with("Set-Cookie: cluster_worker=3."), "{plain}");
        assert!(plain.ends_with("; Path=/; HttpOnly; SameSite=Lax\r\n"), "{plain}");
        assert!(cookie(&sticky, 3, true).ends_with("; SameSite=Lax; Secure\r\n"));
        assert_eq!(plain, cookie(&Sticky::with_secret(b"0123456789abcdef"), 3, false));
    }

    #[test]
    fn what_is_not_signed_here_counts_as_nothing() {
        let sticky = Sticky::random().unwrap();
        let good = pair(&sticky, 2);
        let tag = good.split_once('.').unwrap().1;
        let foreign = pair(&Sticky::random().unwrap(), 2);
        let name = format!("{NAME}=");
        for bad in [
            foreign,
            format!("{name}3.{tag}"),
            format!("{name}02.{tag}"),
            format!("{name}+2.{tag}"),
            format!("{name}2.{}", tag.to_uppercase()),
            format!("{name}2.{}", &tag[1..]),
            format!("{name}2.{tag}0"),
            format!("{name}2{tag}"),
            format!("{name}.{tag}"),
            format!("{name}99999999999.{tag}"),
            format!("{name}4294967298.{tag}"),
            format!("{name}2."),
            format!("{name}2.é"),
            name.clone(),
            format!("x{good}"),
            format!("\"{good}\""),
        ] {
            assert_eq!(read(&sticky, &format!("Cookie: {bad}\r\n")), None, "{bad}");
        }
        assert_eq!(read(&sticky, ""), None);
        // One that is good counts among those that are not.
        assert_eq!(read(&sticky, &format!("Cookie: {name}9.00; {good}\r\n")), Some(2));
    }
}
