//! Checking unpacked layers: each is unpacked once more, and the two trees are compared.

use crate::at::{self, is, is_whiteout, status, xattr, xattr_names};
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::fsck::Found;
use crate::image::Image;
use crate::layer::{Layer, Owners};
use crate::platform::Platform;
use crate::root::Store;
use crate::tree;
use crate::unpack::{extract, make_root};
use rustix::fs::{FileType, Mode, OFlags, Stat, readlinkat};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How much of two files is compared at once, in bytes.
const CHUNK: usize = 1 << 16;

impl Store {
    /// Compares every unpacked layer of the images that can be read with what its blob says, and adds what differs.
    ///
    /// It takes the time and the room of unpacking the largest layer. Where two images have a layer on different bases, it
    /// is as one of them wants it: so it is damaged only if it suits none.
    pub fn check_layers(&self, found: &mut Found) -> Result<()> {
        rustix::process::umask(Mode::empty());
        let owners = Rc::new(Owners::here()?);
        let mut sound = BTreeSet::new();
        let mut damaged: Vec<(Digest, String)> = Vec::new();
        for entry in self.index()?.manifests {
            let Ok(image) = self.entry_image(&entry, &Platform::host()) else { continue };
            for place in 0..image.diff_ids().len() {
                let diff_id = &image.diff_ids()[place];
                // What it is depends on those below; one that is missing needs no check, being unpacked anew.
                let there = image.diff_ids()[..=place].iter().all(|layer| self.layer_path(layer).is_dir());
                if !there || sound.contains(diff_id) {
                    continue;
                }
                let blob = &image.manifest.layers[place].digest;
                if self.hash_blob(blob).is_ok_and(|(actual, _)| actual == *blob) {
                    damaged.retain(|(other, _)| other != diff_id);
                    match self.audit(&image, place, &owners)? {
                        Some(differs) => damaged.push((diff_id.clone(), differs)),
                        None => drop(sound.insert(diff_id.clone())),
                    }
                }
            }
        }
        for (diff_id, differs) in damaged {
            found.faults.push(format!("layer {diff_id}: {differs}"));
            found.layers.push(diff_id.hex().into());
        }
        Ok(())
    }

    /// Where an image's layer is not as its blob says.
    fn audit(&self, image: &Image, place: usize, owners: &Rc<Owners>) -> Result<Option<String>> {
        let (blob, diff_id) = (&image.manifest.layers[place].digest, &image.diff_ids()[place]);
        let beside = self.ingest_path("check")?;
        let root = make_root(&beside)?;
        let below: Vec<PathBuf> = image.diff_ids()[..place].iter().rev().map(|below| self.layer_path(below)).collect();
        let mut layer = Layer::new(root, Rc::clone(owners));
        let unpacked = self
            .open_blob(blob)
            .and_then(|file| extract(&mut layer, file, blob, diff_id))
            .and_then(|()| layer.settle(&below));
        let differs = unpacked.and_then(|()| difference(&beside, &self.layer_path(diff_id)));
        tree::remove(&beside)?;
        match differs {
            Err(Error::Refused(why)) => Ok(Some(why)),
            other => other.map_err(|error| error.about(&format!("checking layer {diff_id}"))),
        }
    }
}

/// The first path, and how it differs in the second tree.
fn difference(wanted: &Path, actual: &Path) -> Result<Option<String>> {
    let open = |path: &Path| File::open(path).map(OwnedFd::from).doing(|| format!("opening {}", path.display()));
    let (wanted, actual) = (open(wanted)?, open(actual)?);
    let mut rest = vec![Vec::new()];
    while let Some(path) = rest.pop() {
        let shown = |name: &[u8]| String::from_utf8_lossy(&[&path[..], name].concat()).into_owned();
        let open = |root: &OwnedFd| match path.strip_suffix(b"/") {
            None => root.try_clone(),
            Some(path) => Ok(at::open_dir_in(root.as_fd(), path)?),
        };
        let doing = || format!("reading /{}", shown(b""));
        let (left, right) = (open(&wanted).doing(doing)?, open(&actual).doing(doing)?);
        let mut names = at::names(&left).doing(doing)?;
        names.extend(at::names(&right).doing(doing)?);
        names.sort_unstable();
        names.dedup();
        for name in names {
            let stats = [&left, &right].map(|dir| status(dir.as_fd(), &name));
            let [Ok(left_stat), Ok(right_stat)] = stats else {
                return Ok(Some(format!("/{} cannot be read", shown(&name))));
            };
            let fault = match (left_stat, right_stat) {
                // Whiteouts with nothing to hide come and go with what is below.
                (Some(one), None) | (None, Some(one)) if is_whiteout(&one) => None,
                (Some(one), Some(other)) if is_whiteout(&one) && is_whiteout(&other) => None,
                (Some(_), None) => Some("is missing"),
                (None, _) => Some("does not belong to it"),
                (Some(one), Some(other)) if is(&one, FileType::Directory) && is(&other, FileType::Directory) => {
                    rest.push([&path[..], &name, b"/"].concat());
                    (one.st_mode != other.st_mode || owners(&one) != owners(&other))
                        .then_some("has another mode or owner")
                }
                (Some(one), Some(other)) => changed([(left.as_fd(), &one), (right.as_fd(), &other)], &name),
            };
            if let Some(fault) = fault {
                return Ok(Some(format!("/{} {fault}", shown(&name))));
            }
        }
    }
    Ok(None)
}

fn owners(stat: &Stat) -> (u32, u32) {
    (stat.st_uid, stat.st_gid)
}

/// How two things that are no directories differ.
fn changed([(left, one), (right, other)]: [(BorrowedFd<'_>, &Stat); 2], name: &[u8]) -> Option<&'static str> {
    let times = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    if FileType::from_raw_mode(one.st_mode) != FileType::from_raw_mode(other.st_mode) || one.st_rdev != other.st_rdev {
        return Some("is something else");
    }
    if one.st_mode != other.st_mode || owners(one) != owners(other) {
        return Some("has another mode or owner");
    }
    let same = match FileType::from_raw_mode(one.st_mode) {
        FileType::Symlink => {
            matches!((readlinkat(left, name, []), readlinkat(right, name, [])), (Ok(a), Ok(b)) if a == b)
        }
        FileType::RegularFile => one.st_size == other.st_size && same_file(left, right, name).unwrap_or(false),
        _ => true,
    };
    if !same {
        return Some("has other content");
    }
    (times(one) != times(other)).then_some("was changed later")
}

/// Are the bytes and the extended attributes of two files the same?
fn same_file(left: BorrowedFd<'_>, right: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<bool> {
    let open = |dir| at::open_in(dir, name, OFlags::RDONLY).map(File::from);
    let (mut left, mut right) = (open(left)?, open(right)?);
    let names = xattr_names(&left)?;
    if names != xattr_names(&right)? || names.iter().any(|name| xattr(&left, name) != xattr(&right, name)) {
        return Ok(false);
    }
    let (mut one, mut other) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let count = left.read(&mut one)?;
        if count == 0 {
            return Ok(right.read(&mut other)? == 0);
        }
        if right.read_exact(&mut other[..count]).is_err() || one[..count] != other[..count] {
            return Ok(false);
        }
    }
}
