//! `crate-store inspect`.

use super::format::{self, Format, list};
use super::{each, misused, print, value};
use lexopt::ValueExt;
use lexopt::prelude::*;
use std::fs;
use std::time::SystemTime;
use store::container::Config;
use store::json::{CONFIG_LIMIT, Value as Json, object};
use store::platform::Platform;
use store::spec::annotation;
use store::state::State;
use store::{Container, Error, Reference, Result, Store, time};

const HELP: &str = "\
usage: crate-store inspect [-f FORMAT] [--type container|image] IMAGE|CONTAINER…

Shows images and containers as one array of JSON objects, with docker's names of fields.
What is both a container's name and an image is taken as the container.

  -f, --format FORMAT   json, as without it; or a line for each with fields in it:
                        '{{.State.Pid}}', '{{json .Config.Env}}'
  --type container|image
                        nothing else

  crate-store inspect alpine | jq -r '.[0].Config.Env[]'";

/// When something happened that never did, as docker writes it.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let (mut all, mut format, mut containers, mut images) = (Vec::new(), Format::Json, true, true);
    while let Some(argument) = args.next()? {
        match argument {
            Value(text) => all.push(text.string()?),
            Short('f') | Long("format") => format = format::parse(&value(&mut args)?)?,
            Long("type") => match args.value()?.to_str() {
                Some("container") => images = false,
                Some("image") => containers = false,
                _ => return Err(Error::Usage("--type is container or image".into())),
            },
            Long("help") | Short('h') => return print(HELP),
            other => return Err(other.unexpected().into()),
        }
    }
    if format == Format::Table {
        return Err(Error::Usage("--format table: inspect makes no tables".into()));
    }
    if all.is_empty() {
        return Err(misused("inspect", "wants an image or a container"));
    }
    let store = Store::open()?;
    let mut found = Vec::new();
    let outcome = each(&all, |text| {
        let container = if containers { store.find_container(text) } else { Err(Error::NotFound(String::new())) };
        found.push(match container {
            Ok(container) => inspect_container(&store, &container)?,
            Err(Error::NotFound(_)) if images => inspect_image(&store, text)?,
            Err(error) => return Err(error),
        });
        Ok(())
    });
    // Of nothing but failures, nothing is shown.
    if outcome.is_ok() || !found.is_empty() {
        list(&format, found, &[])?;
    }
    outcome
}

fn inspect_image(store: &Store, text: &str) -> Result<Json> {
    let image = store.find_image(text, &Platform::host()).map_err(|error| match error {
        Error::NotFound(reason) => Error::NotFound(format!("{reason}; nor is there such a container")),
        other => other,
    })?;
    // Read again as it stands, so that fields which crate does not use are shown too.
    let config: Json = store.read_json(&image.manifest.config, CONFIG_LIMIT, "config")?;
    let entry = store.find_entry(text)?;
    let index = store.index()?;
    let names = index.manifests.iter().filter(|other| other.digest == entry.digest);
    let names: Vec<&str> = names.filter_map(store::oci::Descriptor::ref_name).collect();
    let repositories = names.iter().filter_map(|name| Some(name.parse::<Reference>().ok()?.name()));
    let mut digests: Vec<String> = repositories.map(|name| format!("{name}@{}", image.descriptor.digest)).collect();
    digests.sort();
    digests.dedup();
    let config = |field: &str| config[field].clone();
    Ok(object(vec![
        ("Id", image.descriptor.digest.as_str().into()),
        ("RepoTags", names.into_iter().collect()),
        ("RepoDigests", digests.into_iter().collect()),
        ("Created", config("created")),
        ("Author", config("author")),
        ("Architecture", config("architecture")),
        ("Variant", config("variant")),
        ("Os", config("os")),
        ("Config", config("config")),
        ("RootFS", object(vec![("Type", "layers".into()), ("Layers", config("rootfs")["diff_ids"].clone())])),
        ("Size", image.size().into()),
    ]))
}

