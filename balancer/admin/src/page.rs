//! The dashboard's files, part of the executable.

use balancer_state::response::Response;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Scripts, styles and data from this listener only, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The file at `path`, if there is one.
pub(super) fn file(path: &str) -> Option<Response> {
    let (content_type, text) = match path {
        "/" => (HTML, include_str!("page/index.html")),
        "/conditions.js" => (SCRIPT, include_str!("page/conditions.js")),
        "/dashboard.css" => (CSS, include_str!("page/dashboard.css")),
        "/dashboard.js" => (SCRIPT, include_str!("page/dashboard.js")),
        "/events.js" => (SCRIPT, include_str!("page/events.js")),
        "/figures.js" => (SCRIPT, include_str!("page/figures.js")),
        "/text.js" => (SCRIPT, include_str!("page/text.js")),
        "/tour.js" => (SCRIPT, include_str!("page/tour.js")),
        "/workers.js" => (SCRIPT, include_str!("page/workers.js")),
        _ => return None,
    };
    Some(
        Response::new(200, content_type, text)
            .with("content-security-policy", POLICY)
            .with("referrer-policy", "no-referrer"),
    )
}
