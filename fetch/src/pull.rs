//! The straight line: resolve, manifest, platform, missing blobs verified as they land, reference, print digest.

use crate::args::{Policy, Request, Source};
use crate::confined::confine_to;
use crate::http::Http;
use crate::progress::{self, Progress};
use crate::registry::Registry;
use crate::{file, lock};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use store::document::Document;
use store::error::Doing;
use store::image::{Image, choose_platform};
use store::json::{CONFIG_LIMIT, MANIFEST_LIMIT};
use store::oci::{Descriptor, ImageConfig, Index, Manifest};
use store::{Digest, Error, Platform, Reference, Result, Store};

/// The most indexes within one another that are followed to a manifest.
const INDEX_DEPTH: usize = 4;

/// The annotation of a reference's entry in `index.json` that keeps the digest of the index through which its manifest
/// was chosen: as long as the registry's tag has that digest, nothing has changed.
const INDEX: &str = "crate.index.digest";

/// Brings the image that is asked for, and prints its manifest's digest.
pub fn run(request: &Request) -> Result<()> {
    let (reference, typed) = match &request.source {
        Source::Registry(reference, typed) => (reference.clone(), typed.clone()),
        Source::Local(source) => return load(request, source),
    };
    let host = Platform::host();
    let platform = request.platform.as_ref().unwrap_or(&host);
    let pinned = request.locked.as_ref().map(|file| lock::find(file, &reference, platform)).transpose()?;
    let store = Arc::new(Store::open()?);
    let digest = bring(request, &reference, &typed, pinned.as_ref(), &store)?;
    if let Some(file) = &request.lock {
        lock::pin(file, &reference, platform, &digest)?;
    }
    if let Some(file) = &request.stamp {
        file::update(file, |_| Ok(format!("{digest}\n")))?;
    }
    print(digest.as_str())
}

/// Brings the image of a reference unless what is held will do; `pinned` is the manifest that a lock file wants.
fn bring(
    request: &Request,
    reference: &Reference,
    typed: &str,
    pinned: Option<&Digest>,
    store: &Arc<Store>,
) -> Result<Digest> {
    let name = request.name.as_ref().unwrap_or(reference).to_string();
    let typed = if request.name.is_some() { &name } else { typed };
    let held = held(store, &name, typed, request.platform.as_ref());
    let held = held.filter(|image| pinned.is_none_or(|digest| *digest == image.descriptor.digest));
    // What a digest names cannot have changed.
    let fixed = pinned.is_some() || reference.digest.is_some() && request.name.is_none();
    match (request.policy, held) {
        (Policy::Missing | Policy::Never, Some(image)) => show(request, &image),
        (_, Some(image)) if fixed => show(request, &image),
        (Policy::Never, None) => {
            let locked = pinned.map_or_else(String::new, |digest| format!(" with the locked digest {digest}"));
            Err(Error::NotFound(format!("no such image: {name} is not held complete{locked}")))
        }
        (policy, held) => {
            let wanted = Reference { digest: pinned.or(reference.digest.as_ref()).cloned(), ..reference.clone() };
            match pull(request, &wanted, &name, store, held.as_ref()) {
                Err(error @ (Error::Network(_) | Error::NotFound(_))) if policy == Policy::Newer => {
                    let Some(image) = held else { return Err(error) };
                    if !request.quiet {
                        crate::tell(&format!("{error}\nhint: what is held serves: {}", image.descriptor.digest));
                    }
                    show(request, &image)
                }
                other => other,
            }
        }
    }
}

/// Brings an image from its registry, unless the one held is what the registry has; the layers are printed as they
/// land.
fn pull(
    request: &Request,
    reference: &Reference,
    name: &str,
    store: &Arc<Store>,
    held: Option<&Image>,
) -> Result<Digest> {
    let progress = Arc::new(Progress::new(request.quiet));
    let mut http = Http::new(request.timeout, request.cacert.as_deref(), progress.clone())?;
    if request.insecure {
        http.believe(&reference.host);
    }
    let registry = Registry::open(http, reference)?;
    confine_to(store, &[request.lock.as_deref(), request.stamp.as_deref()])?;
    let host = Platform::host();
    let platform = request.platform.as_ref().unwrap_or(&host);
    if let (Some(image), Some(tag), None) = (held, &reference.tag, &reference.digest)
        && registry.digest(tag)?.is_some_and(|digest| leads_to(&digest, image, platform))
    {
        return show(request, image);
    }
    let chosen = resolve(&registry, reference, platform, store)?;
    let fetch = Arc::new(Fetch { registry, progress, store: store.clone(), layers: chosen.manifest.layers.clone() });
    let landed = fetch.start(request.jobs)?;
    let config = fetch.config(&chosen.manifest)?;
    check(&chosen, &config, platform, reference)?;
    for number in landed {
        let number = number?;
        if request.layers {
            print_layer(&fetch.layers[number], &config.rootfs.diff_ids[number])?;
        }
    }
    let mut descriptor = store.put_blob(chosen.media_type, &chosen.bytes)?;
    descriptor.platform = Some(chosen.platform.unwrap_or_else(|| config.platform()));
    if let Some(index) = chosen.index {
        descriptor.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    }
    store.set_reference(name, &descriptor)?;
    Ok(descriptor.digest)
}

