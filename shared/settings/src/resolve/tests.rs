use super::*;
use crate::definitions::{HOST, PORT, REDIS_URL};

fn port(variables: &[(&str, &str)], dotenv: &str, flag: Option<&str>) -> Result<u16, ConfigError> {
    Settings::from_parts(variables, dotenv).unwrap().with_flag(&PORT, flag).get(&PORT)
}

#[test]
fn flag_beats_environment_beats_dotenv_beats_default() {
    assert_eq!(port(&[("PORT", "2")], "PORT=3\n", Some("1")).unwrap(), 1);
    assert_eq!(port(&[("PORT", "2")], "PORT=3\n", None).unwrap(), 2);
    assert_eq!(port(&[], "PORT=3\n", None).unwrap(), 3);
    assert_eq!(port(&[], "", None).unwrap(), 3100);
}

#[test]
fn the_level_says_which_source_decides() {
    let level = |variables: &[(&str, &str)], dotenv: &str, flag| {
        Settings::from_parts(variables, dotenv).unwrap().with_flag(&PORT, flag).level(&PORT)
    };
    assert_eq!(level(&[("PORT", "2")], "PORT=3\n", Some("1")), Level::Flag);
    assert_eq!(level(&[("PORT", "2")], "PORT=3\n", None), Level::Environment);
    assert_eq!(level(&[], "PORT=3\n", None), Level::Dotenv);
    assert_eq!(level(&[("PORT", "")], "PORT=3\n", None), Level::Default);
}

#[test]
fn an_empty_variable_is_unset_and_hides_dotenv() {
    assert_eq!(port(&[("PORT", "")], "PORT=3\n", None).unwrap(), 3100);
    assert_eq!(port(&[], "PORT=\n", None).unwrap(), 3100);
}

#[test]
fn errors_name_value_origin_and_a_right_example() {
    let text = |result: Result<u16, ConfigError>| result.unwrap_err().to_string();
    assert_eq!(
        text(port(&[], "", Some("x"))),
        "invalid value \"x\" from --port: expected a port number from 0 to 65535 (0 takes a free one), \
         for example --port 3100 or PORT=3100"
    );
    assert!(text(port(&[("PORT", "70000")], "", None)).contains("the environment variable PORT"));
    let dotenv = "# a comment\nHOST=::1\n\nexport PORT = nope\n";
    assert!(text(port(&[], dotenv, None)).contains("PORT in .env line 4"));
    let settings = Settings::from_parts(&[], dotenv).unwrap();
    assert_eq!(settings.get(&HOST).unwrap().to_string(), "::1");
}

#[test]
fn a_secret_that_does_not_parse_is_not_shown() {
    let settings = Settings::from_parts(&[("REDIS_URL", "http://:hunter2@host")], "").unwrap();
    let named = settings.find_secret(&REDIS_URL, |_| Err::<(), _>("no such scheme")).unwrap_err().to_string();
    assert!(named.contains("the environment variable REDIS_URL") && named.contains("no such scheme"));
    let unnamed = settings.find_as(&REDIS_URL, |_| None::<()>).unwrap_err().to_string();
    assert!(!named.contains("hunter2") && !unnamed.contains("hunter2"), "{named} {unnamed}");
}

#[test]
fn a_dotenv_that_does_not_parse_is_refused_with_its_line() {
    let refused = |dotenv: &str| Settings::from_parts(&[], dotenv).unwrap_err().to_string();
    let secret = refused("PORT=1\n\nREDIS_URL=redis://:a b@c\n");
    assert!(secret.starts_with(".env line 3 does not parse (it sets REDIS_URL);"), "{secret}");
    assert_eq!(
        refused("PORT=1\nthis is not a setting\n"),
        ".env line 2 does not parse; a right one is PORT=3100, and a value with spaces needs quotes"
    );
}
