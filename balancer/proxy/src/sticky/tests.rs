//! The cookie: how it is written and read, and when it is set.

use balancer_http1::{FieldBuffer, RequestHead};

use super::*;

fn random() -> Sticky {
    Sticky::with_secret(&random_secret().unwrap(), CookieAttributes::default())
}

fn named(name: &str) -> Sticky {
    let attributes =
        CookieAttributes::new(name.to_owned(), "/app".to_owned(), SameSite::Strict, false).unwrap();
    Sticky::with_secret(b"0123456789abcdef", attributes)
}

fn cookie(sticky: &Sticky, worker: u32, is_https: bool) -> String {
    let mut out = Vec::new();
    StickyCookie { sticky, worker: WorkerId(worker), is_https }.write(&mut out);
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
    let sticky = random();
    for id in [1, 2, 10, 512, u32::MAX] {
        let pair = pair(&sticky, id);
        assert_eq!(read(&sticky, &format!("Cookie: {pair}\r\n")), Some(id));
        assert_eq!(read(&sticky, &format!("cookie: a=b; {pair};c=d\r\n")), Some(id));
        assert_eq!(read(&sticky, &format!("Cookie: a=b\r\nCookie: {pair}\r\n")), Some(id));
    }
}

#[test]
fn the_cookie_is_for_the_browser_alone() {
    let sticky = Sticky::with_secret(b"0123456789abcdef", CookieAttributes::default());
    let plain = cookie(&sticky, 3, false);
    assert!(plain.starts_with("Set-Cookie: cluster_worker=3."), "{plain}");
    assert!(plain.ends_with("; Path=/; HttpOnly; SameSite=Lax\r\n"), "{plain}");
    assert!(cookie(&sticky, 3, true).ends_with("; SameSite=Lax; Secure\r\n"));
    // What an older version has signed with a secret holds.
    assert!(
        plain.contains("=3.99c88686105b06c96221bf231523fd27d2fb3a1c6709b096c4f86b9534e24ca4;"),
        "{plain}"
    );
    assert_eq!(
        plain,
        cookie(&Sticky::with_secret(b"0123456789abcdef", CookieAttributes::default()), 3, false)
    );
}

#[test]
fn what_is_not_signed_here_counts_as_nothing() {
    let sticky = random();
    let good = pair(&sticky, 2);
    let tag = good.split_once('.').unwrap().1;
    let foreign = pair(&random(), 2);
    let name = "cluster_worker=";
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
        name.to_owned(),
        format!("x{good}"),
        format!("\"{good}\""),
    ] {
        assert_eq!(read(&sticky, &format!("Cookie: {bad}\r\n")), None, "{bad}");
    }
    assert_eq!(read(&sticky, ""), None);
    // One that is good counts among those that are not.
    assert_eq!(read(&sticky, &format!("Cookie: {name}9.00; {good}\r\n")), Some(2));
}

#[test]
fn a_cookie_of_another_name_is_another_cookie() {
    let (one, other) = (named("one"), named("other"));
    let text = cookie(&one, 3, false);
    assert!(text.starts_with("Set-Cookie: one=3."), "{text}");
    assert!(text.ends_with("; Path=/app; HttpOnly; SameSite=Strict\r\n"), "{text}");
    let mine = pair(&one, 3);
    assert_eq!(read(&one, &format!("Cookie: other=1; {mine}\r\n")), Some(3));
    assert_eq!(read(&other, &format!("Cookie: {mine}\r\n")), None);
    let renamed = mine.replace("one=", "other=");
    assert_eq!(read(&other, &format!("Cookie: {renamed}\r\n")), None, "it is signed for its name");
    let longest = named(&"n".repeat(LONGEST));
    assert_eq!(read(&longest, &format!("Cookie: {}\r\n", pair(&longest, 7))), Some(7));
}

fn due(sticky: &Sticky, request: &str, response: &str) -> bool {
    let (mut buffer, mut other) = (FieldBuffer::default(), FieldBuffer::default());
    let head = format!("{request}\r\n\r\n");
    let request = RequestHead::parse(head.as_bytes(), &mut buffer).unwrap();
    let identity = ClientIdentity::new("192.0.2.7".parse().unwrap(), false);
    let affinity = sticky.worker_of(&request.fields).map(Affinity::Worker);
    let asked = sticky.cookie_request(&request, &identity);
    let head = format!("HTTP/1.1 {response}\r\n\r\n");
    let response = ResponseHead::parse(head.as_bytes(), false, &mut other).unwrap();
    sticky.cookie_for(asked, affinity, WorkerId(2), &response).is_some()
}

#[test]
fn the_cookie_is_set_when_it_is_new_and_for_this_client_alone() {
    let sticky = random();
    let get = "GET / HTTP/1.1\r\nHost: a";
    let with = |id| format!("{get}\r\nCookie: {}", pair(&sticky, id));
    assert!(due(&sticky, get, "200 OK") && due(&sticky, &with(1), "200 OK"));
    assert!(!due(&sticky, &with(2), "200 OK"), "the client has it");
    assert!(!due(&sticky, get, "103 Early Hints") && due(&sticky, get, "304 Not Modified"));
    assert!(due(&sticky, get, "101 Switching Protocols\r\nUpgrade: websocket"));
    let public = "200 OK\r\nCache-Control: max-age=60";
    for (method, is_due) in [("GET", false), ("HEAD", false), ("POST", true), ("OPTIONS", true)] {
        assert_eq!(due(&sticky, &get.replace("GET", method), public), is_due, "{method}");
    }
    let authorized = format!("{get}\r\nauthorization: Basic eDp5");
    assert!(due(&sticky, &authorized, public));
    assert!(!due(&sticky, &authorized, "200 OK\r\nCache-Control: public"));
}

#[test]
fn requests_that_would_not_show_the_cookie_do_not_change_it() {
    let of = |target: &str| due(&named("one"), &format!("GET {target} HTTP/1.1\r\nHost: a"), "200 OK");
    assert!(of("/app") && of("/app/b?c"));
    assert!(!of("/") && !of("/favicon.ico?/app") && !of("/apple"));
}
