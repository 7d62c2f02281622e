//! `crate-sup plan`: what a start of the container would do, for people, and as a command line that does it by hand.

use crate::idmap::IdMaps;
use crate::plan::{Plan, limit, mounts, quote};
use crate::stop::{stop_signal, stop_timeout};
use crate::supervise::log_limits;
use crate::{confinement, devices};
use store::container::layers;
use store::spec::{Mount, Resources, Rlimit, Spec, annotation};
use store::{Container, Result, Store, signal};

/// The namespaces that every container has of its own.
const NAMESPACES: &str = "mount, pid, uts, ipc, cgroup";

/// Prints what `run` would do with a container, and does nothing. No lock is taken: the container may run or not.
pub fn print(name: &str) -> Result<u8> {
    let store = Store::open()?;
    let container = store.find_container(name)?;
    let spec = container.spec()?;
    crate::say(&text(&store, &container, &spec)?)
}

fn text(store: &Store, container: &Container, spec: &Spec) -> Result<String> {
    let maps = IdMaps::of(spec)?;
    let plan = Plan::new(store, container, spec, maps.emulates_root(spec), None)?;
    let mut page = Page::default();
    page.row("container", [container.id.clone()]);
    page.row("image", spec.annotation(annotation::IMAGE).map(quote));
    namespaces(&mut page, spec, &maps);
    limits(&mut page, spec);
    files(&mut page, spec)?;
    program(&mut page, spec);
    confinement::describe(&mut page, spec, maps.emulates_root(spec))?;
    supervisor(&mut page, spec)?;
    page.0.push("\nThe same by hand, without the filter of system calls and what else the supervisor does:\n\n".into());
    page.0.push(by_hand(spec, &maps, &plan));
    Ok(page.0.concat())
}

/// Rows of a topic and what there is to say about it.
#[derive(Default)]
pub struct Page(Vec<String>);

impl Page {
    /// The topic, and beside it the lines; none are `none`.
    pub fn row(&mut self, topic: &str, lines: impl IntoIterator<Item = String>) {
        let before = self.0.len();
        for line in lines {
            let topic = if self.0.len() == before { topic } else { "" };
            self.0.push(format!("{topic:<18}{line}\n"));
        }
        if self.0.len() == before {
            self.0.push(format!("{topic:<18}none\n"));
        }
    }
}

fn namespaces(page: &mut Page, spec: &Spec, maps: &IdMaps) {
    let further = [("network", spec.has_namespace("network")), ("user", maps.has_namespace())];
    let pick = |own: bool| further.iter().filter(move |(_, has)| *has == own).map(|(name, _)| *name);
    let own = std::iter::once(NAMESPACES).chain(pick(true)).collect::<Vec<_>>().join(", ");
    page.row("namespaces", [own]);
    page.row("of the host", pick(false).map(str::to_owned));
    page.row("ids", ids(spec, maps));
    page.row("host name", spec.hostname.as_deref().map(quote));
    let settings = spec.linux.sysctl.iter();
    page.row("kernel settings", settings.map(|(name, value)| quote(&format!("{name}={value}"))));
}

/// Which ids the container has, inside and outside, and why there are no more.
fn ids(spec: &Spec, maps: &IdMaps) -> Vec<String> {
    let lines = |kind: &'static str, map: &[[u32; 3]]| {
        let line = |[inside, outside, count]: &[u32; 3]| match count {
            1 => format!("{kind} {inside} is {outside} outside"),
            _ => format!("{kind}s {inside} to {} are {outside} and so on outside", inside + (count - 1)),
        };
        map.iter().map(line).collect::<Vec<_>>()
    };
    match maps {
        IdMaps::Root => vec!["the host's".to_owned()],
        IdMaps::Single(uid, gid) => {
            let why = IdMaps::lack().map_or_else(String::new, |lack| format!(": {}", lack.detail));
            let shown = if maps.emulates_root(spec) { "seem made" } else { "fail" };
            [
                format!("user {uid} and group {gid} are the caller, and there are no others{why}"),
                format!("changes of owner and identity {shown}"),
            ]
            .into()
        }
        IdMaps::Ranges(uids, gids) => [lines("user", uids), lines("group", gids)].concat(),
    }
}

/// What comes before the command line that makes the other namespaces.
fn user_namespace(maps: &IdMaps) -> String {
    let words = |option: &str, map: &[[u32; 3]]| {
        let word = |[inside, outside, count]: &[u32; 3]| format!("{option}={inside}:{outside}:{count} ");
        map.iter().map(word).collect::<String>()
    };
    match maps {
        IdMaps::Root => String::new(),
        IdMaps::Single(0, 0) => "unshare --map-root-user ".into(),
        IdMaps::Single(uid, gid) => format!("unshare --keep-caps --map-user={uid} --map-group={gid} "),
        IdMaps::Ranges(uids, _) if uids.first().is_some_and(|[inside, ..]| *inside == 0) => "crate-sup unshare ".into(),
        // Of util-linux 2.39 and later.
        IdMaps::Ranges(uids, gids) => {
            format!("unshare --keep-caps {}{}", words("--map-users", uids), words("--map-groups", gids))
        }
    }
}

