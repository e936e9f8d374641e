use shared_protocol::problem::Problem;

use super::*;

fn shown(status: u16, detail: &str, id: &str, html: bool, maintenance: bool) -> Response {
    let response = Response::problem(Problem::new(status, detail)).with("retry-after", 1);
    for_client(&ErrorPages::default(), &response, html, maintenance, id.as_bytes()).unwrap()
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

fn extra<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.extra.iter().find(|(found, _)| *found == name).map(|(_, value)| &value[..])
}

#[test]
fn every_error_has_a_small_whole_page() {
    for status in [400, 405, 408, 413, 414, 417, 429, 431, 500, 501, 502, 503, 504, 505] {
        let page = shown(status, "no worker is ready", &"i".repeat(128), true, false);
        let text = text(&page);
        assert!(text.len() <= 4096, "{} bytes", text.len());
        assert!(!text.contains("{{") && text.contains(&format!("{status} {}", problem::title(status))));
        assert!(text.contains("no worker is ready") && text.contains("iiii"), "{text}");
        assert_eq!((page.status, page.content_type), (status, HTML));
        assert_eq!((extra(&page, "vary"), extra(&page, "retry-after")), (Some("Accept"), Some("1")));
        assert!(extra(&page, "content-security-policy").unwrap().starts_with("default-src 'none'"));
    }
}

#[test]
fn programs_get_the_problem_as_it_is() {
    let page = shown(503, "x", "id", false, false);
    assert_eq!(page.content_type, problem::CONTENT_TYPE);
    assert_eq!(&page.body[..], Problem::new(503, "x").to_json());
    assert_eq!(extra(&page, "vary"), Some("Accept"));
    assert_eq!(for_client(&ErrorPages::default(), &Response::json(200, &1), true, false, b"id"), None);
}

#[test]
fn nothing_that_a_client_sends_becomes_markup() {
    let page = shown(405, "<script>alert('x')</script> & \"y\" {{status}}", "<b>", true, false);
    let text = text(&page);
    assert!(!text.contains("<script>") && !text.contains("<b>"), "{text}");
    assert!(text.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;"), "{text}");
    assert!(text.contains("{{status}}"), "what a placeholder stands for is not looked at again");
}

#[test]
fn maintenance_says_what_it_is() {
    assert!(text(&shown(503, "x", "id", true, true)).contains("Down for maintenance"));
    assert!(!text(&shown(503, "x", "id", true, false)).contains("maintenance"));
}

#[test]
fn ones_own_pages_are_used_in_both_forms() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    file("502.html", "<p>{{status}} {{request_id}} {{unknown}} {{ }}");
    file("5xx.json", r#"{"status":{{status}},"why":"{{detail}}"}"#);
    let pages = ErrorPages::default();
    pages.replace(PageSet::read(directory.path()).unwrap());
    let response = Response::problem(Problem::new(502, "a \"b\" \\ \n"));
    let shown = |html| for_client(&pages, &response, html, false, b"<id>").unwrap();
    let html = shown(true);
    assert_eq!(text(&html), "<p>502 &lt;id&gt; {{unknown}} {{ }}");
    assert_eq!(extra(&html, "content-security-policy"), None, "its policy is not ours");
    let json = shown(false);
    assert_eq!(text(&json), "{\"status\":502,\"why\":\"a \\\"b\\\" \\\\ \\u000a\"}");
    assert_eq!(json.content_type, "application/json");
}

#[test]
fn the_policy_allows_the_style_of_the_page() {
    let style = PAGE.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = ring::digest::digest(&ring::digest::SHA256, style.as_bytes());
    let hash = base64(hash.as_ref());
    assert!(POLICY.contains(&format!("'sha256-{hash}'")), "{hash}");
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).map(|group| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - group.len()));
        let place = |n: usize| if n <= group.len() { digits[bits >> (18 - 6 * n) & 63] } else { b'=' };
        (0..4).map(|n| char::from(place(n))).collect::<String>()
    });
    groups.collect()
}