/// Does a manifest or index of this digest lead to the image that is held?
fn leads_to(digest: &Digest, image: &Image, platform: &Platform) -> bool {
    let index = image.descriptor.annotation(INDEX);
    // What was chosen for another platform need not be what is best for this one.
    let chosen = || image.descriptor.platform.as_ref().is_some_and(|own| platform.rank(own) == Some(0));
    *digest == image.descriptor.digest || index == Some(digest.as_str()) && chosen()
}

/// The manifest that a reference leads to.
struct Chosen {
    bytes: Vec<u8>,
    media_type: &'static str,
    manifest: Manifest,
    /// The platform that an index gave it.
    platform: Option<Platform>,
    /// The first index on the way to it.
    index: Option<Digest>,
}

/// Follows a reference to the manifest for `platform`. After the first answer everything is asked for by digest, and
/// what the store holds is not asked for.
fn resolve(registry: &Registry, reference: &Reference, platform: &Platform, store: &Store) -> Result<Chosen> {
    let by_digest = reference.digest.as_ref().map(Digest::to_string);
    let name = by_digest.or_else(|| reference.tag.clone()).unwrap_or_default();
    let received = registry.manifest(&name)?;
    let mut document = Document::read(&received.bytes, &[received.media_type.as_deref()], &format!("manifest {name}"))?;
    let mut bytes = received.bytes;
    let (mut given, mut first) = (None, None);
    for _ in 0..=INDEX_DEPTH {
        let index = match document {
            Document::Manifest(manifest, media_type) => {
                return Ok(Chosen { bytes, media_type, manifest, platform: given, index: first });
            }
            Document::Index(index) => index,
        };
        first = first.or_else(|| Some(Digest::of(&bytes)));
        let entry = choose_platform(&index, platform).ok_or_else(|| unsuited(&index, reference, platform))?;
        (document, bytes) = entry_of(registry, entry, store)?;
        given = entry.platform.clone().or(given);
    }
    Err(Error::Refused(format!("{reference}: its indexes are nested more than {INDEX_DEPTH} deep")))
}

/// Reads the manifest or index of an index's entry, from the store if it is there.
fn entry_of(registry: &Registry, entry: &Descriptor, store: &Store) -> Result<(Document, Vec<u8>)> {
    let what = format!("manifest {}", entry.digest);
    let stated = Some(entry.media_type.as_str());
    if store.has_blob(entry)
        && let Ok(bytes) = store.read_blob(entry, MANIFEST_LIMIT)
    {
        return Ok((Document::read(&bytes, &[stated], &what)?, bytes));
    }
    let received = registry.manifest(entry.digest.as_str())?;
    if received.bytes.len() as u64 != entry.size {
        let length = received.bytes.len();
        return Err(Error::Refused(format!("{what} is of {length} bytes, not the {} of its descriptor", entry.size)));
    }
    Ok((Document::read(&received.bytes, &[stated, received.media_type.as_deref()], &what)?, received.bytes))
}

fn unsuited(index: &Index, reference: &Reference, platform: &Platform) -> Error {
    let mut has: Vec<String> =
        index.manifests.iter().filter_map(|entry| entry.platform.as_ref()).map(Platform::to_string).collect();
    has.retain(|platform| !platform.starts_with("unknown/"));
    has.dedup();
    has.truncate(20);
    Error::NotFound(format!("no such image: {reference} has nothing for {platform}\nhint: it has {}", has.join(", ")))
}

/// Does the config agree with the manifest and with what was asked for?
fn check(chosen: &Chosen, config: &ImageConfig, platform: &Platform, reference: &Reference) -> Result<()> {
    let (layers, diff_ids) = (chosen.manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(Error::Refused(format!("{reference} has {layers} layers and {diff_ids} diffids")));
    }
    let own = config.platform();
    // An index has said what it is for; and an old config may say nothing.
    if chosen.platform.is_some() || own.architecture.is_empty() || platform.rank(&own).is_some() {
        return Ok(());
    }
    Err(Error::NotFound(format!(
        "no such image: {reference} is for {own}, not {platform}\nhint: give --platform {own}"
    )))
}

/// What the threads share.
struct Fetch {
    registry: Registry,
    progress: Arc<Progress>,
    store: Arc<Store>,
    layers: Vec<Descriptor>,
}

