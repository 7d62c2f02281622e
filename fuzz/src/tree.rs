//! Whole archives, unpacked into a fresh directory.

use crate::ground::{Ground, is_same};
use crate::listing;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use store::archive::Archive;
use store::extract::Rules;
use store::layer::{Layer, Owners};
use store::load::{Kind, Options, Source};
use store::{Error, Store};

/// Layers as [`listing::archive`] has them, with lines `--` between; each is settled on those before.
pub fn layer(data: &[u8]) -> bool {
    let ground = Ground::new();
    let owners = Rc::new(Owners::here().expect("/proc is there"));
    let (mut below, mut names): (Vec<PathBuf>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut accepted = true;
    for (text, name) in listing::split(data, b"\n--\n").zip(["1", "2", "3"]) {
        let (path, root) = ground.directory(name);
        let opened = root.try_clone().expect("there are descriptors left");
        let bytes = listing::archive(text, ground.canary().as_os_str().as_bytes());
        let mut layer = Layer::new(root, Rc::clone(&owners));
        let unpacked = layer.unpack(&mut Archive::new(&mut &bytes[..])).and_then(|()| layer.settle(&below));
        names.push(name);
        assert!(is_same(&path, &opened), "the layer's own directory has been replaced");
        ground.check(&names);
        accepted &= unpacked.is_ok();
        if !accepted {
            break;
        }
        below.insert(0, path);
    }
    accepted
}

/// An archive that is copied, like `cp` does, into a directory that has a link out of it; then to a new name there.
pub fn extract(data: &[u8]) -> bool {
    let ground = Ground::new();
    let (path, opened) = ground.directory("place");
    std::os::unix::fs::symlink(ground.canary(), path.join("out")).expect("it is empty");
    fs::create_dir(path.join("d")).expect("it is empty");
    let bytes = listing::archive(data, ground.canary().as_os_str().as_bytes());
    let mut accepted = false;
    for (place, archive) in [(path.clone(), true), (path.join("new"), false)] {
        let rules = Rules { archive, privileges: archive };
        let outcome = store::extract::extract(&mut Archive::new(&mut &bytes[..]), place.as_os_str().as_bytes(), rules);
        assert!(is_same(&path, &opened), "the directory itself has been replaced");
        ground.check(&["place"]);
        accepted |= outcome.is_ok();
    }
    accepted
}

/// An archive of images as [`listing::files`] has it: what is in the store afterwards must be whole.
pub fn load(data: &[u8]) -> bool {
    let ground = Ground::new();
    let (path, _) = ground.directory("store");
    let file = path.with_file_name("archive");
    fs::write(&file, listing::files(data)).expect("the directory can be written");
    let store = Store::open_at(&path).expect("an empty directory becomes a store");
    let source = Source { kind: Kind::Archive(file), name: None };
    let options = Options { name: "q.io/x:1".parse().ok(), platform: "linux/amd64".parse().ok(), force: true };
    let outcome = store::load::load(&store, &source, &options, &mut |_| Ok::<(), Error>(()));
    ground.check(&["archive", "store"]);
    let index = store.index().expect("it is whole");
    assert_eq!(index.manifests.is_empty(), outcome.is_err(), "{outcome:?}");
    for entry in &index.manifests {
        store.read_image(entry).expect("what has a name is whole");
    }
    outcome.is_ok()
}
