//! Pieces of HTTP/1 heads, appended to a buffer.

/// Names of fields in the balancer's own name, in the capitals by which they are known:
/// some clients and programs look for exactly these bytes. Fields of others keep theirs.
pub(crate) const X_WORKER_ID: &[u8] = b"X-Worker-Id";
pub(crate) const X_REQUEST_ID: &[u8] = b"X-Request-Id";

pub(crate) const HSTS: &[u8] = b"Strict-Transport-Security";

/// Appends `name` with a capital letter at the beginning of each word.
pub(crate) fn capitalised(out: &mut Vec<u8>, name: &str) {
    let mut begins = true;
    for byte in name.bytes() {
        out.push(if begins { byte.to_ascii_uppercase() } else { byte });
        begins = byte == b'-';
    }
}

/// Appends one field line.
#[inline]
pub(crate) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `number` in decimal digits.
pub(crate) fn decimal(out: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a field whose value is a number.
#[inline]
pub(crate) fn number(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_protocol::{REQUEST_ID_HEADER, WORKER_ID_HEADER};

    #[test]
    fn own_names_have_capitals() {
        for (name, written) in [
            (WORKER_ID_HEADER, X_WORKER_ID),
            (REQUEST_ID_HEADER, X_REQUEST_ID),
            ("retry-after", b"Retry-After"),
            ("allow", b"Allow"),
        ] {
            let mut out = Vec::new();
            capitalised(&mut out, name);
            assert_eq!(out, written);
        }
    }
}
