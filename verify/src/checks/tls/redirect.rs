//! Plain HTTP, where there is some beside TLS, leads to the same place over HTTPS.

use http::Uri;
use shared_http_client::{Client, Limits, Request, Response};

use super::{Findings, LIMIT, Subject};
use crate::target::Target;

const PATH: &str = "/cluster/info?from=plain";

pub(super) async fn judge(subject: &Subject<'_>, findings: &mut Findings) {
    let Some(plain) = &subject.plain else { return };
    findings.samples += 1;
    let client = Client::new(plain.address(), Limits::new(LIMIT, 64 * 1024));
    match client.send(Request::get(PATH)).await {
        Err(err) if err.is_connect() && subject.plain_is_a_guess => {
            findings.good(format!("nothing listens at {plain}"));
        }
        Err(err) => findings.wrong(format!("{plain} does not answer: {err}")),
        Ok(response) => match fault(&response, subject.target) {
            None => findings.good(format!("{plain} leads to HTTPS ({})", response.status.as_u16())),
            Some(fault) => findings.wrong(format!("{plain} does not lead to {}: {fault}", subject.target)),
        },
    }
}

/// What is wrong with an answer that is to be a redirect for good (RFC 9110, sections
/// 15.4.2 and 15.4.9).
fn fault(response: &Response, target: &Target) -> Option<String> {
    let status = response.status.as_u16();
    let location = response.header("location").unwrap_or_default();
    if !matches!(status, 301 | 308) {
        return Some(match response.status.is_success() {
            true => format!("it answers {status}, in the clear"),
            false => format!("it answers {status}"),
        });
    }
    let uri: Uri = location.parse().unwrap_or_default();
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let right = uri.scheme_str() == Some("https")
        && host == target.host
        && uri.port_u16().unwrap_or(443) == target.port
        && uri.path_and_query().is_some_and(|path| path.as_str() == PATH);
    (!right).then(|| format!("its Location is {location:?}"))
}
