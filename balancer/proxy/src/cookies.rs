//! Cookies of a request (RFC 6265, section 4.2).

use balancer_http1::Fields;

use crate::field::ProxyField;

/// The values of all cookies with this name, in order. Names are compared as bytes.
pub(crate) fn named<'h>(fields: &Fields<'h, ProxyField>, name: &[u8]) -> impl Iterator<Item = &'h [u8]> {
    fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(b"cookie"))
        .flat_map(|field| field.value.split(|&byte| byte == b';'))
        .filter_map(move |pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}
