//! The header of the PROXY protocol, by which a load balancer says for whom it connects
//! (versions 1 and 2 of the specification "The PROXY protocol", Willy Tarreau). Pure: bytes
//! come in, in whatever pieces, and an address comes out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The whole line of version 1 with its end (section 2.1).
const LONGEST_LINE: usize = 107;
const LINE_START: &[u8] = b"PROXY ";
/// Version 2 begins with what no other protocol begins with (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, and the length of what follows.
const FIXED: usize = 16;
/// What may follow in version 2: addresses, and what is said besides, such as the name in a
/// certificate. Load balancers send a few hundred bytes; 64 KiB could be announced.
const LONGEST_REST: usize = 4096;
/// The longest pair of addresses that is read: two of IPv6 and two ports.
const IPV6_PAIR: usize = 36;
const IPV4_PAIR: usize = 12;

/// Why a connection does not begin with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("it does not begin with a PROXY header")]
    Missing,
    #[error("its PROXY line is longer than {LONGEST_LINE} bytes")]
    LineTooLong,
    #[error("its PROXY line is not as version 1 has it")]
    Line,
    #[error("its PROXY header is of a version other than 1 and 2")]
    Version,
    #[error("its PROXY header has a command, family or transport that version 2 does not have")]
    Kind,
    #[error("its PROXY header is too short for its addresses")]
    TooShort,
    #[error("its PROXY header announces more than {LONGEST_REST} bytes")]
    TooLong,
}

/// How far the header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All of the bytes belong to it, and more have to come.
    Partial,
    /// It is whole, and so many of the bytes belong to it.
    Complete { used: usize, client: Option<IpAddr> },
}

/// A header that is being read.
#[derive(Debug, Clone)]
pub(crate) struct HeaderReader {
    /// What has come and is needed.
    bytes: [u8; LONGEST_LINE],
    length: usize,
    /// Bytes of version 2 that are still to be skipped, behind what is kept.
    skip: usize,
}

impl Default for HeaderReader {
    fn default() -> Self {
        Self { bytes: [0; LONGEST_LINE], length: 0, skip: 0 }
    }
}

impl HeaderReader {
    /// Has anything come yet?
    pub(crate) fn has_begun(&self) -> bool {
        self.length > 0
    }

    /// Takes the next `bytes` of the connection, up to the end of the header. The client's
    /// address is `None` where the header says that it is the connection's own, or is of a
    /// family other than IP.
    ///
    /// # Errors
    /// As soon as the bytes cannot be a header. None of them may be used then.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Progress, HeaderError> {
        let mut used = 0;
        loop {
            if let Some(end) = self.end()? {
                // What is kept is whole; the rest of version 2 is skipped by its length.
                let skipped = self.skip.min(bytes.len() - used);
                self.skip -= skipped;
                used += skipped;
                return match self.skip {
                    0 => Ok(Progress::Complete { used, client: self.client(end)? }),
                    _ => Ok(Progress::Partial),
                };
            }
            let Some(&byte) = bytes.get(used) else { return Ok(Progress::Partial) };
            let Some(room) = self.bytes.get_mut(self.length) else { return Err(HeaderError::LineTooLong) };
            *room = byte;
            self.length += 1;
            used += 1;
            if self.length == FIXED && self.is_version_2() {
                self.skip = rest(&self.bytes)?;
            } else if self.length > FIXED && self.is_version_2() {
                self.skip -= 1;
            }
        }
    }

    fn kept(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn is_version_2(&self) -> bool {
        self.kept().starts_with(SIGNATURE)
    }

    /// The version, once all is there that is kept of the header.
    fn end(&self) -> Result<Option<Version>, HeaderError> {
        let kept = self.kept();
        let begins = |start: &[u8]| {
            let length = start.len().min(kept.len());
            kept[..length] == start[..length]
        };
        if begins(LINE_START) {
            return match kept {
                [.., b'\r', b'\n'] => Ok(Some(Version::One)),
                _ if kept.len() == LONGEST_LINE => Err(HeaderError::LineTooLong),
                // Nothing but the line's end has such bytes.
                [.., b'\r', _] | [.., b'\n'] => Err(HeaderError::Line),
                _ => Ok(None),
            };
        }
        if !begins(SIGNATURE) {
            return Err(HeaderError::Missing);
        }
        let needs = |length: usize| kept.len() >= FIXED + length || self.skip == 0;
        Ok((kept.len() >= FIXED && needs(self.pair_length())).then_some(Version::Two))
    }

    /// Bytes of the addresses that are read of version 2.
    fn pair_length(&self) -> usize {
        match self.bytes[13] {
            0x11 => IPV4_PAIR,
            0x21 => IPV6_PAIR,
            _ => 0,
        }
    }

    fn client(&self, version: Version) -> Result<Option<IpAddr>, HeaderError> {
        match version {
            Version::One => line(&self.kept()[..self.length - 2]),
            Version::Two => self.pair(),
        }
    }

    /// The client's address in version 2.
    fn pair(&self) -> Result<Option<IpAddr>, HeaderError> {
        // LOCAL: the load balancer connects for itself.
        if self.bytes[12] & 0x0f == 0 {
            return Ok(None);
        }
        let pair = &self.kept()[FIXED..];
        if pair.len() < self.pair_length() {
            return Err(HeaderError::TooShort);
        }
        Ok(match self.bytes[13] {
            0x11 => pair.first_chunk().map(|bytes: &[u8; 4]| Ipv4Addr::from(*bytes).into()),
            0x21 => pair.first_chunk().map(|bytes: &[u8; 16]| Ipv6Addr::from(*bytes).to_canonical()),
            // No address, one of a Unix socket, or one of something that is no connection.
            _ => None,
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Version {
    One,
    Two,
}

/// The length of what follows the fixed part of version 2, which is checked.
fn rest(fixed: &[u8]) -> Result<usize, HeaderError> {
    if fixed[12] >> 4 != 2 {
        return Err(HeaderError::Version);
    }
    let (command, family, transport) = (fixed[12] & 0x0f, fixed[13] >> 4, fixed[13] & 0x0f);
    if command > 1 || family > 3 || transport > 2 {
        return Err(HeaderError::Kind);
    }
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if rest > LONGEST_REST { Err(HeaderError::TooLong) } else { Ok(rest) }
}

/// The client's address in the line of version 1, without its end.
fn line(line: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    let text = std::str::from_utf8(line).map_err(|_| HeaderError::Line)?;
    let mut words = text.split(' ').skip(1);
    let (family, rest) = (words.next(), words.collect::<Vec<_>>());
    // Whatever else stands there is to be ignored (section 2.1).
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let [source, destination, ports @ ..] = &rest[..] else { return Err(HeaderError::Line) };
    let is_port = |text: &&str| {
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (*text == "0" || !text.starts_with('0'));
        is_plain && text.parse::<u16>().is_ok()
    };
    if ports.len() != 2 || !ports.iter().all(is_port) {
        return Err(HeaderError::Line);
    }
    let client = match family {
        Some("TCP4") => pair_of::<Ipv4Addr>(source, destination).map(IpAddr::V4),
        Some("TCP6") => pair_of::<Ipv6Addr>(source, destination).map(|address| address.to_canonical()),
        _ => None,
    };
    client.map(Some).ok_or(HeaderError::Line)
}

/// The first of two addresses of the same family.
fn pair_of<T: std::str::FromStr>(source: &str, destination: &str) -> Option<T> {
    destination.parse::<T>().ok().and(source.parse().ok())
}

#[cfg(test)]
mod tests;
