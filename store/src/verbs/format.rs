//! How listings are written: columns, JSON, or the user's own words around fields, in a part of Go's templates.

use super::{print, print_json};
use std::fmt::Write;
use store::json::Value as Json;
use store::{Error, Result};

/// What `--format` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns, or what else the verb writes by itself.
    #[default]
    Table,
    /// One array of objects.
    Json,
    /// One line for each object.
    Template(Vec<Part>),
}

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// `{{.A.B}}`: the value of a field; or `{{json .A.B}}`: the same as JSON.
    Field {
        /// `.A.B`, or `.` for the whole object.
        path: String,
        /// As JSON?
        json: bool,
    },
}

/// Reads the value of `--format`.
pub fn parse(text: &str) -> Result<Format> {
    match text {
        "table" => return Ok(Format::Table),
        "json" => return Ok(Format::Json),
        _ => {}
    }
    if !text.contains("{{") || text.starts_with("table ") {
        return Err(Error::Usage(format!(
            "--format {text}: it is table, json, or text with fields such as {{{{.ID}}}}"
        )));
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        parts.push(Part::Text(unescape(before)));
        let wrong =
            || Error::Usage(format!("--format {text}: {{{{.FIELD}}}} and {{{{json .FIELD}}}} are what is supported"));
        let (inside, after) = after.split_once("}}").ok_or_else(wrong)?;
        let inside = inside.trim();
        let path = inside.strip_prefix("json ").unwrap_or(inside).trim_start();
        if !path.starts_with('.') || path.contains(|c: char| c.is_whitespace() || "|()\"".contains(c)) {
            return Err(wrong());
        }
        parts.push(Part::Field { path: path.to_owned(), json: path.len() != inside.len() });
        rest = after;
    }
    parts.push(Part::Text(unescape(rest)));
    Ok(Format::Template(parts))
}

/// `\t` and `\n` mean what they say, for shells do not.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Prints what is listed as the format says; of a table, each column has a title and shows a field.
pub fn list(format: &Format, objects: Vec<Json>, table: &[(&str, &str)]) -> Result<()> {
    match format {
        Format::Json => print_json(&Json::Array(objects)),
        Format::Template(parts) => objects.iter().try_for_each(|object| print(&fill(parts, object)?)),
        Format::Table => {
            let mut lines = vec![table.iter().map(|(title, _)| (*title).to_owned()).collect::<Vec<_>>()];
            lines.extend(objects.iter().map(|object| table.iter().map(|(_, field)| cell(&object[*field])).collect()));
            print(&columns(&lines))
        }
    }
}

fn cell(value: &Json) -> String {
    let mut text = String::new();
    if !value.is_null() {
        show(value, &mut text);
    }
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// A template with the fields of an object in it.
fn fill(parts: &[Part], object: &Json) -> Result<String> {
    let mut line = String::new();
    for part in parts {
        match part {
            Part::Text(text) => line.push_str(text),
            Part::Field { path, json } => {
                let mut value = object;
                for name in path.split('.').filter(|name| !name.is_empty()) {
                    let missing = || Error::Usage(format!("--format: there is no field {name} (of {path})"));
                    value = value.get(name).ok_or_else(missing)?;
                }
                if *json { line.push_str(&value.to_string()) } else { show(value, &mut line) }
            }
        }
    }
    Ok(line)
}

/// A value as Go writes it: `[a b]`, `map[a:1 b:2]`.
fn show(value: &Json, line: &mut String) {
    match value {
        Json::Null => line.push_str("<no value>"),
        Json::String(text) => line.push_str(text),
        Json::Array(all) => {
            line.push('[');
            for (place, one) in all.iter().enumerate() {
                line.push_str(if place == 0 { "" } else { " " });
                show(one, line);
            }
            line.push(']');
        }
        Json::Object(all) => {
            let mut fields: Vec<_> = all.iter().collect();
            fields.sort_by_key(|(name, _)| name);
            line.push_str("map[");
            for (place, (name, one)) in fields.into_iter().enumerate() {
                let _ = write!(line, "{}{name}:", if place == 0 { "" } else { " " }); // A String takes it all.
                show(one, line);
            }
            line.push(']');
        }
        other => line.push_str(&other.to_string()),
    }
}

/// Aligns columns; the last is not padded and may be several words. What images bring of names and times may be any
/// text: nothing in a cell steers the terminal, and each but the last becomes one word.
fn columns(lines: &[Vec<String>]) -> String {
    let last = lines.first().map_or(0, Vec::len).saturating_sub(1);
    let word = |(place, cell): (usize, &String)| {
        cell.replace(|c: char| c.is_control() || (c.is_whitespace() && place != last), "_")
    };
    let lines: Vec<Vec<String>> = lines.iter().map(|line| line.iter().enumerate().map(word).collect()).collect();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let align = |line: &Vec<String>| {
        let cells = line.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
        cells.collect::<Vec<String>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(align).collect::<Vec<String>>().join("\n")
}

/// A time as one word that sorts: whole seconds in UTC.
pub fn whole_seconds(time: &str) -> String {
    time.split_once('.').map_or(time.to_owned(), |(second, _)| format!("{second}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::json;

    #[test]
    fn fills_templates_as_go_does() {
        let object = br#"{"A":{"B":"x y","N":7,"none":null},"L":["a",true],"M":{"z":1,"a":[2]}}"#;
        let object: Json = json::read(object, "object").unwrap();
        for (template, line) in [
            ("{{.A.B}}", "x y"),
            (r"-{{ .A.N }}\t{{json .A.B}}\n", "-7\t\"x y\"\n"),
            ("{{.L}} {{.M}}", "[a true] map[a:[2] z:1]"),
            ("{{json .L}}{{.A.none}}", r#"["a",true]<no value>"#),
            ("{{json .}}", &object.to_string()),
        ] {
            let Format::Template(parts) = parse(template).unwrap() else { panic!("{template} is no template") };
            assert_eq!(fill(&parts, &object).unwrap(), line);
        }
        for template in ["{{.None}}", "{{.A.B.C}}", "{{.A.Missing}}"] {
            let Format::Template(parts) = parse(template).unwrap() else { panic!("{template} is no template") };
            let error = fill(&parts, &object).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("no field"), "{error}");
        }
        assert_eq!((parse("table").unwrap(), parse("json").unwrap()), (Format::Table, Format::Json));
        for bad in ["", "yaml", "{{.A", "{{A}}", "{{range .L}}", "{{.A | json}}", "{{index .M \"a\"}}", "table {{.A}}"]
        {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn aligns_columns_of_words() {
        let lines = [["NAME", "COMMAND"], ["a b\u{1b}", "x y\n"]];
        let lines: Vec<Vec<String>> = lines.iter().map(|line| line.map(str::to_owned).to_vec()).collect();
        assert_eq!(columns(&lines), "NAME  COMMAND\na_b_  x y_");
    }
}
