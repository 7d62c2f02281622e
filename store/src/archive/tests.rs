use super::*;
use tar::{EntryType, GnuExtSparseHeader};

fn header(kind: u8, name: &[u8], size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkflag = [kind];
    header.set_size(size);
    header.set_mode(0o100_644);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(9);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    header
}

/// A header, its data, and zeros up to the next block.
fn entry(kind: u8, name: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, data.len() as u64).as_bytes().to_vec();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..rest + 9).find(|length| *length == rest + length.to_string().len()).unwrap();
        data.extend(format!("{length} {key}={value}\n").bytes());
    }
    entry(b'x', b"PaxHeaders/x", &data)
}

fn read(parts: &[Vec<u8>]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let bytes = parts.concat();
    let mut bytes = &bytes[..];
    let mut archive = Archive::new(&mut bytes);
    let mut all = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let data = archive.read_data(1 << 20)?;
        all.push((entry, data));
    }
    Ok(all)
}

fn end() -> Vec<u8> {
    vec![0; 1024]
}

fn is_refused(parts: &[Vec<u8>]) -> bool {
    read(parts).is_err_and(|error| error.exit_code() == 6)
}

#[test]
fn reads_plain_entries_to_any_usual_end() {
    let file = entry(b'0', b"a/b", b"hello");
    for end in [vec![], vec![0; 512], vec![0; 1024], vec![0; 10240]] {
        let all = read(&[file.clone(), end]).unwrap();
        let (entry, data) = &all[0];
        assert_eq!((&entry.path[..], &data[..]), (&b"a/b"[..], &b"hello"[..]));
        assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (0o644, 7, 8, (9, 0)));
    }
    assert!(read(&[]).unwrap().is_empty());
    let mut long = header(b'0', b"name", 0);
    long.as_ustar_mut().unwrap().prefix[..6].copy_from_slice(b"prefix");
    long.set_cksum();
    assert_eq!(read(&[long.as_bytes().to_vec()]).unwrap()[0].0.path, b"prefix/name");
    assert_eq!(read(&[entry(0, b"dir/", b"")]).unwrap()[0].0.kind, Kind::Directory);
}

