//! Making a container: an OCI bundle over the unpacked layers of an image.

use crate::at::is_opaque;
use crate::bundle::{self, Caller};
use crate::confinement::Confinement;
use crate::container::{Container, TEMPORARY, is_name};
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::idmap::IdMap;
use crate::image::Image;
use crate::json::Value;
use crate::platform::Platform;
use crate::root::{Store, random_hex, sync_dir};
use crate::spec::{Mount, Spec};
use crate::{capability, confinement, device, mounts, time};
use rustix::fs::{FlockOperation, Mode, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::Path;

/// The network that a container sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own, with loopback alone.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// What container is wanted.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Request {
    /// The image: a reference or digest.
    pub image: String,
    /// The platform that the image must be for.
    pub platform: Option<Platform>,
    /// The program and its arguments, in place of the image's `Cmd`.
    pub command: Vec<String>,
    /// A program in place of the image's `Entrypoint`; empty for none.
    pub entrypoint: Option<String>,
    /// Changes to the environment, in order; see [`crate::environment::merge`].
    pub env: Vec<String>,
    /// The directory to start in.
    pub workdir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// The container's name.
    pub name: Option<String>,
    /// The host name inside; the first digits of the id where it is not given.
    pub hostname: Option<String>,
    /// Mounts besides the usual ones.
    pub mounts: Vec<Mount>,
    /// Labels, which become annotations.
    pub labels: Vec<(String, String)>,
    /// The network.
    pub network: Network,
    /// Mount the root filesystem read-only.
    pub read_only: bool,
    /// Remove the container when it has ended.
    pub remove: bool,
    /// Keep standard input open.
    pub interactive: bool,
    /// Give the program a terminal.
    pub terminal: bool,
    /// What the program may do and use.
    pub confinement: Confinement,
    /// What flags say that only [annotations](crate::spec::annotation) tell: these, over those of the image.
    pub told: Vec<(&'static str, String)>,
}

/// The layers that a root filesystem is made of.
struct Lowers {
    /// Diffids, the top first, each once.
    ids: Vec<Digest>,
    /// The mode of the merged root directory.
    mode: u32,
}

impl Store {
    /// Makes a container and returns its id. The image must be here, with all its layers unpacked.
    pub fn create(&self, request: &Request) -> Result<String> {
        let image = self.image_to_run(request)?;
        let lowers = self.lowers(&image)?;
        if let Some(name) = &request.name {
            self.check_name(name)?;
        }
        let id = random_hex(32)?;
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let root = uid.is_root();
        let confinement = &request.confinement;
        confinement.check_userns(root)?;
        let all = confinement.capabilities.wants_all(confinement.privileged);
        let caller = Caller {
            root,
            ids: (uid.as_raw(), gid.as_raw()),
            tty_group: root && IdMap::gids().is_ok_and(|map| map.has(5)),
            capabilities: if all { capability::all(!root) } else { 0 },
            hidden: confinement::of_this_machine(),
            term: std::env::var("TERM").ok().filter(|term| !term.is_empty()),
            now: time::now(),
        };
        let mut request = request.clone();
        for mount in &mut request.mounts {
            mounts::resolve(mount)?;
        }
        request.confinement.devices = device::find(&request.confinement.devices)?;
        let layers: Vec<&str> = lowers.ids.iter().map(Digest::hex).collect();
        let spec = bundle::spec(&request, &image, &layers.join(":"), &id, &caller)?;
        let beside = self.path("ingest").join(format!("container.{id}"));
        let umask = rustix::process::umask(Mode::empty());
        let built = build(&beside, &spec, &request, lowers.mode);
        rustix::process::umask(umask);
        let published = built.and_then(|()| self.publish(&beside, &id, &request));
        if published.is_err() {
            let _ = fs::remove_dir_all(&beside); // What matters is the error that came first.
        }
        published.map(|()| id)
    }

    fn image_to_run(&self, request: &Request) -> Result<Image> {
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let image = self.find_image(&request.image, &platform)?;
        let own = image.config.platform();
        if request.platform.is_some() && platform.rank(&own).is_none() {
            return Err(Error::NotFound(format!("image {} is held for {own}, not for {platform}", request.image)));
        }
        Ok(image)
    }

    /// The layers of an image as overlayfs wants them: the top first, none below one that hides all, and none twice,
    /// which it would refuse. Of two equal layers the lower one adds nothing to what the upper one shows.
    fn lowers(&self, image: &Image) -> Result<Lowers> {
        let mut lowers = Lowers { ids: Vec::new(), mode: 0o755 };
        for id in image.diff_ids().iter().rev() {
            if lowers.ids.contains(id) {
                continue;
            }
            let path = self.layer_path(id);
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                let digest = &image.descriptor.digest;
                return Err(Error::NotFound(format!("layer {id} of image {digest} is not unpacked")));
            };
            // 0755 is also the mode where an archive says nothing about its root.
            if lowers.mode == 0o755 {
                lowers.mode = metadata.mode() & 0o7777;
            }
            lowers.ids.push(id.clone());
            // Overlay does not ask this of a layer's root, so what such a layer hides is left out.
            if File::open(&path).is_ok_and(|root| is_opaque(root.as_fd())) {
                break;
            }
        }
        Ok(lowers)
    }

    fn check_name(&self, name: &str) -> Result<()> {
        if !is_name(name) {
            return Err(Error::Usage(format!("{name}: a name is [a-zA-Z0-9][a-zA-Z0-9_.-]*, up to 128 bytes")));
        }
        match self.path("containers").join(name).canonicalize() {
            Ok(holder) => Err(in_use(name, &holder)),
            Err(_) => Ok(()),
        }
    }

    /// Makes a complete bundle visible, under its name too.
    fn publish(&self, beside: &Path, id: &str, request: &Request) -> Result<()> {
        let containers = self.path("containers");
        let names = request.name.as_ref().map(|_| self.lock_names()).transpose()?;
        if let Some(name) = &request.name {
            link_name(&containers, name, id)?;
        }
        let target = containers.join(id);
        if let Err(error) = fs::rename(beside, &target) {
            if let Some(name) = &request.name {
                let _ = fs::remove_file(containers.join(name)); // What matters is the error that came first.
            }
            return Err(error).doing(|| format!("making {}", target.display()));
        }
        drop(names);
        if request.remove { Ok(()) } else { sync_dir(&containers) }
    }

    /// Gives a container another name, whatever it is doing; [`Error::Busy`] if the name is in use.
    pub fn rename_container(&self, container: &Container, name: &str) -> Result<()> {
        let _names = self.lock_names()?;
        self.check_name(name)?;
        let containers = self.path("containers");
        let target = containers.join(name);
        let own = self.names()?.into_iter().find(|(_, id)| *id == container.id);
        let renamed = match own {
            // At once: at whatever moment this is cut short, one of the two leads there.
            Some((old, _)) => fs::rename(containers.join(old), &target),
            None if container.dir.exists() => return link_name(&containers, name, &container.id),
            None => return Err(Error::NotFound(format!("no such container: {}", container.short()))),
        };
        renamed.doing(|| format!("making {}", target.display()))?;
        sync_dir(&containers)
    }

    /// Holds the names of containers: while it is held, a name that leads nowhere is nobody's.
    pub(crate) fn lock_names(&self) -> Result<File> {
        let path = self.path("containers");
        let dir = File::open(&path).doing(|| format!("opening {}", path.display()))?;
        flock(&dir, FlockOperation::LockExclusive).doing(|| format!("locking {}", path.display()))?;
        Ok(dir)
    }
}

