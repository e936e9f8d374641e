use std::path::PathBuf;

use crate::definition::{Draft, Optional, group};
use crate::parse;

const FILES: &str = "a file in PEM form, or several with commas between them";

group! {
    "TLS";

    TLS_CERT: Optional<Vec<PathBuf>> = Draft::new("CLUSTER_TLS_CERT", "FILE", FILES, parse::paths)
        .flag("tls-cert")
        .repeatable()
        .list()
        .example("/etc/ssl/example.com/fullchain.pem")
        .help(
            "Clients speak HTTPS (TLS 1.2 and 1.3), and get this certificate, with its chain behind it; may be \
             repeated, and the name that a client asks for decides (the first one for all others). Files are \
             read again when they change and by each reload; a broken one is refused, and what was there stays",
        )
        .unset("none, plain HTTP");

    TLS_KEY: Optional<Vec<PathBuf>> = Draft::new("CLUSTER_TLS_KEY", "FILE", FILES, parse::paths)
        .flag("tls-key")
        .repeatable()
        .list()
        .example("/etc/ssl/example.com/privkey.pem")
        .help("The private key of the certificate, one for each --tls-cert in the same order")
        .unset("in the file of the certificate");

    TLS_DIR: Optional<PathBuf> = Draft::path("CLUSTER_TLS_DIR", "DIR", "a directory")
        .flag("tls-dir")
        .example("/etc/letsencrypt")
        .help(
            "All certificates of this directory: NAME.pem, NAME.crt with NAME.key, and what certbot keeps in \
             live/NAME",
        )
        .unset("none");

    TLS_CLIENT_CA: Optional<PathBuf> = Draft::path("CLUSTER_TLS_CLIENT_CA", "FILE", "a file in PEM form")
        .flag("tls-client-ca")
        .example("/etc/ssl/clients-ca.pem")
        .help("Clients have to show a certificate that one of the authorities in this file has signed")
        .unset("clients need none");

    ACME_DOMAIN: Optional<Vec<String>> = Draft::new(
        "CLUSTER_ACME_DOMAIN",
        "NAME",
        "a host name, or several with commas between them",
        parse::words,
    )
        .flag("acme-domain")
        .repeatable()
        .list()
        .example("example.com")
        .help(
            "A certificate for this name is had from an ACME server, kept in files and renewed; may be repeated. \
             The server looks at port 80 (--http-redirect) or at port 443, so one of them has to lead here. By \
             this you agree to the server's terms of service",
        )
        .unset("none");

    ACME_EMAIL: Optional<String> = Draft::new("CLUSTER_ACME_EMAIL", "ADDRESS", "a mail address", parse::mail)
        .flag("acme-email")
        .example("ops@example.com")
        .help("Where the ACME server can write to")
        .unset("none");

    ACME_DIRECTORY: Optional<String> = Draft::new("CLUSTER_ACME_DIRECTORY", "URL", "an https:// URL", parse::https_url)
        .flag("acme-directory")
        .example("https://acme-staging-v02.api.letsencrypt.org/directory")
        .help("The directory of the ACME server")
        .unset("that of Let's Encrypt");

    ACME_CA: Optional<PathBuf> = Draft::path("CLUSTER_ACME_CA", "FILE", "a file in PEM form")
        .flag("acme-ca")
        .example("/etc/ssl/own-ca.pem")
        .help("The authorities that sign the ACME server's own certificate, for an own server")
        .unset("those that the system trusts");

    ACME_DIR: Optional<PathBuf> = Draft::path("CLUSTER_ACME_DIR", "DIR", "a directory")
        .flag("acme-dir")
        .example("/var/lib/balancer/acme")
        .help(
            "Where the account's key and the certificates are kept, for their owner only. Keep it: servers limit \
             how often they issue the same certificate",
        )
        .unset(
            "/var/lib/balancer/acme for root, $XDG_STATE_HOME/balancer/acme or ~/.local/state/balancer/acme for \
             others",
        );
}
