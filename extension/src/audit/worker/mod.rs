//! The processes that move events from the spools into the tables.
//!
//! One launcher watches the spools of all databases. It starts a worker in a database that has something to move, or whose
//! old partitions are due; the worker leaves one interval after it found nothing more, so that databases can be dropped,
//! renamed and copied.
//!
//! Neither handles errors: a worker that fails ends with its error in the log and nothing half done, and is started again,
//! less and less often.

mod insert;
mod reader;
mod retention;
pub(crate) mod row;
mod table;

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

use self::reader::Reader;
use self::row::Key;
use super::shared::{self, Place};
use super::{settings, spool, who};
use crate::pg::{nodes, pinned};
use spool::directory;

pub(super) type WorkerResult<T> = Result<T, Box<dyn Error>>;

/// How often old partitions are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(3600);
/// The longest time that a worker stays without anything to do.
const SHORT: Duration = Duration::from_secs(2);
/// How late the clock may be that tells when files were written, microseconds.
const TICK: i64 = 20_000;
/// The longest pause between attempts to start a worker that fails, microseconds.
const LONGEST_PAUSE: i64 = 60_000_000;

/// Registers the launcher. Called once, at server start.
pub(super) fn init() {
    // SAFETY: reads a flag that is set before libraries are loaded.
    if unsafe { pg_sys::IsBinaryUpgrade } {
        return;
    }
    BackgroundWorkerBuilder::new("betweenrows audit launcher")
        .set_type("betweenrows audit launcher")
        .set_library("betweenrows")
        .set_function("betweenrows_audit_launcher")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::from_secs(5)))
        .load();
}

mod raw {
    use std::ffi::c_int;

    unsafe extern "C-unwind" {
        pub(super) fn die(signal: c_int);
        pub(super) fn SignalHandlerForConfigReload(signal: c_int);
    }
}

/// Lets PostgreSQL's own handlers end the process and read the configuration.
unsafe fn prepare_signals() {
    #[cfg(not(feature = "pg18"))]
    {
        pg_sys::pqsignal(libc::SIGTERM, Some(raw::die));
        pg_sys::pqsignal(libc::SIGHUP, Some(raw::SignalHandlerForConfigReload));
    }
    #[cfg(feature = "pg18")]
    {
        pg_sys::pqsignal_be(libc::SIGTERM, Some(raw::die));
        pg_sys::pqsignal_be(libc::SIGHUP, Some(raw::SignalHandlerForConfigReload));
    }
    pg_sys::BackgroundWorkerUnblockSignals();
}

/// Waits for being woken, and takes interrupts and changes of the configuration; returns whether there were any of those.
fn pause(time: Duration) -> bool {
    // SAFETY: waits on the process's own latch as PostgreSQL does.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        let milliseconds = time.as_millis().max(1) as std::ffi::c_long;
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    check_for_interrupts!();
    // SAFETY: as PostgreSQL's own processes do between statements.
    unsafe {
        let changed = pg_sys::ConfigReloadPending != 0;
        if changed {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
        changed
    }
}

fn interval() -> Duration {
    Duration::from_millis(settings::FLUSH_INTERVAL.get() as u64)
}

// The launcher --------------------------------------------------------------------------------------------------------

/// The launcher's main function.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn betweenrows_audit_launcher(_arg: pg_sys::Datum) {
    prepare_signals();
    // Without a database: only the list of databases is read.
    pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
    shared::register_launcher();
    let mut kept: HashMap<u32, Instant> = HashMap::new();
    let mut gone: HashSet<u32> = HashSet::new();
    loop {
        let mut wait = HOUSEKEEPING;
        if spool::timeline().0 {
            // A standby keeps its spool: there is nowhere to move it to.
            pause(Duration::from_secs(5));
            continue;
        }
        for database in directory::databases() {
            // Those of databases that are gone need no place.
            if !gone.contains(&database) {
                shared::place(database);
            }
        }
        for (_, place) in shared::places() {
            wait = wait.min(look_after(place, &mut kept, &mut gone));
        }
        if pause(wait) {
            // How long partitions are kept may have changed.
            kept.clear();
        }
    }
}

