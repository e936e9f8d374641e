//! Responses that are compressed on their way (`--compress`), as curl, Node and Python read
//! them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use shared_testkit::connection::Answer;

use crate::harness::{Balancer, Cluster, eventually};
use crate::tls::client::write_pair;

const ON: [&str; 2] = ["--compress", "on"];

/// The program that sends text, with these options.
fn texts(options: &[&str]) -> Balancer {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/texts.js");
    let port: &[&str] = if options.contains(&"--listen") { &[] } else { &["--port", "0"] };
    let balancer = Balancer::new(&["--workers", "1", "--health-path", "/up"]).with(port).with(options);
    balancer.with(&["--", "node", script]).env("PATH", &std::env::var("PATH").unwrap())
}

fn output(command: &mut Command) -> (Option<i32>, Vec<u8>) {
    let output = command.stderr(Stdio::inherit()).output().expect("it is installed (see .ci/setup)");
    (output.status.code(), output.stdout)
}

/// What curl has decoded, and with which exit code it ended.
fn curl(url: &str, arguments: &[&str]) -> (Option<i32>, Vec<u8>) {
    let mut curl = Command::new("curl");
    output(curl.args(["--silent", "--compressed", "--max-time", "20"]).args(arguments).arg(url))
}

fn get(cluster: &Cluster, path: &str, accepts: &str) -> Answer {
    cluster.request("GET", path, &[("accept-encoding", accepts)], b"")
}

fn fields(answer: &Answer) -> [Option<&str>; 5] {
    ["content-encoding", "vary", "etag", "content-length", "accept-ranges"].map(|name| answer.header(name))
}

#[test]
#[ignore = "needs curl and node: bash .ci/setup"]
fn curl_decodes_every_coding_over_every_protocol() {
    let directory = tempfile::tempdir().unwrap();
    write_pair(directory.path(), "pair.pem", &["localhost"]);
    let pair = directory.path().join("pair.pem");
    let pair = pair.to_str().unwrap();
    let plain = texts(&[&ON[..], &["--http2", "on"]].concat()).start_ready();
    let tls = ["--listen", "https://127.0.0.1:0", "--tls-cert", pair, "--tls-key", pair];
    let tls = texts(&[&ON[..], &["--admin", "127.0.0.1:0"], &tls].concat()).start_ready();
    let places = [
        (format!("http://{}", plain.address), vec!["--http1.1"]),
        (format!("http://{}", plain.address), vec!["--http2-prior-knowledge"]),
        (format!("https://{}", tls.address), vec!["--insecure", "--http2"]),
    ];
    for length in [1_024, 9_999, 65_536, 300_001] {
        for path in [format!("/whole?length={length}"), format!("/parts?length={length}&size=1000")] {
            let expected = get(&plain, &path, "identity").body;
            assert_eq!(expected.len(), length);
            for (place, arguments) in &places {
                for coding in ["zstd", "br", "gzip"] {
                    let accepts = format!("Accept-Encoding: {coding}");
                    let arguments = [&arguments[..], &["--header", &accepts]].concat();
                    let (code, body) = curl(&format!("{place}{path}"), &arguments);
                    assert_eq!(code, Some(0), "{place}{path} {coding}");
                    assert!(body == expected, "{place}{path} {coding}: {} bytes", body.len());
                    assert_eq!(get(&plain, &path, coding).header("content-encoding"), Some(coding));
                }
            }
        }
    }
}

