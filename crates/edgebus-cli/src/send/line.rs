//! A request out of one line of JSON: its payload is the line, its id comes from a field.

use std::fmt;

use bytes::Bytes;
use edgebus::{Code, Message, Refusal, RequestId};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Template;

/// Where the ids of lines come from.
#[derive(Clone, Debug)]
pub(super) enum IdRule {
    /// Each line gets a new one: sent again, it is another request.
    New,
    /// From a field: sent again, it is the same request.
    Field {
        /// The field's name, at the top of the object.
        name: String,
        /// Keeps equal values of different origin apart.
        namespace: String,
    },
}

impl IdRule {
    /// The request that a line is.
    ///
    /// # Errors
    /// [`Code::BadLine`] naming what is wrong with it.
    pub(super) fn request(&self, template: &Template, line: Bytes) -> Result<Message, Refusal> {
        let text = std::str::from_utf8(&line).map_err(|e| {
            bad(format!(
                "not valid JSON: not UTF-8 from byte {} on",
                e.valid_up_to()
            ))
        })?;
        let id = match self {
            Self::New => {
                let valid: Result<IgnoredAny, _> = serde_json::from_str(text);
                valid.map_err(|e| not_json(&e))?;
                edgebus::new_request_id()
            }
            Self::Field { name, namespace } => match id_value(text, name)? {
                IdValue::Id(id) => id,
                IdValue::Other(value) => RequestId::from_value(namespace, &template.topic, &value),
            },
        };
        Ok(template.message(id, line))
    }
}

/// What an id field holds.
#[derive(Debug, PartialEq)]
enum IdValue {
    Id(RequestId),
    /// The string, or the number as it is written.
    Other(String),
}

fn id_value(line: &str, name: &str) -> Result<IdValue, Refusal> {
    let mut parser = serde_json::Deserializer::from_str(line);
    let found = FieldOf(name).deserialize(&mut parser);
    let found = found.and_then(|found| parser.end().map(|()| found));
    let raw = match found.map_err(|e| not_json(&e))? {
        Found::Once(raw) => raw.get(),
        Found::Never => return Err(bad(format!("no field {name:?}"))),
        Found::Twice => return Err(bad(format!("field {name:?} is there twice"))),
        Found::NoObject => return Err(bad(format!("no object, so no field {name:?}"))),
    };
    match raw.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(raw).map_err(|e| not_json(&e))?;
            if text.is_empty() {
                return Err(bad(format!("field {name:?} is empty")));
            }
            Ok(match text.parse() {
                Ok(id) => IdValue::Id(id),
                Err(_) => IdValue::Other(text),
            })
        }
        Some(b'-' | b'0'..=b'9') => Ok(IdValue::Other(raw.to_owned())),
        _ => {
            let mut shown: String = raw.chars().take(40).collect();
            if shown.len() < raw.len() {
                shown.push('…');
            }
            Err(bad(format!(
                "field {name:?} is {shown}: an id is a string or a number"
            )))
        }
    }
}

fn bad(what: String) -> Refusal {
    Refusal::new(Code::BadLine, what)
}

fn not_json(error: &serde_json::Error) -> Refusal {
    // The parser counts lines too, but within this one.
    let text = error.to_string();
    let what = text.split(" at line 1").next().unwrap_or(&text);
    bad(format!(
        "not valid JSON: {what} at column {}",
        error.column()
    ))
}

/// One field of the object a line holds; everything else is checked and skipped.
#[derive(Clone, Copy)]
struct FieldOf<'a>(&'a str);

/// How often the field is there.
enum Found<'de> {
    Never,
    Once(&'de RawValue),
    Twice,
    NoObject,
}

