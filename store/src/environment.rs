//! Environments, merged as docker does it: each later `NAME=value` replaces the earlier one in its place.

use crate::error::{Error, Result};

/// The `PATH` of a container whose image sets none: docker's.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Reads one `-e`: `NAME=value`, or `NAME` for the caller's own value. A caller without one gives `NAME` alone,
/// which [`merge`] takes as the wish to have it unset.
pub fn change(text: &str, caller: impl Fn(&str) -> Option<String>) -> Result<String> {
    let name = text.split('=').next().unwrap_or_default();
    if name.is_empty() || text.contains('\0') {
        return Err(Error::Usage(format!("--env wants NAME=value or NAME, not {text:?}")));
    }
    Ok(if name == text {
        caller(name).map_or_else(|| name.to_owned(), |value| format!("{name}={value}"))
    } else {
        text.to_owned()
    })
}

/// Reads an `--env-file`: one `NAME=value` or `NAME` a line, as they stand; lines that begin with `#` say nothing.
pub fn file(text: &str, path: &str, caller: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let mut changes = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Error::Usage(format!("{path}, line {}: not NAME=value: {line:?}", number + 1)));
        }
        changes.push(change(line, &caller)?);
    }
    Ok(changes)
}

/// Applies changes to an environment: `NAME=value` replaces or adds, `NAME` alone removes.
pub fn merge<'a>(environment: &mut Vec<String>, changes: impl IntoIterator<Item = &'a String>) {
    for change in changes {
        let name = change.split('=').next().unwrap_or_default();
        let place = environment.iter().position(|entry| entry.split('=').next() == Some(name));
        match (place, name.len() == change.len()) {
            (Some(place), true) => drop(environment.remove(place)),
            (Some(place), false) => environment[place].clone_from(change),
            (None, true) => {}
            (None, false) => environment.push(change.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/me".to_owned())
    }

    #[test]
    fn takes_the_callers_value() {
        assert_eq!(change("A=1=2", caller).unwrap(), "A=1=2");
        assert_eq!(change("A=", caller).unwrap(), "A=");
        assert_eq!(change("HOME", caller).unwrap(), "HOME=/home/me");
        assert_eq!(change("NONE", caller).unwrap(), "NONE");
        for bad in ["", "=x", "A=\0"] {
            assert_eq!(change(bad, caller).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn reads_files_as_they_stand() {
        let text = "# a comment\n\n  A=\"1 2\" \r\nHOME\nB=#x\n";
        assert_eq!(file(text, "f", caller).unwrap(), ["A=\"1 2\" ", "HOME=/home/me", "B=#x"]);
        assert!(file("A B=1", "f", caller).unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn later_values_win_in_place() {
        let mut environment: Vec<String> = ["A=1", "B=2", "C=3"].map(Into::into).into();
        let changes: Vec<String> = ["C", "A=9", "D=", "NONE"].map(Into::into).into();
        merge(&mut environment, &changes);
        assert_eq!(environment, ["A=9", "B=2", "D="]);
    }
}
