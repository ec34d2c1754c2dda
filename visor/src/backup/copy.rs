//! One file: its bytes, its holes, its hash.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

use super::error::{BackupError, failed};
use super::fault::step;
use super::job::Cancel;
use super::tree::look_at;

/// Bytes between two looks whether the job is still wanted: a millisecond or two.
const PIECE: usize = 1 << 20;

/// Copies files, and remembers between which file systems blocks can be shared.
#[derive(Debug)]
pub(super) struct Copier {
    cancel: Cancel,
    /// By the devices of original and copy.
    shares: BTreeMap<(u64, u64), bool>,
    buffer: Vec<u8>,
}

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) size: u64,
    pub(super) blake3: [u8; 32],
}

/// A file and how it is called in errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) file: &'a OwnedFd,
    pub(super) path: &'a Path,
}

impl Copier {
    pub(super) fn new(cancel: Cancel) -> Self {
        Self {
            cancel,
            shares: BTreeMap::new(),
            buffer: vec![0; PIECE],
        }
    }

    /// Fills the empty file `to` with what is in `from` now. Says what the copy holds, even if `from` changes meanwhile.
    pub(super) fn copy(&mut self, from: Named<'_>, to: Named<'_>) -> Result<Contents, BackupError> {
        let read = failed("read", from.path);
        let write = failed("write", to.path);
        let meta = look_at(from.file).map_err(&read)?;
        let pair = (meta.device, look_at(to.file).map_err(&write)?.device);
        if meta.size > 0 && *self.shares.get(&pair).unwrap_or(&true) {
            step().map_err(&write)?;
            match rustix::fs::ioctl_ficlone(to.file, from.file) {
                Ok(()) => {
                    self.shares.insert(pair, true);
                    return self.contents(to);
                }
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(write(error.into())),
                Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => {
                    self.shares.insert(pair, false);
                }
                // This file only.
                Err(_) => {}
            }
        }
        let contents = self.pieces(from, meta.size, Some(to))?;
        if contents.size >= PIECE as u64 {
            // Whatever can be written to the disk from now on need not be waited for at the sync. A hint: it may be refused.
            let _ = rustix::fs::fadvise(to.file, 0, None, Advice::DontNeed);
        }
        Ok(contents)
    }

    /// What a file holds.
    pub(super) fn contents(&mut self, file: Named<'_>) -> Result<Contents, BackupError> {
        let size = look_at(file.file).map_err(failed("read", file.path))?.size;
        self.pieces(file, size, None)
    }

    fn pieces(&mut self, from: Named<'_>, size: u64, to: Option<Named<'_>>) -> Result<Contents, BackupError> {
        let read = failed("read", from.path);
        let mut hash = blake3::Hasher::new();
        let mut at = 0;
        'file: while at < size {
            // A file system that knows no holes has none.
            let data = match rustix::fs::seek(from.file, SeekFrom::Data(at)) {
                Ok(data) => data.min(size),
                Err(Errno::NXIO) => size,
                Err(_) => at,
            };
            self.zeros(&mut hash, data - at)?;
            at = data;
            let end = match rustix::fs::seek(from.file, SeekFrom::Hole(at)) {
                Ok(end) if end > at => end.min(size),
                Ok(_) | Err(_) => size,
            };
            while at < end {
                self.cancel.check()?;
                let wanted = PIECE.min(usize::try_from(end - at).unwrap_or(PIECE));
                let count = match rustix::io::pread(from.file, &mut self.buffer[..wanted], at) {
                    // It has become shorter.
                    Ok(0) => break 'file,
                    Ok(count) => count,
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(read(error.into())),
                };
                let piece = &self.buffer[..count];
                hash.update(piece);
                if let Some(to) = to {
                    write_at(to, piece, at)?;
                }
                at += count as u64;
            }
        }
        if let Some(to) = to {
            step()
                .and_then(|()| Ok(rustix::fs::ftruncate(to.file, at)?))
                .map_err(failed("write", to.path))?;
        }
        Ok(Contents {
            size: at,
            blake3: hash.finalize().into(),
        })
    }

    fn zeros(&mut self, hash: &mut blake3::Hasher, mut count: u64) -> Result<(), BackupError> {
        if count > 0 {
            self.buffer.fill(0);
        }
        while count > 0 {
            self.cancel.check()?;
            let piece = PIECE.min(usize::try_from(count).unwrap_or(PIECE));
            hash.update(&self.buffer[..piece]);
            count -= piece as u64;
        }
        Ok(())
    }
}

fn write_at(to: Named<'_>, mut bytes: &[u8], mut at: u64) -> Result<(), BackupError> {
    let write = failed("write", to.path);
    step().map_err(&write)?;
    while !bytes.is_empty() {
        match rustix::io::pwrite(to.file.as_fd(), bytes, at) {
            Ok(0) => return Err(write(std::io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(write(error.into())),
        }
    }
    Ok(())
}
