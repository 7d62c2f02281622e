//! Signals by name and number, as Linux has them on most processors (signal(7)).

/// The names of the signals from 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// The first and the last real-time signal, as programs count them: the C library keeps the two below for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal, 1 to 64, that is given as a number or by its name in either case: `15`, `TERM`, `sigterm`,
/// `SIGRTMIN+3`, `RTMAX-2`.
pub fn parse(text: &str) -> Option<i32> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=RTMAX).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let place = NAMES.iter().position(|known| *known == name);
    place.and_then(|place| i32::try_from(place + 1).ok()).or_else(|| match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        _ => real_time(name),
    })
}

fn real_time(name: &str) -> Option<i32> {
    let distance = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|_| digits).map(i32::from)
    };
    let number = match name {
        "RTMIN" => RTMIN,
        "RTMAX" => RTMAX,
        _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(text), _) => RTMIN + distance(text)?,
            (_, Some(text)) => RTMAX - distance(text)?,
            _ => return None,
        },
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// The name of a signal, such as `SIGTERM` or `SIGRTMIN+3`; its number where it has none.
pub fn name(number: i32) -> String {
    match (usize::try_from(number - 1).ok().and_then(|place| NAMES.get(place)), number - RTMIN) {
        (Some(name), _) => format!("SIG{name}"),
        (None, 0) => "SIGRTMIN".to_owned(),
        (None, distance @ 1..=30) => format!("SIGRTMIN+{distance}"),
        (None, _) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_numbers() {
        let known = [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("hup", 1), ("SYS", 31), ("CLD", 17), ("15", 15)];
        let real_time = [("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmin+30", 64), ("RTMAX", 64), ("SIGRTMAX-2", 62)];
        for (text, number) in known.into_iter().chain(real_time) {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        let bad = ["", "0", "65", "-1", "15x", "SIG", "SIGNOT", "RTMIN3", "RTMIN-1", "RTMIN+31", "RTMAX-31", "RTMIN+"];
        for text in bad.into_iter().chain(["RTMIN++3", "RTMIN+-3", "SIG15", "99999999999"]) {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_read_back() {
        for number in 1..=64 {
            assert_eq!(parse(&name(number)), Some(number));
        }
        assert_eq!((name(15), name(37)), ("SIGTERM".into(), "SIGRTMIN+3".into()));
    }
}
