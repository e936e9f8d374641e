//! `.env.example` and the tables of `docs/configuration.md` are generated from
//! the definitions. The test fails when the committed files are stale;
//!
//! ```sh
//! UPDATE=1 cargo test -p shared-settings --test generated
//! ```
//!
//! writes them anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use shared_settings::definitions::GROUPS;
use shared_settings::{DefaultText, Definition, Programs};

const COMMAND: &str = "UPDATE=1 cargo test -p shared-settings --test generated";
/// The generated part of a document stands between these lines.
const BEGIN: &str = "<!-- begin: generated from shared/settings/src/definitions -->\n";
const END: &str = "<!-- end: generated -->\n";
/// Width of comments in `.env.example`, in columns.
const WIDTH: usize = 79;

#[test]
fn env_example_is_up_to_date() {
    hold(".env.example", |_| env_example());
}

#[test]
fn the_document_is_up_to_date() {
    hold("docs/configuration.md", |committed| {
        let (before, rest) =
            committed.split_once(BEGIN).expect("the document has the line that begins the tables");
        let (_, after) = rest.split_once(END).expect("the document has the line that ends the tables");
        format!("{before}{BEGIN}{}{END}{after}", tables())
    });
}

/// Compares the file at `path` with what `generate` makes of it, or writes that.
fn hold(path: &str, generate: impl FnOnce(&str) -> String) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let generated = generate(&committed);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, generated).unwrap();
    } else {
        assert!(committed == generated, "{} is stale; this writes it anew: {COMMAND}", path.display());
    }
}

fn env_example() -> String {
    let mut text = String::new();
    comment(
        &mut text,
        "Every setting, with its default, or with an example where the default is described. Copy this \
         file to .env and change what you need; it is read from the working directory. A flag beats an \
         environment variable, which beats this file, which beats cluster.toml. An empty value counts as \
         unset; $NAME stands for itself. With a COMMAND only CLUSTER_*, HOST and PORT are read.",
    );
    comment(&mut text, &format!("Generated: {COMMAND}"));
    for group in GROUPS {
        let heading = format!("# --- {} ", group.heading);
        writeln!(text, "\n{heading:-<WIDTH$}").unwrap();
        for definition in group.settings {
            variable(&mut text, definition);
        }
    }
    text
}

fn variable(text: &mut String, definition: &Definition) {
    let value = match definition.default {
        DefaultText::Value(value) => {
            comment(text, definition.help);
            value
        }
        DefaultText::Described(default) => {
            comment(text, &format!("{}. Default: {default}", definition.help));
            definition.example
        }
    };
    if let Some(prefixed) = definition.prefixed {
        comment(text, &format!("({prefixed} wins over {})", definition.variable));
    }
    // A secret has no example that somebody could copy.
    let value = if definition.secret && value.contains(' ') { "" } else { value };
    writeln!(text, "#{}={value}", definition.variable).unwrap();
    for (about, value) in definition.more_examples {
        comment(text, about);
        writeln!(text, "#{}={value}", definition.variable).unwrap();
    }
}

/// Appends `words` as comment lines.
fn comment(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.len() > 1 {
            writeln!(text, "{line}").unwrap();
            line = "#".to_owned();
        }
        line = format!("{line} {word}");
    }
    writeln!(text, "{line}").unwrap();
}

fn tables() -> String {
    let mut text = String::new();
    for group in GROUPS {
        write!(
            text,
            "\n## {}\n\n| flag | variable | default | meaning |\n|---|---|---|---|\n",
            group.heading
        )
        .unwrap();
        for definition in group.settings {
            text.push_str(&row(definition));
        }
    }
    let flags: Vec<_> = GROUPS
        .iter()
        .flat_map(|group| group.settings)
        .filter(|definition| definition.programs != Programs::Balancer)
        .filter_map(|definition| Some(format!("`--{}`", definition.flag?)))
        .collect();
    write!(text, "\nFlags of the program `worker`: {}.\n\n", flags.join(", ")).unwrap();
    text
}

fn row(definition: &Definition) -> String {
    let value_name = definition.value_name;
    let mut flag = match definition.flag {
        Some(flag) if definition.switch => format!("`--{flag}[={value_name}]`"),
        Some(flag) => format!("`--{flag} {value_name}`"),
        None => "–".to_owned(),
    };
    if let Some(short) = definition.short {
        write!(flag, ", `-{short} {value_name}`").unwrap();
    }
    let note = definition.note.map(|note| format!("; {}", prose(note))).unwrap_or_default();
    let default = match definition.default {
        DefaultText::Value(value) => format!("`{value}`"),
        DefaultText::Described(text) => prose(text),
    };
    let variables: Vec<_> = definition.prefixed.into_iter().chain([definition.variable]).collect();
    let variables = format!("`{}`{note}", variables.join("`, `"));
    let cells = [flag, variables, default, prose(definition.help)];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// `text` with words that users type set as code.
fn prose(text: &str) -> String {
    let is_variable = |word: &str| GROUPS.iter().any(|g| g.settings.iter().any(|d| d.variable == word));
    let typed = |word: &str| {
        word.starts_with("--")
            || word.starts_with('$')
            || ["://", "=", "/cluster", "-*"].iter().any(|mark| word.contains(mark))
            || is_variable(word)
    };
    let set = |word: &str| {
        let end = word.trim_end_matches([',', ';', ')', ':', '.']).len();
        let begin = word.len() - word.trim_start_matches('(').len();
        let (before, core, after) = (&word[..begin], &word[begin..end], &word[end..]);
        if typed(core) { format!("{before}`{core}`{after}") } else { word.to_owned() }
    };
    text.split(' ').map(set).collect::<Vec<_>>().join(" ")
}
