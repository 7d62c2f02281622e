//! Values of header fields that a registry sends (RFC 9110): strings in, values out.

use std::time::SystemTime;

/// One challenge of a `WWW-Authenticate` header: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `Bearer`, `Basic`, …
    pub scheme: String,
    /// Name and value, as sent.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of one header: `Scheme key=value, key="value", Other key=value` (RFC 9110, 11.6.1).
/// What cannot be read ends the list.
pub fn challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return found;
        }
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            found.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            rest = after;
            continue;
        };
        let (Some(challenge), Some((value, after))) =
            (found.last_mut(), value_of(value.trim_start_matches([' ', '\t'])))
        else {
            return found;
        };
        challenge.parameters.push((word.to_owned(), value));
        rest = after;
    }
}

/// A token or quoted string at the beginning of `text`, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// The first byte and the whole size of `bytes FIRST-LAST/SIZE` (RFC 9110, 14.4).
pub fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then_some((first, size))
}

/// What is left of a limit, from `REMAINING;w=SECONDS` (draft-ietf-httpapi-ratelimit-headers), as a hint.
pub fn rate_limit(text: &str) -> Option<String> {
    let (left, window) = text.split_once(";w=").unwrap_or((text, ""));
    let left: u64 = left.trim().parse().ok()?;
    let window = window.parse().map_or_else(|_| String::new(), |seconds: u64| format!(" in {seconds} s"));
    Some(format!("\nhint: it has {left} pulls left for you{window}; credentials may raise its limit"))
}

/// Seconds to wait: a number, or until a date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 10.2.3).
pub fn retry_after(text: &str, now: SystemTime) -> Option<u64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let words: Vec<&str> = text.split_once(", ")?.1.split(' ').collect();
    let &[day, month, year, time, "GMT"] = words.as_slice() else {
        return None;
    };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)?;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<u64> = time.split(':').map_while(|part| part.parse().ok()).collect();
    let &[hours, minutes, seconds] = clock.as_slice() else {
        return None;
    };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let leap = |year: u64| u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)));
    let lengths = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = (1970..year).map(|year| 365 + leap(year)).sum::<u64>() + lengths[..month].iter().sum::<u64>() + day - 1;
    let at = days * 86400 + hours * 3600 + minutes * 60 + seconds;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(at.saturating_sub(since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Challenge { scheme: scheme.to_owned(), parameters: parameters.iter().map(owned).collect() }
    }

    #[test]
    fn reads_challenges() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            challenges(hub),
            [challenge(
                "Bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("service", "registry.docker.io"),
                    ("scope", "repository:a/b:pull,push")
                ]
            )]
        );
        let two = r#"Basic realm="a \"b\", c" , bearer realm=https://x/y , service = z"#;
        let expected = [
            challenge("Basic", &[("realm", "a \"b\", c")]),
            challenge("bearer", &[("realm", "https://x/y"), ("service", "z")]),
        ];
        assert_eq!(challenges(two), expected);
        assert_eq!(challenges("Negotiate, Basic"), [challenge("Negotiate", &[]), challenge("Basic", &[])]);
    }

    #[test]
    fn what_cannot_be_read_ends_the_list() {
        for bad in ["", ",,", "=x", "\"", "realm=x", "\u{e9}"] {
            assert_eq!(challenges(bad), [], "{bad:?}");
        }
        for bad in ["Bearer realm=\"x", "Bearer realm=\"x\\", "Bearer {"] {
            assert_eq!(challenges(bad), [challenge("Bearer", &[])], "{bad:?}");
        }
    }

    #[test]
    fn reads_content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 10)));
        for bad in ["", "bytes */10", "bytes 5-9/*", "bytes 5-10/10", "bytes 9-5/10", "bytes -5-9/10", "items 5-9/10"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn reads_what_is_left_of_a_limit() {
        assert!(rate_limit("76;w=21600").unwrap().contains(" 76 pulls left for you in 21600 s;"));
        assert!(rate_limit("0").unwrap().contains(" 0 pulls left for you;"));
        for bad in ["", "x", "-1;w=2", ";w=2"] {
            assert_eq!(rate_limit(bad), None, "{bad}");
        }
    }

    #[test]
    fn reads_retry_after() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(retry_after("120", now), Some(120));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(7));
        assert_eq!(retry_after("Sun, 06 Nov 1984 08:49:37 GMT", now), Some(0));
        for bad in [
            "",
            "-1",
            "soon",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
    }
}
