//! TLS: handshakes and certificates.

use std::collections::HashSet;
use std::fmt::Error;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use balancer_state::ClusterState;
use balancer_state::handshakes::HandshakeResult;

/// Each result has a series from the beginning, so that the first one is a rise.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, state: &ClusterState) -> Result<(), Error> {
    let help = "TLS handshakes of clients, by how they ended";
    let mut handshakes = encoder.encode_descriptor("tls_handshakes", help, None, MetricType::Counter)?;
    for result in HandshakeResult::ALL {
        let (labels, count) = ([("result", result.name())], state.counters.handshakes.count(result));
        handshakes.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    let help = "When a certificate ends to be valid, since 1970-01-01 UTC";
    let unit = Some(&Unit::Seconds);
    let mut ends = encoder.encode_descriptor("tls_certificate_not_after", help, unit, MetricType::Gauge)?;
    let mut seen = HashSet::new();
    for status in state.certificates.all().iter() {
        // A series must not come twice, and a file may be named twice.
        if seen.insert((&status.name, &status.source)) {
            let labels = [("name", status.name.clone()), ("source", status.source.clone())];
            ends.encode_family(&labels)?.encode_gauge(&status.not_after)?;
        }
    }
    acme(encoder, state)
}

fn acme(encoder: &mut DescriptorEncoder<'_>, state: &ClusterState) -> Result<(), Error> {
    let counter = MetricType::Counter;
    for (name, help, count) in [
        ("acme_issued", "Certificates that were issued by ACME", state.acme.issued()),
        ("acme_failures", "Attempts to have a certificate by ACME that have failed", state.acme.failed()),
    ] {
        encoder
            .encode_descriptor(name, help, None, counter)?
            .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    if let Some(next) = state.acme.next() {
        let help = "When the next certificate is ordered by ACME, since 1970-01-01 UTC";
        let unit = Some(&Unit::Seconds);
        encoder.encode_descriptor("acme_next_order", help, unit, MetricType::Gauge)?.encode_gauge(&next)?;
    }
    Ok(())
}