#[test]
#[ignore = "needs node and python3: bash .ci/setup"]
fn clients_of_other_languages_decode_what_they_get() {
    let cluster = texts(&ON).start_ready();
    let address = cluster.address.to_string();
    for (program, script) in [("node", "decoding.js"), ("python3", "decoding.py")] {
        let script = format!("{}/tests/e2e/programs/{script}", env!("CARGO_MANIFEST_DIR"));
        let (code, out) = output(Command::new(program).args([&script, &address]));
        assert_eq!((code, String::from_utf8_lossy(&out).trim()), (Some(0), "equal"), "{program}");
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_head_tells_what_a_cache_must_know() {
    let log = ["--access-log", "access.log", "--access-log-format", "json"];
    let cluster = texts(&[&ON[..], &log].concat()).start_ready();
    let plain = [None, Some("Accept-Encoding"), Some("\"a\""), Some("5000"), Some("bytes")];
    let encoded = [Some("gzip"), Some("Accept-Encoding"), Some("W/\"a\""), None, None];
    let answer = get(&cluster, "/whole", "gzip");
    assert_eq!(fields(&answer), encoded);
    assert!(answer.body.len() < 2_500, "{}", answer.body.len());
    assert_eq!(fields(&get(&cluster, "/whole", "deflate")), plain);
    assert_eq!(fields(&cluster.request("GET", "/whole", &[], b"")), plain);
    // A HEAD is that of the GET.
    let head = |accepts| cluster.request("HEAD", "/whole", &[("accept-encoding", accepts)], b"");
    assert_eq!((fields(&head("gzip")), fields(&head("identity"))), (encoded, plain));
    // What a program has said by itself stays, and what it varies by is added to.
    let own = get(&cluster, "/whole?h-content-encoding=identity&h-vary=Origin", "gzip");
    assert_eq!(fields(&own)[..2], [Some("identity"), Some("Origin")]);
    let varies = get(&cluster, "/whole?h-vary=Origin", "gzip");
    assert_eq!(fields(&varies)[..2], [Some("gzip"), Some("Origin, Accept-Encoding")]);
    // Neither is worth it, or may be.
    for query in [
        "length=1023",
        "type=image/png",
        "type=text/event-stream",
        "h-cache-control=no-transform",
        "h-content-encoding=br",
    ] {
        let answer = get(&cluster, &format!("/whole?{query}"), "gzip");
        assert_eq!(answer.header("vary"), None, "{query}");
        assert_ne!(answer.header("content-encoding"), Some("gzip"), "{query}");
        assert_eq!(answer.header("etag"), Some("\"a\""), "{query}");
    }
    // Part of it, and that it is still good.
    let ask =
        |name, value| cluster.request("GET", "/whole", &[("accept-encoding", "gzip"), (name, value)], b"");
    let part = ask("range", "bytes=0-");
    assert_eq!((part.status, fields(&part)[0], part.body.len()), (206, None, 5_000));
    let fresh = ask("if-none-match", "W/\"a\"");
    assert_eq!((fresh.status, fresh.header("etag")), (304, Some("W/\"a\"")));
    assert_eq!(ask("if-none-match", "\"a\"").header("etag"), Some("\"a\""));
    // The worker knows what the client accepts; the log, how much it got.
    assert_eq!(get(&cluster, "/accepts", "gzip;q=0.5, br").text(), "gzip;q=0.5, br");
    let logged =
        eventually("it is logged", || std::fs::read_to_string(cluster.directory().join("access.log")).ok());
    let first = logged.lines().find(|line| line.contains("/whole")).unwrap();
    assert!(first.contains(&format!(":{}", answer.body.len())), "{first}");
    let (read, written) =
        (cluster.metric("compression_input_bytes_total"), cluster.metric("compression_output_bytes_total"));
    assert!(
        read >= 10_000 && written >= 2 * answer.body.len() as u64 && written < read / 2,
        "{read} {written}"
    );
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn an_old_client_gets_it_plain_and_keeps_its_connection() {
    use shared_testkit::connection::Connection;
    let cluster = texts(&ON).start_ready();
    let mut connection = Connection::open(cluster.address).unwrap();
    for _ in 0..2 {
        let request = "GET /whole HTTP/1.0\r\nConnection: keep-alive\r\nAccept-Encoding: gzip\r\n\r\n";
        connection.write(request.as_bytes()).unwrap();
        let answer = connection.receive(false).unwrap();
        assert_eq!((fields(&answer)[0], answer.body.len()), (None, 5_000));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn nothing_is_compressed_unless_it_is_asked_for() {
    let cluster = texts(&[]).start_ready();
    let plain = [None, None, Some("\"a\""), Some("5000"), Some("bytes")];
    assert_eq!(fields(&get(&cluster, "/whole", "gzip, br, zstd")), plain);
    let cluster = texts(&["--compress", "gzip"]).start_ready();
    assert_eq!(fields(&get(&cluster, "/whole", "br, zstd"))[..2], [None, Some("Accept-Encoding")]);
    assert_eq!(fields(&get(&cluster, "/whole", "br, zstd, gzip;q=0.1"))[0], Some("gzip"));
    let (code, text) = texts(&["--compress", "deflate"]).output();
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("--compress") && text.contains("zstd, br and gzip") && text.contains("deflate"),
        "{text}"
    );
}

/// curl, which writes what it has decoded as it comes.
struct Reader {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Reader {
    fn start(url: &str, accepts: &str) -> Self {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--no-buffer", "--compressed", "--max-time", "20", "--header", accepts, url]);
        let mut child = curl.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

#[test]
#[ignore = "needs curl and node: bash .ci/setup"]
fn what_a_worker_has_sent_does_not_wait_for_the_rest() {
    let cluster = texts(&ON).start_ready();
    for coding in ["zstd", "br", "gzip"] {
        let url = format!("http://{}/held", cluster.address);
        let mut reader = Reader::start(&url, &format!("Accept-Encoding: {coding}"));
        assert_eq!(reader.line(), "first\n", "{coding}");
        get(&cluster, "/go", "identity");
        assert_eq!((reader.line(), reader.line()), ("last\n".to_owned(), String::new()), "{coding}");
        assert!(reader.child.wait().unwrap().success(), "{coding}");
    }
}

#[test]
#[ignore = "needs curl and node: bash .ci/setup"]
fn a_response_that_is_cut_off_is_known_to_be() {
    let cluster = texts(&[&ON[..], &["--http2", "on"]].concat()).start_ready();
    let expected = get(&cluster, "/whole?length=200000", "identity").body;
    for path in ["/cut?length=200000", "/cut?length=200000&known", "/cut?length=200000&exit"] {
        for coding in ["zstd", "br", "gzip"] {
            for protocol in ["--http1.1", "--http2-prior-knowledge"] {
                cluster.wait_ready();
                let url = format!("http://{}{path}", cluster.address);
                let accepts = format!("Accept-Encoding: {coding}");
                let (code, body) = curl(&url, &[protocol, "--header", &accepts]);
                assert!(code != Some(0), "{path} {coding} {protocol}: {} bytes", body.len());
                assert!(expected.starts_with(&body), "{path} {coding} {protocol}");
            }
        }
    }
    assert!(cluster.log().iter().any(|line| line.contains("\"fault\":\"truncated\"")));
}
