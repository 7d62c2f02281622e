//! Writing JSON.

use super::Value;
use std::fmt::{self, Display, Write};

/// Compact, on one line.
impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        write(self, &mut text, None);
        f.write_str(&text)
    }
}

impl Value {
    /// The value for people: a field on each line, two spaces further in than what it is within.
    pub fn pretty(&self) -> String {
        let mut text = String::new();
        write(self, &mut text, Some(0));
        text
    }
}

/// Adds the value; `indent` is how far in it stands, where each field has its line.
fn write(value: &Value, text: &mut String, indent: Option<usize>) {
    let inner = indent.map(|indent| indent + 2);
    match value {
        Value::Null => text.push_str("null"),
        Value::Raw(json) => text.push_str(json),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(string) => quote(string, text),
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                begin(place, text, inner);
                write(item, text, inner);
            }
            end(items.is_empty(), text, indent);
            text.push(']');
        }
        Value::Object(fields) => {
            text.push('{');
            for (place, (key, field)) in fields.iter().enumerate() {
                begin(place, text, inner);
                quote(key, text);
                text.push_str(if indent.is_some() { ": " } else { ":" });
                write(field, text, inner);
            }
            end(fields.is_empty(), text, indent);
            text.push('}');
        }
    }
}

fn begin(place: usize, text: &mut String, indent: Option<usize>) {
    text.push_str(if place == 0 { "" } else { "," });
    end(false, text, indent);
}

fn end(empty: bool, text: &mut String, indent: Option<usize>) {
    if let Some(indent) = indent.filter(|_| !empty) {
        text.push('\n');
        text.extend(std::iter::repeat_n(' ', indent));
    }
}

/// Adds text in quotes, with what must be escaped (RFC 8259, 7) and all else that could steer a terminal.
fn quote(string: &str, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            c if c.is_control() => drop(write!(text, "\\u{:04x}", u32::from(c))), // A String takes it all.
            c => text.push(c),
        }
    }
    text.push('"');
}
