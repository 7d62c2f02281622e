//! Lock files: which manifest a reference led to on a platform, so that pulling it again needs no tag.
//!
//! A line is `REFERENCE PLATFORM DIGEST`, sorted; empty lines and comments (`#`) are kept. Comments belong to the line
//! below them.

use crate::file;
use std::fmt::Write;
use std::path::Path;
use store::{Digest, Error, Platform, Reference, Result};

/// A line of a lock file that pins something.
struct Pin {
    reference: Reference,
    platform: Platform,
    digest: Digest,
}

impl Pin {
    /// Is it about this reference on this platform?
    fn is_of(&self, reference: &Reference, platform: &Platform) -> bool {
        self.reference == *reference && self.platform.rank(platform) == Some(0)
    }

    fn line(&self) -> String {
        format!("{} {} {}", self.reference, self.platform, self.digest)
    }
}

/// The manifest that `file` pins for a reference on a platform.
pub fn find(file: &Path, reference: &Reference, platform: &Platform) -> Result<Digest> {
    let hint = || format!("hint: crate pull --lock {} --platform {platform} {reference}", file.display());
    let text = file::read(file)?;
    let text = text.ok_or_else(|| Error::NotFound(format!("there is no lock file {}\n{}", file.display(), hint())))?;
    let pins = read(&text, file)?;
    let pin = pins.into_iter().map(|(_, pin)| pin).find(|pin| pin.is_of(reference, platform));
    pin.map(|pin| pin.digest).ok_or_else(|| {
        let file = file.display();
        Error::NotFound(format!("no such image: {reference} for {platform} is not locked in {file}\n{}", hint()))
    })
}

/// Makes `file` pin this manifest; what it says of others stays as it is.
pub fn pin(file: &Path, reference: &Reference, platform: &Platform, digest: &Digest) -> Result<()> {
    let pin = Pin { reference: reference.clone(), platform: platform.clone(), digest: digest.clone() };
    file::update(file, |text| with(text, &pin, file))
}

/// The pins of a lock file, each with the number of its line.
fn read(text: &str, file: &Path) -> Result<Vec<(usize, Pin)>> {
    let mut pins: Vec<(usize, Pin)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let refuse = |why: &str| Error::Refused(format!("{}, line {}: {why}", file.display(), number + 1));
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[reference, platform, digest] = fields.as_slice() else {
            return Err(refuse("not REFERENCE PLATFORM DIGEST"));
        };
        let pin = Pin {
            reference: reference.parse().map_err(|_| refuse("no reference begins it"))?,
            platform: platform.parse().map_err(|_| refuse("its second word is no OS/ARCHITECTURE"))?,
            digest: digest.parse().map_err(|_| refuse("its third word is no digest"))?,
        };
        if pins.iter().any(|(_, other)| other.is_of(&pin.reference, &pin.platform)) {
            return Err(refuse("it pins again what a line above it pins"));
        }
        pins.push((number, pin));
    }
    Ok(pins)
}

/// The text with the line of `new` in its place.
fn with(text: &str, new: &Pin, file: &Path) -> Result<String> {
    let pins = read(text, file)?;
    let mut lines: Vec<&str> = text.lines().collect();
    let line = new.line();
    if let Some((number, _)) = pins.iter().find(|(_, pin)| pin.is_of(&new.reference, &new.platform)) {
        lines[*number] = &line;
    } else {
        let before = pins.iter().rev().find(|(_, pin)| pin.line() < line).map(|(number, _)| number + 1);
        let place = before.unwrap_or_else(|| {
            let first = pins.first().map_or(lines.len(), |(number, _)| *number);
            first - lines[..first].iter().rev().take_while(|line| line.starts_with('#')).count()
        });
        // In a file of comments alone, these are about the file.
        let place = if pins.is_empty() { lines.len() } else { place };
        lines.insert(place, &line);
    }
    Ok(lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}"); // Writing to a String cannot fail.
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(text: &str, digit: char) -> Pin {
        let (reference, platform) = text.split_once(' ').unwrap();
        let digest = format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap();
        Pin { reference: reference.parse().unwrap(), platform: platform.parse().unwrap(), digest }
    }

    fn add(text: &str, new: &Pin) -> String {
        with(text, new, Path::new("f")).unwrap()
    }

    #[test]
    fn lines_are_sorted_and_others_stay() {
        let (a, b, c) = (pin("a linux/amd64", '1'), pin("b linux/amd64", '2'), pin("b linux/arm64", '3'));
        let all = format!("{}\n{}\n{}\n", a.line(), b.line(), c.line());
        assert_eq!(add(&add(&add("", &a), &b), &c), all);
        assert_eq!(add(&add(&add("", &c), &b), &a), all);
        assert_eq!(add(&all, &b), all);
        let moved = pin("b linux/amd64", '4');
        assert_eq!(add(&all, &moved), all.replace(&b.line(), &moved.line()));
        assert!(a.line().starts_with("docker.io/library/a:latest linux/amd64 sha256:11"));
    }

    #[test]
    fn comments_stay_above_their_line() {
        let (a, b, c) = (pin("a linux/amd64", '1'), pin("b linux/amd64", '2'), pin("c linux/amd64", '3'));
        let text = format!("# The file.\n\n# Of b.\n{}\n# End.", b.line());
        let with_a = format!("# The file.\n\n{}\n# Of b.\n{}\n# End.\n", a.line(), b.line());
        assert_eq!(add(&text, &a), with_a);
        let with_c = format!("# The file.\n\n# Of b.\n{}\n{}\n# End.\n", b.line(), c.line());
        assert_eq!(add(&text, &c), with_c);
        assert_eq!(add("# The file.\n", &a), format!("# The file.\n{}\n", a.line()));
    }

    #[test]
    fn refuses_what_is_malformed_or_said_twice() {
        let line = pin("a linux/amd64", '1').line();
        let twice = format!("{line}\n{}\n", line.replace('1', "2"));
        let short = line.replace("111", "");
        for bad in ["x", "a linux/amd64", &twice, &short, &format!("{line} more"), &line.replace("linux/", ""), "A b c"]
        {
            let error = read(bad, Path::new("f")).map(|_| ()).unwrap_err();
            assert_eq!(error.exit_code(), 6, "{bad}");
            assert!(error.to_string().starts_with("f, line "), "{error}");
        }
        assert!(read(&format!("# c\n\n{line}\r\n"), Path::new("f")).is_ok());
    }
}
