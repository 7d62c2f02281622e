//! `crate-store ps`.

use super::filter::Filters;
use super::format::{self, Format, list, whole_seconds};
use super::inspect::{NEVER, labels};
use super::{print, tell, value};
use lexopt::ValueExt;
use lexopt::prelude::*;
use store::container::Config;
use store::json::{Value as Json, object};
use store::spec::annotation;
use store::state::State;
use store::{Container, Error, Reference, Result, Store};

const HELP: &str = "\
usage: crate-store ps [-a] [-q] [--no-trunc] [-n N] [-l] [--filter KEY=VALUE]… [--format FORMAT]

Lists the containers that are alive, the newest first: CONTAINER-ID NAME IMAGE STATUS PID
CREATED COMMAND, each one word but the last. STATUS is running; restarting; orphaned: its
supervisor was killed, and it lives on; and of the others created; exited(7), with the code;
lost: its supervisor was killed before it could tell the code.

  -a, --all         all containers
  -n, --last N      the N newest of all
  -l, --latest      the newest of all
  -q, --quiet       ids only
  --no-trunc        whole ids and commands
  -f, --filter KEY=VALUE
                    id, name, label, status, exited (a code), ancestor (an image), before and
                    since (a container); of several, one of each key must fit, and all labels
  --format FORMAT   table; json: one array of objects: ID, Names, Image, ImageID, Command,
                    CreatedAt, StartedAt, State, Status, Pid, ExitCode, Labels; or a line for
                    each with fields in it: '{{.ID}} {{.Status}}'

  crate-store ps -a | awk '$4 ~ /^exited/ { print $1 }'";

/// The keys of `--filter`.
const KEYS: [&str; 10] = ["id", "name", "label", "label!", "status", "exited", "ancestor", "image", "before", "since"];

/// The columns, and the fields that they show.
const TABLE: [(&str, &str); 7] = [
    ("CONTAINER-ID", "ID"),
    ("NAME", "Names"),
    ("IMAGE", "Image"),
    ("STATUS", "Status"),
    ("PID", "Pid"),
    ("CREATED", "CreatedAt"),
    ("COMMAND", "Command"),
];

/// How much of a command is shown, in characters.
const COMMAND: usize = 40;

/// What to list, and how.
#[derive(Default)]
struct Wanted {
    all: bool,
    quiet: bool,
    whole: bool,
    last: Option<usize>,
    format: Format,
    filters: Filters,
}

/// A container as it was found.
struct Row {
    container: Container,
    names: String,
    state: State,
    config: Config,
}

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let mut wanted = Wanted::default();
    while let Some(argument) = args.next()? {
        match argument {
            Short('a') | Long("all") => wanted.all = true,
            Short('q') | Long("quiet") => wanted.quiet = true,
            Long("no-trunc") => wanted.whole = true,
            Short('n') | Long("last") => wanted.last = Some(args.value()?.parse()?),
            Short('l') | Long("latest") => wanted.last = Some(1),
            Short('f') | Long("filter") => wanted.filters.add(&value(&mut args)?, &KEYS)?,
            Long("format") => wanted.format = format::parse(&value(&mut args)?)?,
            Long("help") | Short('h') => return print(HELP),
            other => return Err(other.unexpected().into()),
        }
    }
    check(&wanted.filters)?;
    // Asking for what has ended, or for so many, asks for more than what is alive.
    wanted.all |= wanted.last.is_some() || wanted.filters.has("status") || wanted.filters.has("exited");
    let store = Store::look()?;
    let mut rows = rows(&store, &wanted)?;
    rows.sort_by(|a, b| (created(&b.config), &b.container.id).cmp(&(created(&a.config), &a.container.id)));
    rows.truncate(wanted.last.unwrap_or(usize::MAX));
    if wanted.quiet {
        return rows.iter().try_for_each(|row| print(id(row, wanted.whole)));
    }
    let objects = rows.iter().map(|row| fields(&store, row, &wanted)).collect();
    list(&wanted.format, objects, &TABLE)
}

/// Are the values of these keys any that a container can have?
fn check(filters: &Filters) -> Result<()> {
    let words = ["created", "running", "restarting", "orphaned", "exited", "lost"];
    if let Some(word) = filters.of("status").find(|word| !words.contains(word)) {
        return Err(Error::Usage(format!("--filter status={word}: it is one of {}", words.join(", "))));
    }
    match filters.of("exited").find(|code| code.parse::<i32>().is_err()) {
        Some(code) => Err(Error::Usage(format!("--filter exited={code}: it wants an exit code"))),
        None => Ok(()),
    }
}

/// The containers that are wanted. One that is removed meanwhile is none; one that cannot be read is told.
fn rows(store: &Store, wanted: &Wanted) -> Result<Vec<Row>> {
    let names = store.names()?;
    let bounds = |key: &str| -> Result<Vec<String>> {
        let found = wanted.filters.of(key).map(|text| store.find_container(text)?.config());
        found.map(|config| Ok(created(&config?).to_owned())).collect()
    };
    let (before, since) = (bounds("before")?, bounds("since")?);
    let mut rows = Vec::new();
    for container in store.containers()? {
        let dir = container.dir.clone();
        match row(store, container, &names, wanted.all) {
            Err(_) if !dir.exists() => {}
            Err(error) => tell(&error.to_string()),
            Ok(None) => {}
            Ok(Some(row)) => {
                let made = created(&row.config);
                let between = before.iter().all(|other| made < other) && since.iter().all(|other| made > other);
                if between && fits(&row, &wanted.filters) {
                    rows.push(row);
                }
            }
        }
    }
    Ok(rows)
}

