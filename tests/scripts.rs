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
    check
    confined
    corpus
    cp
    damage
    edges
    exec
    faults
    front
    hardship
    hostile
    init
    layers
    leaves
    lifecycle
    lock
    logs
    oracle
    origins
    powercut
    programs
    ps
    pull
    registries
    resume
    run
    save
    siege
    store
    terminal
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

/// All files with this ending below a directory of the workspace.
fn sources(directory: &std::path::Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).expect("a directory is read") {
        let path = entry.expect("a directory is read").path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() && !name.ends_with("/target") {
            sources(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push((name, std::fs::read_to_string(&path).expect("a source is text")));
        }
    }
}

/// `story:test_NAME` is in the story, `module::test` in a source of this module.
#[test]
fn tests_that_the_tables_name_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["fetch", "fuzz", "init", "src", "store", "supervisor"] {
        sources(&root.join(directory), ".rs", &mut files);
    }
    sources(&root.join("tests"), ".sh", &mut files);
    let tables = [include_str!("CVES.md"), include_str!("FAULTS.md")].concat();
    for word in tables.split('`').skip(1).step_by(2).filter(|word| !word.contains("NAME") && *word != "module::test") {
        let (place, name) = if let Some((story, name)) = word.split_once(":test_") {
            (format!("/tests/{story}.sh"), format!("\ntest_{name}() {{"))
        } else if let Some((module, name)) = word.rsplit_once("::") {
            (format!("/{module}"), format!("fn {name}("))
        } else {
            continue;
        };
        let is_there = files.iter().any(|(file, text)| file.contains(&place) && text.contains(&name));
        assert!(is_there, "{word} is not there");
    }
    let rows =
        [("X", 12), ("P", 16), ("S", 14)].into_iter().flat_map(|(kind, last)| (1..=last).map(move |n| (kind, n)));
    for (kind, number) in rows {
        assert!(tables.contains(&format!("\n| {kind}{number} | ")), "row {kind}{number} is missing");
    }
}
