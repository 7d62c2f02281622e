//! Times as RFC 3339 text in UTC, which sorts as it reads.

use std::time::{Duration, SystemTime};

/// Now, to the nanosecond.
pub fn now() -> String {
    rfc3339(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// A time since 1970 as `2024-02-29T12:34:56.789012345Z`.
pub fn rfc3339(since: Duration) -> String {
    let (days, second) = (since.as_secs() / 86400, since.as_secs() % 86400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

/// The date of a day since 1970. Years are counted from March, so that the leap day is their last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let january = u64::from(month >= 10);
    (era * 400 + year + january, if month < 10 { month + 3 } else { month - 9 }, day)
}

/// Reads a point in time as users write it, as a time since 1970: RFC 3339 (`2024-02-29T12:34:56.5+01:00`), the same
/// without seconds, time or offset (UTC), seconds since 1970 (`1709210096.5`), or how long before `now` it was, in
/// days, hours, minutes, seconds and milliseconds (`1h30m`). None if it is neither.
pub fn parse(text: &str, now: Duration) -> Option<Duration> {
    seconds(text).or_else(|| Some(now.saturating_sub(duration(text)?))).or_else(|| moment(text))
}

/// Reads a length of time such as `1h30m`, `5s` or `500ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    loop {
        let (count, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let milliseconds = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        sum = sum.checked_add(Duration::from_millis(count.parse::<u64>().ok()?.checked_mul(milliseconds)?))?;
        if after.is_empty() {
            return Some(sum);
        }
        rest = after;
    }
}

/// Seconds, perhaps with a fraction of at most nine digits.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    Some(Duration::new(whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

/// RFC 3339, or the beginning of it.
fn moment(text: &str) -> Option<Duration> {
    let (day, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00Z"));
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(place) => time.split_at(place),
        None => (time, "Z"),
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    if year < 1970 || !(1..=12).contains(&month) || date(days(year, month, day)?) != (year, month, day) {
        return None;
    }
    let second = match numbers(time.get(..5)?, ':', [2, 2])? {
        [hour @ 0..24, minute @ 0..60] => hour * 3600 + minute * 60,
        _ => return None,
    };
    let within = match time[5..].strip_prefix(':') {
        Some(text) if text.split('.').next()?.len() == 2 => seconds(text).filter(|time| time.as_secs() <= 60)?,
        None if time.len() == 5 => Duration::ZERO,
        _ => return None,
    };
    let local = Duration::from_secs(days(year, month, day)? * 86400 + second) + within;
    if offset.eq_ignore_ascii_case("z") {
        return Some(local);
    }
    let [hour, minute] = numbers(&offset[1..], ':', [2, 2])?;
    let ahead = Duration::from_secs(hour * 3600 + minute * 60);
    if offset.starts_with('+') { local.checked_sub(ahead) } else { local.checked_add(ahead) }
}

/// Numbers of so many digits each.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(between);
    let mut all = [0; N];
    for (number, digits) in all.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(all)
}

/// The days from 1970 to a date, the inverse of [`date`].
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month > 2 { year } else { year - 1 };
    let (era, year, month) = (year / 400, year % 400, (month + 9) % 12);
    (era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day).checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_dates() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_709_210_096, "2024-02-29T12:34:56.000000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(second)), text);
        }
    }

    #[test]
    fn reads_what_it_writes() {
        for second in (0..5_000_000_000).step_by(86_400 * 11 + 12_345) {
            let time = Duration::new(second, 987_654_321);
            assert_eq!(parse(&rfc3339(time), Duration::ZERO), Some(time));
        }
    }

    #[test]
    fn reads_times_as_users_write_them() {
        let now = Duration::from_secs(1_709_210_096);
        for (text, second, millisecond) in [
            ("2024-02-29T12:34:56Z", 1_709_210_096, 0),
            ("2024-02-29t12:34:56.5z", 1_709_210_096, 500),
            ("2024-02-29 12:34:56", 1_709_210_096, 0),
            ("2024-02-29T13:34:56.25+01:00", 1_709_210_096, 250),
            ("2024-02-29T07:04:56-05:30", 1_709_210_096, 0),
            ("2024-02-29T12:34", 1_709_210_040, 0),
            ("2024-02-29", 1_709_164_800, 0),
            ("2016-12-31T23:59:60Z", 1_483_228_800, 0),
            ("1970-01-01", 0, 0),
            ("0", 0, 0),
            ("1709210096.5", 1_709_210_096, 500),
            ("0s", 1_709_210_096, 0),
            ("10m", 1_709_209_496, 0),
            ("1h30m", 1_709_204_696, 0),
            ("2d1500ms", 1_709_037_294, 500),
            ("99999d", 0, 0),
        ] {
            assert_eq!(parse(text, now), Some(Duration::from_millis(second * 1000 + millisecond)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            " ",
            "x",
            "s",
            "10",
            "-5",
            "5x",
            "5 m",
            "m5",
            "1h30",
            "2024",
            "1.",
            ".5",
            "1.2.3",
            "1.0123456789",
            "2023-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "1969-12-31",
            "24-01-01",
            "2024-01-01T",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:0Z",
            "2024-01-01T00:00:00+1",
            "2024-01-01T00:00:00Z ",
            "2024-01-01T00:00:00é",
            "1970-01-01T00:00:00+01:00",
            "99999999999999999999s",
            "18446744073709551615d",
            "99999999999999999999999",
        ] {
            let is_number = text == "10" || text == "2024";
            assert_eq!(parse(text, Duration::ZERO).is_some(), is_number, "{text:?}");
        }
    }
}
