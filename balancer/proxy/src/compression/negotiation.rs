//! Which coding a client gets. Plain functions without I/O.

use balancer_http1::RequestHead;

use super::coding::{Coding, Codings};
use crate::field::ProxyField;
use crate::weight;

/// What a request says of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Negotiation {
    /// The one that the client gets; `None` if it accepts none.
    pub(crate) coding: Option<Coding>,
    /// It asks by a weak entity tag whether what it has is still good.
    pub(crate) has_weak_tag: bool,
}

impl Negotiation {
    /// What `request` says, of which `codings` are used.
    pub(crate) fn new(codings: &Codings, request: &RequestHead<'_, ProxyField>) -> Self {
        // A compressed response of unknown length would end an HTTP/1.0 client's connection,
        // and such a client may not know where it is truncated.
        let can_have = request.is_1_1 && !request.upgrades;
        let named = |name: &'static [u8]| {
            let fields = request.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
            fields.map(|field| field.value)
        };
        Self {
            coding: if can_have { choose(codings, named(b"accept-encoding")) } else { None },
            has_weak_tag: named(b"if-none-match").any(|tags| tags.windows(3).any(|part| part == b"W/\"")),
        }
    }
}

/// How much a client wants each coding, in thousandths; `None` where it says nothing.
#[derive(Default)]
struct Weights {
    codings: [Option<u16>; Coding::ALL.len()],
    any: Option<u16>,
    identity: Option<u16>,
}

/// The coding that these values of `Accept-Encoding` prefer; of those that weigh the same,
/// the first one of `codings` (RFC 9110, section 12.5.3).
fn choose<'v>(codings: &Codings, values: impl Iterator<Item = &'v [u8]>) -> Option<Coding> {
    let mut weights = Weights::default();
    for element in values.flat_map(|value| value.split(|&byte| byte == b',')) {
        let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let Some(name) = parts.next() else { continue };
        // A weight that is none says nothing.
        let Some(weight) = weight::of_parameters(parts) else { continue };
        if let Some(coding) = Coding::of(name) {
            weights.codings[coding as usize] = Some(weight);
        } else if name == b"*" {
            weights.any = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            weights.identity = Some(weight);
        }
    }
    let mut best = None;
    for coding in codings.iter() {
        let weight = weights.codings[coding as usize].or(weights.any).unwrap_or(0);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    let (coding, weight) = best?;
    (weights.identity.unwrap_or(0) <= weight).then_some(coding)
}

#[cfg(test)]
mod tests {
    use balancer_http1::FieldBuffer;

    use super::*;

    fn chosen(accepts: &str) -> Option<&'static str> {
        let values = accepts.split('|').map(str::as_bytes);
        choose(&Codings::new(Coding::ALL), values).map(Coding::name)
    }

    #[test]
    fn the_coding_that_weighs_most_is_chosen_and_ours_among_equals() {
        for (accepts, expected) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("deflate, gzip", Some("gzip")),
            ("GZip", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("gzip;q=1.0, zstd;q=0.5", Some("gzip")),
            ("gzip; q=0.8 , br ;Q=0.9", Some("br")),
            ("gzip|br", Some("br")),
            ("gzip;q=0.001", Some("gzip")),
            ("*", Some("zstd")),
            ("*;q=0.5, gzip", Some("gzip")),
            ("zstd;q=0, *", Some("br")),
            ("zstd;q=0, br;q=0, *;q=0.1", Some("gzip")),
            ("identity;q=0, gzip;q=0.1", Some("gzip")),
            ("gzip, identity", Some("gzip")),
            ("gzip;q=0.5, identity;q=0.5", Some("gzip")),
            (",, gzip ,", Some("gzip")),
            ("gzip;level=9", Some("gzip")),
            ("gzip;level=9;q=0", None),
        ] {
            assert_eq!(chosen(accepts), expected, "{accepts}");
        }
    }

    #[test]
    fn nothing_is_compressed_for_who_does_not_ask_for_it() {
        for accepts in [
            "",
            "identity",
            "deflate, compress",
            "gzip;q=0",
            "gzip;q=0.000",
            "*;q=0",
            "gzip;q=0.5, identity",
            "gzip;q=0.5, identity;q=0.6",
            "identity;q=0",
            "gzip;q=2",
            "gzip;q=",
            "gzip;q=x",
            "gzip;q=0.0001",
            "gzipped",
            "br-2",
            "*/*",
        ] {
            assert_eq!(chosen(accepts), None, "{accepts}");
        }
    }

    #[test]
    fn only_what_is_configured_is_chosen_in_its_order() {
        let of = |codings: &[Coding], accepts: &str| {
            choose(&Codings::new(codings.iter().copied()), std::iter::once(accepts.as_bytes()))
        };
        assert_eq!(of(&[Coding::Gzip], "zstd, br"), None);
        assert_eq!(of(&[Coding::Gzip, Coding::Zstd, Coding::Gzip], "zstd, gzip, br"), Some(Coding::Gzip));
        assert_eq!(of(&[], "zstd, gzip, br"), None);
    }

    #[test]
    fn old_clients_and_upgrades_get_what_the_worker_sends() {
        let of = |request: &str| {
            let head = format!("GET / HTTP/{request}\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
            let mut buffer = FieldBuffer::default();
            let request = RequestHead::parse(head.as_bytes(), &mut buffer).unwrap();
            let Negotiation { coding, has_weak_tag } = Negotiation::new(&Codings::new(Coding::ALL), &request);
            (coding, has_weak_tag)
        };
        assert_eq!(of("1.1"), (Some(Coding::Gzip), false));
        assert_eq!(of("1.1\r\nAccept-Encoding: br"), (Some(Coding::Brotli), false));
        assert_eq!(of("1.0"), (None, false));
        assert_eq!(of("1.1\r\nConnection: upgrade\r\nUpgrade: websocket"), (None, false));
        assert_eq!(of("1.1\r\nIf-None-Match: \"a\", W/\"b\""), (Some(Coding::Gzip), true));
        assert_eq!(of("1.1\r\nIf-None-Match: \"W/\""), (Some(Coding::Gzip), true));
        assert_eq!(of("1.1\r\nIf-None-Match: \"a\""), (Some(Coding::Gzip), false));
    }
}
