//! Where the releases of the workers are found, and what of them has no effect.

use std::sync::Arc;

use balancer_proxy::ErrorPages;
use shared_settings::Programs;
use shared_settings::definitions::{self, HOST, PORT};
use tracing::{info, warn};

use balancer_supervisor::release::{Installation, OpenedRelease};
use shared_protocol::{WORKER_COUNT_VAR, WORKER_GENERATION_VAR, WORKER_ID_VAR};

use crate::config::Config;
use crate::error_pages::WithPages;

/// Each worker gets its own values of these.
const OURS: [&str; 6] = [
    HOST.definition.variable,
    PORT.definition.variable,
    WORKER_ID_VAR,
    WORKER_COUNT_VAR,
    WORKER_GENERATION_VAR,
    "PWD",
];

pub(crate) fn installation(config: &Config, pages: &Arc<ErrorPages>) -> Installation {
    let files = Box::new(WithPages {
        files: Box::new(config.files.clone()),
        directory: config.error_pages.clone(),
        pages: Arc::clone(pages),
    });
    Installation { program: config.program.clone(), directory: config.directory.clone(), files }
}

/// Says which variables of the files have no effect on whom they may be meant for.
pub(crate) fn report_unused(release: &OpenedRelease) {
    let names: Vec<_> = release.variable_names().collect();
    let found = |is: &dyn Fn(&str) -> bool| {
        let found: Vec<_> = names.iter().copied().filter(|name| is(name)).collect();
        (!found.is_empty()).then(|| found.join(", "))
    };
    if let Some(names) = found(&|name| OURS.contains(&name)) {
        info!("{names} of the environment files: each worker gets its own value instead");
    }
    let of_balancer = |name: &str| {
        definitions::all().any(|known| known.variable == name && known.programs == Programs::Balancer)
    };
    if let Some(names) = found(&of_balancer) {
        warn!(
            "{names} of the environment files: a setting of the balancer has no effect there \
             (set it in .env, in the environment or by its flag)"
        );
    }
}