fn link_name(containers: &Path, name: &str, id: &str) -> Result<()> {
    let path = containers.join(name);
    loop {
        match symlink(id, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => return other.doing(|| format!("making {}", path.display())),
        }
        if let Ok(holder) = path.canonicalize() {
            return Err(in_use(name, &holder));
        }
        fs::remove_file(&path).doing(|| format!("removing {}", path.display()))?;
    }
}

fn in_use(name: &str, holder: &Path) -> Error {
    let id = holder.file_name().unwrap_or_default().to_string_lossy();
    let id = id.get(..12).unwrap_or(&id);
    Error::Busy(format!("the name {name} is in use by container {id}\nhint: remove it, or choose another name"))
}

/// Writes the bundle. A container that is removed when it ends need not survive a power cut: it is not synced, and its
/// mode says so.
fn build(dir: &Path, spec: &Spec, request: &Request, root_mode: u32) -> Result<()> {
    let doing = || format!("making {}", dir.display());
    let make = |path: &Path, mode| DirBuilder::new().mode(mode).create(path).doing(doing);
    make(dir, if request.remove { 0o700 | TEMPORARY } else { 0o700 })?;
    make(&dir.join("rootfs"), 0o755)?;
    make(&dir.join("upper"), root_mode)?;
    make(&dir.join("work"), 0o700)?;
    let hostname = spec.hostname.as_deref().unwrap_or_default();
    let files = [
        ("config.json", 0o600, Value::from(spec).to_string().into_bytes()),
        ("hosts", 0o644, hosts(hostname, request.network)),
        ("hostname", 0o644, format!("{hostname}\n").into_bytes()),
        // A host without the file has no name servers; then the container has none either.
        ("resolv.conf", 0o644, fs::read("/etc/resolv.conf").unwrap_or_default()),
    ];
    for (name, mode, bytes) in files {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(dir.join(name));
        let written = file.and_then(|mut file| {
            file.write_all(&bytes)?;
            if request.remove { Ok(()) } else { file.sync_all() }
        });
        written.doing(|| format!("writing {}", dir.join(name).display()))?;
    }
    if request.remove { Ok(()) } else { sync_dir(dir) }
}

fn hosts(hostname: &str, network: Network) -> Vec<u8> {
    let host = if network == Network::Host { fs::read("/etc/hosts").unwrap_or_default() } else { Vec::new() };
    let mut text = host;
    if text.is_empty() {
        text.extend_from_slice(b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    } else if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(format!("127.0.1.1\t{hostname}\n").as_bytes());
    text
}
