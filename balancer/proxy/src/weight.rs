//! Weights in fields by which clients say what they prefer (RFC 9110, section 12.4.2).

/// The largest weight, in thousandths.
pub(crate) const MOST: u16 = 1000;

/// The weight among these parameters, in thousandths: the largest one where there is none,
/// and `None` where it is not valid.
pub(crate) fn of_parameters<'v>(mut parameters: impl Iterator<Item = &'v [u8]>) -> Option<u16> {
    let weight = parameters.find_map(|part| match part {
        [b'q' | b'Q', b'=', value @ ..] => Some(weight(value)),
        _ => None,
    });
    weight.unwrap_or(Some(MOST))
}

/// A weight in thousandths; `None` if it is not one of 0 to 1 with three digits at most.
fn weight(text: &[u8]) -> Option<u16> {
    let (whole, digits) = match text {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut thousandths = u16::from(whole - b'0') * MOST;
    for (digit, place) in digits.iter().zip([100, 10, 1]) {
        thousandths += u16::from(char::from(*digit).to_digit(10)? as u8) * place;
    }
    (thousandths <= MOST).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_thousandths() {
        let cases = [("0", 0), ("1", 1000), ("1.000", 1000), ("0.5", 500), ("0.05", 50), ("0.", 0)];
        for (text, expected) in cases {
            assert_eq!(weight(text.as_bytes()), Some(expected), "{text}");
        }
        for bad in ["", "2", "-1", "0.x", "0.0000", "1.1", "01"] {
            assert_eq!(weight(bad.as_bytes()), None, "{bad}");
        }
    }
}
