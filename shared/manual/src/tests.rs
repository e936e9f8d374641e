use clap::{Arg, ArgAction};

use super::*;

fn arguments(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn command() -> Command {
    Command::new("server")
        .version("1.2.3")
        .about("Serves pages, and more:\nwhatever there is")
        .after_help("Examples:\n  server --port 80    at the usual port\n  server -x\n\nExit codes: 0 ok.")
        .arg(Arg::new("port").long("port").value_name("PORT").help("Where to listen").help_heading("Listen"))
        .arg(Arg::new("quiet").short('q').long("quiet").action(ArgAction::SetTrue).help("Say nothing"))
        .subcommand(
            Command::new("stop").about("Stop it").arg(Arg::new("force").long("force").help("At once")),
        )
        .subcommand(Command::new("secret").about("For nobody").hide(true))
}

fn page(name: &str) -> String {
    String::from_utf8(text(command(), name, Kind::Man).unwrap()).unwrap()
}

#[test]
fn it_is_asked_for_by_itself_only() {
    let kind = |words: &[&str]| requested(&arguments(words)).map(|(_, kind)| kind);
    assert_eq!(kind(&["x", "--generate", "man"]), Some(Ok(Kind::Man)));
    assert_eq!(kind(&["x", "--generate=complete-zsh"]), Some(Ok(Kind::Completions(Shell::Zsh))));
    assert_eq!(kind(&["x", "--generate", "pdf"]), Some(Err("pdf".to_owned())));
    assert_eq!(kind(&["x", "--generate"]), Some(Err(String::new())));
    for other in
        [&["x"][..], &["x", "--generated"], &["x", "--generate", "man", "-q"], &["x", "--", "--generate"]]
    {
        assert_eq!(kind(other), None, "{other:?}");
    }
}

#[test]
fn a_page_has_what_help_has() {
    let page = page("server");
    assert!(page.contains(".TH SERVER 1"), "{page}");
    assert!(page.contains("server \\- Serves pages\n"), "the line for whatis is one line: {page}");
    for section in
        [".SH SYNOPSIS", ".SH LISTEN", ".SH COMMANDS", ".SS \"server stop\"", ".SH EXAMPLES", ".SH NOTES"]
    {
        assert!(page.contains(section), "{section}: {page}");
    }
    assert!(page.contains("whatever there is") && page.contains("\\-\\-force") && page.contains("At once"));
    assert!(!page.contains("secret"), "{page}");
    assert_eq!(page.matches("ds Aq").count(), 2, "{page}");
}

#[test]
fn examples_stay_as_they_are() {
    let page = page("server");
    let (_, block) = page.split_once(".nf\n").unwrap();
    let (block, rest) = block.split_once(".fi\n").unwrap();
    assert!(block.contains("  server \\-\\-port 80    at the usual port\n  server \\-x\n"), "{block}");
    assert!(rest.contains("Exit codes: 0 ok."), "{rest}");
}

#[test]
fn another_name_is_the_name_everywhere() {
    let page = page("httpd-server");
    assert!(page.contains(".TH HTTPD-SERVER 1") && page.contains(".SS \"httpd-server stop\""), "{page}");
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = text(command(), "httpd-server", Kind::Completions(shell)).unwrap();
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("httpd-server") && script.contains("port"), "{script}");
    }
}
