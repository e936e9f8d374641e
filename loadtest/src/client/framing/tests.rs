use super::*;

/// Feeds `input` in pieces of `step` bytes; returns what it came to.
fn decode(input: &[u8], head_request: bool, step: usize) -> Result<(Decoder, Vec<u8>, usize), FramingError> {
    let mut decoder = Decoder::new(head_request);
    let mut body = Vec::new();
    let mut taken = 0;
    let mut end = 0;
    while end < input.len() {
        end = (end + step).min(input.len());
        taken += decoder.feed(&input[taken..end], Some(&mut body))?;
    }
    Ok((decoder, body, taken))
}

/// The same whatever the sizes in which it arrives.
fn check(input: &str, head_request: bool, status: u16, body: &str, done: bool, keep_alive: bool) {
    for step in [1, 2, 3, 7, 64, input.len()] {
        let (decoder, got, taken) = decode(input.as_bytes(), head_request, step).unwrap();
        let head = decoder.head().unwrap();
        assert_eq!(head.status, status, "{input:?} by {step}");
        assert_eq!(got, body.as_bytes(), "{input:?} by {step}");
        assert_eq!(decoder.is_done(), done, "{input:?} by {step}");
        assert_eq!(head.keep_alive, keep_alive, "{input:?} by {step}");
        if done {
            assert_eq!(taken, input.len(), "{input:?} by {step}");
        }
    }
}

#[test]
fn bodies_by_length_chunks_and_close() {
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello", true, true);
    check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 200, "", true, true);
    check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", false, 200, "hel", false, true);
    check("HTTP/1.1 200 OK\r\n\r\nuntil close", false, 200, "until close", false, false);
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;name=\"v\"\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
        false,
        200,
        "hello world",
        true,
        true,
    );
    check("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", false, 200, "abc", true, true);
}

#[test]
fn some_responses_have_no_body_whatever_they_declare() {
    check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, 200, "", true, true);
    check("HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", true, true);
    check("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, 304, "", true, true);
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
        false,
        201,
        "ok",
        true,
        true,
    );
}

#[test]
fn connections_are_kept_as_version_and_header_say() {
    check("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false, 200, "", true, false);
    check("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, 200, "", true, false);
    check(
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        false,
        200,
        "",
        true,
        true,
    );
    check(
        "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 0\r\n\r\n",
        false,
        200,
        "",
        true,
        false,
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = |input: &str| decode(input.as_bytes(), false, input.len()).map(|_| ()).unwrap_err();
    assert!(matches!(refused("SSH-2.0-OpenSSH_9.2\r\n"), FramingError::Head(_)));
    assert!(matches!(refused("\0\u{1}\u{2}garbage\r\n\r\n"), FramingError::Head(_)));
    assert_eq!(
        refused("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        FramingError::TwoLengths
    );
    assert_eq!(
        refused("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        FramingError::LengthAndChunks
    );
    for bad in ["-1", "+5", "5x", "", "99999999999999999999999"] {
        let input = format!("HTTP/1.1 200 OK\r\nContent-Length: {bad}\r\n\r\n");
        assert_eq!(refused(&input), FramingError::Length(bad.to_owned()));
    }
    for bad in ["xyz\r\n", "\r\n", "5\r\nhelloXX", "fffffffffffffffff\r\n", "5 \n"] {
        let input = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bad}");
        assert!(matches!(refused(&input), FramingError::Chunk(_)), "{bad:?}");
    }
    assert_eq!(refused("HTTP/1.1 000 Nothing\r\n\r\n"), FramingError::Status(0));
    assert_eq!(refused("HTTP/1.1 101 Switching Protocols\r\n\r\n"), FramingError::Switched);
}

#[test]
fn a_head_without_end_is_cut_off() {
    let mut input = b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec();
    input.resize(MAX_HEAD, b'a');
    assert_eq!(Decoder::new(false).feed(&input, None), Err(FramingError::HeadTooLong));
}

#[test]
fn what_follows_a_response_is_left_alone() {
    let input = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more";
    let mut decoder = Decoder::new(false);
    let taken = decoder.feed(input, None).unwrap();
    assert!(decoder.is_done());
    assert_eq!(&input[taken..], b" and more");
}

#[test]
fn the_worker_is_read_from_its_header() {
    let (decoder, ..) =
        decode(b"HTTP/1.1 200 OK\r\nX-Worker-Id: 12\r\nContent-Length: 0\r\n\r\n", false, 5).unwrap();
    assert_eq!(decoder.head().unwrap().worker.as_bytes(), b"12");
    assert_eq!(Tag::new(&[b'x'; 100]).as_bytes().len(), Tag::MAX);
}