impl Fetch {
    /// Begins to bring the layers, `jobs` at once, the base first; each is told by its number when it is complete.
    ///
    /// The threads are not waited for: on a failure the program ends, and a later run goes on with what has come.
    fn start(self: &Arc<Self>, jobs: usize) -> Result<mpsc::Receiver<Result<usize>>> {
        let (sender, receiver) = mpsc::channel();
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..jobs.min(self.layers.len()) {
            let (fetch, sender, next) = (self.clone(), sender.clone(), next.clone());
            let bring = move || {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(layer) = fetch.layers.get(number)
                {
                    let outcome = fetch.blob(layer, "layer").map(|()| number);
                    if sender.send(outcome).is_err() {
                        return;
                    }
                }
            };
            let thread = std::thread::Builder::new().spawn(bring);
            thread.doing(|| "starting a thread".into())?;
        }
        Ok(receiver)
    }

    /// Brings and reads the config.
    fn config(&self, manifest: &Manifest) -> Result<ImageConfig> {
        let Descriptor { digest, size, .. } = &manifest.config;
        if *size > CONFIG_LIMIT {
            return Err(Error::Refused(format!(
                "config {digest} is of {size} bytes: more than the {CONFIG_LIMIT} allowed"
            )));
        }
        loop {
            let held = self.store.has_blob(&manifest.config);
            self.blob(&manifest.config, "config")?;
            match self.store.read_json(&manifest.config, CONFIG_LIMIT, "config") {
                // It was damaged, and is gone now.
                Err(Error::Refused(_)) if held && !self.store.has_blob(&manifest.config) => {}
                other => return other,
            }
        }
    }

    /// Brings one blob into the store, unless it is there.
    fn blob(&self, descriptor: &Descriptor, what: &str) -> Result<()> {
        let label = format!("{what} {}", descriptor.digest.short());
        let mut number = 0;
        loop {
            let Some(mut ingest) = self.store.ingest(descriptor)? else {
                self.progress.end(&label, descriptor.size, "held");
                return Ok(());
            };
            let before = ingest.offset();
            let endpoint = self.registry.endpoint(&mut number);
            self.progress.begin(&label, ingest.offset(), descriptor.size);
            if let Err(error) = endpoint.blob(&mut ingest, &|done| self.progress.advance(&label, done)) {
                number = self.registry.pass_over(number, error)?;
                self.progress.end(&label, descriptor.size, "broken off, goes on");
                continue;
            }
            match ingest.finish() {
                // What came before, in an earlier run or from another place, may be damaged: once more from the beginning.
                Err(Error::Refused(_)) if before > 0 => {
                    self.progress.end(&label, descriptor.size, "damaged, begins again");
                }
                Err(error) => {
                    number = self.registry.pass_over(number, error)?;
                    self.progress.end(&label, descriptor.size, "damaged, begins again");
                }
                Ok(()) => {
                    let resumed = || format!("done, {} were here", progress::bytes(before));
                    let how = if before > 0 { resumed() } else { "done".into() };
                    self.progress.end(&label, descriptor.size, &how);
                    return Ok(());
                }
            }
        }
    }
}

/// The image of this name, if it is here with all its blobs and suits the platform.
fn held(store: &Store, name: &str, typed: &str, platform: Option<&Platform>) -> Option<Image> {
    let host = Platform::host();
    let platform = platform.unwrap_or(&host);
    let image = store.find_image(typed, platform).ok()?;
    // Only by its name: `typed` could also be the first digits of some digest.
    let named = image.reference.as_deref().is_some_and(|reference| reference == name || reference == typed);
    let own = image.descriptor.platform.clone().unwrap_or_else(|| image.config.platform());
    let suits = own.architecture.is_empty() || platform.rank(&own).is_some();
    let complete = image.manifest.layers.iter().all(|layer| store.has_blob(layer));
    (named && suits && complete).then_some(image)
}

/// Prints the layers that are held already; hands back the manifest's digest.
fn show(request: &Request, image: &Image) -> Result<Digest> {
    if request.layers {
        for (layer, diff_id) in image.manifest.layers.iter().zip(image.diff_ids()) {
            print_layer(layer, diff_id)?;
        }
    }
    Ok(image.descriptor.digest.clone())
}

fn print_layer(layer: &Descriptor, diff_id: &Digest) -> Result<()> {
    print(&format!("{} {diff_id}", layer.digest))
}

fn print(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).doing(|| "writing standard output".into())
}

/// Hands a layout or archive to `crate-store load`, which has the same standard output.
fn load(request: &Request, source: &OsStr) -> Result<()> {
    let own = std::fs::read_link("/proc/self/exe").doing(|| "finding this program".into())?;
    let path = own.with_file_name("crate-store");
    let mut command = Command::new(&path);
    command.arg("load");
    if request.layers {
        command.arg("--layers");
    }
    if request.quiet {
        command.arg("--quiet");
    }
    if request.force {
        command.arg("--force");
    }
    if let Some(name) = &request.name {
        command.arg("--as").arg(name.to_string());
    }
    if let Some(platform) = &request.platform {
        command.arg("--platform").arg(platform.to_string());
    }
    let error = command.arg(source).exec();
    Err(Error::Io { doing: format!("starting {}", path.display()), source: error })
}
