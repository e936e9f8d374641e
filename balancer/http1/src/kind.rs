//! What a field is by its name.

use std::fmt::Debug;

/// A longer name is of no field that has a meaning here.
const MAX_NAME: usize = 64;

/// Fields that mean something to the caller of a parser, besides the standard ones.
pub trait CustomField: Copy + Eq + Debug {
    /// The field with this name, in any case; `None` for a name that means nothing to
    /// the caller. Names have 64 bytes at most.
    fn of(name: &[u8]) -> Option<Self>;
}

/// What a field is to a recipient that passes the message on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind<C> {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    Upgrade,
    Expect,
    /// Which trailers the sender takes (RFC 9110, section 10.1.4).
    Te,
    /// Names the trailers that follow (RFC 9110, section 6.6.2).
    Trailer,
    /// Describes one connection and ends there (RFC 9110, section 7.6.1), or is
    /// reserved because an option of `Connection` has that name (`Close`; RFC 9112,
    /// section 9.6).
    HopByHop,
    /// A field of the caller.
    Custom(C),
    Other,
}

impl<C: CustomField> FieldKind<C> {
    #[inline]
    pub(crate) fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            5 if is("close") => Self::HopByHop,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Trailer,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            14 if is("content-length") => Self::ContentLength,
            16 if is("proxy-connection") => Self::HopByHop,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            _ => match C::of(name) {
                Some(custom) => Self::Custom(custom),
                None if name.contains(&b'_') => Self::of_underscored(name),
                None => Self::Other,
            },
        }
    }

    /// To programs with a CGI-like view of fields `X_Real_IP` and `X-Real-IP` are the
    /// same field, so a field that has a meaning under one name must not come in under
    /// the other.
    #[cold]
    fn of_underscored(name: &[u8]) -> Self {
        let mut buffer = [0; MAX_NAME];
        let Some(dashed) = buffer.get_mut(..name.len()) else { return Self::Other };
        for (dashed, &byte) in dashed.iter_mut().zip(name) {
            *dashed = if byte == b'_' { b'-' } else { byte };
        }
        match Self::of(dashed) {
            Self::Other => Self::Other,
            _ => Self::HopByHop,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A caller with one field of its own.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Custom;

    impl CustomField for Custom {
        fn of(name: &[u8]) -> Option<Self> {
            name.eq_ignore_ascii_case(b"x-custom").then_some(Self)
        }
    }

    #[test]
    fn names_are_known_in_any_case() {
        for (name, kind) in [
            ("hOsT", FieldKind::Host),
            ("Proxy-Connection", FieldKind::HopByHop),
            ("close", FieldKind::HopByHop),
            ("X-Custom", FieldKind::Custom(Custom)),
            ("X-Custom2", FieldKind::Other),
            ("hosts", FieldKind::Other),
        ] {
            assert_eq!(FieldKind::<Custom>::of(name.as_bytes()), kind, "{name}");
        }
    }

    #[test]
    fn a_field_with_a_meaning_does_not_come_in_with_underscores() {
        for name in ["Content_Length", "transfer_encoding", "X_Custom", "x_CUSTOM"] {
            assert_eq!(FieldKind::<Custom>::of(name.as_bytes()), FieldKind::HopByHop, "{name}");
        }
        let long = format!("x_{}", "y".repeat(200));
        for name in ["x_other", &long] {
            assert_eq!(FieldKind::<Custom>::of(name.as_bytes()), FieldKind::Other, "{name}");
        }
    }
}
