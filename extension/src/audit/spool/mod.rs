//! The spool: files that events are appended to before their statements may send rows.
//!
//! Invariant: when [`append`] has succeeded, the events outlive the transaction, the process and the server; whether also the
//! operating system, `betweenrows.audit_durable` decides. It never raises an error and never writes behind a torn frame: the
//! place in shared memory says where the intact part of a file ends.

pub(crate) mod directory;
pub(crate) mod frame;
mod mapped;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::{Relaxed, Release};

use pgrx::pg_sys;

use self::directory::Name;
use self::frame::{Frame, HEADER, Header, Kind};
use self::mapped::Mapped;
use super::{settings, shared};

/// The usual size of a file.
const SEGMENT: u64 = 4 * 1024 * 1024;

/// Why events could not be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The spool is as large as it may be.
    Full,
    /// The operating system refused, with this error number.
    System(i32),
    /// There are too many databases.
    NoPlace,
}

/// The file that this process writes to.
#[derive(Default)]
struct Writer {
    name: Option<Name>,
    file: Option<File>,
    /// The same in memory, where the file system allows for that.
    mapped: Option<Mapped>,
    /// The descriptions of this process that are in the file.
    described: BTreeSet<u64>,
    /// What is being written, and the descriptions in it.
    buffer: Vec<u8>,
    describing: Vec<u64>,
}

thread_local! {
    static WRITER: RefCell<Writer> = RefCell::default();
}

/// A description, with its number in this session.
pub(crate) type Described<'a> = (u64, &'a [u8]);

/// A frame of an event: its kind, the event's number in this session, and the body.
pub(crate) type Event = (Kind, u64, Vec<u8>);

/// Appends frames, preceded by the descriptions that they refer to where the file does not have these yet. `forced` writes
/// what ends a statement also into a spool that is full: it is not much, and there is nobody left to refuse.
pub(crate) fn append(descriptions: &[Described], frames: &[Event], forced: bool) -> Result<(), Failure> {
    let (index, place) = shared::mine().ok_or(Failure::NoPlace)?;
    WRITER.with_borrow_mut(|writer| {
        let held = shared::lock(index);
        writer.follow(place)?;
        writer.fill(descriptions, frames);
        if !forced && place.backlog() + writer.buffer.len() as u64 > settings::spool_size() {
            return Err(Failure::Full);
        }
        let fits = |writer: &Writer| {
            place.segment.load(Relaxed) != 0
                && place.tail.load(Relaxed) + writer.buffer.len() as u64 <= place.size.load(Relaxed)
        };
        if !fits(writer) {
            writer.next_file(place, descriptions, frames)?;
        }
        let tail = place.tail.load(Relaxed);
        let length = writer.buffer.len() as u64;
        writer.write_at(tail).map_err(system)?;
        // Whoever reads up to there sees what was stored.
        place.tail.store(tail + length, Release);
        place.written.fetch_add(length, Relaxed);
        place.last_write.store(coarse_time(), Relaxed);
        drop(held);
        if settings::DURABLE.get() {
            writer.file().and_then(File::sync_data).map_err(system)?;
        }
        writer.described.extend(writer.describing.drain(..));
        if place.worker.load(Relaxed) == 0 && !place.woken.swap(true, Relaxed) {
            shared::wake_launcher();
        }
        Ok(())
    })
}

/// The time in microseconds since 1970, up to some milliseconds late, for a few nanoseconds.
fn coarse_time() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a system call that fills what it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}

fn system(error: io::Error) -> Failure {
    Failure::System(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Writer {
    /// Opens the file that is being written, if there is one.
    fn follow(&mut self, place: &shared::Place) -> Result<(), Failure> {
        let segment = place.segment.load(Relaxed);
        let name = (segment != 0).then(|| Name {
            epoch: shared::epoch(),
            segment,
        });
        if name != self.name {
            self.leave();
            if let Some(name) = name {
                match directory::open(name, place.database.load(Relaxed)) {
                    Ok(file) => self.enter(name, file, place.size.load(Relaxed)),
                    // Somebody removed it: the next one begins.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => place.close_file(),
                    Err(error) => return Err(system(error)),
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.described.clear();
        self.name = None;
        self.file = None;
        self.mapped = None;
    }

    fn enter(&mut self, name: Name, file: File, size: u64) {
        self.name = Some(name);
        self.mapped = Mapped::new(&file, size);
        self.file = Some(file);
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or(io::Error::from_raw_os_error(libc::EBADF))
    }

    /// Writes what was encoded to the current file.
    fn write_at(&self, tail: u64) -> io::Result<()> {
        match &self.mapped {
            Some(mapped) if mapped.write(&self.buffer, tail) => Ok(()),
            _ => self.file()?.write_all_at(&self.buffer, tail),
        }
    }

    /// Encodes what is to be written to the current file.
    fn fill(&mut self, descriptions: &[Described], frames: &[Event]) {
        let session = shared::session();
        self.buffer.clear();
        self.describing.clear();
        for &(number, body) in descriptions {
            if !self.described.contains(&number) {
                self.describing.push(number);
                let frame = Frame {
                    kind: Kind::Description,
                    session,
                    number,
                    body,
                };
                frame.encode(&mut self.buffer);
            }
        }
        for (kind, number, body) in frames {
            let frame = Frame {
                kind: *kind,
                session,
                number: *number,
                body,
            };
            frame.encode(&mut self.buffer);
        }
    }

    /// Begins the next file, which has room for what is to be written.
    fn next_file(
        &mut self,
        place: &shared::Place,
        descriptions: &[Described],
        frames: &[Event],
    ) -> Result<(), Failure> {
        self.leave();
        self.fill(descriptions, frames);
        let database = place.database.load(Relaxed);
        let name = Name {
            epoch: shared::epoch(),
            segment: place.segment.load(Relaxed) + 1,
        };
        let header = header(database, name);
        let size = SEGMENT.max((HEADER + self.buffer.len()) as u64);
        let file = directory::create(name, &header, size).map_err(system)?;
        place.size.store(size, Relaxed);
        place.tail.store(HEADER as u64, Relaxed);
        place.segment.store(name.segment, Relaxed);
        self.enter(name, file, size);
        Ok(())
    }
}

/// The header of a file that this server writes.
fn header(database: u32, name: Name) -> Header {
    let (in_recovery, timeline) = timeline();
    Header {
        // SAFETY: reads the control file's copy in shared memory.
        system: unsafe { pg_sys::GetSystemIdentifier() },
        timeline,
        database,
        epoch: name.epoch,
        segment: name.segment,
        made_at: coarse_time(),
        in_recovery,
    }
}

/// Whether the server is a standby, and its timeline.
pub(crate) fn timeline() -> (bool, u32) {
    // SAFETY: reads shared memory.
    unsafe {
        if pg_sys::RecoveryInProgress() {
            let mut timeline = 0;
            pg_sys::GetXLogReplayRecPtr(&mut timeline);
            (true, timeline)
        } else {
            (false, pg_sys::GetWALInsertionTimeLine())
        }
    }
}
