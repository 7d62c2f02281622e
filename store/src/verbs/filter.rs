//! `--filter KEY=VALUE`, as docker has it: of one key any value will do, of labels all must be there.

use store::json::Value as Json;
use store::{Error, Result};

/// The filters that were given.
#[derive(Debug, Default)]
pub struct Filters(Vec<(String, String)>);

impl Filters {
    /// Takes one more, whose key must be among those `known`.
    pub fn add(&mut self, text: &str, known: &[&str]) -> Result<()> {
        match text.split_once('=') {
            Some((key, value)) if known.contains(&key) => {
                self.0.push((key.to_owned(), value.to_owned()));
                Ok(())
            }
            _ => {
                let keys = known.join("=, ");
                Err(Error::Usage(format!("--filter {text}: it wants KEY=VALUE; the keys are {keys}=")))
            }
        }
    }

    /// The values of a key.
    pub fn of(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// Was anything asked about this key?
    pub fn has(&self, key: &str) -> bool {
        self.of(key).next().is_some()
    }

    /// Does any value of the key pass? Yes also if none was given.
    pub fn pass(&self, key: &str, test: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.of(key).any(test)
    }

    /// Do labels fit all of `label` and none of `label!`?
    pub fn pass_labels(&self, labels: &Json) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((name, value)) => labels[name].as_str() == Some(value),
            None => !labels[wanted].is_null(),
        };
        self.of("label").all(has) && !self.of("label!").any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::json;

    #[test]
    fn takes_any_value_of_a_key_and_all_labels() {
        let known = ["status", "label", "label!"];
        let mut filters = Filters::default();
        for text in ["status=a", "status=b", "label=x", "label=y=1", "label!=z"] {
            filters.add(text, &known).unwrap();
        }
        for bad in ["", "status", "name=x", "=x"] {
            assert_eq!(filters.add(bad, &known).unwrap_err().exit_code(), 2, "{bad}");
        }
        assert!(filters.pass("status", |value| value == "b") && !filters.pass("status", |value| value == "c"));
        assert!(filters.pass("name", |_| false));
        let read = |text: &str| json::read::<Json>(text.as_bytes(), "labels").unwrap();
        assert!(filters.pass_labels(&read(r#"{"x":"","y":"1"}"#)));
        for lacking in [r#"{"x":""}"#, r#"{"x":"","y":"2"}"#, r#"{"x":"","y":"1","z":""}"#, "null"].map(read) {
            assert!(!filters.pass_labels(&lacking), "{lacking}");
        }
    }
}
