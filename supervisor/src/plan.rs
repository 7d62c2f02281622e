//! The plan: what crate-init is to do, made from the bundle's `config.json`.

use crate::cgroup;
use crate::channel::Size;
use crate::devices;
use std::os::fd::RawFd;
use std::path::Path;
use store::container::layers;
use store::spec::{Capabilities, Mount, Rlimit, Spec, annotation};
use store::{Container, Error, Result, Store};

/// The terminal that a program is to have.
pub struct Console {
    /// The socket to which crate-init sends its master (runc's console socket).
    pub fd: RawFd,
    /// The size that it has from the beginning.
    pub size: Size,
}

/// apt-get(8) makes sure of having become another user for its downloads, and gives up where it has not; this keeps it
/// from that (apt.conf(5)). The name comes after those of the image.
const APT: (&str, &str) = ("/etc/apt/apt.conf.d/zz-crate", "APT::Sandbox::User \"root\";");

/// The options of crate-init, in order.
pub struct Plan(Vec<Vec<u8>>);

impl Plan {
    /// Makes the plan of a container, in which changes of owner and identity only seem made where that is `emulation`.
    pub fn new(
        store: &Store,
        container: &Container,
        spec: &Spec,
        emulation: bool,
        console: Option<Console>,
    ) -> Result<Self> {
        let mut plan = Self(Vec::new());
        plan.option(&["--private"]);
        if let Some(name) = &spec.hostname {
            plan.option(&["--hostname", name]);
        }
        if spec.has_namespace("network") {
            plan.option(&["--loopback"]);
        }
        for (name, value) in &spec.linux.sysctl {
            plan.option(&["--sysctl", name, value]);
        }
        plan.root(store, container, spec)?;
        for mount in mounts(spec)? {
            plan.mount(mount, &container.dir, spec.flag(annotation::PRIVILEGED))?;
        }
        // The text lies in the container's own /dev.
        if emulation && spec.mounts.iter().any(|mount| mount.destination == "/dev" && mount.kind == "tmpfs") {
            plan.option(&["--text", APT.0, APT.1]);
        }
        if let Some(console) = console {
            plan.console(&console);
        }
        // The working directory is made where it is missing, before the root may become read-only.
        plan.option(&["--directory", &spec.process.cwd]);
        spec.linux.masked_paths.iter().for_each(|path| plan.option(&["--mask", path]));
        spec.linux.readonly_paths.iter().for_each(|path| plan.option(&["--read-only-path", path]));
        if spec.root.readonly {
            plan.option(&["--read-only"]);
        }
        plan.option(&["--pivot"]);
        plan.process(spec);
        plan.checked()
    }

    /// Makes the plan of a further process of a container that runs.
    pub fn joined(spec: &Spec, console: Option<Console>) -> Result<Self> {
        let mut plan = Self(Vec::new());
        plan.option(&["--joined"]);
        if let Some(console) = console {
            plan.console(&console);
        }
        plan.process(spec);
        plan.checked()
    }

    /// A plan, each word of which can be a NUL-terminated string.
    fn checked(self) -> Result<Self> {
        match self.0.iter().find(|word| word.contains(&0)) {
            Some(word) => {
                let word = String::from_utf8_lossy(word);
                Err(Error::Refused(format!("config.json: {word:?} holds a NUL byte")))
            }
            None => Ok(self),
        }
    }

    /// The root filesystem: the shared layers under the container's own, or a directory as it is.
    fn root(&mut self, store: &Store, container: &Container, spec: &Spec) -> Result<()> {
        let within = |name: &str| path_text(&container.dir.join(name));
        let layers = layers(spec)?;
        let own = container.dir.join("upper").exists();
        if layers.is_empty() || !own {
            let directory = if own { "upper" } else { &spec.root.path };
            self.option(&["--root", &within(directory)?]);
            return Ok(());
        }
        for layer in &layers {
            self.option(&["--lower", &path_text(&store.layer_path(layer))?]);
        }
        // What is removed at its end need not survive a power cut: the kernel can skip writing it back.
        let more = if spec.flag(annotation::REMOVE) { "volatile" } else { "" };
        self.option(&["--overlay", &within("upper")?, &within("work")?, &within(&spec.root.path)?, more]);
        Ok(())
    }

