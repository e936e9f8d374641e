use super::*;
use crate::definitions::{HOST, LOG_FILTER, LOG_FORMAT, PORT, REDIS_URL, STATE_DIR};

fn port(variables: &[(&str, &str)], dotenv: &str, flag: Option<&str>) -> Result<u16, ConfigError> {
    Settings::from_parts(variables, dotenv).with_flag(&PORT, flag).get(&PORT)
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
        Settings::from_parts(variables, dotenv).with_flag(&PORT, flag).level(&PORT)
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
    let settings = Settings::from_parts(&[], dotenv);
    assert_eq!(settings.get(&HOST).unwrap().to_string(), "::1");
}

#[test]
fn a_secret_that_does_not_parse_is_not_shown() {
    let settings = Settings::from_parts(&[("REDIS_URL", "http://:hunter2@host")], "");
    let named = settings.find_secret(&REDIS_URL, |_| Err::<(), _>("no such scheme")).unwrap_err().to_string();
    assert!(named.contains("the environment variable REDIS_URL") && named.contains("no such scheme"));
    let unnamed = settings.find_as(&REDIS_URL, |_| None::<()>).unwrap_err().to_string();
    assert!(!named.contains("hunter2") && !unnamed.contains("hunter2"), "{named} {unnamed}");
}

fn with_file(variables: &[(&str, &str)], dotenv: &str, file: &str, command: &[&str]) -> Settings {
    Settings::from_parts(variables, dotenv).with_file(file, command).unwrap()
}

#[test]
fn the_file_is_weaker_than_dotenv_and_stronger_than_the_default() {
    let port = |variables: &[(&str, &str)], dotenv: &str| {
        let settings = with_file(variables, dotenv, "port = 5\n", &[]);
        (settings.get(&PORT).unwrap(), settings.level(&PORT))
    };
    assert_eq!(port(&[("PORT", "2")], "PORT=3\n"), (2, Level::Environment));
    assert_eq!(port(&[], "PORT=3\n"), (3, Level::Dotenv));
    assert_eq!(port(&[], "PORT=\n"), (5, Level::File));
    assert_eq!(port(&[("PORT", "")], ""), (3100, Level::Default));
}

#[test]
fn a_variable_with_the_clusters_prefix_beats_the_bare_one() {
    let both = [("CLUSTER_PORT", "1"), ("PORT", "2")];
    assert_eq!(port(&both, "", None).unwrap(), 1);
    assert_eq!(port(&[("PORT", "2")], "CLUSTER_PORT=3", None).unwrap(), 2, "the environment is stronger");
    assert_eq!(port(&[], "PORT=4\nCLUSTER_PORT=3", None).unwrap(), 3);
    assert_eq!(port(&[("CLUSTER_PORT", ""), ("PORT", "2")], "", None).unwrap(), 2);
}

#[test]
fn with_a_command_bare_variables_are_the_programs() {
    let variables = [("LOG_FORMAT", "dev"), ("REDIS_URL", "localhost:6379"), ("PORT", "1")];
    let dotenv = "RUST_LOG=a=b=c\nHOST=::1\nCLUSTER_LOG_FORMAT=json\n";
    for (file, command) in [("", &["node"][..]), ("command = 'node'", &[])] {
        let settings = with_file(&variables, dotenv, file, command);
        assert_eq!(settings.find(&LOG_FORMAT).unwrap().as_deref(), Some("json"));
        assert_eq!(settings.find(&REDIS_URL).unwrap(), None);
        assert_eq!(settings.find(&LOG_FILTER).unwrap(), None);
        assert_eq!(
            (settings.get(&PORT).unwrap(), settings.get(&HOST).unwrap().to_string()),
            (1, "::1".to_owned())
        );
        let left: Vec<_> = settings.left_to_program(&LOG_FORMAT).collect();
        assert_eq!(left, [Origin::Variable("LOG_FORMAT")]);
    }
    let bundled = with_file(&variables, dotenv, "", &[]);
    assert_eq!(bundled.find(&REDIS_URL).unwrap().as_deref(), Some("localhost:6379"));
    assert_eq!(bundled.left_to_program(&LOG_FORMAT).count(), 0);
}

