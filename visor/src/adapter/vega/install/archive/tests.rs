use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

/// Name, content and mode of a file.
type Entry<'a> = (&'a str, &'a [u8], u32);

fn zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, content, mode) in entries {
        let options = SimpleFileOptions::default()
            .unix_permissions(*mode)
            .compression_method(zip::CompressionMethod::Deflated);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A header whose name is taken as it is: the writer refuses evil ones.
fn header(name: &[u8], size: usize, mode: u32, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

fn tar_of(entries: &[(Header, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (header, content) in entries {
        builder.append(header, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn tar_gz(entries: &[Entry<'_>]) -> Vec<u8> {
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, content, mode)| {
            let header = header(name.as_bytes(), content.len(), *mode, EntryType::Regular);
            (header, *content)
        })
        .collect();
    tar_of(&entries)
}

struct Unpacked {
    dir: tempfile::TempDir,
    result: Result<Vec<PathBuf>, ArchiveError>,
}

fn unpacked(bytes: &[u8], most: u64) -> Unpacked {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    fs::write(&archive, bytes).unwrap();
    let into = dir.path().join("deep/into");
    fs::create_dir_all(&into).unwrap();
    let allowance = Allowance {
        bytes: most,
        because: "a test",
    };
    let result = recognise(&archive).and_then(|kind| unpack(&archive, kind, &into, allowance));
    Unpacked { dir, result }
}

impl Unpacked {
    fn folder(&self) -> PathBuf {
        self.dir.path().join("deep/into")
    }

    fn refusal(&self) -> String {
        self.result.as_ref().unwrap_err().to_string()
    }

    /// Nothing lies where it was not unpacked to.
    fn assert_inside(&self) {
        let names = |path: &Path| -> Vec<_> {
            let entries = fs::read_dir(path).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(names(&self.dir.path().join("deep")), ["into"]);
        assert_eq!(names(self.dir.path()).len(), 2);
    }
}

#[test]
fn w_50_a_file_is_known_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vega.zip");
    let plain_tar = {
        let mut builder = Builder::new(Vec::new());
        builder
            .append(&header(b"vega", 1, 0o755, EntryType::Regular), &b"x"[..])
            .unwrap();
        builder.into_inner().unwrap()
    };
    for (bytes, kind) in [
        (zip(&[("vega", b"x", 0o755)]), "Zip"),
        (zip(&[]), "Zip"),
        (tar_gz(&[("vega", b"x", 0o755)]), "TarGz"),
        (plain_tar, "Unknown"),
        (b"\xfd7zXZ\0..".to_vec(), "Unknown"),
        (b"BZh9".to_vec(), "Unknown"),
        (b"\x7fELF\x02\x01\x01".to_vec(), "Plain"),
        (b"#!/bin/sh\n".to_vec(), "Plain"),
        (b"PK".to_vec(), "Plain"),
        (Vec::new(), "Plain"),
    ] {
        fs::write(&path, bytes).unwrap();
        let found = format!("{:?}", recognise(&path).unwrap());
        assert!(found.starts_with(kind), "{found} {kind}");
    }
}

#[test]
fn files_come_out_with_their_content_and_a_harmless_mode() {
    let entries: [Entry<'_>; 4] = [
        ("vega", b"binary", 0o755),
        ("./docs/README.md", b"text", 0o666),
        ("tools/data-node", b"other", 0o4777),
        ("empty", b"", 0o600),
    ];
    for bytes in [zip(&entries), tar_gz(&entries)] {
        let unpacked = unpacked(&bytes, 1000);
        let mut files = unpacked.result.as_ref().unwrap().clone();
        files.sort();
        let expected = ["docs/README.md", "empty", "tools/data-node", "vega"].map(PathBuf::from);
        assert_eq!(files, expected);
        let modes: BTreeMap<_, _> = files
            .iter()
            .map(|file| {
                let mode = fs::metadata(unpacked.folder().join(file))
                    .unwrap()
                    .permissions()
                    .mode();
                (file.to_str().unwrap(), mode & 0o7777)
            })
            .collect();
        let expected = BTreeMap::from([
            ("docs/README.md", 0o644),
            ("empty", 0o644),
            ("tools/data-node", 0o755),
            ("vega", 0o755),
        ]);
        assert_eq!(modes, expected);
        assert_eq!(fs::read(unpacked.folder().join("vega")).unwrap(), b"binary");
        unpacked.assert_inside();
    }
}

#[test]
fn a_name_that_leaves_the_folder_is_refused() {
    let long = "x/".repeat(600);
    for (name, because) in [
        ("../evil", "leaves the folder"),
        ("a/../../evil", "leaves the folder"),
        ("/etc/evil", "absolute"),
        ("..", "leaves the folder"),
        ("a\\..\\evil", "character"),
        ("a\nb", "character"),
        (&long, "1024"),
    ] {
        let mut archives = vec![zip(&[("vega", b"x", 0o755), (name, b"evil", 0o755)])];
        if name.len() <= 100 {
            archives.push(tar_gz(&[("vega", b"x", 0o755), (name, b"evil", 0o755)]));
        }
        for bytes in archives {
            let unpacked = unpacked(&bytes, 1000);
            let error = unpacked.refusal();
            assert!(error.contains(because), "{name}: {error}");
            unpacked.assert_inside();
        }
    }
}

#[test]
fn links_and_special_files_are_refused() {
    let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
    writer
        .add_symlink("vega", "/bin/sh", SimpleFileOptions::default())
        .unwrap();
    let with_link = writer.finish().unwrap().into_inner();
    let mut archives = vec![with_link];
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::Block,
        EntryType::GNUSparse,
    ] {
        let mut header = header(b"vega", 0, 0o755, kind);
        if kind == EntryType::Symlink || kind == EntryType::Link {
            header.set_link_name("/bin/sh").unwrap();
            header.set_cksum();
        }
        archives.push(tar_of(&[(header, b"")]));
    }
    for bytes in archives {
        let unpacked = unpacked(&bytes, 1000);
        let error = unpacked.refusal();
        assert!(
            error.contains("\"vega\", which is a link or a special file"),
            "{error}"
        );
        assert!(fs::symlink_metadata(unpacked.folder().join("vega")).is_err());
    }
}

#[test]
fn a_bomb_ends_where_the_allowance_does() {
    let bomb = vec![0; 10 << 20];
    let entries: [Entry<'_>; 2] = [("vega", b"x", 0o755), ("bomb", &bomb, 0o644)];
    for bytes in [zip(&entries), tar_gz(&entries)] {
        assert!(bytes.len() < 100 << 10);
        let unpacked = unpacked(&bytes, 1 << 20);
        let error = unpacked.refusal();
        assert!(
            error.contains("at most 1048576 bytes unpacked (a test)"),
            "{error}"
        );
    }
    // One that lies about its size: the declared size is in the zip's two headers.
    let mut lying = zip(&[("bomb", &bomb, 0o644)]);
    let size = u32::try_from(bomb.len()).unwrap().to_le_bytes();
    let places: Vec<usize> = (0..lying.len() - 4)
        .filter(|at| lying[*at..*at + 4] == size)
        .collect();
    assert_eq!(places.len(), 2);
    for place in places {
        lying[place..place + 4].copy_from_slice(&10_u32.to_le_bytes());
    }
    let unpacked = unpacked(&lying, 1 << 20);
    unpacked.refusal();
    let left = fs::metadata(unpacked.folder().join("bomb")).map_or(0, |file| file.len());
    assert!(left <= 1 << 20, "{left}");
}

#[test]
fn too_many_entries_are_refused() {
    let names: Vec<String> = (0..=MAX_ENTRIES).map(|number| format!("f{number}")).collect();
    let entries: Vec<Entry<'_>> = names
        .iter()
        .map(|name| (name.as_str(), &b""[..], 0o644))
        .collect();
    for bytes in [zip(&entries), tar_gz(&entries)] {
        assert!(unpacked(&bytes, 1000).refusal().contains("at most 250 files"));
    }
    let just: &[Entry<'_>] = &entries[..MAX_ENTRIES as usize];
    for bytes in [zip(just), tar_gz(just)] {
        assert_eq!(unpacked(&bytes, 1000).result.unwrap().len(), just.len());
    }
}

#[test]
fn a_file_that_is_there_twice_is_refused() {
    let twice = tar_gz(&[("vega", b"good", 0o755), ("./vega", b"evil", 0o755)]);
    assert!(unpacked(&twice, 1000).refusal().contains("is in it twice"));
}

#[test]
fn long_names_and_attributes_are_understood_and_bounded() {
    let long = format!("{}/vega", "d".repeat(150));
    let attributes = |name: &str| {
        let line = format!(" path={name}\n");
        let length = (1..)
            .find(|digits| (line.len() + digits).to_string().len() == *digits)
            .unwrap();
        format!("{}{line}", line.len() + length)
    };
    let pax = attributes(&long);
    let evil = attributes("../../evil");
    let huge = "x".repeat(1 << 20);
    let content = || (header(b"short", 1, 0o755, EntryType::Regular), &b"x"[..]);
    let before = |kind, text: &str| header(b"h", text.len(), 0o644, kind);
    let gnu = format!("{long}\0");
    for (kind, text) in [(EntryType::GNULongName, &gnu), (EntryType::XHeader, &pax)] {
        let bytes = tar_of(&[(before(kind, text), text.as_bytes()), content()]);
        assert_eq!(unpacked(&bytes, 1000).result.unwrap(), [PathBuf::from(&long)]);
    }
    let global = tar_of(&[
        (before(EntryType::XGlobalHeader, &pax), pax.as_bytes()),
        content(),
    ]);
    assert_eq!(unpacked(&global, 1000).result.unwrap(), [PathBuf::from("short")]);
    for (kind, text) in [
        (EntryType::XHeader, &evil),
        (EntryType::GNULongName, &"../../evil".to_owned()),
        (EntryType::GNULongName, &huge),
        (EntryType::XHeader, &huge),
        (EntryType::XHeader, &"14 size=12345\n".to_owned()),
    ] {
        let bytes = tar_of(&[(before(kind, text), text.as_bytes()), content()]);
        let unpacked = unpacked(&bytes, 1000);
        assert!(
            matches!(unpacked.result, Err(ArchiveError::Entry { .. })),
            "{text:.20}"
        );
        unpacked.assert_inside();
    }
    for text in [
        "14 path=vega\n",
        "12 path=vega",
        "x path=vega\n",
        "7 path\n",
        "99999999999999999999 a=b\n",
    ] {
        let bytes = tar_of(&[(before(EntryType::XHeader, text), text.as_bytes()), content()]);
        let result = unpacked(&bytes, 1000).result;
        assert!(matches!(result, Err(ArchiveError::Corrupt { .. })), "{text}");
    }
}

#[test]
fn a_damaged_or_cut_archive_is_refused_wherever_it_is_damaged() {
    let content: Vec<u8> = (0..20_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let entries: [Entry<'_>; 1] = [("vega", &content, 0o755)];
    for whole in [zip(&entries), tar_gz(&entries)] {
        assert!(unpacked(&whole, 1 << 20).result.is_ok());
        let step = whole.len() / 97;
        for at in (4..whole.len()).step_by(step) {
            let result = unpacked(&whole[..at], 1 << 20).result;
            assert!(result.is_err(), "cut at {at} of {}", whole.len());
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            let flipped = unpacked(&flipped, 1 << 20);
            // Not every bit of an archive matters, but none may change what comes out.
            if flipped
                .result
                .as_ref()
                .is_ok_and(|files| *files == [PathBuf::from("vega")])
            {
                let path = flipped.dir.path().join("deep/into/vega");
                assert_eq!(fs::read(path).unwrap(), content, "flipped at {at}");
            }
        }
    }
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(b"not a tar").unwrap();
    let error = unpacked(&writer.finish().unwrap(), 1000).refusal();
    assert!(error.contains("holds no tar archive"), "{error}");
}