fn inspect_container(store: &Store, container: &Container) -> Result<Json> {
    let config = container.config()?;
    let text = |key: &str| Json::from(config.annotation(key));
    let process = |field: &str| config.0["process"][field].clone();
    let args = process("args");
    let (path, args) = match args.items().split_first() {
        Some((path, args)) => (path.clone(), args.to_vec()),
        None => ("".into(), Vec::new()),
    };
    let names = store.names()?.into_iter().filter(|(_, id)| *id == container.id).map(|(name, _)| name);
    let log = (config.annotation(annotation::LOG_SIZE) != "0").then(|| container.dir.join("log"));
    let signal = Some(config.annotation(annotation::STOP_SIGNAL)).filter(|signal| !signal.is_empty());
    let as_run = object(vec![
        ("Hostname", config.0["hostname"].clone()),
        ("User", text(annotation::USER)),
        ("Tty", process("terminal")),
        ("OpenStdin", is_set(&config, annotation::INTERACTIVE)),
        ("Env", process("env")),
        ("Cmd", process("args")),
        ("Image", text(annotation::IMAGE)),
        ("WorkingDir", process("cwd")),
        ("StopSignal", signal.unwrap_or("SIGTERM").into()),
        ("StopTimeout", config.annotation(annotation::STOP_TIMEOUT).parse().unwrap_or(10_u32).into()),
        ("Labels", labels(&config)),
    ]);
    Ok(object(vec![
        ("Id", container.id.as_str().into()),
        ("Name", names.collect::<Vec<_>>().join(",").into()),
        ("Created", text(annotation::CREATED)),
        ("Path", path),
        ("Args", Json::Array(args)),
        ("State", state(store, container)?),
        ("Image", text(annotation::MANIFEST)),
        ("LogPath", log.unwrap_or_default().to_string_lossy().into()),
        ("Config", as_run),
        ("HostConfig", host_config(&config)),
        ("Mounts", config.0["mounts"].items().iter().map(mount).collect()),
        ("Bundle", container.dir.to_string_lossy().into()),
    ]))
}

fn state(store: &Store, container: &Container) -> Result<Json> {
    let state = container.state(store)?;
    let process = if state.is_alive() { container.process(store)? } else { None };
    let never = || NEVER.to_owned();
    let ended = fs::metadata(container.dir.join("exit")).and_then(|metadata| metadata.modified()).ok();
    let ended = ended.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    Ok(object(vec![
        ("Status", state.word().into()),
        ("Running", state.is_alive().into()),
        ("Paused", false.into()),
        ("Restarting", (state == State::Restarting).into()),
        ("OOMKilled", container.ran_out_of_memory().into()),
        ("Pid", process.map_or(0, |(process, _)| process.pid).into()),
        ("ExitCode", container.exit_code().unwrap_or(state.code()).into()),
        ("Error", if state == State::Lost { "lost" } else { "" }.into()),
        ("StartedAt", container.started().unwrap_or_else(never).into()),
        ("FinishedAt", ended.map_or_else(never, time::rfc3339).into()),
    ]))
}

fn host_config(config: &Config) -> Json {
    let policy = Some(config.annotation(annotation::RESTART)).filter(|policy| !policy.is_empty()).unwrap_or("no");
    let (policy, count) = policy.split_once(':').unwrap_or((policy, "0"));
    let (size, files) = (config.annotation(annotation::LOG_SIZE), config.annotation(annotation::LOG_FILES));
    let limits = [("max-size", size), ("max-file", files)].into_iter().filter(|(_, value)| !value.is_empty());
    let log = vec![
        ("Type", if size == "0" { "none" } else { "k8s-file" }.into()),
        ("Config", object(limits.map(|(name, value)| (name, value.into())).collect())),
    ];
    let namespaces = config.0["linux"]["namespaces"].items();
    let private = namespaces.iter().any(|namespace| namespace["type"].as_str() == Some("network"));
    let restart = vec![("Name", policy.into()), ("MaximumRetryCount", count.parse().unwrap_or(0_u32).into())];
    object(vec![
        ("NetworkMode", if private { "private" } else { "host" }.into()),
        ("AutoRemove", is_set(config, annotation::REMOVE)),
        ("ReadonlyRootfs", config.0["root"]["readonly"].clone()),
        ("Init", is_set(config, annotation::INIT)),
        ("RestartPolicy", object(restart)),
        ("LogConfig", object(log)),
    ])
}

fn is_set(config: &Config, key: &str) -> Json {
    (config.annotation(key) == "true").into()
}

/// The annotations that are labels of the image or the caller.
pub fn labels(config: &Config) -> Json {
    let own =
        |key: &str| key.starts_with("run.crate.") || [annotation::CREATED, annotation::STOP_SIGNAL].contains(&key);
    let all = config.0["annotations"].fields().iter();
    object(all.filter(|(key, _)| !own(key)).map(|(key, value)| (key.as_str(), value.clone())).collect())
}

fn mount(mount: &Json) -> Json {
    let options: Vec<&str> = mount["options"].items().iter().filter_map(Json::as_str).collect();
    object(vec![
        ("Type", mount["type"].clone()),
        ("Source", mount["source"].clone()),
        ("Destination", mount["destination"].clone()),
        ("Mode", options.join(",").into()),
        ("RW", (!options.contains(&"ro")).into()),
    ])
}
