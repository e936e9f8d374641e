//! A line that is one JSON object, to which members are added without touching its own:
//! their order, their form and the precision of their numbers stay as they are.

use std::fmt;
use std::io::Write;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Stands before the name of an added member when the object has one of that name.
const OTHERWISE: &str = "cluster_";

/// A line that is a JSON object and nothing else.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    /// All of it but the closing brace.
    open: &'a str,
    members: Members<'a>,
}

/// What must be known of the object's own members.
#[derive(Debug, Default)]
struct Members<'a> {
    any: bool,
    /// Names that may be those of added members.
    names: Vec<Box<str>>,
    pid: Option<&'a RawValue>,
}

impl<'a> Object<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.trim_ascii();
        if !line.starts_with(b"{") {
            return None;
        }
        let text = std::str::from_utf8(line).ok()?;
        let members = serde_json::from_str(text).ok()?;
        Some(Self { open: text.strip_suffix('}')?, members })
    }

    /// Writes the object with these further members, in one line.
    pub(crate) fn write_with(&self, worker: u32, pid: u32, stream: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.open.trim_end().as_bytes());
        let comma = if self.members.any { "," } else { "" };
        // Writing to memory cannot fail.
        let _ = write!(out, "{comma}\"{}\":\"{worker}\"", self.free("worker"));
        // Many loggers write their pid: it is said once.
        let known = self.members.pid.is_some_and(|own| own.get().parse() == Ok(pid));
        if !known {
            let _ = write!(out, ",\"{}\":{pid}", self.free("pid"));
        }
        let _ = write!(out, ",\"{}\":\"{stream}\"}}", self.free("stream"));
    }

    /// `name`, or one made of it that the object does not use.
    fn free(&self, name: &str) -> String {
        let mut free = name.to_owned();
        while self.members.names.iter().any(|taken| **taken == *free) {
            free.insert_str(0, OTHERWISE);
        }
        free
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;
        impl<'de> Visitor<'de> for OfObject {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some(Name(name)) = map.next_key()? {
                    members.any = true;
                    if name.as_deref() == Some("pid") {
                        members.pid = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                    members.names.extend(name);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(OfObject)
    }
}

/// The name of a member, if it may be that of an added one.
struct Name(Option<Box<str>>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfName;
        impl Visitor<'_> for OfName {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                let counts = ["worker", "pid", "stream"].iter().any(|added| name.ends_with(added));
                Ok(Name(counts.then(|| name.into())))
            }
        }
        deserializer.deserialize_str(OfName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(line: &str) -> Option<String> {
        let mut out = Vec::new();
        Object::parse(line.as_bytes())?.write_with(1, 7, "stdout", &mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn members_of_an_object_stay_as_they_are() {
        for (line, expected) in [
            ("{}", r#"{"worker":"1","pid":7,"stream":"stdout"}"#),
            (" { } \r", r#"{"worker":"1","pid":7,"stream":"stdout"}"#),
            (
                r#"{"z":1.10,"a":12345678901234567890123,"z":1e999, "level":30}"#,
                r#"{"z":1.10,"a":12345678901234567890123,"z":1e999, "level":30,"worker":"1","pid":7,"stream":"stdout"}"#,
            ),
            (r#"{"pid":7,"msg":"}"}"#, r#"{"pid":7,"msg":"}","worker":"1","stream":"stdout"}"#),
            (
                r#"{"p\u0069d":8,"worker":{"pid":9},"cluster_worker":null}"#,
                r#"{"p\u0069d":8,"worker":{"pid":9},"cluster_worker":null,"cluster_cluster_worker":"1","cluster_pid":7,"stream":"stdout"}"#,
            ),
            (r#"{"pid":"7"}"#, r#"{"pid":"7","worker":"1","cluster_pid":7,"stream":"stdout"}"#),
            (r#"{"stream":0}"#, r#"{"stream":0,"worker":"1","pid":7,"cluster_stream":"stdout"}"#),
        ] {
            assert_eq!(merged(line).as_deref(), Some(expected), "{line}");
            assert!(serde_json::from_str::<IgnoredAny>(expected).is_ok(), "{expected}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(merged(&deep).is_some());
    }

    #[test]
    fn what_is_no_object_is_not_merged() {
        for line in [
            "",
            "text",
            "{",
            "}",
            "[{}]",
            "{}{}",
            "{} x",
            "{\"a\":1",
            "{a:1}",
            "{'a':1}",
            "\"{}\"",
            "null",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "{\"a\":\"\x1b\"}",
            "{ok} done",
        ] {
            assert_eq!(merged(line), None, "{line}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_none());
    }
}
