use super::*;

fn values(text: &str) -> Vec<(String, String)> {
    let parsed = parse(text).unwrap_or_else(|err| panic!("{text:?}: {err:?}"));
    parsed.into_iter().map(|variable| (variable.name, variable.value)).collect()
}

#[test]
fn lines_mean_what_other_readers_take_them_for() {
    let cases = [
        ("A=1", "1"),
        ("A=", ""),
        ("export A=1", "1"),
        ("export\tA = 1 ", "1"),
        ("  A =  spaced value  ", "spaced value"),
        ("A=pa$word1", "pa$word1"),
        ("A=${HOME}", "${HOME}"),
        ("A=a#b", "a#b"),
        ("A=a #b", "a"),
        ("A=a\t# b", "a"),
        ("A= # nothing", ""),
        ("A=#nothing", ""),
        ("A='a # b' # c", "a # b"),
        ("A=\"a # b\"# c", "a # b"),
        ("A='$x \\n \"'", "$x \\n \""),
        ("A=\"a\\nb\\tc\\\"\\\\\\$\\x\"", "a\nb\tc\"\\$\\x"),
        ("A=\"two\nlines\"", "two\nlines"),
        ("A='two\r\nlines'\r\n", "two\nlines"),
        ("A=`it's \"it\"`", "it's \"it\""),
        ("A=k=v&x=y==", "k=v&x=y=="),
        ("A={\"json\": [1]}", "{\"json\": [1]}"),
        ("A=it's", "it's"),
        ("A=C:\\new", "C:\\new"),
        ("A=grüße", "grüße"),
        ("\u{feff}A=1\r\n", "1"),
        ("# A=0\n\n   \nA=1", "1"),
    ];
    for (text, value) in cases {
        assert_eq!(values(text), [("A".to_owned(), value.to_owned())], "{text:?}");
    }
    assert_eq!(values("npm.config-x_1=1")[0].0, "npm.config-x_1");
    assert_eq!(values("exported=1")[0].0, "exported");
    assert_eq!(values("A=1\nB='\n\n'\nA=2").len(), 3);
    let lines: Vec<_> = parse("A=1\nB='\n\n'\n\nC=2").unwrap().iter().map(|variable| variable.line).collect();
    assert_eq!(lines, [1, 2, 6]);
}

#[test]
fn a_line_that_is_not_understood_is_named_and_its_value_is_not() {
    for (text, line, part) in [
        ("A=1\nsecret", 2, "no ="),
        ("FOO: secret", 1, "no ="),
        ("=secret", 1, "no name"),
        ("1A=secret", 1, "no name"),
        ("A B=secret", 1, "no name"),
        ("A\u{e4}=secret", 1, "no name"),
        ("\n\nA='secret", 3, "A has a quote that is not closed"),
        ("A=\"secret\\", 1, "not closed"),
        ("A=\"x\" secret", 1, "after its closing quote"),
        ("B=1\nA=sec\0ret", 2, "zero byte"),
        ("A\0=secret", 1, "no name"),
    ] {
        let (found, problem) = parse(text).err().unwrap_or_else(|| panic!("{text:?} parses"));
        assert_eq!(found, line, "{text:?}");
        assert!(problem.contains(part) && !problem.contains("secret"), "{text:?}: {problem}");
    }
}

#[test]
fn a_variable_is_as_long_as_a_program_can_be_given() {
    let longest = LONGEST_VARIABLE - "A=".len() - 1;
    assert_eq!(values(&format!("A={}", "x".repeat(longest)))[0].1.len(), longest);
    let (_, problem) = parse(&format!("A={}", "x".repeat(1 << 20))).err().unwrap();
    assert!(problem.contains("A has 1048576 bytes") && problem.len() < 200, "{problem}");
}

#[test]
fn only_regular_files_are_read_and_nobody_waits_for_another_kind() {
    let directory = std::env::temp_dir().join(format!("env-file-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name);
    let text = |name: &str| read(&path(name)).err().unwrap().to_string();
    assert!(text("none").contains("none: No such file"), "{}", text("none"));
    let pipe = path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    assert!(text("pipe").contains("pipe is no regular file"), "{}", text("pipe"));
    assert!(text("").contains("is no regular file"), "{}", text(""));
    std::fs::write(path("bytes"), b"A=1\nB=\xff\n").unwrap();
    assert!(text("bytes").contains("bytes line 2: it is not UTF-8"), "{}", text("bytes"));
    std::fs::write(path("good"), "A=1\n").unwrap();
    assert_eq!(read(&path("good")).ok().unwrap().len(), 1);
    std::fs::write(path("large"), "#".repeat(LONGEST_FILE as usize + 1)).unwrap();
    assert!(text("large").contains("more than 1 MiB"), "{}", text("large"));
    std::fs::remove_dir_all(&directory).unwrap();
}
