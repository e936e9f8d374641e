//! `balancer config`: every setting as it would hold, and where its value comes from.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};
use shared_settings::definitions::{self, GROUPS};
use shared_settings::{Definition, Level, Origin, Settings};

use crate::cli::Start;
use crate::config::{self, Diagnosis};
use crate::{BAD_USAGE, report_error};

/// Stands for what must not be shown.
const HIDDEN: &str = "(hidden)";
const LEGEND: &str = "* is set; a flag beats the environment, which beats .env, which beats cluster.toml";

/// Prints the configuration, or what is wrong with it.
pub(crate) fn run(start: Start, json: bool) -> ExitCode {
    let Diagnosis { settings, errors, .. } = Diagnosis::of(start);
    if !errors.is_empty() {
        for err in errors {
            report_error(&err.into(), BAD_USAGE);
        }
        return ExitCode::from(BAD_USAGE);
    }
    let text = if json { format!("{:#}\n", as_json(&settings)) } else { table(&settings) };
    // Who has seen enough closes the output.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// The command as somebody would type it into a shell.
pub(crate) fn typed(command: &[impl AsRef<OsStr>]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    let words = command.iter().map(|word| {
        let word = word.as_ref().to_string_lossy().into_owned();
        if !word.is_empty() && word.bytes().all(is_plain) {
            return word;
        }
        // Only a zero byte cannot be quoted, and no argument has one.
        shlex::try_quote(&word).map_or_else(|_| word.clone(), |quoted| quoted.into_owned())
    });
    words.collect::<Vec<_>>().join(" ")
}

fn command_source(settings: &Settings) -> String {
    settings.command_origin().map_or_else(|| "command line".to_owned(), Origin::brief)
}

fn source(origin: Option<&Origin>) -> String {
    match origin {
        None => "default".to_owned(),
        Some(Origin::Variable(name)) => format!("variable {name}"),
        Some(Origin::Dotenv { variable, .. }) => {
            format!("{} {variable}", origin.map(Origin::brief).unwrap_or_default())
        }
        Some(origin) => origin.brief(),
    }
}

fn table(settings: &Settings) -> String {
    let mut groups = vec![("Arguments", Vec::new())];
    if !settings.command().is_empty() {
        groups[0]
            .1
            .push(["*", "command", &typed(settings.command()), &command_source(settings)].map(str::to_owned));
    }
    groups.extend(GROUPS.iter().map(|group| {
        (group.heading, group.settings.iter().map(|definition| row(settings, definition)).collect::<Vec<_>>())
    }));
    groups.retain(|(_, rows)| !rows.is_empty());
    let width = |column: usize, most: usize| {
        let rows = groups.iter().flat_map(|(_, rows)| rows);
        rows.map(|row| row[column].chars().count()).filter(|&width| width <= most).max().unwrap_or(0)
    };
    let (names, values) = (width(1, 40), width(2, 44));
    let mut text = format!("{LEGEND}\n");
    for (heading, rows) in &groups {
        let _ = writeln!(text, "\n{heading}");
        for [mark, name, value, source] in rows {
            let _ = writeln!(text, "{mark} {name:names$}  {value:values$}  {source}");
        }
    }
    for warning in warnings(settings) {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
}

fn row(settings: &Settings, definition: &Definition) -> [String; 4] {
    let name = definition.flag.map_or_else(|| definition.variable.to_owned(), |flag| format!("--{flag}"));
    let found = settings.source(definition);
    let origin = found.as_ref().map(|(_, origin)| origin);
    let value = match &found {
        Some(_) if definition.secret => HIDDEN,
        Some((value, _)) => value,
        None => definition.default.as_str(),
    };
    let mark = if found.is_some() { "*" } else { " " };
    [mark.to_owned(), name, value.to_owned(), source(origin)]
}

/// What is worth knowing of sources beside their values.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let slips = settings.slips().into_iter();
    let slips =
        slips.map(|(name, near)| format!("{name} is no setting, and has no effect; did you mean {near}?"));
    let left = definitions::all().flat_map(|definition| {
        let own = definition.own_variable();
        settings
            .left_to_program(definition)
            .map(move |origin| format!("{origin} is the program's; the cluster's is {own}"))
    });
    config::warnings(settings).into_iter().chain(slips).chain(left).collect()
}

fn as_json(settings: &Settings) -> Value {
    let command = match settings.command() {
        [] => Value::Null,
        words => json!({
            "words": words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
            "source": command_source(settings),
        }),
    };
    let settings_of = |group: &shared_settings::Group| {
        group
            .settings
            .iter()
            .map(|definition| one_as_json(settings, definition, group.heading))
            .collect::<Vec<_>>()
    };
    json!({
        "command": command,
        "settings": GROUPS.iter().flat_map(settings_of).collect::<Vec<_>>(),
        "warnings": warnings(settings),
    })
}

fn one_as_json(settings: &Settings, definition: &Definition, group: &str) -> Value {
    let found = settings.source(definition);
    let level = found.as_ref().map_or(Level::Default, |(_, origin)| origin.level());
    let hidden = definition.secret && found.is_some();
    let default = match definition.default {
        shared_settings::DefaultText::Value(value) => Some(value),
        shared_settings::DefaultText::Described(_) => None,
    };
    let value = found.as_ref().map(|(value, _)| *value).or(default).filter(|_| !hidden);
    json!({
        "name": definition.key(),
        "flag": definition.flag.map(|flag| format!("--{flag}")),
        "variable": definition.own_variable(),
        "group": group,
        "value": value,
        "hidden": hidden,
        "set": found.is_some(),
        "from": match level {
            Level::Flag => "flag",
            Level::Environment => "environment",
            Level::Dotenv => ".env",
            Level::File => "file",
            Level::Default => "default",
        },
        "source": source(found.as_ref().map(|(_, origin)| origin)),
    })
}