#[test]
fn a_host_that_other_programs_have_set_is_named_with_the_cure() {
    for name in ["x86_64-conda-linux-gnu", "example.com", "build-7"] {
        let of = |variables: &[(&str, &str)], dotenv: &str| {
            Settings::from_parts(variables, dotenv).get(&HOST).unwrap_err().to_string()
        };
        let text = of(&[("HOST", name)], "");
        assert!(text.contains("the environment variable HOST"), "{text}");
        assert!(text.contains("--host or CLUSTER_HOST") && text.contains("CLUSTER_HOST=127.0.0.1"), "{text}");
        let text = of(&[], &format!("A=1\nHOST={name}\n"));
        assert!(text.contains("HOST in .env line 2") && text.contains("CLUSTER_HOST"), "{text}");
        let settings = Settings::from_parts(&[("HOST", name), ("CLUSTER_HOST", "::1")], "");
        assert_eq!(settings.get(&HOST).unwrap().to_string(), "::1");
    }
    for good in ["0.0.0.0", "[::1]", "::", "localhost", "LOCALHOST"] {
        assert!(Settings::from_parts(&[("HOST", good)], "").get(&HOST).is_ok(), "{good}");
    }
}

#[test]
fn dotenv_is_taken_word_for_word() {
    let settings = Settings::from_parts(&[], "REDIS_URL=redis://:pa$word@h\nCLUSTER_STATE_DIR='/a b'\n");
    assert_eq!(settings.find(&REDIS_URL).unwrap().as_deref(), Some("redis://:pa$word@h"));
    assert_eq!(settings.find(&STATE_DIR).unwrap(), Some("/a b".into()));
}

#[test]
fn bundled_workers_get_what_the_files_say() {
    let dotenv = "MY_OWN=1\nPORT=1\nZERO=\0\n";
    let file = "fibonacci-max = 20\nmax-body = 2048\nworkers = 2\n";
    let settings = with_file(&[("PORT", "2"), ("CLUSTER_MAX_BODY", "4096")], dotenv, file, &[]);
    let values: Vec<_> = settings.file_values().collect();
    assert_eq!(values, [("MY_OWN", "1"), ("CLUSTER_FIBONACCI_MAX", "20")]);
}

#[test]
fn a_command_of_the_command_line_replaces_that_of_the_file() {
    let file = "# the application\ncommand = 'node \"my server.js\"'\n";
    let settings = with_file(&[], "", file, &[]);
    assert_eq!(settings.command(), ["node", "my server.js"]);
    assert_eq!(settings.command_origin().unwrap().brief(), "cluster.toml:2");
    let settings = with_file(&[], "", file, &["ruby"]);
    assert_eq!((settings.command(), settings.command_origin()), (&["ruby".into()][..], None));
}

#[test]
fn a_forgotten_value_is_at_its_default_whoever_has_set_it() {
    let mut settings =
        with_file(&[("PORT", "2")], "CLUSTER_PORT=3", "port = 4", &[]).with_flag(&PORT, Some("1"));
    settings.forget(PORT.variable);
    assert_eq!(settings.get(&PORT).unwrap(), 3100);
}

#[test]
fn slips_among_the_clusters_variables_are_found() {
    let variables = [
        ("CLUSTER_WORKER", "4"),
        ("CLUSTER_LOG_FORMAT", "json"),
        ("CLUSTER_RELOAD_PARALLEL", "2"),
        ("CLUSTER_WORKER_SERVICE_HOST", "10.0.0.1"),
    ];
    let settings = Settings::from_parts(&variables, "CLUSTER_PROT=1\nPROT=2\n");
    assert_eq!(settings.slips(), [("CLUSTER_PROT", "CLUSTER_PORT"), ("CLUSTER_WORKER", "CLUSTER_WORKERS")]);
}
