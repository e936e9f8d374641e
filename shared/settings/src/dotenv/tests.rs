use super::*;

/// Names and values, with the last of equal names.
fn values(bytes: &[u8]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for Assignment { name, value, .. } in parse(bytes) {
        found.retain(|(known, _)| *known != name);
        found.push((name, value));
    }
    found
}

/// What a row is about, what the file says, and what it sets.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Each row: what the file says, and what it sets. Behind each stands a line of ours, which
/// must be found whatever comes before it.
#[test]
fn lines_are_read_as_other_readers_read_them() {
    const TABLE: &[Row] = &[
        ("a dollar in a password", "DB=pa$word1${x}", &[("DB", "pa$word1${x}")]),
        ("spaces without quotes", "GREETING=hello big world", &[("GREETING", "hello big world")]),
        ("spaces around the sign", "  A  =  b  ", &[("A", "b")]),
        ("YAML", "FOO: yaml", &[("FOO", "yaml")]),
        ("a colon without a space", "FOO:yaml", &[]),
        ("export", "export X=1\nexport\tY=2", &[("X", "1"), ("Y", "2")]),
        ("a name that begins with export", "exported=1", &[("exported", "1")]),
        ("a name alone", "KEY", &[]),
        ("export of a name alone", "export KEY", &[]),
        ("no value", "KEY=", &[("KEY", "")]),
        ("prose", "this is not a setting", &[]),
        ("a section", "[section]", &[]),
        ("a command", "set -o allexport", &[]),
        ("a conflict", "<<<<<<< HEAD\nA=1\n=======\n>>>>>>> b", &[("A", "1")]),
        ("comments", "# A=1\n  #B=2\n\n", &[]),
        (
            "a comment behind a value",
            "A=1 # one\nB='2' # two\nC=\"3\"# three",
            &[("A", "1"), ("B", "2"), ("C", "3")],
        ),
        ("a hash in a value", "A=pass#word", &[("A", "pass#word")]),
        ("a comment for a value", "A=#nothing\nB= # nothing", &[("A", ""), ("B", "")]),
        ("equal names", "A=1\nA=2", &[("A", "2")]),
        ("equals signs in a value", "A=b=c==", &[("A", "b=c==")]),
        ("double quotes", r#"A="one\ntwo \"three\" \$x \d""#, &[("A", "one\ntwo \"three\" $x \\d")]),
        ("single quotes", r"A='one\ntwo $x #3'", &[("A", r"one\ntwo $x #3")]),
        ("backquotes", "A=`it's \"so\"`", &[("A", "it's \"so\"")]),
        ("JSON", r#"A={"b": "c d"}"#, &[("A", r#"{"b": "c d"}"#)]),
        ("quotes within a value", r#"A=b"c"d"#, &[("A", r#"b"c"d"#)]),
        ("something behind the quotes", r#"A="b" c"#, &[("A", r#""b" c"#)]),
        ("an open quote", "A=\"b c\nB=it's", &[("A", "\"b c"), ("B", "it's")]),
        ("an open quote before quotes", "A=\"b\nB=\"c\"", &[("A", "\"b"), ("B", "c")]),
        (
            "a certificate",
            "CERT=\"-----BEGIN-----\nPORT=1\nabc==\n-----END-----\"\nB=2",
            &[("CERT", "-----BEGIN-----\nPORT=1\nabc==\n-----END-----"), ("B", "2")],
        ),
        ("a list in single quotes", "A='[\n  1\n]'", &[("A", "[\n  1\n]")]),
        ("dots and dashes in names", "a.b-c=1", &[("a.b-c", "1")]),
        ("letters beyond ASCII", "A=grün 🙂\nÄ=1", &[("A", "grün 🙂")]),
        ("a zero byte", "A=\0", &[("A", "\0")]),
        ("a sign alone", "=x", &[]),
    ];
    for (what, text, expected) in TABLE {
        for (end, sentinel) in [("\n", "PORT=3000\n"), ("\r\n", "PORT=3000"), ("\n", "PORT=3000 # ours")] {
            let file = format!("{text}\n{sentinel}").replace('\n', end);
            let mut right: Vec<_> =
                expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            right.push(("PORT".to_owned(), "3000".to_owned()));
            assert_eq!(values(file.as_bytes()), right, "{what}: {file:?}");
        }
    }
}

#[test]
fn marks_and_foreign_bytes_do_no_harm() {
    let port = [("PORT".to_owned(), "3000".to_owned())];
    assert_eq!(values(b"\xEF\xBB\xBFPORT=3000"), port);
    let utf16: Vec<u8> = "\u{FEFF}PORT=3000\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(values(&utf16), port);
    let utf16: Vec<u8> = "\u{FEFF}PORT=3000".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(values(&utf16), port);
    assert_eq!(values(b"A=\xFF\xC3\nPORT=3000\n")[1..], port);
    assert_eq!(values(b"\xFF\x00\x9F\nPORT=3000\n"), port);
    assert_eq!(values(b""), []);
    assert_eq!(values(b"\xEF\xBB\xBF"), []);
}

#[test]
fn a_line_is_counted_from_where_its_assignment_begins() {
    let text = "# one\nA='\n\n'\r\n\nPORT=1\nB=2";
    let lines: Vec<_> = parse(text.as_bytes()).into_iter().map(|found| (found.name, found.line)).collect();
    assert_eq!(lines, [("A".to_owned(), 2), ("PORT".to_owned(), 6), ("B".to_owned(), 7)]);
}

#[test]
fn no_bytes_at_all_stop_it() {
    let mut seed = 7u32;
    let alphabet = b"AB=:'\"`\\#$ \n\r\t\xC3\xA4\xFF\0export";
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push(alphabet[(seed >> 16) as usize % alphabet.len()]);
        }
        parse(&bytes);
    }
}
