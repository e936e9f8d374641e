//! Pages for people, in the place of problem details: what a browser shows when the
//! balancer itself answers with an error. Responses of workers are never replaced.

mod accept;
mod set;

use std::fmt::Write as _;

use balancer_state::response::Response;
use shared_protocol::problem;

pub(crate) use accept::prefers_html;
use set::HTML;
pub use set::{ErrorPages, PageSet, PageSetError};

const PAGE: &str = include_str!("pages/page.html");
/// Nothing is loaded or run, and the only style is the page's own, which is known by its
/// SHA-256 (Content Security Policy Level 3, section 2.3.1).
const POLICY: &str = "default-src 'none'; style-src 'sha256-SvUPFPFMUhvBcAgYaqwTr97TzyDKT5DCe7Tf2lTaTbw='; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What stands in a page in the place of its placeholders.
struct Words<'a> {
    status: u16,
    detail: &'a str,
    request_id: &'a [u8],
    is_maintenance: bool,
}

/// The form in which the client gets `response`; `None` where that is the one that it has,
/// since it is no error. Both forms say that they depend on `Accept`.
pub(crate) fn for_client(
    pages: &ErrorPages,
    response: &Response,
    accepts_html: bool,
    is_maintenance: bool,
    request_id: &[u8],
) -> Option<Response> {
    let detail = response.detail.as_deref()?;
    let status = response.status;
    let words = Words { status, detail, request_id, is_maintenance };
    let chosen = pages.load();
    let own = chosen.page(status, accepts_html, is_maintenance);
    let page = match own {
        Some(page) => Response::new(status, page.content_type(), words.fill(&page.text, page.is_html)),
        None if accepts_html => Response::new(status, HTML, words.fill(PAGE, true))
            .with("content-security-policy", POLICY)
            .with("x-content-type-options", "nosniff"),
        None => Response::new(status, response.content_type, response.body.clone()),
    };
    let extra = response.extra.iter().cloned().chain(page.extra).chain([("vary", "Accept".to_owned())]);
    Some(Response {
        extra: extra.collect(),
        content_type: page.content_type,
        status,
        detail: None,
        body: page.body,
    })
}

impl Words<'_> {
    /// `text` with what its placeholders stand for. An unknown one stays as it is.
    fn fill(&self, text: &str, is_html: bool) -> String {
        let (heading, advice) = self.heading_and_advice();
        let request_id = String::from_utf8_lossy(self.request_id);
        let status = self.status.to_string();
        let mut filled = String::with_capacity(text.len() + 512);
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("{{") {
            filled.push_str(before);
            let value = from.split_once("}}").and_then(|(name, after)| {
                let value = match name {
                    "status" => &status,
                    "title" => problem::title(self.status),
                    "heading" => heading,
                    "advice" => advice,
                    "detail" => self.detail,
                    "request_id" => &*request_id,
                    _ => return None,
                };
                Some((value, after))
            });
            match value {
                Some((value, after)) => {
                    escape(&mut filled, value, is_html);
                    rest = after;
                }
                None => {
                    filled.push_str("{{");
                    rest = from;
                }
            }
        }
        filled.push_str(rest);
        filled
    }

    /// What has happened and what to do, for somebody who knows nothing of balancers.
    fn heading_and_advice(&self) -> (&'static str, &'static str) {
        match self.status {
            _ if self.is_maintenance => (
                "Down for maintenance",
                "The service is being worked on and will be back soon. Please try again in a little while.",
            ),
            413 => {
                ("That is too large", "The service does not take as much as was sent. Send less at a time.")
            }
            414 | 431 => (
                "The request is too large",
                "The address or the cookies of this site are too long. Use a shorter address, or delete \
                 the cookies of this site, and try again.",
            ),
            429 => ("Too many requests", "Please wait a moment, then try again."),
            503 => (
                "Not available right now",
                "The service cannot take the request at the moment. Please try again in a little while.",
            ),
            502 | 504 => (
                "The service did not answer",
                "Something went wrong on our side. If you were sending something, see whether it has \
                 arrived before you send it again.",
            ),
            500.. => (
                "This did not work",
                "The service cannot do what was asked for. Please go back and try another way.",
            ),
            _ => (
                "The request was not understood",
                "The service does not accept what was sent. Please go back and check the address.",
            ),
        }
    }
}

/// Appends `value` as text of HTML, or as part of a JSON string.
fn escape(out: &mut String, value: &str, is_html: bool) {
    for c in value.chars() {
        match c {
            '&' if is_html => out.push_str("&amp;"),
            '<' if is_html => out.push_str("&lt;"),
            '>' if is_html => out.push_str("&gt;"),
            '"' if is_html => out.push_str("&quot;"),
            '\'' if is_html => out.push_str("&#39;"),
            '"' | '\\' if !is_html => out.extend(['\\', c]),
            // Writing to a string cannot fail.
            c if c.is_control() && !is_html => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests;
