//! Tests of reading and choosing profiles.

use super::*;
use std::fs;

/// What a filter returns so that a call fails with this error number.
fn error(number: u32) -> u32 {
    action::ERRNO | number
}

fn resolved(text: &str, bounding: &[&str]) -> crate::Result<Profile> {
    let path = std::env::temp_dir().join(format!("crate-seccomp-{:?}.json", std::thread::current().id()));
    fs::write(&path, text).unwrap();
    let bounding: Vec<String> = bounding.iter().map(ToString::to_string).collect();
    let chosen = of_file(&path, &bounding);
    fs::remove_file(&path).unwrap();
    chosen.map(|text| read(&text))
}

fn read(text: &str) -> Profile {
    crate::json::read(text.as_bytes(), "it").unwrap()
}

fn names(profile: &Profile) -> Vec<&str> {
    profile.rules.iter().flat_map(|rule| &rule.names).map(String::as_str).collect()
}

#[test]
fn the_default_list_depends_on_capabilities() {
    let of = |bounding: &[String]| read(&default(bounding));
    let profile = of(&[]);
    assert_eq!(profile.default, error(1));
    assert!(names(&profile).contains(&"ptrace") && !names(&profile).contains(&"mount"));
    let clone3 = profile.rules.iter().find(|rule| rule.names == ["clone3"]).unwrap();
    assert_eq!(clone3.action, error(38));
    let mut sorted = profile.rules[2].names.clone();
    sorted.dedup();
    assert_eq!(sorted.len(), 363);
    assert_eq!(profile.rules.iter().filter(|rule| rule.names == ["socket"]).count(), 26);
    let profile = of(&["CAP_SYS_ADMIN".into()]);
    let more = profile.rules.iter().find(|rule| rule.names.iter().any(|name| name == "mount")).unwrap();
    assert!(["clone", "clone3"].iter().all(|call| more.names.iter().any(|name| name == call)));
    assert!(!profile.rules.iter().any(|rule| rule.names == ["clone"] || rule.names == ["clone3"]));
}

#[test]
fn a_file_is_resolved_as_docker_does_it() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"defaultErrno":"ENOSYS",
        "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
                   {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
        "syscalls":[
            {"names":["a"],"action":"SCMP_ACT_ALLOW","comment":"","includes":{},"excludes":{},"args":null},
            {"name":"b","action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_A","CAP_B"]}},
            {"names":["c"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_A"]}},
            {"names":["d"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390x"]}},
            {"names":["e"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64","arm64"],"minKernel":"4.8"}},
            {"names":["f"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"4.8"}},
            {"names":["g"],"action":"SCMP_ACT_ERRNO","errnoRet":13,"errno":"EACCES",
             "args":[{"index":5,"value":18446744073709551615,"valueTwo":7,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#;
    let profile = resolved(text, &["CAP_A"]).unwrap();
    assert_eq!(names(&profile), ["a", "e", "g"]);
    assert_eq!(profile.default, error(38));
    assert!(profile.architectures[0].ends_with(if cfg!(target_arch = "x86_64") { "X86_64" } else { "AARCH64" }));
    let condition = Condition { argument: 5, operator: Operator::MaskedEqual, value: u64::MAX, second: 7 };
    assert_eq!(profile.rules[2].conditions, [condition]);
    assert_eq!(profile.rules[2].action, error(13));
    assert_eq!(names(&resolved(text, &["CAP_A", "CAP_B"]).unwrap()), ["a", "b", "e", "g"]);
    assert_eq!(names(&resolved(text, &[]).unwrap()), ["a", "c", "e", "g"]);
}

#[test]
fn what_cannot_be_put_in_force_is_refused_by_its_place() {
    let entry = |more: &str| format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["a"],{more}}}]}}"#);
    let args = |more: &str| entry(&format!(r#""action":"SCMP_ACT_ALLOW","args":[{{{more}}}]"#));
    for (text, place) in [
        ("{}".to_owned(), "defaultAction is missing"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#.into(), "defaultAction: \"SCMP_ACT_NOTIFY\" is not supported"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}"#.into(), "architectures[0]: \"SCMP_"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#.into(), "\"listenerPath\" is not supported"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]}"#.into(), "flags"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#.into(), "defaultErrnoRet: the action has no"),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EPERM"}"#.into(), "defaultErrno: defaultErrnoRet is"),
        (entry(r#""action":"ALLOW""#), "syscalls[0].action: \"ALLOW\" is not supported"),
        (
            entry(r#""action":"SCMP_ACT_ERRNO","errnoRet":4096"#),
            "syscalls[0].errnoRet: it is not a whole number from 0 to 4095",
        ),
        (entry(r#""action":"SCMP_ACT_ALLOW","name":"b""#), "syscalls[0]: name: there are names too"),
        (entry(r#""action":"SCMP_ACT_ALLOW","include":{}"#), "syscalls[0]: \"include\" is not supported"),
        (entry(r#""action":"SCMP_ACT_ALLOW","includes":{"cap":[]}"#), "syscalls[0].includes: \"cap\" is not"),
        (
            entry(r#""action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"x"}"#),
            "syscalls[0]: minKernel: \"x\" is no version",
        ),
        (
            args(r#""index":6,"value":0,"op":"SCMP_CMP_EQ""#),
            "syscalls[0].args[0].index: it is not a whole number from 0 to 5",
        ),
        (args(r#""index":0,"value":-1,"op":"SCMP_CMP_EQ""#), "syscalls[0].args[0].value: it is not a whole"),
        (args(r#""index":0,"value":0,"op":"EQ""#), "syscalls[0].args[0].op: \"EQ\" is not supported"),
        ("[]".into(), "it is not an object"),
        (" ".repeat(1 << 20) + "{}", "larger than"),
    ] {
        let refusal = resolved(&text, &[]).unwrap_err();
        assert_eq!(refusal.exit_code(), 6);
        assert!(refusal.to_string().contains(place), "{refusal}: {place}");
        assert_eq!(refusal.to_string().lines().count(), 1);
    }
}
