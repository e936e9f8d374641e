use serde_json::{Value, json};

use super::super::prefix::Slots;
use super::*;

fn form(mode: OutputMode, format: LogFormat, colours: bool, bundled: bool) -> Form {
    let settings = OutputSettings { mode, format, colours, bundled };
    let mut form = Form::new(settings, WorkerId(2), OutputStream::Stderr);
    form.begin(7, &Slots::default().join(WorkerId(2)));
    form.time = "NOW".to_owned();
    form
}

fn lines(form: &mut Form, pieces: &[(&[u8], End)]) -> String {
    pieces.iter().for_each(|&(text, end)| form.add(Piece { text, end }));
    String::from_utf8(form.take().text).unwrap()
}

fn objects(form: &mut Form, pieces: &[(&[u8], End)]) -> Vec<Value> {
    lines(form, pieces).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn text_has_the_worker_in_front_and_the_line_as_it_is() {
    let mut plain = form(OutputMode::Tagged, LogFormat::Text, false, false);
    let pieces: [(&[u8], End); 4] = [
        (b"  WARN indented\tas it was\r", End::LineFeed),
        (b"", End::LineFeed),
        (b"\x1b[31mred\x1b[39m \xff", End::LineFeed),
        (b"last words", End::Stream),
    ];
    assert_eq!(
        lines(&mut plain, &pieces),
        "2|   WARN indented\tas it was\n2| \n2| red \u{fffd}\n2| last words\n"
    );
    let mut coloured = form(OutputMode::Tagged, LogFormat::Text, true, false);
    let text = lines(&mut coloured, &pieces[2..3]);
    assert_eq!(text, "\x1b[32m2|\x1b[0m \x1b[31mred\x1b[39m \u{fffd}\x1b[0m\n");
}

#[test]
fn lines_of_the_bundled_worker_have_time_and_level() {
    let mut text = form(OutputMode::Tagged, LogFormat::Text, false, true);
    let pieces: [(&[u8], End); 2] = [(b" WARN store lost", End::LineFeed), (b"panicked", End::LineFeed)];
    assert_eq!(lines(&mut text, &pieces), "2| NOW  WARN store lost\n2| NOW panicked\n");
    let mut json = form(OutputMode::Tagged, LogFormat::Json, false, true);
    let all = objects(&mut json, &pieces);
    let expected = json!({"timestamp": "NOW", "level": "WARN", "message": "store lost",
        "worker": "2", "pid": 7, "stream": "stderr"});
    assert_eq!(all[0], expected);
    assert_eq!((&all[1]["level"], &all[1]["message"]), (&json!("INFO"), &json!("panicked")));
    let mut program = form(OutputMode::Tagged, LogFormat::Json, false, false);
    let all = objects(&mut program, &pieces);
    assert_eq!((&all[0]["level"], &all[0]["message"]), (&json!("INFO"), &json!(" WARN store lost")));
}

#[test]
fn parts_of_a_line_are_marked() {
    let pieces: [(&[u8], End); 4] =
        [(b"a", End::Rest), (b"b", End::Rest), (b"c", End::LineFeed), (b"d", End::LineFeed)];
    let mut text = form(OutputMode::Tagged, LogFormat::Text, false, false);
    assert_eq!(lines(&mut text, &pieces), "2| a …\n2| …b …\n2| …c\n2| d\n");
    assert_eq!(lines(&mut text, &[(b"a", End::Rest), (b"", End::Stream)]), "2| a …\n");
    let mut json = form(OutputMode::Tagged, LogFormat::Json, false, false);
    let all = objects(&mut json, &pieces);
    let parts: Vec<_> = all.iter().map(|line| (line["part"].as_u64(), line["last"].as_bool())).collect();
    assert_eq!(parts, [(Some(1), Some(false)), (Some(2), Some(false)), (Some(3), Some(true)), (None, None)]);
}

#[test]
fn a_line_of_any_length_comes_out_whole() {
    let line = "x日".repeat(50_000);
    for mode in [OutputMode::Tagged, OutputMode::Merge] {
        let mut json = form(mode, LogFormat::Json, false, false);
        let all = objects(&mut json, &[(line.as_bytes(), End::LineFeed)]);
        let messages: Vec<_> = all.iter().map(|line| line["message"].as_str().unwrap()).collect();
        assert!(messages.iter().all(|message| message.len() <= PART));
        assert_eq!(messages.concat(), line);
        assert_eq!(all.last().unwrap()["last"], true);
    }
}

#[test]
fn objects_are_merged_and_all_else_is_wrapped() {
    let mut form = form(OutputMode::Merge, LogFormat::Json, false, false);
    let pieces: [(&[u8], End); 3] = [
        (br#"{"level":30,"n":1.0,"msg":"up"}"#, End::LineFeed),
        (b"{not json}", End::LineFeed),
        (br#"{"a":1}"#, End::Stream),
    ];
    let text = lines(&mut form, &pieces);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], r#"{"level":30,"n":1.0,"msg":"up","worker":"2","pid":7,"stream":"stderr"}"#);
    assert_eq!(serde_json::from_str::<Value>(lines[1]).unwrap()["message"], "{not json}");
    assert_eq!(lines[2], r#"{"a":1,"worker":"2","pid":7,"stream":"stderr"}"#);
}

#[test]
fn raw_lines_are_the_bytes_that_were_printed() {
    let mut form = form(OutputMode::Raw, LogFormat::Text, true, false);
    let pieces: [(&[u8], End); 4] =
        [(b"\x1b[2Ja\xff\0\r", End::LineFeed), (b"b", End::Rest), (b"c", End::LineFeed), (b"d", End::Stream)];
    pieces.iter().for_each(|&(text, end)| form.add(Piece { text, end }));
    let ready = form.take();
    assert_eq!(ready.text, b"\x1b[2Ja\xff\0\r\nbc\nd");
    assert_eq!(ready.lines, 3);
}

#[test]
fn of_a_long_line_the_beginning_is_kept() {
    for mode in [OutputMode::Tagged, OutputMode::Raw] {
        let mut form = form(mode, LogFormat::Text, false, false);
        let long = vec![b'x'; 3 * PART];
        let pieces: [(&[u8], End); 5] = [
            (&long, End::Rest),
            (&long, End::LineFeed),
            (b"asks: ", End::Rest),
            (b"answer\r", End::LineFeed),
            (b"\x1b[31mred", End::LineFeed),
        ];
        pieces.iter().for_each(|&(text, end)| form.add(Piece { text, end }));
        let kept = form.take().kept;
        assert!(kept[0].len() <= LINE_BYTES && kept[0].ends_with("x …"));
        assert_eq!(&kept[1..], ["asks:  …", "…answer", "\x1b[31mred"]);
    }
}
