//! What all processes of the server know about the spools: one place for each database in shared memory.
//!
//! Invariant: the fields about the file that is being written change only under the place's lock. Shared memory is set up
//! anew after a crash, which begins a new epoch with files of its own, so that nobody ever writes behind a torn frame.

use std::cell::Cell;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64};

use pgrx::pg_sys;
use pgrx::prelude::*;

/// How many databases can have a spool.
const PLACES: usize = 128;
const NAME: &std::ffi::CStr = c"betweenrows_audit";

/// The spool of one database.
#[repr(C)]
pub(crate) struct Place {
    /// The database, 0 when the place is free.
    pub(crate) database: AtomicU32,
    /// The number of the file that is written, 0 before the first.
    pub(crate) segment: AtomicU32,
    /// The size of that file.
    pub(crate) size: AtomicU64,
    /// Where the next frame goes.
    pub(crate) tail: AtomicU64,
    /// When that file was written to last, microseconds since 1970, by a clock that may be some milliseconds late. The file
    /// system's time is that of the first write for a while, when files are written through memory.
    pub(crate) last_write: AtomicI64,
    /// Bytes written in this epoch.
    pub(crate) written: AtomicU64,
    /// Bytes of those that are in the table.
    pub(crate) moved: AtomicU64,
    /// Bytes in files of earlier epochs that wait for being moved.
    pub(crate) older: AtomicU64,
    /// Events that were lost because they could not be written.
    pub(crate) dropped: AtomicU64,
    /// Events that were moved in this epoch.
    pub(crate) events: AtomicU64,
    /// Rounds of the worker that ended with everything moved that it found.
    pub(crate) rounds: AtomicU64,
    /// When something was moved last, PostgreSQL's microseconds; 0 for never.
    pub(crate) last_moved: AtomicI64,
    /// How long the last event that was moved had been waiting, microseconds.
    pub(crate) lag: AtomicI64,
    /// The process that moves events, 0 for none.
    pub(crate) worker: AtomicI32,
    /// Where that process is woken.
    pub(crate) worker_latch: AtomicPtr<pg_sys::Latch>,
    /// Rounds of the worker that failed since one succeeded.
    pub(crate) failures: AtomicU32,
    /// Whether the worker could not be started for want of a place among the server's background workers.
    pub(crate) without_slot: AtomicBool,
    /// When the worker may be started again.
    pub(crate) not_before: AtomicI64,
    /// Whether somebody waits for everything to be moved.
    pub(crate) wanted: AtomicBool,
    /// Whether the launcher was woken for what is written since a worker was there.
    pub(crate) woken: AtomicBool,
    /// Whether `dropped` was noted in the log since it began to grow.
    pub(crate) drop_noted: AtomicBool,
}

impl Place {
    /// Makes the place free. Called when no process is connected to the database, nor ever will be.
    pub(crate) fn free(&self) {
        for number in [&self.size, &self.tail, &self.written, &self.moved, &self.older] {
            number.store(0, Relaxed);
        }
        for number in [&self.dropped, &self.events, &self.rounds] {
            number.store(0, Relaxed);
        }
        for time in [&self.last_write, &self.last_moved, &self.lag, &self.not_before] {
            time.store(0, Relaxed);
        }
        for flag in [&self.wanted, &self.woken, &self.drop_noted, &self.without_slot] {
            flag.store(false, Relaxed);
        }
        self.failures.store(0, Relaxed);
        self.segment.store(0, Relaxed);
        self.database.store(0, Release);
    }

    /// Lets the next event begin a file. Called with the place locked.
    pub(crate) fn close_file(&self) {
        self.size.store(0, Relaxed);
    }

    /// Bytes that wait for being moved.
    pub(crate) fn backlog(&self) -> u64 {
        self.written.load(Relaxed).saturating_sub(self.moved.load(Relaxed)) + self.older.load(Relaxed)
    }
}

#[repr(C)]
struct Shared {
    epoch: AtomicI64,
    sessions: AtomicU64,
    launcher: AtomicPtr<pg_sys::Latch>,
    launcher_pid: AtomicI32,
    places: [Place; PLACES],
}

static mut SHARED: *mut Shared = std::ptr::null_mut();
static mut LOCKS: *mut pg_sys::LWLockPadded = std::ptr::null_mut();
static mut NEXT_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;

thread_local! {
    static MINE: Cell<Option<usize>> = const { Cell::new(None) };
    static SESSION: Cell<u64> = const { Cell::new(0) };
}

/// Asks for shared memory. Called once, at server start.
pub(super) fn init() {
    // SAFETY: the postmaster is single-threaded and loads the library once.
    unsafe {
        NEXT_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn request() {
    if let Some(next) = NEXT_REQUEST {
        next();
    }
    pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
    pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), PLACES as i32 + 1);
}

#[pg_guard]
unsafe extern "C-unwind" fn startup() {
    if let Some(next) = NEXT_STARTUP {
        next();
    }
    let mut found = false;
    let shared = pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<Shared>(), &mut found).cast::<Shared>();
    if !found {
        std::ptr::write_bytes(shared, 0, 1);
        (*shared).epoch.store(pg_sys::GetCurrentTimestamp(), Relaxed);
    }
    SHARED = shared;
    LOCKS = pg_sys::GetNamedLWLockTranche(NAME.as_ptr());
}