impl<'de> DeserializeSeed<'de> for FieldOf<'_> {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Found<'de>, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldOf<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let mut found = Found::Never;
        while let Some(is_field) = map.next_key_seed(IsField(self.0))? {
            if is_field {
                let value = map.next_value()?;
                found = match found {
                    Found::Never => Found::Once(value),
                    _ => Found::Twice,
                };
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Found<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::NoObject)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found<'de>, E> {
        Ok(Found::NoObject)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Found<'de>, E> {
        Ok(Found::NoObject)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Found<'de>, E> {
        Ok(Found::NoObject)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Found<'de>, E> {
        Ok(Found::NoObject)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Found<'de>, E> {
        Ok(Found::NoObject)
    }

    fn visit_unit<E: Error>(self) -> Result<Found<'de>, E> {
        Ok(Found::NoObject)
    }
}

/// Whether a key is the field's name.
struct IsField<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for IsField<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<bool, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for IsField<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(text: &str) -> Result<IdValue, Refusal> {
        Ok(IdValue::Other(text.to_owned()))
    }

    #[test]
    fn an_id_is_the_field_as_it_is_written() {
        assert_eq!(id_value(r#"{"n":1}"#, "n"), other("1"));
        assert_eq!(id_value(r#"{"n":1.50}"#, "n"), other("1.50"));
        let huge = "123456789012345678901234567890";
        assert_eq!(id_value(&format!(r#"{{"n": {huge} }}"#), "n"), other(huge));
        assert_eq!(id_value(r#"{"a":{"n":2},"n":"A\u0041"}"#, "n"), other("AA"));
        assert_eq!(id_value(r#"{"\u006e":-1e5}"#, "n"), other("-1e5"));
        let id = "0198c0de-0000-7000-8000-000000000001";
        let found = id_value(&format!(r#"{{"n":"{id}"}}"#), "n");
        assert_eq!(found, Ok(IdValue::Id(id.parse().expect("a UUID"))));
    }

    #[test]
    fn a_line_without_a_usable_id_is_refused_by_name() {
        for (line, what) in [
            (r#"{"m":1}"#, "no field \"n\""),
            (r#"{"a":{"n":1}}"#, "no field \"n\""),
            (r#"{"n":1,"n":1}"#, "twice"),
            (r#"{"n":true}"#, "is true"),
            (r#"{"n":null}"#, "is null"),
            (r#"{"n":[1]}"#, "is [1]"),
            (r#"{"n":{}}"#, "is {}"),
            (r#"{"n":""}"#, "is empty"),
            ("[1]", "no object"),
            ("17", "no object"),
            ("1.5", "no object"),
            ("-1", "no object"),
            ("\"n\"", "no object"),
            ("null", "no object"),
            ("true", "no object"),
            (r#"{"n":1"#, "not valid JSON"),
            (r#"{"n":1}}"#, "not valid JSON"),
            (r#"{"n":01}"#, "not valid JSON"),
            (r#"{"n":1,"m":tru}"#, "not valid JSON"),
            ("[1,]", "not valid JSON"),
        ] {
            let refusal = id_value(line, "n").expect_err(line);
            assert_eq!(refusal.code, Code::BadLine, "{line}");
            assert!(refusal.message.contains(what), "{line}: {refusal}");
        }
    }

    #[test]
    fn deep_nesting_is_no_reason_to_crash() {
        let deep = format!(
            r#"{{"n":1,"m":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(id_value(&deep, "n"), other("1"));
    }

    #[test]
    fn without_an_id_field_any_json_is_a_request_under_a_new_id() {
        let template = Template {
            topic: "t".parse().expect("a topic"),
            headers: Vec::new(),
            expires_ms: 0,
        };
        let request =
            |line: &'static [u8]| IdRule::New.request(&template, Bytes::from_static(line));
        let first = request(b"[1, 2]").expect("is JSON");
        assert_eq!(&first.payload[..], b"[1, 2]");
        assert_ne!(first.id, request(b"[1, 2]").expect("is JSON").id);
        for line in [&b"{"[..], b"\"\xff\"", b"hello", b"1 2"] {
            assert_eq!(request(line).expect_err("no JSON").code, Code::BadLine);
        }
    }
}
