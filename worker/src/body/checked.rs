//! Is a JSON text one that any client can read back?
//!
//! Stored values keep their text. A reader that only finds where a value ends
//! lets pass what other readers refuse: thousands of levels, halves of
//! surrogate pairs, numbers too large for any type. This reads it all, with
//! serde_json's own limits (128 levels), and keeps nothing.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// # Errors
/// Says what is wrong and where.
pub(crate) fn check(value: &RawValue) -> Result<(), serde_json::Error> {
    serde_json::from_str::<Checked>(value.get()).map(|Checked| ())
}

struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked, A::Error> {
        while items.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Checked, A::Error> {
        while entries.next_entry::<Checked, Checked>()?.is_some() {}
        Ok(Checked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        check(&RawValue::from_string(text.to_owned()).unwrap()).is_ok()
    }

    #[test]
    fn what_any_client_can_read() {
        for good in ["null", "true", "-1", "18446744073709551615", "1.5e300", "\"\\ud83d\\ude00\"", "[]"] {
            assert!(accepts(good), "{good}");
        }
        assert!(accepts("{\"a\":[{\"b\":[1,\"x\",null]}],\"a\\n\":{}}"));
        assert!(accepts(&format!("{}{}", "[".repeat(100), "]".repeat(100))));
    }

    #[test]
    fn what_some_clients_cannot_read() {
        assert!(!accepts(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))));
        assert!(!accepts("\"\\ud83d\""), "half of a surrogate pair");
        assert!(!accepts("1e999"));
    }
}
