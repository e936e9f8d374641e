use super::*;
use crate::definitions::{
    ADMIN_HOSTS, CLUSTER, DRAIN_TIMEOUT, MAX_MEMORY, PORT, QUEUE, START_PARALLEL, STATE_DIR, STICKY_SECRET,
    TRUST_FORWARDED, WORKERS,
};

fn parse(text: &str) -> (ConfigFile, Vec<ConfigError>) {
    ConfigFile::parse(Path::new(DEFAULT_PATH), text, false)
}

fn value(text: &str, definition: &Definition) -> String {
    let (file, problems) = parse(text);
    assert!(problems.is_empty() && file.warnings.is_empty(), "{text}: {file:?} {problems:?}");
    file.find(definition).map(|(value, _)| value.to_owned()).unwrap_or_default()
}

/// Why the file is refused, each reason in a line.
fn problems(text: &str) -> String {
    let problems = ConfigFile::parse(Path::new(DEFAULT_PATH), text, true).1;
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn values_have_the_types_of_toml() {
    assert_eq!(value("workers = 4", &WORKERS), "4");
    assert_eq!(value("port = 0xC1C", &PORT), "3100");
    assert_eq!(value("queue = 1_000", &QUEUE), "1000");
    assert_eq!(value("max-memory = \"512MiB\"", &MAX_MEMORY), "512MiB");
    assert_eq!(value("trust-forwarded = true", &TRUST_FORWARDED), "true");
    assert_eq!(value("drain-timeout = '1m 30s'", &DRAIN_TIMEOUT), "1m 30s");
    assert_eq!(value("cluster = \"manual\"", &CLUSTER), "manual");
    assert_eq!(value("state-dir = '''/a b'''", &STATE_DIR), "/a b");
    assert_eq!(value("admin-hosts = [\"a\", 'b.c',]", &ADMIN_HOSTS), "a,b.c");
    assert_eq!(value("admin-hosts = \"a,b\"", &ADMIN_HOSTS), "a,b");
    assert_eq!(value("\u{FEFF}workers = 4\r\n", &WORKERS), "4");
}

#[test]
fn names_are_those_of_the_flags_in_either_case() {
    assert_eq!(value("drain_timeout = \"1s\"", &DRAIN_TIMEOUT), "1s");
    assert_eq!(value("\"drain-timeout\" = \"1s\"", &DRAIN_TIMEOUT), "1s");
    assert_eq!(value("reload-parallel = 2", &START_PARALLEL), "2", "an older name");
    assert_eq!(value("sticky-secret = \"x\"", &STICKY_SECRET), "x", "a setting without a flag");
}

#[test]
fn the_line_is_that_of_the_key() {
    let (file, _) = parse("# one\n\nworkers = 4\n");
    let (_, origin) = file.find(&WORKERS).unwrap();
    assert_eq!(origin.to_string(), "workers in cluster.toml line 3");
}

#[test]
fn slips_are_named_with_file_and_line() {
    let table: &[(&str, &str)] = &[
        (
            "workers = 4\nwokers = 4",
            "cluster.toml line 2: there is no setting \"wokers\"; did you mean workers?",
        ),
        (
            "\ndrain_timout = '1s'",
            "cluster.toml line 2: there is no setting \"drain_timout\"; did you mean drain-timeout?",
        ),
        ("CLUSTER_PORT = 1", "did you mean port?"),
        ("zzz = 1", "(balancer --help lists them, without the dashes)"),
        ("config = 'x'", "there is no setting \"config\""),
        ("workers = 4\nport = 1\nworkers = 5", "cluster.toml line 3: not TOML: duplicate key"),
        ("max-memory = '1GB'\nmax_memory = '2GB'", "is set twice"),
        ("start-parallel = 1\nreload-parallel = 2", "is set twice"),
        ("port = 1\ndrain-timeout = 30s", "cluster.toml line 2: not TOML"),
        ("port 3000", "cluster.toml line 1: not TOML"),
        (
            "port = 1\n[cluster]\nname = 'x'",
            "cluster.toml line 2: cluster expects auto, manual or off, and this is a TOML table",
        ),
        ("workers = [4]", "workers expects a whole number from 1 to 512, or a range"),
        ("workers = [4]", "and this is a TOML array"),
        ("port = 1979-05-27", "and this is a TOML datetime"),
        ("admin-hosts = [['a']]", "and this is a TOML array"),
        ("\n\ncommand = 4", "cluster.toml line 3: command is a TOML integer: expected the program"),
        ("command = ''", "command names no program"),
        ("command = []", "command names no program"),
        ("command = [['node']]", "command has a TOML array in it"),
        ("command = 'node \"a'", "command has a quote without its partner"),
    ];
    for (text, part) in table {
        let found = problems(text);
        assert!(found.contains(part), "{text:?}: {found}");
        assert_eq!(found.lines().count(), 1, "{text:?}: {found}");
    }
    assert!(!problems("sticky-secret = hunter2").contains("hunter2"));
    let all = problems("wokers = 1\nworkers = 2\npotr = 3\ncommand = 1");
    let lines: Vec<_> = all.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["cluster.toml line 1", "cluster.toml line 3", "cluster.toml line 4"]);
}

