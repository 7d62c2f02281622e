//! From [`Value`]s to types, with errors that say which field is wrong.

use super::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A type that is made of a value.
pub trait FromJson: Sized {
    /// Takes the value apart. One that is not there is [`Value::Null`].
    fn from_json(value: Value) -> Result<Self, Wrong>;
}

/// What is wrong with a document: in which field, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wrong(Box<Fault>); // A result of each field is moved about: this way it is small.

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Fault {
    place: String,
    why: String,
}

impl Wrong {
    /// The value at hand is wrong; `why` is a sentence about it.
    pub fn new(why: impl Into<String>) -> Self {
        Self(Box::new(Fault { place: String::new(), why: why.into() }))
    }

    /// The same, seen from the value around it: `step` is `.NAME` or `[PLACE]`.
    #[inline(never)]
    #[must_use]
    pub fn within(mut self, step: fmt::Arguments) -> Self {
        self.0.place.insert_str(0, &step.to_string());
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.place.trim_start_matches('.') {
            "" => f.write_str(&self.0.why),
            place => write!(f, "{place}: {}", self.0.why),
        }
    }
}

/// A key or text from outside as part of an error: what fits there.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("{short:?}")
}

/// The fields of an object, to be taken one by one.
pub struct Fields(Vec<(String, Value)>);

impl Fields {
    /// Takes a field out.
    pub fn take<T: FromJson>(&mut self, name: &str) -> Result<T, Wrong> {
        T::from_json(self.remove(name)).map_err(|wrong| wrong.within(format_args!(".{name}")))
    }

    /// Takes a field out that need not be there.
    pub fn take_or_default<T: FromJson + Default>(&mut self, name: &str) -> Result<T, Wrong> {
        self.take::<Option<T>>(name).map(Option::unwrap_or_default)
    }

    /// Takes a list out that must be there. Go's tools write an empty one as `null`.
    pub fn list<T: FromJson>(&mut self, name: &str) -> Result<Vec<T>, Wrong> {
        let there = self.0.iter().any(|(key, _)| key == name);
        if there { self.take_or_default(name) } else { self.take(name) }
    }

    /// The names of all that was not taken.
    pub fn names(self) -> Vec<String> {
        self.0.into_iter().map(|(name, _)| name).collect()
    }

    /// What was not taken, as it stands.
    pub fn rest(self) -> Vec<(String, Value)> {
        self.0
    }

    fn remove(&mut self, name: &str) -> Value {
        let place = self.0.iter().position(|(key, _)| key == name);
        place.map_or(Value::Null, |place| self.0.remove(place).1)
    }
}

/// What a value is that should be `wanted`.
fn not(wanted: &str, value: &Value) -> Wrong {
    Wrong::new(if value.is_null() { "it is missing".into() } else { format!("it is not {wanted}") })
}

impl FromJson for Fields {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(not("an object", &other)),
        }
    }
}

impl FromJson for Value {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        Ok(value)
    }
}

impl FromJson for bool {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        if let Value::Bool(value) = value { Ok(value) } else { Err(not("true or false", &value)) }
    }
}

impl FromJson for String {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        if let Value::String(text) = value { Ok(text) } else { Err(not("text", &value)) }
    }
}

/// Up to that of Go's `int64`, in which the field's tools count.
impl FromJson for u64 {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let number = if let Value::Number(number) = &value { number.as_i64() } else { None };
        number.and_then(|number| number.try_into().ok()).ok_or_else(|| not("a whole number from 0 to 2^63-1", &value))
    }
}

impl FromJson for u32 {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let number = u64::from_json(value)?;
        number.try_into().map_err(|_| Wrong::new("it is more than 2^32-1"))
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        if value.is_null() { Ok(None) } else { T::from_json(value).map(Some) }
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let Value::Array(items) = value else { return Err(not("a list", &value)) };
        let mut made = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            made.push(T::from_json(item).map_err(|wrong| wrong.within(format_args!("[{place}]")))?);
        }
        Ok(made)
    }
}

impl<T: FromJson> FromJson for BTreeMap<String, T> {
    fn from_json(value: Value) -> Result<Self, Wrong> {
        let mut made = Self::new();
        for (key, value) in Fields::from_json(value)?.0 {
            let item = T::from_json(value).map_err(|wrong| wrong.within(format_args!("[{}]", quoted(&key))))?;
            made.insert(key, item);
        }
        Ok(made)
    }
}
