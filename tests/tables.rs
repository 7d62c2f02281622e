//! What `CVES.md` and `FAULTS.md` say of tests is so. That those tests have also run, and passed, `ran.sh` finds out
//! when all of them are done.

#![allow(clippy::expect_used)] // A test may stop where it is.

use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const CVES: &str = include_str!("CVES.md");
const FAULTS: &str = include_str!("FAULTS.md");

/// The vulnerabilities of runtimes, stores and clients that are known here: those of runc's CHANGELOG and crun's NEWS, and of
/// other programs' advisories. Each has a row.
const KNOWN: &str = "
    CVE-2016-9962 CVE-2017-5226 CVE-2018-15664 CVE-2019-5736 CVE-2019-7303 CVE-2019-14271 CVE-2019-19921 CVE-2020-15157
    CVE-2020-15257 CVE-2021-29136 CVE-2021-30465 CVE-2021-41091 CVE-2021-41190 CVE-2022-0492 CVE-2022-24769 CVE-2022-29162
    CVE-2022-36109 CVE-2023-25809 CVE-2023-27561 CVE-2023-28100 CVE-2023-28642 CVE-2024-1753 CVE-2024-3727 CVE-2024-9676
    CVE-2024-21626 CVE-2024-45310 CVE-2025-31133 CVE-2025-52565 CVE-2025-52881 CVE-2025-62518 CVE-2026-33055 CVE-2026-41567
    CVE-2026-41568 CVE-2026-41579 CVE-2026-42306 CVE-2026-47262 CVE-2026-47766 CVE-2026-48749 CVE-2026-48752 CVE-2026-50195
    CVE-2026-53488 CVE-2026-87766 CVE-2026-88264 CVE-2026-88265";

/// All files with this ending below a directory of the workspace.
fn sources(directory: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).expect("a directory is read") {
        let path = entry.expect("a directory is read").path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() && !name.ends_with("/target") {
            sources(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push((name, fs::read_to_string(&path).expect("a source is text")));
        }
    }
}

/// `story:test_NAME` is in the story, `module::test` in a source of this module.
#[test]
fn tests_that_are_named_exist() {
    let root = Path::new(ROOT);
    let mut files = Vec::new();
    for directory in ["fetch", "fuzz", "init", "src", "store", "supervisor"] {
        sources(&root.join(directory), ".rs", &mut files);
    }
    sources(&root.join("tests"), ".sh", &mut files);
    let tables = [CVES, FAULTS].concat();
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
}

#[test]
fn every_fault_has_a_row() {
    let rows = [("E", 23), ("X", 12), ("P", 16), ("S", 14), ("N", 8)]
        .into_iter()
        .flat_map(|(kind, last)| (1..=last).map(move |n| (kind, n)));
    for (kind, number) in rows {
        assert!(FAULTS.contains(&format!("\n| {kind}{number} | ")), "row {kind}{number} is missing");
    }
}

/// Each vulnerability is named in the first column of a row that names a test, or says why there is none: it cannot apply.
#[test]
fn every_vulnerability_has_a_row() {
    let rows: Vec<&str> = CVES.lines().filter(|line| line.starts_with("| ")).collect();
    for known in KNOWN.split_whitespace() {
        let row = rows.iter().find(|row| row.split(" | ").next().is_some_and(|ids| ids.contains(known)));
        let row = row.unwrap_or_else(|| panic!("{known} has no row"));
        let played = [":test_", "::", "cannot apply"].iter().any(|words| row.contains(words));
        assert!(played, "{known}: neither a test nor why it cannot apply");
    }
}

/// `ran.sh` over one table of two rows and what has run; its exit code and what it says.
fn ran(name: &str, results: &str, log: &str, must_run: &str) -> (Option<i32>, String) {
    let directory = std::env::temp_dir().join(format!("crate-tables.{}.{name}", std::process::id()));
    fs::create_dir(&directory).expect("a directory is made");
    let table = "| E1 | `run:test_one`, `run:test_two` (root alone: why), `run:test_three` (users alone: why) |\n\
        | E2 | `policy::waits`, `replay::whole` |\n";
    for (file, text) in [("results", results), ("log", log), ("table", table)] {
        fs::write(directory.join(file), text).expect("a file is written");
    }
    let script = format!("{ROOT}/tests/ran.sh");
    let output = Command::new("bash")
        .args([&script, "results", "log", "table"])
        .current_dir(&directory)
        .env("MUST_RUN", must_run)
        .output();
    let output = output.expect("bash is there");
    fs::remove_dir_all(&directory).expect("a directory is removed");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_has_not_run_is_told() {
    const RESULTS: &str = "passed run root test_one\npassed run single test_one\npassed run root test_two\n\
        passed run ranges test_three\nfailed run root test_three exit code 1\n";
    const LOG: &str = "test retry::policy::tests::waits ... ok\ntest whole ... ok\n";
    assert_eq!(ran("all", RESULTS, LOG, "1"), (Some(0), String::new()));
    let skipped = RESULTS.replace("passed run single test_one", "skipped run single test_one it is late");
    let told = "table: run:test_one is skipped as a user: it is late\n";
    assert_eq!(ran("skipped", &skipped, LOG, ""), (Some(0), told.into()));
    assert_eq!(ran("must", &skipped, LOG, "1"), (Some(1), told.into()));
    let failed = RESULTS.replace("passed run root", "failed run root");
    let told = "table: run:test_one has not passed as root\ntable: run:test_two has not passed as root\n";
    assert_eq!(ran("failed", &failed, LOG, ""), (Some(1), told.into()));
    let ignored = LOG.replace("waits ... ok", "waits ... ignored");
    assert_eq!(
        ran("ignored", RESULTS, &ignored, ""),
        (Some(1), "table: policy::waits has not passed as a unit test\n".into())
    );
    let (code, told) = ran("nothing", "", "", "");
    assert_eq!((code, told.lines().count()), (Some(1), 6));
}
