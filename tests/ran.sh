#!/bin/bash
# ran.sh RESULTS LOG TABLE...: has every test that the tables name run, and passed? Those that have not are printed; exit code 1.
# Those that were skipped are printed with the reason, and wrong only with MUST_RUN=1.
#   RESULTS  lines of story.sh: passed|failed|skipped STORY KIND CASE [REASON]
#   LOG      what `cargo test` printed of unit tests
# A `story:test_NAME` must have passed as root and as a user, of either kind. Where it has a meaning for one of them alone the
# table says so behind it: (root alone: WHY) or (users alone: WHY).
set -euo pipefail

exec awk -v results="$1" -v log_="$2" '
	FILENAME == results && $1 == "passed" { passed[$2 ":" $4, $3 == "root" ? "as root" : "as a user"] = 1 }
	FILENAME == results && $1 == "skipped" {
		why = $0
		sub(/^[^ ]+ [^ ]+ [^ ]+ [^ ]+ /, "", why)
		skipped[$2 ":" $4, $3 == "root" ? "as root" : "as a user"] = why
	}
	FILENAME == results { next }
	FILENAME == log_ && /^test .* \.\.\. ok$/ { units["::" $2] = 1 }
	FILENAME == log_ { next }
	{
		count = split($0, parts, "`")
		for (i = 2; i < count; i += 2) {
			if (parts[i] ~ /^[a-z]+:test_[A-Za-z0-9_]+$/ && parts[i] !~ /NAME/) story(parts[i], parts[i + 1])
			else if (parts[i] ~ /^[a-z0-9_:]+::[a-z0-9_]+$/ && parts[i] != "module::test") unit(parts[i])
		}
	}
	END { exit missing }
	function story(name, words) {
		if (words !~ /^ \(users alone: ./) played(name, "as root")
		if (words !~ /^ \(root alone: ./) played(name, "as a user")
	}
	function played(name, what) {
		if ((name, what) in passed) return
		if (!((name, what) in skipped)) say(name, "has not passed " what)
		else say(name, "is skipped " what ": " skipped[name, what], !ENVIRON["MUST_RUN"])
	}
	function unit(name, found, at, end, test) {
		# Most are in a module `tests` of their module; one of a file below tests/ is in none.
		at = match(name, /::[a-z0-9_]+$/)
		end = "::" substr(name, 1, at - 1) "::(tests::)?" substr(name, at + 2) "$"
		test = substr(name, at)
		for (found in units) if (found ~ end || found == test) return
		say(name, "has not passed as a unit test")
	}
	function say(name, what, allowed) {
		if (!((name, what) in said)) print FILENAME ": " name " " what
		said[name, what] = 1
		if (!allowed) missing = 1
	}
' "$@"
