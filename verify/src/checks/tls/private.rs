//! A private cluster that speaks HTTPS, with an authority of its own.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use shared_process::port::ReservedPort;

use super::{Subject, judge};
use crate::cluster::Launcher;
use crate::target::Target;
use crate::transport::Transport;
use crate::verdict::{Judged, Verdict};

pub(super) async fn run(launcher: &Launcher) -> Judged {
    let unable = |what: String| Verdict::inconclusive(format!("no private cluster with TLS: {what}"));
    let directory = tempfile::tempdir().map_err(|err| unable(err.to_string()))?;
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| directory.path().join(name));
    write_certificates(&ca, &cert, &key).map_err(|err| unable(err.to_string()))?;
    let arguments = ["--tls-cert", text(&cert), "--tls-key", text(&key), "--http-redirect", "127.0.0.1:0"];
    let transport = Transport { cacert: Some(ca), http2: true, ..Transport::default() };
    // The redirect names it, so that it has to be known before.
    let port = ReservedPort::take().map_err(|err| unable(err.to_string()))?;
    let cluster = launcher
        .launch_secured(port.number(), &[&arguments[..], &["--hsts", "365days"]].concat(), &transport)
        .await
        .map_err(|err| unable(err.to_string()))?;
    let subject = Subject {
        target: cluster.client.target(),
        transport: &transport,
        plain: cluster.plain.map(Target::at),
        plain_is_a_guess: false,
        wants_http2: true,
    };
    judge(&subject).await
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// An authority, and a certificate for 127.0.0.1 that it has signed, with its key.
fn write_certificates(ca: &Path, cert: &Path, key: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of verify");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let own_key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&own_key, &issuer)?;
    fs::write(ca, issuer.pem())?;
    fs::write(cert, certificate.pem())?;
    Ok(fs::write(key, own_key.serialize_pem())?)
}
