//! Keys, as they come in a path or in a body.

use actix_web::HttpRequest;
use serde_json::value::RawValue;
use shared_store::Key;

use crate::body::quoted;
use crate::error::Failure;

const BEFORE_KEY: &str = "/cluster/shared-state/";

/// The key in the path, percent-decoded once (RFC 3986, section 2.1). Taken from
/// the request as it was sent: the router has decoded some of it already.
pub(crate) fn from_path(request: &HttpRequest) -> Result<Key, Failure> {
    let path = request.uri().path();
    let rest = path.strip_prefix(BEFORE_KEY).unwrap_or_default();
    let segment = rest.split('/').next().unwrap_or_default();
    let name = decode(segment).map_err(|reason| {
        Failure::bad_request(format!("the key in the path is not well encoded: {reason}"))
    })?;
    Key::new(&name).map_err(|err| Failure::bad_request(err.to_string()))
}

pub(crate) fn from_json(value: Option<&RawValue>) -> Result<Key, Failure> {
    let expected = "the body must be like {\"key\": \"myKey\", \"value\": 42}";
    let Some(value) = value else {
        return Err(Failure::bad_request(format!("key is missing; {expected}")));
    };
    let name: String = serde_json::from_str(value.get()).map_err(|_| {
        Failure::bad_request(format!("key must be a string; {expected}; it was {}", quoted(value.get())))
    })?;
    Key::new(&name).map_err(|err| Failure::bad_request(err.to_string()))
}

fn decode(segment: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        (bytes, rest) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let (high, low) = digit(high).zip(digit(low)).ok_or("% without two hexadecimal digits")?;
                let byte = u8::try_from(high * 16 + low).expect("two hexadecimal digits fit into a byte");
                bytes.push(byte);
                (bytes, after)
            }
            (b'%', _) => return Err("% without two hexadecimal digits"),
            (byte, after) => {
                bytes.push(*byte);
                (bytes, after)
            }
        };
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once() {
        assert_eq!(decode("plain+key").as_deref(), Ok("plain+key"), "+ is no space in a path");
        assert_eq!(decode("a%2Fb%2fc").as_deref(), Ok("a/b/c"));
        assert_eq!(decode("%252F").as_deref(), Ok("%2F"));
        assert_eq!(decode("%C3%BC%F0%9F%98%80").as_deref(), Ok("ü😀"));
        assert_eq!(decode("").as_deref(), Ok(""));
        for bad in ["%", "%2", "%zz", "a%2", "%%41"] {
            assert_eq!(decode(bad), Err("% without two hexadecimal digits"), "{bad}");
        }
        assert_eq!(decode("%ff"), Err("it is not UTF-8"));
    }
}
