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
}
