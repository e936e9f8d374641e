//! A manual page as man-pages(7) wants it: one for the program and all of its commands.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// A word that begins a heading or a line that is to stay as it is.
const SECTION: &str = ".SH";

/// The page of `command`, which has its final name.
///
/// # Errors
/// None for a sound command: the text is written to memory.
pub(crate) fn render(mut command: Command) -> io::Result<Vec<u8>> {
    command.build();
    // As in `--help`: all options in one line would hide the forms of the command line.
    let usage = command.render_usage().to_string();
    command = command.override_usage(usage.trim_start_matches("Usage: ").to_owned());
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let commands: Vec<_> = command
        .get_subcommands()
        .filter(|found| !found.is_hide_set() && found.get_name() != "help")
        .cloned()
        .collect();
    let extra = command.get_after_help().map(|text| text.to_string());
    let source = format!("{name} {}", command.get_version().unwrap_or_default());
    let mut page = Vec::new();
    let man = Man::new(headline(command)).title(name.to_uppercase()).source(source).manual("User Commands");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if !commands.is_empty() {
        Roff::new().control("SH", ["COMMANDS"]).to_writer(&mut page)?;
    }
    for found in commands {
        subcommand(found, &name, &mut page)?;
    }
    if let Some(text) = extra {
        page.extend(notes(&text).to_roff().into_bytes());
    }
    Ok(with_one_preamble(&page))
}

/// Each part of a page comes with what it needs of the formatter, which is enough once.
fn with_one_preamble(page: &[u8]) -> Vec<u8> {
    let is_preamble = |line: &[u8]| line.starts_with(b".ie \\n(.g .ds Aq") || line.starts_with(b".el .ds Aq");
    let mut lines = page.split_inclusive(|&byte| byte == b'\n');
    let first: Vec<_> = lines.by_ref().take(2).collect();
    first.into_iter().chain(lines.filter(|line| !is_preamble(line))).flatten().copied().collect()
}

/// In the first section stands one line, which whatis(1) shows; `--help` has it in full.
fn headline(command: Command) -> Command {
    let about = command.get_about().or(command.get_long_about()).map(|text| text.to_string());
    let Some(about) = about else { return command };
    let long = command.get_long_about().map_or_else(|| about.clone(), |text| text.to_string());
    let first = about.split([':', ',']).next().unwrap_or_default().trim_end_matches('.').to_owned();
    command.about(first.replace('\n', " ")).long_about(long)
}

/// A command of the program `name`, below the heading of all of them. Its options are
/// those of the program itself where it takes as many; those are not said again.
fn subcommand(mut command: Command, name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let full = format!("{name} {}", command.get_name());
    Roff::new().control("SS", [full.as_str()]).to_writer(page)?;
    let about = command.get_long_about().or(command.get_about()).map(|text| text.to_string());
    if let Some(about) = about {
        Roff::new().text([roman(about)]).to_writer(page)?;
    }
    // Grouped options are those that a cluster is started with.
    let of_start = command.get_arguments().any(|arg| arg.get_help_heading().is_some());
    if of_start {
        Roff::new()
            .control("PP", [])
            .text([roman("Takes the options of "), bold(name), roman(" itself as well.")])
            .to_writer(page)?;
    }
    command = command.mut_args(|arg| {
        let is_said = arg.get_help_heading().is_some() || matches!(arg.get_id().as_str(), "help" | "version");
        if is_said { arg.hide(true) } else { arg }
    });
    let mut options = Vec::new();
    Man::new(command).render_options_section(&mut options)?;
    // Without the heading: the options stand below that of their command.
    let options = String::from_utf8_lossy(&options);
    for line in options.lines().filter(|line| !line.starts_with(SECTION)) {
        page.extend_from_slice(line.as_bytes());
        page.push(b'\n');
    }
    Ok(())
}

/// What stands below the options in `--help`: paragraphs, and blocks such as
/// "Examples:", whose indented lines stay as they are.
fn notes(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut lines = text.lines().peekable();
    let (mut in_block, mut in_notes) = (false, false);
    while let Some(line) = lines.next() {
        let is_indented = |line: &str| line.starts_with(' ');
        let heads_block = line.ends_with(':') && lines.peek().is_some_and(|next| is_indented(next));
        if in_block && !is_indented(line) && !line.is_empty() {
            roff.control("fi", []);
            in_block = false;
        }
        if heads_block {
            let heading = line.trim_end_matches(':').to_uppercase();
            roff.control("SH", [heading.as_str()]);
            roff.control("nf", []);
            (in_block, in_notes) = (true, false);
        } else if line.is_empty() {
            roff.control("PP", []);
        } else if in_block {
            roff.text([roman(line)]);
        } else {
            if !in_notes {
                roff.control("SH", ["NOTES"]);
                in_notes = true;
            }
            roff.text([roman(line)]);
            if line.ends_with('.') {
                roff.control("br", []);
            }
        }
    }
    if in_block {
        roff.control("fi", []);
    }
    roff
}
