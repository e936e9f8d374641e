//! The dashboard's files, part of the executable.

use crate::answer::Answer;

/// Scripts, styles and data from this listener only, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The file at `path`, if there is one.
pub(super) fn file(path: &str) -> Option<Answer> {
    let (content_type, text) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/dashboard.css" => ("text/css; charset=utf-8", include_str!("page/dashboard.css")),
        "/dashboard.js" => ("text/javascript; charset=utf-8", include_str!("page/dashboard.js")),
        _ => return None,
    };
    Some(
        Answer::new(200, content_type, text)
            .with("content-security-policy", POLICY)
            .with("referrer-policy", "no-referrer"),
    )
}