/// Starts a worker if there is reason to; returns when to look again.
fn look_after(place: &Place, kept: &mut HashMap<u32, Instant>, gone: &mut HashSet<u32>) -> Duration {
    let database = place.database.load(Relaxed);
    if place.worker.load(Relaxed) != 0 {
        return interval();
    }
    let kept_at = kept.get(&database);
    let due = kept_at.is_none_or(|at| at.elapsed() >= HOUSEKEEPING);
    let wanted = place.wanted.load(Relaxed);
    if place.backlog() == 0 && !wanted && !due {
        return HOUSEKEEPING;
    }
    let now = who::now();
    let not_before = place.not_before.load(Relaxed);
    let failures = place.failures.load(Relaxed);
    // Later than any pause: the clock was set back.
    let pausing = now < not_before && not_before - now <= LONGEST_PAUSE.max(interval().as_micros() as i64);
    if pausing && !(wanted && failures < 3) {
        return Duration::from_micros((not_before - now) as u64).min(Duration::from_secs(60));
    }
    if !exists(database) {
        forget(place, database);
        gone.insert(database);
        return HOUSEKEEPING;
    }
    let pause = (interval().as_micros() as i64) << failures.min(16);
    place.not_before.store(now + pause.min(LONGEST_PAUSE), Relaxed);
    // Taken back by a worker that gets its work done.
    place.failures.fetch_add(1, Relaxed);
    kept.insert(database, Instant::now());
    let started = BackgroundWorkerBuilder::new("betweenrows audit worker")
        .set_type("betweenrows audit worker")
        .set_library("betweenrows")
        .set_function("betweenrows_audit_worker")
        .set_argument(Some(pg_sys::Datum::from(database)))
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(None)
        .load_dynamic();
    place.without_slot.store(started.is_err(), Relaxed);
    if started.is_err() && failures == 3 {
        log!("betweenrows: no audit worker can be started: max_worker_processes is used up");
    }
    interval()
}

/// Whether there is a database with this OID.
fn exists(database: u32) -> bool {
    // SAFETY: a transaction around a catalog lookup, in a process that has no other.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        let found = !pg_sys::get_database_name(Oid::from(database)).is_null();
        pg_sys::CommitTransactionCommand();
        found
    }
}

/// A database was dropped. What it had recorded and nobody moved stays where it is; its place is free for another.
fn forget(place: &Place, database: u32) {
    if directory::files(database).is_empty() {
        // Not removed when something was set aside.
        let _ = fs::remove_dir(directory::folder(database));
    } else {
        log!(
            "betweenrows: database {database} is gone, its audit events stay in \"{}\"",
            directory::ROOT
        );
    }
    place.free();
}

// Looking -------------------------------------------------------------------------------------------------------------

