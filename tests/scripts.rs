//! Plays the stories of `tests/*.sh`, each as root, as a user with a range of ids and as a user without.
//! `make test` sets up what they need; one alone is played by `bash tests/run.sh [KIND] [CASE…]`.

#![allow(clippy::expect_used)] // A test may stop where it is.

use std::process::Command;

/// Plays one story as one kind of user. What it cannot do here it says itself (exit code 77).
fn play(story: &str, kind: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/story.sh");
    let output = Command::new("bash").args([script, story, kind]).output().expect("bash is there");
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | 77)), "{story} as {kind}: {}", output.status);
}

macro_rules! stories {
    ($($name:ident)*) => {
        const STORIES: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            #[test]
            fn as_root() {
                super::play(stringify!($name), "root");
            }
            #[test]
            fn as_user_with_ranges() {
                super::play(stringify!($name), "ranges");
            }
            #[test]
            fn as_user_with_one_id() {
                super::play(stringify!($name), "single");
            }
        })*
    };
}

stories! {
    answers
    archives
    cgroup
    check
    confined
    corpus
    cp
    damage
    devices
    edges
    escape
    exec
    faults
    filter
    flags
    front
    hardship
    hostile
    init
    layers
    leaves
    lifecycle
    lock
    logs
    mounts
    oracle
    origins
    packages
    plan
    powercut
    programs
    ps
    pull
    registries
    resume
    rootless
    run
    save
    seccomp
    siege
    store
    table
    terminal
    vm
    walls
    wire
}

/// A story is a shell script that reads `lib.sh`; each must be named above.
#[test]
fn every_story_is_listed() {
    let mut found: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).expect("tests/ is there") {
        let path = entry.expect("tests/ is read").path();
        let is_story = path.extension().is_some_and(|extension| extension == "sh")
            && std::fs::read_to_string(&path).expect("a script is text").contains("\n. \"$(dirname \"$0\")/lib.sh\"");
        if is_story {
            found.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    found.sort();
    assert_eq!(found, STORIES);
}
