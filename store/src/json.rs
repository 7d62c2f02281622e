//! JSON: read strictly, within limits, into a tree of [`Value`]s, from which types are made by hand ([`FromJson`]).
//!
//! serde_json reads the words and nothing more: one copy of it serves all documents, where a reader for each type would
//! take more room than all else that is done with them.

mod convert;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use convert::{Fields, FromJson, Wrong, quoted};
pub use value::{Value, object, object_of_present};

use crate::error::{Error, Result};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_json::value::RawValue;
use std::fmt;

/// The largest manifest or index that is read, in bytes (distribution-spec: registries accept at least 4 MiB).
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// The largest image config that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 8 << 20;

/// The most values that a document may hold, each number, text, list and object: in memory each takes up to 200 bytes.
const VALUES: usize = 1 << 17;

/// The most lists and objects that may be within one another.
const DEPTH: usize = 32;

/// Reads one JSON document; `what` names it in the error (exit code 6).
///
/// What other readers would understand in another way, or not at all, is refused: a key that an object has twice, bytes
/// after the end, what is not UTF-8, half a surrogate pair, numbers beyond those of binary64 (RFC 8259; RFC 7493).
pub fn read<T: FromJson>(bytes: &[u8], what: &str) -> Result<T> {
    read_many(bytes, VALUES, what)
}

/// Does [`read`] with a document of up to `values` values: for `index.json`, which grows with the store.
pub fn read_many<T: FromJson>(bytes: &[u8], values: usize, what: &str) -> Result<T> {
    make(parse(bytes, values, None).map_err(|error| refused(what, &error))?, what)
}

/// Does [`read`], but leaves the value to which the keys in `path` lead as it stands ([`Value::Raw`]): for what is large and
/// seldom looked at. Only its end is looked for, so it is still to be read by [`read`].
pub fn read_around<T: FromJson>(bytes: &[u8], path: &[&str], what: &str) -> Result<T> {
    make(parse(bytes, VALUES, Some(path)).map_err(|error| refused(what, &error))?, what)
}

/// Makes what a document is of its values; `what` names it in the error (exit code 6).
pub fn make<T: FromJson>(document: Value, what: &str) -> Result<T> {
    T::from_json(document).map_err(|wrong| refused(what, &wrong))
}

fn refused(what: &str, why: &dyn fmt::Display) -> Error {
    Error::Refused(format!("reading {what}: {why}"))
}

fn parse(bytes: &[u8], mut values: usize, raw: Option<&[&str]>) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Tree { values: &mut values, depth: DEPTH, raw }.deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// Makes a [`Value`] of what is read, with so many values and so much depth left.
struct Tree<'a> {
    values: &'a mut usize,
    depth: usize,
    /// The keys that lead from here to the value that is not read.
    raw: Option<&'a [&'a str]>,
}

impl Tree<'_> {
    /// What makes the value within this one that has this key, or is in a list.
    fn inner<E: serde::de::Error>(&mut self, key: Option<&str>) -> std::result::Result<Tree<'_>, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => {
                let raw = self.raw.and_then(|path| path.split_first()).filter(|(first, _)| key == Some(**first));
                Ok(Tree { values: self.values, depth, raw: raw.map(|(_, rest)| rest) })
            }
            None => Err(E::custom("it is nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        match self.values.checked_sub(1) {
            Some(left) => *self.values = left,
            None => return Err(D::Error::custom("it has too many values")),
        }
        match self.raw {
            Some([]) => <&RawValue>::deserialize(deserializer).map(|raw| Value::Raw(raw.get().into())),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> std::result::Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = list.next_element_seed(self.inner(None)?)? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.inner(Some(&key))?)?;
            all.push((key, value));
        }
        match twice(&all) {
            Some(key) => Err(A::Error::custom(format_args!("{} is there twice", quoted(key)))),
            None => Ok(Value::Object(all)),
        }
    }
}

/// A key that is there more than once.
fn twice(fields: &[(String, Value)]) -> Option<&str> {
    let mut keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
