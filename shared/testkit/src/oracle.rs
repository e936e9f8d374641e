//! Second readings of HTTP/1, by a parser that is not ours.

use httparse::Status;

/// Decodes a chunked body as far as it is complete, with `httparse`'s reading of sizes and
/// the grammar of extensions in [`extensions_fit`]. Returns the data, and how many bytes
/// of `input` it took.
pub fn unchunk(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Ok(Status::Complete((length, size))) = httparse::parse_chunk_size(&input[at..]) else {
            return None;
        };
        let line = input[at..at + length].strip_suffix(b"\r\n")?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        extensions_fit(&line[digits..]).then_some(())?;
        at += length;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        data.extend_from_slice(input.get(at..end)?);
        at = end + 2;
        (input.get(end..at)? == b"\r\n").then_some(())?;
    }
    // Trailers end with an empty line.
    while input.get(at..at + 2)? != b"\r\n" {
        at += input[at..].windows(2).position(|pair| pair == b"\r\n")? + 2;
    }
    Some((data, at + 2))
}

/// Is `text` what may stand behind a chunk's size (RFC 9112, section 7.1.1)? Takes the
/// grammar apart from left to right, as it is written there:
/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`.
pub fn extensions_fit(mut text: &[u8]) -> bool {
    while !text.is_empty() {
        let Some(rest) = after(bws(text), b';') else { return false };
        let Some(rest) = token(bws(rest)) else { return false };
        text = match after(bws(rest), b'=') {
            None => rest,
            Some(value) => match token(bws(value)).or_else(|| quoted_string(bws(value))) {
                Some(rest) => rest,
                None => return false,
            },
        };
    }
    true
}

fn bws(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[spaces..]
}

fn after(text: &[u8], byte: u8) -> Option<&[u8]> {
    text.split_first().filter(|&(&first, _)| first == byte).map(|(_, rest)| rest)
}

/// What follows a token.
fn token(text: &[u8]) -> Option<&[u8]> {
    let is_tchar = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let length = text.iter().take_while(is_tchar).count();
    (length > 0).then(|| &text[length..])
}

/// What follows a quoted string (RFC 9110, section 5.6.4).
fn quoted_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = after(text, b'"')?;
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = match byte {
            b'"' => return Some(behind),
            b'\\' => {
                let (&escaped, behind) = behind.split_first()?;
                matches!(escaped, b'\t' | b' '..=b'~' | 0x80..).then_some(behind)?
            }
            b'\t' | b' '..=b'~' | 0x80.. => behind,
            _ => return None,
        };
    }
}