#[test]
fn refuses_what_readers_differ_about() {
    let file = entry(b'0', b"a", b"hello");
    let one_zero = vec![0; 512];
    let path = |name| pax(&[("path", name)]);
    let long = entry(b'L', b"././@LongLink", b"long\0");
    for parts in [
        vec![file.clone(), one_zero, file.clone(), end()],
        vec![file.clone(), end(), file.clone()],
        vec![file.clone(), vec![0; 100]],
        vec![file[..516].to_vec()],
        vec![path("x"), path("y"), file.clone()],
        vec![path("x"), long.clone(), file.clone()],
        vec![long.clone(), long.clone(), file.clone()],
        vec![path("x"), end()],
        vec![entry(b'0', b"a/", b"hello")],
        vec![entry(b'5', b"a/", b"hello")],
        vec![entry(b'1', b"a", b"")],
        vec![entry(b'2', b"a", b"")],
        vec![entry(b'D', b"a", b"")],
        vec![entry(b'V', b"a", b"")],
        vec![pax(&[("GNU.sparse.size", "5")]), file.clone()],
        vec![pax(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0"), ("GNU.sparse.size", "5")]), file.clone()],
        vec![pax(&[("GNU.sparse.map", "0,4"), ("GNU.sparse.size", "5")]), file.clone()],
        vec![pax(&[("GNU.sparse.map", "0,5"), ("GNU.sparse.size", "5"), ("GNU.sparse.numblocks", "2")]), file.clone()],
        vec![pax(&[("GNU.sparse.map", "0,0"), ("GNU.sparse.size", "5")]), entry(b'5', b"a", b"")],
        vec![pax(&[("size", "9223372036854775807")]), file.clone()],
        vec![entry(b'x', b"x", &vec![b' '; 1 << 20]), file.clone()],
    ] {
        assert!(is_refused(&parts), "{:?}", String::from_utf8_lossy(&parts.concat()[..200.min(parts.concat().len())]));
    }
    for whole in [517, 600, 1024] {
        assert!(!is_refused(&[file[..whole].to_vec()]), "{whole}");
    }
    let mut changed = file.clone();
    changed[3] ^= 1;
    assert!(is_refused(&[changed]));
    let mut big = header(b'x', b"x", pax::LIMIT + 1).as_bytes().to_vec();
    big.resize(4 << 20, b' ');
    assert!(is_refused(&[big]));
}

#[test]
fn global_records_may_only_be_remarks() {
    let global = |records: &[(&str, &str)]| {
        let mut bytes = pax(records);
        let mut own = Header::from_byte_slice(&bytes[..512]).clone();
        own.set_entry_type(EntryType::XGlobalHeader);
        own.set_cksum();
        bytes[..512].copy_from_slice(own.as_bytes());
        bytes
    };
    let file = entry(b'0', b"a", b"hello");
    assert_eq!(read(&[global(&[("comment", "0123abcd")]), file.clone()]).unwrap().len(), 1);
    assert_eq!(read(&[file.clone(), global(&[("comment", "x")]), end()]).unwrap().len(), 1);
    assert!(is_refused(&[global(&[("path", "b")]), file.clone()]));
    assert!(is_refused(&[global(&[("size", "1")]), file]));
}

#[test]
fn records_win_over_the_header() {
    let records = pax(&[("path", "new"), ("size", "3"), ("uid", "70000"), ("mtime", "1.5")]);
    // The header claims five bytes; the next entry is found only if the record counts.
    let file = header(b'0', b"old", 5).as_bytes().to_vec();
    let mut data = b"abc".to_vec();
    data.resize(512, 0);
    let all = read(&[records, file, data, entry(b'0', b"next", b"")]).unwrap();
    assert_eq!((&all[0].0.path[..], &all[0].1[..]), (&b"new"[..], &b"abc"[..]));
    assert_eq!((all[0].0.uid, all[0].0.mtime), (70000, (1, 500_000_000)));
    assert_eq!(all[1].0.path, b"next");
    let long = [entry(b'K', b"././@LongLink", b"target\0"), entry(b'L', b"././@LongLink", b"link\0")].concat();
    let all = read(&[long, entry(b'2', b"old", b"")]).unwrap();
    assert_eq!((&all[0].0.path[..], &all[0].0.kind), (&b"link"[..], &Kind::Symlink(b"target".to_vec())));
}

/// A sparse file of the old format, whose map goes on after the header.
fn old_gnu() -> Vec<u8> {
    let mut gnu = Header::new_gnu();
    gnu.as_old_mut().name[0] = b'f';
    gnu.set_entry_type(EntryType::GNUSparse);
    gnu.set_size(5);
    gnu.set_mode(0o644);
    gnu.set_uid(0);
    gnu.set_gid(0);
    gnu.set_mtime(0);
    let own = gnu.as_gnu_mut().unwrap();
    own.set_real_size(5000);
    own.isextended[0] = 1;
    own.sparse[0].set_offset(1024);
    own.sparse[0].set_length(0);
    gnu.set_cksum();
    let mut extension = GnuExtSparseHeader::new();
    extension.sparse_mut()[0].set_offset(4096);
    extension.sparse_mut()[0].set_length(5);
    let mut bytes = [&gnu.as_bytes()[..], extension.as_bytes(), b"abcde"].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn reads_every_sparse_format() {
    let map = vec![Segment { offset: 1024, length: 0 }, Segment { offset: 4096, length: 5 }];
    let sparse = Kind::File { size: 5000, map: Some(map) };
    let data = entry(b'0', b"GNUSparseFile.0/f", b"abcde");
    let old = pax(&[
        ("GNU.sparse.size", "5000"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "1024"),
        ("GNU.sparse.numbytes", "0"),
        ("GNU.sparse.offset", "4096"),
        ("GNU.sparse.numbytes", "5"),
    ]);
    let newer = pax(&[("GNU.sparse.size", "5000"), ("GNU.sparse.map", "1024,0,4096,5"), ("GNU.sparse.name", "f")]);
    let newest = pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "f"),
        ("GNU.sparse.realsize", "5000"),
    ]);
    let mut with_map = b"2\n1024\n0\n4096\n5\n".to_vec();
    with_map.resize(512, 0);
    with_map.extend(b"abcde");
    for parts in [
        vec![old, data.clone()],
        vec![newer, data],
        vec![newest, entry(b'0', b"GNUSparseFile.0/f", &with_map)],
        vec![old_gnu()],
    ] {
        let all = read(&[parts.concat(), entry(b'0', b"next", b""), end()]).unwrap();
        assert_eq!((&all[0].0.kind, &all[0].1[..]), (&sparse, &b"abcde"[..]));
        assert_eq!(all[1].0.path, b"next");
    }
}

// X6: what mknod(2) would take for 0:0 is no device, and no whiteout.
#[test]
fn refuses_device_numbers_that_linux_does_not_have() {
    let device = |major, minor| {
        let mut header = header(b'3', b"dev", 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let found = read(&[device(4095, (1 << 20) - 1), end()]).unwrap();
    assert_eq!(found[0].0.kind, Kind::Character(4095, (1 << 20) - 1));
    for (major, minor) in [(4096, 0), (0, 1 << 20), (1 << 20, 1 << 20), (0o777_7777, 0)] {
        assert!(is_refused(&[device(major, minor), end()]), "{major}:{minor}");
    }
}