/// What is in the spool of this process's database and not in the table: what has ended in the order in which it did, then
/// what has not. It is read as it is asked for.
pub(crate) fn spooled(place: &'static Place) -> impl Iterator<Item = serde_json::Value> {
    let database = place.database.load(Relaxed);
    let mut reader = Reader::new(database, place);
    let _ = Spi::connect(|client| table::load(client, &mut reader, &directory::files(database)));
    let mut more = true;
    std::iter::from_fn(move || {
        if !std::mem::replace(&mut more, false) {
            return None;
        }
        check_for_interrupts!();
        let batch = reader.next();
        more = batch.more;
        let mut found = batch.rows;
        if !more {
            let waiting = reader.waiting.drain().map(|(key, waiting)| (key, waiting.row));
            let mut waiting: Vec<(Key, row::Row)> = waiting.collect();
            waiting.sort_by(|(_, a), (_, b)| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
            found.append(&mut waiting);
        }
        let known = Spi::connect(|client| table::known(client, &found)).unwrap_or_default();
        found.retain(|(_, row)| !known.contains(&row.id));
        Some(found)
    })
    .flatten()
    .map(|(_, row)| row.readable())
}

/// Removes files of a standby's spool that were last written before a time, microseconds since 1970; returns how many.
pub(crate) fn discard(index: usize, place: &'static Place, before: i64) -> i32 {
    let database = place.database.load(Relaxed);
    let mut removed = 0;
    // Nobody writes meanwhile.
    let _held = shared::lock(index);
    let files = directory::files(database);
    let next = files.iter().skip(1).map(Some).chain([None]);
    for (name, next) in files.iter().zip(next) {
        let next = next.filter(|next| next.epoch == name.epoch);
        // Nothing was written to a file since the next one was made.
        let written = match next.and_then(|next| directory::header(*next, database).ok().flatten()) {
            Some(header) => header.made_at,
            None if name.epoch == shared::epoch() => place.last_write.load(Relaxed),
            None => who::unix(shared::epoch()),
        };
        if written + TICK < before && fs::remove_file(name.path(database)).is_ok() {
            removed += 1;
            if name.epoch == shared::epoch() && name.segment == place.segment.load(Relaxed) {
                place.close_file();
            }
        }
    }
    count_what_waits(place, &Reader::new(database, place));
    removed
}

/// Counts what is in the spool. Called with the place locked.
fn count_what_waits(place: &Place, reader: &Reader) {
    let database = place.database.load(Relaxed);
    let moved = place.written.load(Relaxed).saturating_sub(reader.unread());
    place.moved.store(moved, Release);
    let older = directory::bytes_of_earlier_epochs(database, shared::epoch());
    place.older.store(older, Release);
}

/// A time, microseconds since 1970, as PostgreSQL prints it.
fn time_text(micros: i64) -> String {
    // SAFETY: allocates the text.
    unsafe { nodes::string(pg_sys::timestamptz_to_str(who::postgres(micros))) }
}

// The worker ----------------------------------------------------------------------------------------------------------

/// The main function of a database's worker.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn betweenrows_audit_worker(arg: pg_sys::Datum) {
    let database = arg.value() as u32;
    prepare_signals();
    let Some((index, place)) = shared::place(database) else {
        return;
    };
    if !shared::enter_worker(place) {
        return;
    }
    pg_sys::before_shmem_exit(Some(leave), pg_sys::Datum::from(index));
    pg_sys::BackgroundWorkerInitializeConnectionByOid(Oid::from(database), Oid::INVALID, 0);
    // What a database or role may have set otherwise.
    pinned::for_process(pinned::ANALYSIS);
    pinned::for_process(&[
        (c"search_path", c"pg_catalog"),
        (c"statement_timeout", c"0"),
        (c"lock_timeout", c"10s"),
        (c"default_transaction_isolation", c"read committed"),
        (c"default_transaction_read_only", c"off"),
        (c"session_replication_role", c"origin"),
        (c"row_security", c"on"),
        (c"jit", c"off"),
    ]);
    if let Err(error) = work(database, index, place) {
        error!("betweenrows: audit events could not be moved: {error}");
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn leave(_code: i32, index: pg_sys::Datum) {
    if let Some((_, place)) = shared::places().find(|(other, _)| *other == index.value()) {
        place.worker_latch.store(std::ptr::null_mut(), Release);
        place.woken.store(false, Release);
        place.worker.store(0, Release);
    }
    shared::wake_launcher();
}

/// Runs something in a transaction of its own, as a whole or not at all: a failure ends the process.
fn transaction<T>(f: impl FnOnce(&mut SpiClient) -> WorkerResult<T>) -> T {
    let f = std::cell::Cell::new(Some(f));
    let f = std::panic::AssertUnwindSafe(&f);
    BackgroundWorker::transaction(move || {
        let f = f.take().expect("called once");
        match Spi::connect_mut(f) {
            Ok(value) => value,
            Err(error) => error!("betweenrows: audit events could not be moved: {error}"),
        }
    })
}

fn work(database: u32, index: usize, place: &'static Place) -> WorkerResult<()> {
    let mut reader = Reader::new(database, place);
    let installed = transaction(|client| {
        let query = "select pg_catalog.to_regclass('betweenrows.query_audit_spool') is not null
            and exists (select from pg_catalog.pg_extension where extname = 'betweenrows')";
        let installed = client.select(query, Some(1), &[])?.first().get_one::<bool>()? == Some(true);
        if installed {
            table::load(client, &mut reader, &directory::files(database))?;
        }
        Ok(installed)
    });
    if !installed {
        // Dropped for now, or for good: events wait for it to come back.
        place.wanted.store(false, Relaxed);
        place.not_before.store(who::now() + LONGEST_PAUSE, Relaxed);
        return Ok(());
    }
    let (mut last, mut kept) = (Instant::now(), None::<Instant>);
    loop {
        let wanted = place.wanted.swap(false, Relaxed);
        let moved = round(database, index, place, &mut reader)?;
        place.failures.store(0, Relaxed);
        place.rounds.fetch_add(1, Release);
        // After events were moved: these must not wait for partitions.
        if kept.is_none_or(|at| at.elapsed() >= HOUSEKEEPING) {
            keep_house(database);
            kept = Some(Instant::now());
        }
        if moved {
            last = Instant::now();
        }
        // It does not stay connected for long without anything to do: databases can be dropped and copied.
        if !wanted && (interval() > SHORT || (!moved && last.elapsed() >= interval())) {
            return Ok(());
        }
        if pause(interval()) {
            kept = None;
        }
    }
}

/// Events go on into a new file when somebody removed the one that is being written.
fn miss_current_file(database: u32, index: usize, place: &Place) {
    let held = shared::lock(index);
    let name = directory::Name {
        epoch: shared::epoch(),
        segment: place.segment.load(Relaxed),
    };
    let missing = place.size.load(Relaxed) != 0 && !name.path(database).exists();
    if missing {
        place.close_file();
    }
    drop(held);
    if missing {
        log!("betweenrows: audit spool file \"{name}\" was removed by somebody: what was not moved of it is lost");
    }
}

/// Moves everything there is; returns whether there was anything.
fn round(database: u32, index: usize, place: &Place, reader: &mut Reader) -> WorkerResult<bool> {
    let mut any = false;
    miss_current_file(database, index, place);
    loop {
        let batch = reader.next();
        for remark in &batch.remarks {
            log!("betweenrows: {remark}");
        }
        let empty =
            batch.rows.is_empty() && batch.positions.is_empty() && batch.done.is_empty() && batch.aside.is_empty();
        if !empty {
            any = true;
            transaction(|client| table::store(client, reader, &batch));
            for name in &batch.done {
                if let Err(error) = fs::remove_file(name.path(database)) {
                    return Err(format!("audit spool file \"{name}\" could not be removed: {error}").into());
                }
            }
            for (name, reason) in &batch.aside {
                match directory::put_aside(*name, database, reason) {
                    Ok(to) => log!("betweenrows: audit spool file set aside as \"{}\"", to.display()),
                    Err(error) => {
                        return Err(format!("audit spool file \"{name}\" could not be set aside: {error}").into());
                    }
                }
            }
            if !batch.done.is_empty() || !batch.aside.is_empty() {
                transaction(|client| table::forget(client, &directory::files(database)));
            }
        }
        let now = who::now();
        if let Some((_, row)) = batch.rows.last() {
            place.last_moved.store(now, Relaxed);
            place
                .lag
                .store((now - row.finished_at.unwrap_or(row.started_at)).max(0), Relaxed);
            place.events.fetch_add(batch.rows.len() as u64, Relaxed);
        }
        let held = shared::lock(index);
        count_what_waits(place, reader);
        drop(held);
        if !batch.more {
            if place.backlog() == 0 {
                place.drop_noted.store(false, Relaxed);
            }
            return Ok(any);
        }
        check_for_interrupts!();
    }
}

/// Makes partitions ahead and drops old ones.
fn keep_house(database: u32) {
    let expired = transaction(|client| {
        retention::make_ahead(client)?;
        retention::expired(client)
    });
    // SAFETY: inside the transaction that the lookup needs.
    let name = transaction(|_| Ok(unsafe { nodes::string(pg_sys::get_database_name(Oid::from(database))) }));
    for partition in expired {
        match transaction(|client| retention::drop_partition(client, &partition, &name)) {
            Ok(true) => {
                log!("betweenrows: dropped partition \"{partition}\", which is older than betweenrows.audit_retention")
            }
            Ok(false) => {
                log!("betweenrows: partition \"{partition}\" is kept for now: somebody reads betweenrows.query_audit")
            }
            // Events are moved all the same.
            Err(error) => log!("betweenrows: partition \"{partition}\" is kept, it could not be exported: {error}"),
        }
    }
}
