use super::*;

/// What follows the header: the request, or the client's first message of TLS.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Reads `header`, with a request behind it, in pieces of `size` bytes.
fn in_pieces(header: &[u8], size: usize) -> Result<(usize, Option<IpAddr>), HeaderError> {
    let bytes = [header, REQUEST].concat();
    let (mut reader, mut total) = (HeaderReader::default(), 0);
    for piece in bytes.chunks(size) {
        match reader.read(piece)? {
            Progress::Partial => total += piece.len(),
            Progress::Complete { used, client } => return Ok((total + used, client)),
        }
    }
    panic!("it takes the request for its own: {header:?}");
}

/// The client that `header` names, and that nothing of the request is used up, however the
/// bytes come.
fn client(header: &[u8]) -> Result<Option<String>, HeaderError> {
    let whole = in_pieces(header, usize::MAX >> 1);
    for size in 1..=header.len() {
        assert_eq!(in_pieces(header, size), whole, "pieces of {size}");
    }
    let (used, client) = whole?;
    assert_eq!(used, header.len());
    Ok(client.map(|client| client.to_string()))
}

fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

fn ipv6(source: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    [&octets(source)[..], &octets("2001:db8::1"), &[0x12, 0x34, 0, 80]].concat()
}

#[test]
fn the_line_of_version_1_names_the_client() {
    let of = |line: &str| client(format!("{line}\r\n").as_bytes());
    let named = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(of("PROXY TCP4 192.0.2.7 10.0.0.1 4711 80"), named("192.0.2.7"));
    assert_eq!(of("PROXY TCP6 2001:db8::7 2001:db8::1 65535 0"), named("2001:db8::7"));
    assert_eq!(of("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 1"), named("192.0.2.7"));
    assert_eq!(of("PROXY UNKNOWN"), Ok(None));
    assert_eq!(of("PROXY UNKNOWN ffff::1 anything 1 2 3"), Ok(None));
    // As long as it may be.
    let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_eq!(of(&format!("PROXY UNKNOWN {all} {all} 65535 65535")), Ok(None));
    assert_eq!(of(&format!("PROXY UNKNOWN {}", "x".repeat(91))), Ok(None));
    assert_eq!(of(&format!("PROXY UNKNOWN {}", "x".repeat(92))), Err(HeaderError::LineTooLong));
}

#[test]
fn a_line_that_is_not_exactly_so_is_refused() {
    for bad in [
        "PROXY ",
        "PROXY TCP4",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 80 ",
        "PROXY TCP4 192.0.2.7  10.0.0.1 4711 80",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536",
        "PROXY TCP4 192.0.2.7 10.0.0.1 +4711 80",
        "PROXY TCP4 192.0.2.7 10.0.0.1 04711 80",
        "PROXY TCP4 192.0.2.7 10.0.0.1  80",
        "PROXY TCP4 192.0.2.07 10.0.0.1 1 1",
        "PROXY TCP4 host 10.0.0.1 4711 80",
        "PROXY TCP4 192.0.2.7 ::1 4711 80",
        "PROXY TCP4 ::1 ::1 4711 80",
        "PROXY TCP6 192.0.2.7 10.0.0.1 4711 80",
        "PROXY UDP4 192.0.2.7 10.0.0.1 4711 80",
        "PROXY unknown",
        "PROXY TCP4 192.0.2.7\n10.0.0.1 4711 80",
        "PROXY TCP4 192.0.2.7\r10.0.0.1 4711 80",
    ] {
        assert_eq!(client(format!("{bad}\r\n").as_bytes()), Err(HeaderError::Line), "{bad:?}");
    }
    assert_eq!(client(b"PROXY TCP4 192.0.2.7 10.0.0.1 1 1\n"), Err(HeaderError::Line));
    assert_eq!(client(b"PROXY TCP4 \xff 10.0.0.1 1 1\r\n"), Err(HeaderError::Line));
}

#[test]
fn version_2_names_the_client_and_what_else_it_says_is_skipped() {
    let named = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(client(&version_2(1, 0x11, &IPV4)), named("192.0.2.7"));
    assert_eq!(client(&version_2(1, 0x21, &ipv6("2001:db8::7"))), named("2001:db8::7"));
    assert_eq!(client(&version_2(1, 0x21, &ipv6("::ffff:192.0.2.7"))), named("192.0.2.7"));
    let more = [0x04, 0x00, 0x02, 0, 0];
    assert_eq!(client(&version_2(1, 0x11, &[&IPV4[..], &more].concat())), named("192.0.2.7"));
    assert_eq!(client(&version_2(1, 0x11, &[&IPV4[..], &[0; 500]].concat())), named("192.0.2.7"));
    assert_eq!(client(&version_2(1, 0x21, &[&ipv6("::1")[..], REQUEST].concat())), named("::1"));
}

#[test]
fn version_2_without_an_address_means_the_connections_own() {
    // LOCAL, whatever else it says.
    for rest in [&[][..], &IPV4, &[0; 3]] {
        assert_eq!(client(&version_2(0, 0x11, rest)), Ok(None), "{rest:?}");
        assert_eq!(client(&version_2(0, 0x00, rest)), Ok(None), "{rest:?}");
    }
    // Of no family, of Unix sockets, and of datagrams.
    for family in [0x00, 0x01, 0x10, 0x12, 0x20, 0x22, 0x31, 0x32] {
        assert_eq!(client(&version_2(1, family, &[1; 216])), Ok(None), "{family:#x}");
    }
}

#[test]
fn what_version_2_does_not_have_is_refused() {
    assert_eq!(client(&version_2(2, 0x11, &IPV4)), Err(HeaderError::Kind));
    assert_eq!(client(&version_2(1, 0x41, &IPV4)), Err(HeaderError::Kind));
    assert_eq!(client(&version_2(1, 0x13, &IPV4)), Err(HeaderError::Kind));
    let mut other = version_2(1, 0x11, &IPV4);
    other[12] = 0x11;
    assert_eq!(client(&other), Err(HeaderError::Version));
    assert_eq!(client(&version_2(1, 0x11, &IPV4[..11])), Err(HeaderError::TooShort));
    assert_eq!(client(&version_2(1, 0x21, &IPV4)), Err(HeaderError::TooShort));
    assert_eq!(client(&version_2(1, 0x11, &[])), Err(HeaderError::TooShort));
    assert_eq!(client(&version_2(1, 0x11, &[0; LONGEST_REST])), Ok(Some("0.0.0.0".to_owned())));
    assert_eq!(client(&version_2(1, 0x11, &[0; LONGEST_REST + 1])), Err(HeaderError::TooLong));
}

#[test]
fn what_is_no_header_is_found_out_at_its_first_wrong_byte() {
    for text in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01",
        b"PROXZ",
        b"proxy TCP4",
        b"\r\n\r\n\0\r\nQUIX",
        b"\r\nGET",
    ] {
        let mut reader = HeaderReader::default();
        assert_eq!(reader.read(text), Err(HeaderError::Missing), "{text:?}");
    }
    let mut reader = HeaderReader::default();
    assert_eq!(reader.read(b""), Ok(Progress::Partial));
    assert!(!reader.has_begun());
    assert_eq!(reader.read(b"PRO"), Ok(Progress::Partial));
    assert!(reader.has_begun());
    assert_eq!(reader.read(b"GET"), Err(HeaderError::Missing));
}
