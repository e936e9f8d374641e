//! Does a client want a page to look at, rather than an answer for programs? Content
//! negotiation by `Accept` (RFC 9110, section 12.5.1). Plain functions without I/O.

use crate::weight;

/// How well a media type suits the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Suits {
    /// 2 where the type itself is named, 1 for its kind, 0 for anything at all.
    precision: u8,
    /// In thousandths.
    weight: u16,
}

/// Do these values of `Accept` prefer HTML to JSON? Of two that weigh the same, HTML has to
/// be the one that is named more precisely, so that `*/*` alone means JSON.
pub(crate) fn prefers_html<'v>(values: impl Iterator<Item = &'v [u8]>) -> bool {
    let (mut html, mut json) = (None, None);
    for range in values.flat_map(|value| value.split(|&byte| byte == b',')) {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let Some(media) = parts.next() else { continue };
        // A weight that is none says nothing.
        let Some(weight) = weight::of_parameters(parts) else { continue };
        let is = |name: &[u8]| media.eq_ignore_ascii_case(name);
        if is(b"text/html") {
            take(&mut html, 2, weight);
        } else if is(b"application/json") || is(b"application/problem+json") {
            take(&mut json, 2, weight);
        } else if is(b"text/*") {
            take(&mut html, 1, weight);
        } else if is(b"application/*") {
            take(&mut json, 1, weight);
        } else if is(b"*/*") {
            take(&mut html, 0, weight);
            take(&mut json, 0, weight);
        }
    }
    let (html, json) = (html.unwrap_or_default(), json.unwrap_or_default());
    (html.weight, html.precision) > (json.weight, json.precision) && html.weight > 0
}

/// The most precise range decides; of several such, the one that weighs most.
fn take(best: &mut Option<Suits>, precision: u8, weight: u16) {
    *best = (*best).max(Some(Suits { precision, weight }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(accept: &str) -> bool {
        prefers_html(accept.split('|').map(str::as_bytes))
    }

    #[test]
    fn navigations_of_browsers_want_a_page() {
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html",
            "Text/HTML; charset=utf-8",
            "text/html, */*",
            "text/*",
            "text/*;q=0.5, application/*;q=0.4",
            "application/json;q=0.5, text/html;q=0.501",
            "application/json;q=0.9|text/html",
            "application/json;q=0, */*",
            "text/html;q=0.1",
        ] {
            assert!(html(accept), "{accept}");
        }
    }

    #[test]
    fn everybody_else_gets_json() {
        for accept in [
            "",
            "*/*",
            "*/*;q=0.8",
            "application/json",
            "application/json, text/plain, */*",
            "application/json, text/html",
            "text/html;q=0.9, application/problem+json",
            "text/html;q=0.5, */*",
            "text/html;q=0",
            "text/html;q=0, */*;q=0.1",
            "text/html;q=2",
            "text/html;q=1.001",
            "text/html;q=0.1234",
            "text/html;q=",
            "text/html;q=.5",
            "text/htmlx",
            "image/png",
            ",;,;q=1",
        ] {
            assert!(!html(accept), "{accept}");
        }
    }
}