fn shared() -> Option<&'static Shared> {
    // SAFETY: set before any process but the postmaster runs, and mapped for the life of the process; all fields are atomic.
    unsafe { SHARED.as_ref() }
}

/// When this epoch began, PostgreSQL's microseconds.
pub(crate) fn epoch() -> i64 {
    shared().map_or(0, |shared| shared.epoch.load(Relaxed))
}

/// The number of this process among those that wrote events in this epoch.
pub(crate) fn session() -> u64 {
    if SESSION.get() == 0
        && let Some(shared) = shared()
    {
        SESSION.set(shared.sessions.fetch_add(1, Relaxed) + 1);
    }
    SESSION.get()
}

mod raw {
    use pgrx::pg_sys::LWLock;
    use std::ffi::c_uint;

    unsafe extern "C-unwind" {
        pub(super) fn LWLockAcquire(lock: *mut LWLock, mode: c_uint) -> bool;
        pub(super) fn LWLockRelease(lock: *mut LWLock);
    }
}

/// A lock that is held until dropped.
pub(crate) struct Held(*mut pg_sys::LWLock);

impl Held {
    fn take(index: usize) -> Held {
        // SAFETY: the tranche has a lock for each place and one more. Without pgrx's guard, which costs more than the lock: an
        // error is raised only when this process holds two hundred others.
        unsafe {
            let lock = &raw mut (*LOCKS.add(index)).lock;
            raw::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
            Held(lock)
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: it was taken; nothing in between raises PostgreSQL's errors, which would have released it.
        unsafe { raw::LWLockRelease(self.0) };
    }
}

/// All places in use.
pub(crate) fn places() -> impl Iterator<Item = (usize, &'static Place)> {
    let places = shared().map_or(&[] as &[Place], |shared| &shared.places);
    places
        .iter()
        .enumerate()
        .filter(|(_, place)| place.database.load(Acquire) != 0)
}

/// The place of a database, made when there is none; `None` when all are taken.
pub(crate) fn place(database: u32) -> Option<(usize, &'static Place)> {
    if let Some(found) = places().find(|(_, place)| place.database.load(Relaxed) == database) {
        return Some(found);
    }
    let shared = shared()?;
    let _held = Held::take(PLACES);
    if let Some(found) = places().find(|(_, place)| place.database.load(Relaxed) == database) {
        return Some(found);
    }
    let free = shared
        .places
        .iter()
        .position(|place| place.database.load(Relaxed) == 0)?;
    shared.places[free].older.store(
        super::spool::directory::bytes_of_earlier_epochs(database, epoch()),
        Relaxed,
    );
    shared.places[free].database.store(database, Release);
    Some((free, &shared.places[free]))
}

/// The place of the database that this process is connected to.
pub(crate) fn mine() -> Option<(usize, &'static Place)> {
    if let Some(index) = MINE.get() {
        return shared().map(|shared| (index, &shared.places[index]));
    }
    // SAFETY: reads backend state.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let found = place(database).filter(|_| database != 0)?;
    MINE.set(Some(found.0));
    Some(found)
}

/// Locks a place for writing.
pub(crate) fn lock(index: usize) -> Held {
    Held::take(index)
}

/// Enters this process as the launcher until it ends.
pub(crate) fn register_launcher() {
    if let Some(shared) = shared() {
        shared.launcher_pid.store(std::process::id() as i32, Release);
        // SAFETY: registers a callback of this process.
        unsafe { pg_sys::before_shmem_exit(Some(launcher_leaves), pg_sys::Datum::null()) };
        // SAFETY: the process's own latch lies in shared memory.
        shared.launcher.store(unsafe { pg_sys::MyLatch }, Release);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn launcher_leaves(_code: i32, _arg: pg_sys::Datum) {
    if let Some(shared) = shared() {
        shared.launcher_pid.store(0, Release);
    }
}

/// The launcher's process, 0 for none.
pub(crate) fn launcher() -> i32 {
    shared().map_or(0, |shared| shared.launcher_pid.load(Acquire))
}

/// Has the events of a place moved soon: wakes the worker if there is one, else the launcher.
pub(crate) fn wake(place: &Place) {
    let worker = place.worker_latch.load(Acquire);
    if worker.is_null() {
        wake_launcher();
    } else {
        // SAFETY: as for the launcher's.
        unsafe { pg_sys::SetLatch(worker) };
    }
}

/// Wakes the launcher.
pub(crate) fn wake_launcher() {
    let latch = shared().map_or(std::ptr::null_mut(), |shared| shared.launcher.load(Acquire));
    if !latch.is_null() {
        // SAFETY: latches of processes lie in shared memory for the life of the server, whoever uses them.
        unsafe { pg_sys::SetLatch(latch) };
    }
}

/// Enters this process as the one that moves a database's events; false when there is another.
pub(crate) fn enter_worker(place: &Place) -> bool {
    let mine = std::process::id() as i32;
    let entered = place.worker.compare_exchange(0, mine, AcqRel, Acquire).is_ok();
    if entered {
        // SAFETY: the process's own latch lies in shared memory.
        place.worker_latch.store(unsafe { pg_sys::MyLatch }, Release);
    }
    entered
}
