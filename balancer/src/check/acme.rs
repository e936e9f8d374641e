//! Certificates by ACME: can they be kept, and what is there already? No server is asked, and
//! nothing is made.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use balancer_acme::{Settings, Store};
use shared_settings::definitions::ACME_DIR;

use super::files::{can_create_in, existing};
use super::finding::Finding;

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    if let Err(err) = balancer_acme::check_ca(settings.ca.as_deref()) {
        return vec![Finding::Obstacle(err.to_string())];
    }
    let store = Store::at(&settings.root, &settings.directory_url);
    if let Err(err) = can_be_kept(store.path()) {
        return vec![Finding::Obstacle(format!(
            "could not keep certificates in {}: {err} (set {})",
            store.path().display(),
            ACME_DIR.names()
        ))];
    }
    let mut findings = vec![Finding::Fine(format!(
        "{} from {} by {}, kept in {}",
        settings.domains.join(", "),
        settings.directory_url,
        settings.challenges.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or "),
        settings.root.display()
    ))];
    for domain in &settings.domains {
        if let Err(reason) = store.certificate(domain) {
            findings.push(Finding::Warning(format!("{reason}: another one is ordered for {domain}")));
        }
        if let Some((reason, wait)) = store.postponed(domain) {
            findings.push(Finding::Warning(format!(
                "the last attempt for {domain} failed: {reason}; the next one comes in {} seconds",
                wait.as_secs()
            )));
        }
    }
    let open = store.secrets(&settings.domains).into_iter().filter_map(|path| {
        let mode = fs::metadata(&path).ok()?.mode() & 0o7777;
        let text = format!("others can read {} (mode {mode:04o}): chmod 600 {0}", path.display());
        (mode & 0o077 != 0).then_some(Finding::Warning(text))
    });
    findings.extend(open);
    findings
}

/// Could files be made in `directory`, which may have to be made?
fn can_be_kept(directory: &Path) -> io::Result<()> {
    let nearest = existing(directory);
    let found = fs::metadata(nearest)?;
    if !found.is_dir() {
        return Err(io::Error::other(format!("{} is no directory", nearest.display())));
    }
    let user = rustix::process::geteuid();
    // Its mode is set at the start, which only its owner may do.
    if nearest == directory && !user.is_root() && found.uid() != user.as_raw() {
        let (owner, user) = (found.uid(), user.as_raw());
        return Err(io::Error::other(format!("it belongs to user {owner}, and this is user {user}")));
    }
    can_create_in(nearest)
}
