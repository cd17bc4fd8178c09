//! A file of the spool in this process's memory.
//!
//! What is stored there is in the operating system's copy of the file at once, as what `pwrite` wrote is: it outlives the
//! process and the server, whoever reads the file reads it, and `fdatasync` writes it to disk. It costs no system call.
//!
//! Invariant: no store ends the process. Where there is no room or no file behind a page, a store does (SIGBUS) while `pwrite`
//! returns an error. Therefore only files are mapped that have all their blocks, on file systems that write to just these.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// A file that is mapped as a whole.
pub(super) struct Mapped {
    start: NonNull<u8>,
    size: usize,
}

impl Mapped {
    /// Maps a file of this size, all of which was allocated; `None` where that is not possible or not safe.
    pub(super) fn new(file: &File, size: u64) -> Option<Mapped> {
        // Who cut the file short wanted room: what is missing is written by other means.
        if !keeps_blocks(file) || file.metadata().ok()?.len() < size {
            return None;
        }
        let size = usize::try_from(size).ok()?;
        // SAFETY: a new mapping, which nothing else refers to. Other processes write to other parts of the file.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        Some(Mapped {
            start: NonNull::new(start.cast())?,
            size,
        })
    }

    /// Writes to a place; false when that lies beyond the end.
    pub(super) fn write(&self, bytes: &[u8], at: u64) -> bool {
        let fits = usize::try_from(at)
            .ok()
            .filter(|at| at.checked_add(bytes.len()).is_some_and(|end| end <= self.size));
        let Some(at) = fits else { return false };
        // SAFETY: the place lies in the mapping, and the lock of the spool, which the caller holds, keeps others from it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len()) };
        true
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

/// Whether the file system writes to the blocks that were allocated for a file, and never needs new ones for that. Those that
/// share blocks between copies or snapshots do (Btrfs, XFS, ZFS).
#[cfg(target_os = "linux")]
fn keeps_blocks(file: &File) -> bool {
    // SAFETY: a structure of numbers.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a system call on an open file, which fills the structure.
    let known = unsafe { libc::fstatfs(file.as_raw_fd(), &mut facts) } == 0;
    #[allow(clippy::unnecessary_cast, reason = "C libraries have different types for it")]
    let system = facts.f_type as libc::c_long;
    // The number of ext4 is that of ext2 and ext3 too.
    known && [libc::EXT4_SUPER_MAGIC, libc::TMPFS_MAGIC].contains(&system)
}

/// Nothing is known about others.
#[cfg(not(target_os = "linux"))]
fn keeps_blocks(_file: &File) -> bool {
    false
}
