//! `balancer check`: would a cluster start? Everything that can be found out without
//! starting one, in a line for each finding, as `nginx -t` does. It leaves nothing behind.

mod acme;
mod addresses;
mod certificates;
mod files;
mod finding;
mod passed;

use std::io::Write;
use std::process::ExitCode;

use shared_process::descriptors;
use shared_settings::Definition;
use shared_settings::definitions::{
    ACCESS_LOG, ACME_CA, ACME_DIR, ACME_DIRECTORY, ACME_DOMAIN, ACME_EMAIL, ADMIN, CONTROL, ERROR_PAGES,
    HOST, HTTP_REDIRECT, LISTEN, MAX_CONNECTIONS, PORT, REDIS_URL, STATE_DIR, TLS_CERT, TLS_CLIENT_CA,
    TLS_DIR, TLS_KEY, WORKERS,
};

use balancer_supervisor::process::Program;

use crate::activation::{Activation, ActivationError};
use crate::cli::Start;
use crate::cluster::serving_threads;
use crate::config::{Config, Diagnosis, Mode};
use crate::fd_budget::FdBudget;
use crate::show::{self, typed};
use crate::{BAD_USAGE, FAILED};
use finding::{Finding, line};
use passed::{ADMIN_LISTENER, CLIENTS, CONTROL_SOCKET, Passed};

/// Prints all findings; returns what a start would.
pub(crate) fn run(start: Start, activation: Result<Activation, ActivationError>) -> ExitCode {
    let passed = Passed::look(activation);
    let mut diagnosis = Diagnosis::of(start);
    diagnosis.config.iter_mut().for_each(|config| passed.apply(config));
    let mut lines: Vec<_> = diagnosis.errors.iter().map(|err| line("wrong", err)).collect();
    lines.extend(show::warnings(&diagnosis.settings).iter().map(|warning| line("warning", warning)));
    let mut obstacles = 0;
    if let Some(config) = &diagnosis.config {
        let looks = LOOKS.iter().filter(|look| look.makes_sense(&diagnosis) && !passed.stands_for(look.what));
        for finding in passed.findings(config.mode).into_iter().chain(looks.flat_map(|look| look.at(config)))
        {
            obstacles += usize::from(matches!(finding, Finding::Obstacle(_)));
            lines.push(finding.to_string());
        }
    }
    let (last, code) = match (diagnosis.errors.len(), obstacles) {
        (0, 0) => ("configuration is fine".to_owned(), 0),
        (0, n) => {
            (format!("configuration is fine, but it would not start: {}", count(n, "obstacle")), FAILED)
        }
        (n, _) => (format!("configuration is wrong: {}", count(n, "error")), BAD_USAGE),
    };
    lines.push(last);
    // Who wants the exit code only may have closed the output.
    let _ = std::io::stdout().write_all((lines.join("\n") + "\n").as_bytes());
    ExitCode::from(code)
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One thing that is looked at.
struct Look {
    what: &'static str,
    needs: &'static [&'static Definition],
    /// It depends on what is to run.
    needs_command: bool,
    look: fn(&Config) -> Vec<Finding>,
}

impl Look {
    /// The default that stands for a wrong value is not what somebody wants to start with.
    fn makes_sense(&self, diagnosis: &Diagnosis) -> bool {
        let wrong = |needed: &&Definition| diagnosis.wrong.contains(&needed.variable);
        let without_command = self.needs_command && diagnosis.command_is_wrong;
        !(without_command || self.needs.iter().any(wrong))
    }

    fn at(&self, config: &Config) -> Vec<Finding> {
        let named = |text| format!("{}: {text}", self.what);
        let findings = (self.look)(config).into_iter();
        findings
            .map(|finding| match finding {
                Finding::Fine(text) => Finding::Fine(named(text)),
                Finding::Warning(text) => Finding::Warning(named(text)),
                Finding::Obstacle(text) => Finding::Obstacle(named(text)),
            })
            .collect()
    }
}

const LOOKS: &[Look] = &[
    Look { what: "command", needs: &[], needs_command: true, look: command },
    Look {
        what: "file descriptors",
        needs: &[&WORKERS.definition, &MAX_CONNECTIONS.definition],
        needs_command: false,
        look: descriptors,
    },
    Look {
        what: CLIENTS,
        needs: &[
            &HOST.definition,
            &PORT.definition,
            &LISTEN.definition,
            &HTTP_REDIRECT.definition,
            &CONTROL.definition,
        ],
        needs_command: false,
        look: addresses::clients,
    },
    Look {
        what: "TLS",
        needs: &[
            &TLS_CERT.definition,
            &TLS_KEY.definition,
            &TLS_DIR.definition,
            &TLS_CLIENT_CA.definition,
            &ACME_DOMAIN.definition,
            &ACME_EMAIL.definition,
            &ACME_DIRECTORY.definition,
            &ACME_CA.definition,
            &ACME_DIR.definition,
        ],
        needs_command: false,
        look: certificates::certificates,
    },
    Look {
        what: ADMIN_LISTENER,
        needs: &[&PORT.definition, &LISTEN.definition, &ADMIN.definition, &CONTROL.definition],
        needs_command: false,
        look: addresses::admin,
    },
    Look {
        what: CONTROL_SOCKET,
        needs: &[&PORT.definition, &LISTEN.definition, &CONTROL.definition],
        needs_command: false,
        look: addresses::control,
    },
    Look {
        what: "state",
        needs: &[&STATE_DIR.definition, &REDIS_URL.definition],
        needs_command: true,
        look: files::state,
    },
    Look {
        what: "access log",
        needs: &[&ACCESS_LOG.definition],
        needs_command: false,
        look: files::access_log,
    },
    Look {
        what: "error pages",
        needs: &[&ERROR_PAGES.definition],
        needs_command: false,
        look: files::error_pages,
    },
];

fn command(config: &Config) -> Vec<Finding> {
    vec![Finding::Fine(match &config.program {
        Program::Bundled => "none, the bundled worker runs".to_owned(),
        Program::Command(words) => {
            let file = words.first().and_then(|name| config.find_command(name)).unwrap_or_default();
            format!("{} ({})", typed(words), file.display())
        }
    })]
}

fn descriptors(config: &Config) -> Vec<Finding> {
    let Mode::Cluster { workers, .. } = config.mode else { return Vec::new() };
    let number = config.mode.range().map_or_else(|| workers.to_string(), |range| range.to_string());
    let budget = match FdBudget::new(descriptors::raise_limit(), config.mode.most()) {
        Ok(budget) => budget.with_listeners(config.listening.further_sockets(serving_threads())),
        Err(err) => return vec![Finding::Obstacle(err.to_string())],
    };
    vec![match budget.with_max_connections(config.max_connections) {
        Ok(budget) => {
            Finding::Fine(format!("enough for {number} workers and {} clients", budget.connections))
        }
        Err(err) => Finding::Obstacle(err.to_string()),
    }]
}