/// What is to be known of a container; none if it has ended, and `all` are not wanted.
fn row(store: &Store, container: Container, names: &[(String, String)], all: bool) -> Result<Option<Row>> {
    // Before its config: of one that is removed in between, that is missing, and not only what tells its state.
    let state = container.state(store)?;
    if !all && !state.is_alive() {
        return Ok(None);
    }
    let config = container.config()?;
    let own = names.iter().filter(|(_, id)| *id == container.id).map(|(name, _)| name.as_str());
    let names = own.collect::<Vec<_>>().join(",");
    Ok(Some(Row { container, names, state, config }))
}

fn fits(row: &Row, filters: &Filters) -> bool {
    filters.pass("id", |text| row.container.id.starts_with(text))
        && filters.pass("name", |text| is_like(&row.names, text))
        && filters.pass("status", |word| word == row.state.word())
        && filters.pass("exited", |code| matches!(row.state, State::Exited(own) if code.parse() == Ok(own)))
        && filters.pass("ancestor", |image| is_of(&row.config, image))
        && filters.pass("image", |image| is_of(&row.config, image))
        && filters.pass_labels(&row.config.0["annotations"])
}

/// Is the text a part of the name: with `^` its beginning, with `$` its end, with both all of it?
fn is_like(name: &str, text: &str) -> bool {
    let (begins, text) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
    let (ends, text) = text.strip_suffix('$').map_or((false, text), |rest| (true, rest));
    match (begins, ends) {
        (true, true) => name == text,
        (true, false) => name.starts_with(text),
        (false, true) => name.ends_with(text),
        (false, false) => name.contains(text),
    }
}

/// Was the container made of this image: a reference, or the digest of a manifest or its first digits?
fn is_of(config: &Config, image: &str) -> bool {
    let full = image.parse::<Reference>().map(|reference| reference.to_string());
    let own = config.annotation(annotation::IMAGE);
    let manifest = config.annotation(annotation::MANIFEST);
    let digits = image.strip_prefix("sha256:").unwrap_or(image);
    own == image
        || full.is_ok_and(|full| full == own)
        || (digits.len() >= 4 && manifest.trim_start_matches("sha256:").starts_with(digits))
}

fn created(config: &Config) -> &str {
    config.annotation(annotation::CREATED)
}

fn id(row: &Row, whole: bool) -> &str {
    if whole { &row.container.id } else { row.container.short() }
}

fn status(state: State) -> String {
    match state {
        State::Exited(code) => format!("exited({code})"),
        other => other.word().to_owned(),
    }
}

fn command(row: &Row, whole: bool) -> String {
    let args = row.config.0["process"]["args"].items();
    let command = args.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" ");
    if whole || command.chars().count() <= COMMAND {
        return command;
    }
    command.chars().take(COMMAND - 1).chain(['…']).collect()
}

/// A container's fields: in JSON as they are, else as people read them.
fn fields(store: &Store, row: &Row, wanted: &Wanted) -> Json {
    let exact = wanted.format == Format::Json;
    let whole = wanted.whole || exact;
    let text = |key: &str| row.config.annotation(key).into();
    let made = created(&row.config);
    // What cannot be read tells of no process.
    let pid = row.container.process(store).ok().flatten().map_or(0, |(process, _)| process.pid);
    object(vec![
        ("ID", id(row, whole).into()),
        ("Names", row.names.as_str().into()),
        ("Image", text(annotation::IMAGE)),
        ("ImageID", text(annotation::MANIFEST)),
        ("Command", command(row, whole).into()),
        ("CreatedAt", if exact { made.to_owned() } else { whole_seconds(made) }.into()),
        ("StartedAt", row.container.started().unwrap_or_else(|| NEVER.into()).into()),
        ("State", row.state.word().into()),
        ("Status", status(row.state).into()),
        ("Pid", pid.into()),
        ("ExitCode", row.container.exit_code().unwrap_or(row.state.code()).into()),
        ("Labels", labels(&row.config)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_and_images() {
        for (text, fits) in
            [("we", true), ("^we", true), ("^eb", false), ("b$", true), ("^web$", true), ("^we$", false)]
        {
            assert_eq!(is_like("web", text), fits, "{text}");
        }
        let annotations = object(vec![
            (annotation::IMAGE, "docker.io/library/alpine:3.20".into()),
            (annotation::MANIFEST, "sha256:abcdef".into()),
        ]);
        let config = Config(object(vec![("annotations", annotations)]));
        for (image, own) in
            [("alpine:3.20", true), ("sha256:abcd", true), ("abcdef", true), ("alpine", false), ("abc", false)]
        {
            assert_eq!(is_of(&config, image), own, "{image}");
        }
        assert!(!is_of(&Config::default(), "abcd"));
    }
}
