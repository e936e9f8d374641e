//! What responses say of shared caches, as a table.

use std::time::Duration;

use balancer_http1::{FieldBuffer, ResponseHead};

use super::*;

/// 2026-01-01 00:00:00 UTC.
const NOW: u64 = 1_767_225_600;

fn check(fields: &[&str], is_authorized: bool) -> bool {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{fields}\r\n");
    let mut buffer = FieldBuffer::default();
    let response = ResponseHead::parse(head.as_bytes(), false, &mut buffer).unwrap();
    is_storable(&response.fields, is_authorized, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

const FUTURE: &str = "Expires: Thu, 01 Jan 2026 00:00:10 GMT";
const PAST: &str = "Expires: Wed, 31 Dec 2025 23:59:50 GMT";

#[test]
fn a_response_that_says_that_it_may_be_stored_may_be() {
    let rows: &[&[&str]] = &[
        &["Cache-Control: public"],
        &["Cache-Control: public, max-age=0"],
        &["Cache-Control: max-age=1"],
        &["cache-control: MAX-AGE=60"],
        &["Cache-Control: max-age=\"60\""],
        &["Cache-Control: max-age = 60"],
        &["Cache-Control: max-age=99999999999999999999999"],
        &["Cache-Control: s-maxage=60"],
        &["Cache-Control: max-age=0, s-maxage=60"],
        &["Cache-Control: max-age=60, max-age=0"],
        &["Cache-Control: ,, immutable ,max-age=60,"],
        &["Cache-Control: no-transform", "Cache-Control: max-age=60"],
        &["Cache-Control: max-age=0, stale-while-revalidate=30"],
        &["Cache-Control: max-age=0, stale-if-error=30"],
        &["Cache-Control: must-understand, no-store, max-age=60"],
        &["Cache-Control: private=\"x-user\", max-age=60"],
        &["Cache-Control: no-cache=\"x-user, x-other\", max-age=60"],
        &["Cache-Control: x=\"private, no-store\", max-age=60"],
        &["Cache-Control: x=\"a\\\", no-store\", max-age=60"],
        &["Cache-Control: x-private, no-storex, max-age=60"],
        &[FUTURE],
        &["Cache-Control: no-transform", FUTURE],
        &["Expires: Thursday, 01-Jan-26 00:00:10 GMT"],
        &["Expires: Thu Jan  1 00:00:10 2026"],
        &[PAST, "Date: Wed, 31 Dec 2025 23:59:40 GMT"],
        &["Cache-Control: no-store", "CDN-Cache-Control: max-age=60"],
        &["Cache-Control: private", "Surrogate-Control: max-age=60"],
    ];
    for row in rows {
        assert!(check(row, false), "{row:?}");
    }
}

#[test]
fn a_response_that_does_not_say_so_gets_the_cookie() {
    let rows: &[&[&str]] = &[
        &[],
        &["ETag: \"1\"", "Last-Modified: Wed, 31 Dec 2025 23:59:50 GMT"],
        &["Cache-Control:"],
        &["Cache-Control: private"],
        &["Cache-Control: no-store"],
        &["Cache-Control: no-cache"],
        &["Cache-Control: Private, Max-Age=60"],
        &["Cache-Control: public, no-store, max-age=60"],
        &["Cache-Control: public, no-cache"],
        &["Cache-Control: max-age=60", "Cache-Control: no-store"],
        &["Cache-Control: no-cache=\"set-cookie\", max-age=60"],
        &["Cache-Control: no-cache=\"x-user, Set-Cookie\", public"],
        &["Cache-Control: no-cache=set-cookie, max-age=60"],
        &["Cache-Control: private=\"SET-COOKIE\", max-age=60"],
        &["Cache-Control: private=\"\", max-age=60"],
        &["Cache-Control: max-age=0"],
        &["Cache-Control: max-age=0, must-revalidate", FUTURE],
        &["Cache-Control: max-age=60, s-maxage=0"],
        &["Cache-Control: max-age=0, max-age=60"],
        &["Cache-Control: max-age"],
        &["Cache-Control: max-age=-60"],
        &["Cache-Control: max-age=1e3"],
        &["Cache-Control: must-revalidate"],
        &["Cache-Control: x=\"public, max-age=60\""],
        &["Cache-Control: x=\"public"],
        &["Cache-Control: xpublic, publicx"],
        &["Cache-Control: max-age=0, stale-while-revalidate=0"],
        &[PAST],
        &["Expires: 0"],
        &["Expires: -1"],
        &["Cache-Control: private", FUTURE],
        &[FUTURE, "Date: Thu, 01 Jan 2026 00:00:20 GMT"],
        &["CDN-Cache-Control: no-store"],
        &["X-Cache-Control: public"],
    ];
    for row in rows {
        assert!(!check(row, false), "{row:?}");
    }
}

#[test]
fn what_was_authorized_is_stored_only_when_that_is_said() {
    for row in [
        "Cache-Control: public",
        "Cache-Control: s-maxage=60",
        "Cache-Control: max-age=60, must-revalidate",
        "CDN-Cache-Control: s-maxage=60",
    ] {
        assert!(check(&[row], true), "{row}");
    }
    for row in [
        "Cache-Control: max-age=60",
        "Cache-Control: max-age=60, proxy-revalidate",
        "Cache-Control: s-maxage=0",
        "Cache-Control: must-revalidate",
        FUTURE,
    ] {
        assert!(!check(&[row], true), "{row}");
    }
}
