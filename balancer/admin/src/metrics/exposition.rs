//! The two forms of the metrics: OpenMetrics 1.0 for those who ask for it, as Prometheus
//! does, and Prometheus' older text format 0.0.4 for everybody else, as its client
//! libraries do: there are tools that read nothing else, `promtool check metrics` among them.

use http::HeaderMap;
use http::header::ACCEPT;

use balancer_state::ClusterState;
use balancer_state::response::Response;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics, in the form that the fields of a request ask for.
pub(crate) fn response(state: &ClusterState, fields: &HeaderMap) -> Response {
    let text = super::text(state);
    let mut response = if wants_open_metrics(fields) {
        Response::new(200, OPEN_METRICS, text)
    } else {
        Response::new(200, PLAIN, plain(&text))
    };
    response.extra.push(("vary", "accept".into()));
    response
}

/// Only by its name: `*/*` may be anybody.
fn wants_open_metrics(fields: &HeaderMap) -> bool {
    let ranges = fields.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named =
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        // A weight of 0 means "not acceptable" (RFC 9110, section 12.4.2).
        let is_refused = |part: &str| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0)
        };
        is_named && !parts.any(is_refused)
    })
}

/// `text` in the older format: counters are named as their samples are, with `_total`;
/// what is an info here is a gauge with `_info` there; units and the end are not marked.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    // A family's help comes before its type, upon which its name depends.
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take() {
                plain.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            plain.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            plain.extend([line, "\n"]);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(accept: &[&'static str]) -> HeaderMap {
        accept.iter().map(|value| (ACCEPT, (*value).parse().unwrap())).collect()
    }

    #[test]
    fn open_metrics_come_to_who_names_them() {
        for accept in [
            &["application/openmetrics-text"][..],
            &["application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1"],
            &["text/html", "text/plain, APPLICATION/OPENMETRICS-TEXT; q=0.1"],
        ] {
            assert!(wants_open_metrics(&fields(accept)), "{accept:?}");
        }
        for accept in [
            &[][..],
            &["*/*"],
            &["text/plain"],
            &["application/openmetrics-text; q=0"],
            &["application/openmetrics-text;version=1.0.0;q=0.0, text/plain"],
            &["application/openmetrics"],
        ] {
            assert!(!wants_open_metrics(&fields(accept)), "{accept:?}");
        }
    }

    #[test]
    fn the_older_format_has_all_samples_and_none_of_the_newer_words() {
        let open = "# HELP a_build The program\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_cpu_seconds Time\n# TYPE a_cpu_seconds counter\n# UNIT a_cpu_seconds seconds\n\
                    a_cpu_seconds_total 2.5\n# HELP a_up Is it?\n# TYPE a_up gauge\na_up 1\n# EOF\n";
        let expected = "# HELP a_build_info The program\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                        # HELP a_cpu_seconds_total Time\n# TYPE a_cpu_seconds_total counter\n\
                        a_cpu_seconds_total 2.5\n# HELP a_up Is it?\n# TYPE a_up gauge\na_up 1\n";
        assert_eq!(plain(open), expected);
    }
}
