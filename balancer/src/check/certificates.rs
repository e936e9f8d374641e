//! Certificates: can they be used, and for how long?

use std::time::SystemTime;

use super::{Finding, acme};
use crate::config::Config;

pub(super) fn certificates(config: &Config) -> Vec<Finding> {
    let Some(sources) = &config.tls else { return Vec::new() };
    let pairs = match sources.list() {
        Ok(pairs) => pairs,
        Err(err) => return vec![Finding::Obstacle(err.to_string())],
    };
    let now = SystemTime::now();
    let mut findings: Vec<_> = pairs
        .iter()
        .map(|pair| match pair.read() {
            Err(err) => Finding::Obstacle(err.to_string()),
            Ok(certificate) => {
                let status = certificate.status();
                let fine = || format!("{} for {} {}", status.source, status.name, status.expiry(now));
                status.warning(now).map_or_else(|| Finding::Fine(fine()), Finding::Warning)
            }
        })
        .collect();
    match sources.check_client_ca() {
        Err(err) => findings.push(Finding::Obstacle(err.to_string())),
        Ok(()) => findings.extend(
            sources.client_ca.as_ref().map(|path| Finding::Fine(format!("{} for clients", path.display()))),
        ),
    }
    findings.extend(config.acme.as_ref().map(acme::findings).unwrap_or_default());
    findings
}