fn limits(page: &mut Page, spec: &Spec) {
    let of = |Resources { memory, swap, cpu_quota, cpu_period, cpu_shares, pids }: &Resources| {
        let period = cpu_period.unwrap_or(100_000);
        [
            memory.map(|bytes| format!("memory {bytes} bytes")),
            swap.map(|bytes| format!("memory and swap {bytes} bytes")),
            cpu_quota.map(|quota| format!("processor {quota} of each {period} microseconds")),
            cpu_shares.map(|shares| format!("processor shares {shares}")),
            pids.map(|count| format!("processes {count}")),
        ]
    };
    page.row("cgroup limits", spec.linux.resources.iter().flat_map(of).flatten());
    let rlimits = spec.process.rlimits.iter();
    page.row(
        "limits",
        rlimits.map(|Rlimit { kind, soft, hard }| quote(&format!("{kind} {} {}", limit(*soft), limit(*hard)))),
    );
}

fn files(page: &mut Page, spec: &Spec) -> Result<()> {
    let layers = layers(spec)?;
    let access = if spec.root.readonly { "read-only" } else { "writable, by a layer of its own" };
    page.row("root", [format!("{} layers of the image, {access}", layers.len())]);
    page.row("layers", layers.iter().map(ToString::to_string));
    page.row("mounts", mounts(spec)?.map(mount));
    let host = if spec.flag(annotation::PRIVILEGED) { devices::of_host() } else { Vec::new() };
    page.row("host's devices", host.iter().map(|path| quote(path)));
    page.row("masked", spec.linux.masked_paths.iter().map(|path| quote(path)));
    page.row("read-only", spec.linux.readonly_paths.iter().map(|path| quote(path)));
    Ok(())
}

fn mount(Mount { destination, kind, source, options }: &Mount) -> String {
    let words = [kind, source, destination, &options.join(",")];
    words.map(|word| quote(word)).join(" ")
}

fn program(page: &mut Page, spec: &Spec) {
    let process = &spec.process;
    let words: Vec<String> = process.args.iter().map(|word| quote(word)).collect();
    page.row("program", [words.join(" ")]);
    page.row("environment", process.env.iter().map(|entry| quote(entry)));
    page.row("directory", [quote(&process.cwd)]);
    let ids = format!("{}:{}", process.user.uid, process.user.gid);
    page.row("user", [quote(spec.annotation(annotation::USER).unwrap_or(&ids))]);
    page.row("further groups", process.user.additional_gids.iter().map(u32::to_string));
    let input = if spec.flag(annotation::INTERACTIVE) { "the caller's input" } else { "no input" };
    let streams = if process.terminal { "a terminal of the container's own" } else { "pipes" };
    page.row("streams", [format!("{streams}, {input}; no other descriptor is open")]);
    let first = if spec.flag(annotation::INIT) { "crate-init, which reaps" } else { "the program" };
    page.row("process 1", [first.to_owned()]);
}

fn supervisor(page: &mut Page, spec: &Spec) -> Result<()> {
    page.row("restart", [quote(spec.annotation(annotation::RESTART).unwrap_or("no"))]);
    let (stop, time) = (signal::name(stop_signal(spec)), stop_timeout(spec).as_secs());
    page.row("stop", [format!("{stop}, and SIGKILL after {time} s")]);
    let limits = log_limits(spec)?;
    let kept = (limits.size > 0).then(|| format!("{} files of {} bytes", limits.files, limits.size));
    page.row("log", kept);
    let after = if spec.flag(annotation::REMOVE) { "removed" } else { "kept" };
    page.row("after its end", [after.to_owned()]);
    page.row("file with its pid", spec.annotation(annotation::PIDFILE).map(quote));
    Ok(())
}

/// A command line that makes the same namespaces and carries the plan out.
fn by_hand(spec: &Spec, maps: &IdMaps, plan: &Plan) -> String {
    let network = if spec.has_namespace("network") { " --net" } else { "" };
    let user = user_namespace(maps);
    format!("{user}unshare --fork --kill-child --mount --pid --uts --ipc --cgroup{network} {}", plan.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_stand_once() {
        let mut page = Page::default();
        page.row("one", ["a".to_owned(), "b".to_owned()]);
        page.row("two", None);
        assert_eq!(page.0.concat(), "one               a\n                  b\ntwo               none\n");
    }
}