    fn mount(&mut self, mount: &Mount, bundle: &Path, privileged: bool) -> Result<()> {
        let Mount { destination, kind, source, options } = mount;
        let bind = kind == "bind" || options.iter().any(|option| option == "bind" || option == "rbind");
        if bind && source.starts_with("rootfs/") {
            self.option(&["--keep-writable", destination]);
            return Ok(());
        }
        let source = if bind { path_text(&bundle.join(source))? } else { source.clone() };
        let kind = match kind.as_str() {
            _ if bind => "bind",
            "cgroup" => "cgroup2",
            kind => kind,
        };
        self.option(&["--mount", kind, &source, destination, &options.join(",")]);
        if destination == "/dev" && !bind {
            self.devices(privileged);
        }
        Ok(())
    }

    /// What `/dev` holds. Of the host's devices root could change owner and mode, were they not on read-only mounts.
    fn devices(&mut self, privileged: bool) {
        if !privileged {
            return self.option(&["--devices"]);
        }
        self.option(&["--all-devices"]);
        for path in devices::of_host() {
            self.option(&["--mount", "bind", &path, &path, "bind,ro,nosuid,noexec,nofail"]);
        }
    }

    fn console(&mut self, Console { fd, size }: &Console) {
        self.option(&["--console", &fd.to_string(), &size.rows.to_string(), &size.columns.to_string()]);
    }

    fn process(&mut self, spec: &Spec) {
        let process = &spec.process;
        let ids = format!("{}:{}", process.user.uid, process.user.gid);
        self.option(&["--user", spec.annotation(annotation::USER).unwrap_or(&ids)]);
        for group in &process.user.additional_gids {
            self.option(&["--group", &group.to_string()]);
        }
        if !process.terminal {
            self.option(&["--own-stdio"]);
        }
        self.option(&["--cwd", &process.cwd]);
        process.env.iter().for_each(|entry| self.option(&["--env", entry]));
        if let Some(capabilities) = &process.capabilities {
            let Capabilities { bounding, effective, permitted, inheritable, ambient } = capabilities;
            let sets = [
                ("--bounding", bounding),
                ("--effective", effective),
                ("--permitted", permitted),
                ("--inheritable", inheritable),
                ("--ambient", ambient),
            ];
            for (option, set) in sets {
                self.option(&[option, &set.join(",")]);
            }
        }
        for Rlimit { kind, soft, hard } in &process.rlimits {
            self.option(&["--rlimit", kind, &limit(*soft), &limit(*hard)]);
        }
        self.option(&["--session-keyring"]);
        if process.no_new_privileges {
            self.option(&["--no-new-privs"]);
        }
        if spec.flag(annotation::INIT) {
            self.option(&["--reap"]);
        }
        self.option(&["--"]);
        self.0.extend(process.args.iter().map(|argument| argument.clone().into_bytes()));
    }

    fn option(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| word.as_bytes().to_vec()));
    }

    /// The plan as crate-init reads it: `first`, then all options, each word ended by a NUL.
    pub fn bytes(&self, first: &[String]) -> Vec<u8> {
        let first = first.iter().map(String::as_bytes);
        first.chain(self.0.iter().map(Vec::as_slice)).flat_map(|word| [word, b"\0"].concat()).collect()
    }

    /// The plan for people: one option a line, quoted for a shell.
    pub fn text(&self) -> String {
        let mut text = String::from("crate-init");
        let mut program = false;
        for word in &self.0 {
            let begins = !program && word.starts_with(b"--");
            text.push_str(if begins { " \\\n  " } else { " " });
            text.push_str(&quote(&String::from_utf8_lossy(word)));
            program |= word == b"--";
        }
        text.push('\n');
        text
    }
}

/// The mounts that are made: of the container's cgroup only where it can see one.
pub fn mounts(spec: &Spec) -> Result<impl Iterator<Item = &Mount>> {
    let shown = cgroup::is_shown(spec)?;
    Ok(spec.mounts.iter().filter(move |mount| mount.kind != "cgroup" || shown))
}

/// A resource limit as crate-init reads it.
pub fn limit(value: u64) -> String {
    if value == u64::MAX { "unlimited".into() } else { value.to_string() }
}

/// A word that a POSIX shell reads back as it is. One with control characters, which could steer a terminal, is written as
/// `$'…'` (POSIX.1-2024, 2.2.4).
pub fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+=.,:/@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else if word.contains(char::is_control) {
        let escaped = |byte: u8| match byte {
            b'\'' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\{byte:03o}"),
        };
        format!("$'{}'", word.bytes().map(escaped).collect::<String>())
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn path_text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Failed(format!("the path {} is not in UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_for_a_shell() {
        assert_eq!(quote("/a/b"), "/a/b");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's $x"), r"'it'\''s $x'");
        assert_eq!(quote("a\\'\n\u{1b}[2Jé"), r"$'a\\\'\012\033[2J\303\251'");
        assert_eq!(quote("é"), "'é'");
    }
}
