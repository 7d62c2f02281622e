//! `crate-store inspect`.

use super::{each, operands, print_json};
use serde_json::{Value as Json, json};
use store::json::CONFIG_LIMIT;
use store::platform::Platform;
use store::spec::{Mount, Spec, annotation};
use store::state::State;
use store::{Container, Error, Reference, Result, Store};

const HELP: &str = "\
usage: crate-store inspect IMAGE|CONTAINER…

Shows images and containers as one array of JSON objects, with docker's names of fields.
What is both a container's name and an image is taken as the container.

  crate-store inspect alpine | jq -r '.[0].Config.Env[]'";

pub fn run(args: lexopt::Parser) -> Result<()> {
    let Some(all) = operands(args, HELP)? else {
        return Ok(());
    };
    if all.is_empty() {
        return Err(Error::Usage(format!("inspect wants an image or a container\n{HELP}")));
    }
    let store = Store::open()?;
    let mut found = Vec::new();
    let outcome = each(&all, |text| {
        found.push(match store.find_container(text) {
            Ok(container) => inspect_container(&store, &container)?,
            Err(Error::NotFound(_)) => inspect_image(&store, text)?,
            Err(error) => return Err(error),
        });
        Ok(())
    });
    // Of nothing but failures, nothing is shown.
    if outcome.is_ok() || !found.is_empty() {
        print_json(&Json::Array(found))?;
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
    Ok(json!({
        "Id": image.descriptor.digest,
        "RepoTags": names,
        "RepoDigests": digests,
        "Created": config["created"],
        "Author": config["author"],
        "Architecture": config["architecture"],
        "Variant": config["variant"],
        "Os": config["os"],
        "Config": config["config"],
        "RootFS": { "Type": "layers", "Layers": config["rootfs"]["diff_ids"] },
        "Size": image.size(),
    }))
}

fn inspect_container(store: &Store, container: &Container) -> Result<Json> {
    let spec = container.spec()?;
    let state = container.state(store)?;
    let text = |key: &str| spec.annotation(key).unwrap_or_default().to_owned();
    let (path, args) = spec.process.args.split_first().map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
    let pid = container.process(store)?.map_or(0, |(process, _)| process.pid);
    let network = if spec.has_namespace("network") { "private" } else { "host" };
    Ok(json!({
        "Id": container.id,
        "Name": text(annotation::NAME),
        "Created": text(annotation::CREATED),
        "Path": path,
        "Args": args,
        "State": { "Status": state.word(), "Running": state == State::Running, "Pid": pid, "ExitCode": state.code() },
        "Image": text(annotation::MANIFEST),
        "Config": {
            "Hostname": spec.hostname,
            "User": text(annotation::USER),
            "Tty": spec.process.terminal,
            "OpenStdin": spec.flag(annotation::INTERACTIVE),
            "Env": spec.process.env,
            "Cmd": spec.process.args,
            "Image": text(annotation::IMAGE),
            "WorkingDir": spec.process.cwd,
            "StopSignal": spec.annotation(annotation::STOP_SIGNAL),
            "Labels": labels(&spec),
        },
        "HostConfig": {
            "NetworkMode": network,
            "AutoRemove": spec.flag(annotation::REMOVE),
            "ReadonlyRootfs": spec.root.readonly,
        },
        "Mounts": spec.mounts.iter().map(mount).collect::<Json>(),
        "Bundle": container.dir,
    }))
}

/// The annotations that are labels of the image or the caller.
fn labels(spec: &Spec) -> Json {
    let own =
        |key: &str| key.starts_with("run.crate.") || [annotation::CREATED, annotation::STOP_SIGNAL].contains(&key);
    spec.annotations.iter().filter(|(key, _)| !own(key)).map(|(key, value)| (key.clone(), json!(value))).collect()
}

fn mount(mount: &Mount) -> Json {
    json!({
        "Type": mount.kind,
        "Source": mount.source,
        "Destination": mount.destination,
        "Mode": mount.options.join(","),
        "RW": !mount.options.iter().any(|option| option == "ro"),
    })
}
