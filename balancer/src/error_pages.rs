//! One's own error pages: read at the start, and by each reload beside what workers get.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use balancer_proxy::{ErrorPages, PageSet};
use balancer_supervisor::release::{EnvironmentFiles, Variables};
use shared_settings::definitions::ERROR_PAGES;
use tracing::{info, warn};

use crate::config::Config;

/// The pages that somebody has chosen, or none.
///
/// # Errors
/// When they cannot be used.
pub(crate) fn open(config: &Config) -> anyhow::Result<Arc<ErrorPages>> {
    let pages = Arc::<ErrorPages>::default();
    if let Some(directory) = &config.error_pages {
        let found = PageSet::read(directory);
        pages.replace(
            found.with_context(|| format!("could not use the error pages (set {})", ERROR_PAGES.names()))?,
        );
    }
    Ok(pages)
}

/// What a reload reads besides the release: it takes up the pages as well, also if the new
/// workers fail then, as the pages have nothing to do with them.
#[derive(Debug)]
pub(crate) struct WithPages {
    pub(crate) files: Box<dyn EnvironmentFiles>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) pages: Arc<ErrorPages>,
}

impl EnvironmentFiles for WithPages {
    fn read(&self) -> io::Result<Variables> {
        self.files.read()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.files.notes();
        match self.directory.as_ref().map(|directory| PageSet::read(directory)) {
            Some(Ok(pages)) => {
                info!(pages = pages.count(), "the error pages were read anew");
                self.pages.replace(pages);
            }
            Some(Err(err)) => {
                warn!(%err, "the error pages stay as they were");
                notes.push(format!("the error pages stay as they were: {err}"));
            }
            None => {}
        }
        notes
    }
}
