//! The files of the spools: `betweenrows_audit/DATABASE/EPOCH-SEGMENT` in the data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frame::{HEADER, Header};

/// The folder of all spools; every process of the server runs in the data directory.
pub(crate) const ROOT: &str = "betweenrows_audit";
/// Where files go that cannot be moved into the table, inside a database's folder.
pub(crate) const SET_ASIDE: &str = "set_aside";

/// A file's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Name {
    /// When its epoch began.
    pub(crate) epoch: i64,
    /// Its number in the epoch.
    pub(crate) segment: u32,
}

impl Name {
    fn parse(text: &str) -> Option<Name> {
        let (epoch, segment) = text.split_once('-')?;
        Some(Name {
            epoch: u64::from_str_radix(epoch, 16).ok()? as i64,
            segment: u32::from_str_radix(segment, 16).ok()?,
        })
    }

    /// Where the file is.
    pub(crate) fn path(self, database: u32) -> PathBuf {
        folder(database).join(self.to_string())
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:016x}-{:08x}", self.epoch, self.segment)
    }
}

/// The folder of a database's spool.
pub(crate) fn folder(database: u32) -> PathBuf {
    Path::new(ROOT).join(database.to_string())
}

/// The databases that have a spool.
pub(crate) fn databases() -> Vec<u32> {
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The files of a database's spool, in the order in which they were written as long as the clock did not go back.
pub(crate) fn files(database: u32) -> Vec<Name> {
    let entries = fs::read_dir(folder(database)).into_iter().flatten().flatten();
    let mut names: Vec<Name> = entries
        .filter_map(|entry| Name::parse(entry.file_name().to_str()?))
        .collect();
    names.sort_unstable();
    names
}

/// How many files of a database were set aside.
pub(crate) fn set_aside(database: u32) -> usize {
    fs::read_dir(folder(database).join(SET_ASIDE)).map_or(0, Iterator::count)
}

/// The bytes in files that were not written in this epoch. On a standby those do not count that a base backup brought along.
pub(crate) fn bytes_of_earlier_epochs(database: u32, epoch: i64) -> u64 {
    let standby = super::timeline().0;
    let own = |name: &Name| matches!(header(*name, database), Ok(Some(header)) if header.in_recovery);
    let earlier = files(database).into_iter().filter(|name| name.epoch != epoch);
    earlier
        .filter(|name| !standby || own(name))
        .filter_map(|name| written(name, database).ok())
        .sum()
}

/// Where the written part of a file ends that nobody writes to any more: what follows are the zeros that it was made of.
fn written(name: Name, database: u32) -> io::Result<u64> {
    let file = File::open(name.path(database))?;
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0; 64 * 1024];
    while end > 0 {
        let part = &mut buffer[..end.min(64 * 1024) as usize];
        end -= part.len() as u64;
        file.read_exact_at(part, end)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(end + last as u64 + 1);
        }
    }
    Ok(0)
}

/// Makes a file of the given size, all of it allocated, so that no later write finds the disk full.
pub(crate) fn create(name: Name, header: &Header, size: u64) -> io::Result<File> {
    let folder = folder(header.database);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let path = name.path(header.database);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let made = allocate(&file, size)
        .and_then(|()| file.write_all_at(&header.encode(), 0))
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(&folder)?.sync_all());
    match made {
        Ok(()) => Ok(file),
        Err(error) => {
            // A file without a header would be set aside as damaged.
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

fn allocate(file: &File, size: u64) -> io::Result<()> {
    // SAFETY: a system call on an open file.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size as libc::off_t) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Opens a file that another process made.
pub(crate) fn open(name: Name, database: u32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(name.path(database))
}

/// The header of a file.
pub(crate) fn header(name: Name, database: u32) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER];
    let file = File::open(name.path(database))?;
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(Header::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Moves a file out of the way, with the reason in its name.
pub(crate) fn put_aside(name: Name, database: u32, reason: &str) -> io::Result<PathBuf> {
    let folder = folder(database).join(SET_ASIDE);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let to = folder.join(format!("{name}.{reason}"));
    fs::rename(name.path(database), &to)?;
    Ok(to)
}