#[test]
fn commands_are_words_or_a_line_as_for_a_shell() {
    let command = |text: &str| parse(text).0.command.map(|(words, _)| words).unwrap();
    assert_eq!(command("command = ['node', 'my server.js', 4]"), ["node", "my server.js", "4"]);
    assert_eq!(
        command("command = \"node 'my server.js' --a=\\\"b c\\\" $HOME *\""),
        ["node", "my server.js", "--a=b c", "$HOME", "*"]
    );
    assert_eq!(
        command("command = '''\nuvicorn app:app\n  --port 1\n'''"),
        ["uvicorn", "app:app", "--port", "1"]
    );
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    for text in
        ["[cluster]\nname = 'x'\n[node]\nid = 4\n", "title = 'x'\n[owner]\nname = 'y'", "[workers]\na = 1"]
    {
        let (file, found) = parse(text);
        assert!(found.is_empty() && file.values.is_empty(), "{text}: {file:?}");
        assert_eq!(file.warnings.len(), 1, "{text}: {file:?}");
        assert!(!problems(text).is_empty(), "who names it means it: {text}");
    }
    for text in ["wokers = 4", "title = 'x'\nport = 1", "WORKERS = 4", "command = 'node'\nfoo = 1"] {
        assert!(!parse(text).1.is_empty(), "{text} is meant for this program");
    }
    let (empty, problems) = parse("# nothing yet\n");
    assert!(problems.is_empty() && empty.warnings.is_empty());
}

#[test]
fn a_secret_that_everybody_can_read_is_a_warning() {
    let directory = std::env::temp_dir().join(format!("settings-secret-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("cluster.toml");
    let warnings = |text: &str, mode: u32| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        ConfigFile::load(&directory, Some(&path)).unwrap().unwrap().0.warnings
    };
    let secret = "sticky-secret = '0123456789abcdef'\nredis-url = 'redis://:hunter2@h'\n";
    let open = warnings(secret, 0o644);
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].contains("every user can read it") && !open[0].contains("hunter2"), "{open:?}");
    assert!(warnings(secret, 0o640).is_empty());
    assert!(warnings("redis-url = 'redis://h'\n", 0o644).is_empty(), "no password");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_variable_in_the_file_is_a_slip_of_this_file() {
    for text in ["CLUSTER_WORKERS = 4", "cluster_workers = 4"] {
        let (file, problems) = parse(text);
        assert!(file.warnings.is_empty() && problems.len() == 1, "{text}: {file:?}");
        assert!(problems[0].to_string().ends_with("did you mean workers?"), "{text}: {problems:?}");
    }
}

#[test]
fn text_without_quotes_is_said_to_need_them_and_is_not_repeated() {
    for (text, example) in [
        ("workers = 4\nhost = 127.0.0.1", "host = \"127.0.0.1\""),
        ("drain-timeout = 20s", "drain-timeout = \"30s\""),
        ("sticky-secret = hush$", "sticky-secret = "),
    ] {
        let problems = problems(text);
        assert!(problems.contains("text is written in quotes") && problems.contains(example), "{problems}");
        assert!(!problems.contains("hush"), "{problems}");
    }
    assert!(!problems("host = \"a").contains("written in quotes"));
}

#[test]
fn environment_files_can_be_a_list() {
    assert_eq!(value("env-file = [\"a.env\", \"b c.env\"]", &crate::definitions::ENV_FILE), "a.env,b c.env");
}
