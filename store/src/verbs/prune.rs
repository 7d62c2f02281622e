//! `crate-store prune`.

use super::filter::Filters;
use super::{misused, print, removal, tell, value};
use lexopt::ValueExt;
use lexopt::prelude::*;
use std::io::{IsTerminal, Write};
use std::time::{Duration, SystemTime};
use store::json::{CONFIG_LIMIT, Value as Json};
use store::oci::Descriptor;
use store::space::size;
use store::spec::annotation;
use store::{Container, Error, Platform, Result, Store, time, tree};

const HELP: &str = "\
usage: crate-store prune containers [-f] [--filter KEY=VALUE]…
       crate-store prune images [-a] [-f] [--filter KEY=VALUE]…

containers: removes all that have ended, or were never started, and prints their ids.
images: removes those without a reference that no container uses, and then the blobs and
layers that nothing leads to; prints references and digests.
How many bytes that freed is told. On a terminal it asks first.
A user whose containers have mapped ids wants: crate-sup unshare crate-store prune …

  -a, --all     images with a reference too, if no container uses them
  -f, --force   do not ask
  --filter KEY=VALUE
                label, label! (without it), until (made before: 24h, or 2024-02-29T12:00:00Z)

  crate-store prune containers -f --filter until=24h";

#[derive(Default)]
struct Wanted {
    all: bool,
    force: bool,
    filters: Filters,
    /// Made before all of these, as times since 1970.
    until: Vec<Duration>,
}

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let (mut what, mut wanted) = (None, Wanted::default());
    while let Some(argument) = args.next()? {
        match argument {
            Short('a') | Long("all") => wanted.all = true,
            Short('f') | Long("force") => wanted.force = true,
            Long("filter") => wanted.filters.add(&value(&mut args)?, &["label", "label!", "until"])?,
            Long("help") | Short('h') => return print(HELP),
            Value(text) if what.is_none() => what = Some(text.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let until: Option<_> = wanted.filters.of("until").map(moment).collect();
    wanted.until = until.ok_or_else(|| Error::Usage("--filter until: it wants a time, or how long ago".into()))?;
    let question = match what.as_deref() {
        Some("containers") if !wanted.all => "all containers that do not run",
        Some("images") if wanted.all => "all images that no container uses",
        Some("images") => "all images without a reference",
        _ => return Err(misused("prune", "wants containers or images")),
    };
    if !wanted.force && !agreed(question)? {
        return Ok(());
    }
    if what.as_deref() == Some("images") { images(&wanted) } else { containers(&wanted) }
}

fn moment(text: &str) -> Option<Duration> {
    time::parse(text, SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Asks, where somebody is there to answer.
fn agreed(what: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr(), "This removes {what}. Go on? [y/N] ");
    let read = asked.and_then(|()| std::io::stdin().read_line(&mut answer));
    read.map_err(|source| Error::Io { doing: "asking".into(), source })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

impl Wanted {
    fn pass(&self, made: &str, labels: &Json) -> bool {
        let before = |until: &Duration| moment(made).is_some_and(|made| made < *until);
        self.until.iter().all(before) && self.filters.pass_labels(labels)
    }
}

fn containers(wanted: &Wanted) -> Result<()> {
    let store = Store::open()?;
    let (mut count, mut bytes, mut outcome) = (0, 0, Ok(()));
    for container in store.containers()? {
        match container_bytes(&store, &container, wanted) {
            // Started, or removed by another program, just now.
            Err(Error::Busy(_) | Error::NotFound(_)) | Ok(None) => {}
            Err(_) if !container.dir.exists() => {}
            Err(error) => {
                tell(&error.to_string());
                outcome = Err(Error::Failed("not all containers could be removed".into()));
            }
            Ok(Some(freed)) => {
                count += 1;
                bytes += freed;
                print(&container.id)?;
            }
        }
    }
    tell(&format!("removed {count} containers ({})", size(bytes)));
    outcome
}

/// Removes a container if it does not run and is wanted; how many bytes that freed.
fn container_bytes(store: &Store, container: &Container, wanted: &Wanted) -> Result<Option<u64>> {
    let config = container.config()?;
    let wanted = wanted.pass(config.annotation(annotation::CREATED), &config.0["annotations"]);
    if !wanted || container.state(store)?.is_alive() {
        return Ok(None);
    }
    let bytes = tree::size(&container.dir);
    // What the state was counts for nothing here: the lock decides.
    store.remove_container(container).map_err(removal)?;
    Ok(Some(bytes))
}

fn images(wanted: &Wanted) -> Result<()> {
    let store = Store::open()?;
    let plain = wanted.until.is_empty() && !wanted.filters.has("label") && !wanted.filters.has("label!");
    let fits = |entry: &Descriptor| {
        let named = entry.ref_name().is_some();
        let read = || {
            let image = store.entry_image(entry, &Platform::host())?;
            store.read_json::<Json>(&image.manifest.config, CONFIG_LIMIT, "config")
        };
        let passes =
            |config: Json| wanted.pass(config["created"].as_str().unwrap_or_default(), &config["config"]["Labels"]);
        (wanted.all || !named) && (plain || read().is_ok_and(passes))
    };
    let (removed, freed) = store.remove_unused(fits)?;
    for entry in &removed {
        print(entry.ref_name().unwrap_or(entry.digest.as_str()))?;
    }
    if let Some(freed) = freed {
        return super::gc::report(freed);
    }
    tell(super::rmi::IN_USE);
    Ok(())
}
