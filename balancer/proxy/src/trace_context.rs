//! The trace that a request belongs to (W3C Trace Context, Level 1, section 3.2).
//!
//! Both fields of it, `traceparent` and `tracestate`, pass the balancer as they are: it
//! makes no spans of its own, so it neither takes part in a trace nor begins one.

/// Length of `00-<trace-id>-<parent-id>-<flags>`.
const LENGTH: usize = 55;

/// The trace-id of a valid `traceparent`: 32 hexadecimal digits in lower case.
pub(crate) fn trace_id(traceparent: &[u8]) -> Option<&[u8]> {
    let (known, more) = traceparent.split_at_checked(LENGTH)?;
    let (version, trace) = (part(known, 0, 2)?, part(known, 3, 32)?);
    let (parent, _flags) = (part(known, 36, 16)?, part(known, 53, 2)?);
    let has_joints = [2, 35, 52].iter().all(|&at| known[at] == b'-');
    // Version ff is forbidden; later ones than 00 may go on behind a dash.
    let fits = match version {
        b"00" => more.is_empty(),
        b"ff" => false,
        _ => more.first().is_none_or(|&joint| joint == b'-'),
    };
    let is_zero = |id: &[u8]| id.iter().all(|&digit| digit == b'0');
    (has_joints && fits && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

/// So many hexadecimal digits from there on.
fn part(text: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    let part = text.get(at..at + length)?;
    part.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8] = b"0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_valid_one_has_an_id() {
        for good in [
            &b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"[..],
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes",
        ] {
            assert_eq!(trace_id(good), Some(ID), "{}", String::from_utf8_lossy(good));
        }
    }

    #[test]
    fn others_have_none() {
        for bad in [
            &b""[..],
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            b"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\xff-01",
        ] {
            assert_eq!(trace_id(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
