//! The invalidation channels: what the callbacks mark, and what the writers send. The protocol is described in
//! [`super`].

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::*;

use super::known::{self, Asker};
use crate::pg::{leaf, scan};

/// Number of channels for changes that concern one user.
pub(crate) const BUCKETS: usize = 16;

/// What has to be read or decided again.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stale {
    /// Everything.
    pub(crate) catalog: bool,
    /// Users, memberships and what was decided for them.
    pub(crate) subjects: bool,
    /// What was decided for relations.
    pub(crate) relations: bool,
}

/// The OIDs of the channels of this database's extension.
#[derive(Clone, Copy)]
struct Channels {
    namespace: Oid,
    epoch: Oid,
    buckets: [Oid; BUCKETS],
}

thread_local! {
    static CHANNELS: Cell<Option<Channels>> = const { Cell::new(None) };
    static STALE: Cell<Stale> = const { Cell::new(Stale { catalog: true, subjects: true, relations: true }) };
    static COMPILED: Cell<bool> = const { Cell::new(true) };
    static CHANGED: ChangedRelations = const { ChangedRelations::new() };
    static CHANGED_FOR_EXPRESSIONS: ChangedRelations = const { ChangedRelations::new() };
    /// Views that are trusted as long as they do not change.
    static TRUSTED_VIEWS: RefCell<Vec<Oid>> = const { RefCell::new(Vec::new()) };
    /// A bit for each bucket that a subject of this session is in.
    static WATCHED: Cell<u16> = const { Cell::new(0) };
    /// What this session's policies run beside PostgreSQL's own code; it only grows.
    static CODE: RefCell<Code> = RefCell::default();
}

/// Functions and types by their hashes in the system caches, which is what invalidations carry.
#[derive(Default)]
struct Code {
    functions: HashSet<u32>,
    types: HashSet<u32>,
    row_types: HashSet<Oid>,
    domains: bool,
}

/// Relations whose definition changed and that nobody has looked at since.
struct ChangedRelations {
    relids: RefCell<Vec<Oid>>,
}

impl ChangedRelations {
    const fn new() -> Self {
        ChangedRelations {
            relids: RefCell::new(Vec::new()),
        }
    }

    /// Notes a relation; false when there are too many to be worth it.
    fn note(&self, relid: Oid) -> bool {
        match self.relids.try_borrow_mut() {
            Ok(mut relids) if relids.len() < 256 => {
                relids.push(relid);
                true
            }
            _ => false,
        }
    }
}

/// Returns the relations that changed and counts them as seen.
pub(crate) fn take_changed() -> Vec<Oid> {
    CHANGED.with(|changed| changed.relids.take())
}

/// The same for those who keep compiled expressions.
pub(crate) fn take_changed_for_expressions() -> Vec<Oid> {
    CHANGED_FOR_EXPRESSIONS.with(|changed| changed.relids.take())
}

/// Returns what is stale and counts it as seen.
pub(crate) fn take_stale() -> Stale {
    STALE.replace(Stale::default())
}

/// Whether compiled expressions may be out of date; counts it as seen.
pub(crate) fn take_compiled_stale() -> bool {
    COMPILED.replace(false)
}

/// The extension's schema, `None` when this database does not have the extension, or not yet all of it.
///
/// What tells is the extension itself: where it exists and a channel is missing, the catalog is damaged, which closes it.
pub(crate) fn namespace() -> Option<Oid> {
    if let Some(channels) = CHANNELS.get() {
        return Some(channels.namespace);
    }
    let changes = known::changes();
    // SAFETY: a syscache lookup, which remembers that a name is missing.
    let namespace = unsafe { pg_sys::get_namespace_oid(c"betweenrows".as_ptr(), true) };
    if namespace == Oid::INVALID {
        // The extension cannot come without its schema, which is a change.
        known::learn(changes, Asker::Absent);
        return None;
    }
    // A schema of that name that somebody made by hand is not ours.
    // SAFETY: reads a flag and pg_extension.
    if unsafe { pg_sys::creating_extension || pg_sys::get_extension_oid(c"betweenrows".as_ptr(), true) == Oid::INVALID }
    {
        return None;
    }
    CHANNELS.set(channels(namespace));
    STALE.set(Stale {
        catalog: true,
        subjects: true,
        relations: true,
    });
    Some(namespace)
}

/// Looks the channels up, `None` when one is missing.
fn channels(namespace: Oid) -> Option<Channels> {
    let epoch = scan::relation(namespace, "epoch")?;
    let mut buckets = [Oid::INVALID; BUCKETS];
    for (number, bucket) in buckets.iter_mut().enumerate() {
        *bucket = scan::relation(namespace, &format!("bucket_{number:02}"))?;
    }
    Some(Channels {
        namespace,
        epoch,
        buckets,
    })
}

/// Whether changes of the catalog reach this session.
pub(crate) fn is_connected() -> bool {
    namespace().is_some() && CHANNELS.get().is_some()
}

/// Whether this database may have the extension: cheap enough to be asked for every statement.
pub(crate) fn is_installed() -> bool {
    // SAFETY: reads backend state.
    let connected = unsafe { pg_sys::MyDatabaseId } != Oid::INVALID;
    connected
        && leaf::IsTransactionState()
        && match known::asker() {
            Asker::Absent => false,
            Asker::Exempt | Asker::Subject(_) => true,
            Asker::Unknown => namespace().is_some(),
        }
}

/// Whether this session has found the extension and hears of its changes.
pub(crate) fn is_found() -> bool {
    CHANNELS.get().is_some()
}

/// The channel of a user: FNV-1a (64 bits, offset basis and prime as published by Fowler, Noll and Vo) of the name.
pub(crate) fn bucket(username: &str) -> usize {
    let hash = username.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash % BUCKETS as u64) as usize
}

/// Notes that a subject of this session is in its bucket.
pub(crate) fn watch_bucket(username: &str) {
    WATCHED.set(WATCHED.get() | 1 << bucket(username));
}

/// Notes the trusted views: a change of one ends the trust.
pub(crate) fn watch_views(views: Vec<Oid>) {
    TRUSTED_VIEWS.set(views);
}

/// Notes that policies call a function.
pub(crate) fn watch_function(function: Oid) {
    let hash = hash(pg_sys::SysCacheIdentifier::PROCOID, function);
    CODE.with_borrow_mut(|code| code.functions.insert(hash));
}

/// Notes that policies have values of a type.
pub(crate) fn watch_type(oid: Oid) {
    let hash = hash(pg_sys::SysCacheIdentifier::TYPEOID, oid);
    CODE.with_borrow_mut(|code| code.types.insert(hash));
}

/// Notes that policies have values of a row type, by its relation.
pub(crate) fn watch_row_type(relid: Oid) {
    CODE.with_borrow_mut(|code| code.row_types.insert(relid));
}

/// Notes that policies have values of domains, so that checks matter.
pub(crate) fn watch_domains() {
    CODE.with_borrow_mut(|code| code.domains = true);
}

fn hash(cache: pg_sys::SysCacheIdentifier::Type, oid: Oid) -> u32 {
    let none = Datum::from(0);
    // SAFETY: computes a hash of the key.
    unsafe { pg_sys::GetSysCacheHashValue(cache as _, Datum::from(oid), none, none, none) }
}

/// Marks expressions and plans when the code they run may have changed. Nothing is borrowed while callbacks run, but if it
/// were, everything would count as changed.
fn code_changed(concerns: impl Fn(&Code) -> bool) {
    known::changed();
    if CODE.with(|code| code.try_borrow().map_or(true, |code| concerns(&code))) {
        COMPILED.set(true);
        reset_plans();
    }
}

/// Sends the invalidation of the whole catalog at the end of the transaction.
pub(crate) fn touch() {
    send(|channels| channels.epoch);
}

/// Sends the invalidation of one user at the end of the transaction.
pub(crate) fn touch_user(username: &str) {
    let number = bucket(username);
    send(|channels| channels.buckets[number]);
}

fn send(channel: impl Fn(&Channels) -> Oid) {
    if namespace().is_some()
        && let Some(channels) = CHANNELS.get()
    {
        // SAFETY: queues an invalidation message for an existing relation.
        unsafe { pg_sys::CacheInvalidateRelcacheByRelid(channel(&channels)) };
    }
}

fn mark(stale: Stale) {
    let old = STALE.get();
    STALE.set(Stale {
        catalog: old.catalog || stale.catalog,
        subjects: old.subjects || stale.subjects,
        relations: old.relations || stale.relations,
    });
}

/// Marks saved plans for being made again.
fn reset_plans() {
    // SAFETY: only sets flags in the plan cache's list; the plan cache's own callbacks do the same.
    unsafe { pg_sys::ResetPlanCache() };
}

/// Marks saved plans when the session's or the current role was switched.
pub(crate) fn identity_changed() {
    if CHANNELS.get().is_some() {
        reset_plans();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: Datum, relid: Oid) {
    known::changed();
    if relid == Oid::INVALID || !CHANGED_FOR_EXPRESSIONS.with(|changed| changed.note(relid)) {
        COMPILED.set(true);
    }
    code_changed(|code| code.row_types.contains(&relid));
    let Some(channels) = CHANNELS.get() else { return };
    if relid == Oid::INVALID || relid == channels.epoch {
        COMPILED.set(true);
        // The extension may have been dropped: find it anew.
        CHANNELS.set(None);
        mark(Stale {
            catalog: true,
            subjects: true,
            relations: true,
        });
        reset_plans();
    } else if let Some(number) = channels.buckets.iter().position(|bucket| *bucket == relid) {
        if WATCHED.get() & (1 << number) != 0 {
            mark(Stale {
                subjects: true,
                ..Stale::default()
            });
            reset_plans();
        }
    } else if TRUSTED_VIEWS.with(|views| views.try_borrow().map_or(true, |views| views.contains(&relid))) {
        mark(Stale {
            catalog: true,
            subjects: true,
            relations: true,
        });
        reset_plans();
    } else if !CHANGED.with(|changed| changed.note(relid)) {
        mark(Stale {
            relations: true,
            ..Stale::default()
        });
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn role_changed(_arg: Datum, _cache: i32, _hash: u32) {
    known::changed();
    // Names, superuser bits and memberships decide who is exempt and which roles count.
    if CHANNELS.get().is_some() {
        COMPILED.set(true);
        mark(Stale {
            catalog: true,
            subjects: true,
            relations: true,
        });
        reset_plans();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn schema_changed(_arg: Datum, _cache: i32, _hash: u32) {
    known::changed();
    CHANNELS.set(None);
    COMPILED.set(true);
    mark(Stale {
        catalog: true,
        subjects: true,
        relations: true,
    });
}

#[pg_guard]
unsafe extern "C-unwind" fn function_changed(_arg: Datum, _cache: i32, hash: u32) {
    if crate::gate::is_own_reset() {
        return;
    }
    COMPILED.set(true);
    // A plan knows of the functions that were put into it, not of those that it calls.
    code_changed(|code| !code.functions.is_empty() && (hash == 0 || code.functions.contains(&hash)));
    if CHANNELS.get().is_some() {
        // The trust in a function ends when it is replaced.
        mark(Stale {
            catalog: true,
            ..Stale::default()
        });
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn type_changed(_arg: Datum, _cache: i32, hash: u32) {
    code_changed(|code| !code.types.is_empty() && (hash == 0 || code.types.contains(&hash)));
}

#[pg_guard]
unsafe extern "C-unwind" fn check_changed(_arg: Datum, _cache: i32, _hash: u32) {
    code_changed(|code| code.domains);
}

/// A cast by which values are printed, or the label of an enumeration that a literal stands for.
#[pg_guard]
unsafe extern "C-unwind" fn meaning_changed(_arg: Datum, _cache: i32, _hash: u32) {
    code_changed(|code| !code.types.is_empty());
}

/// Registers the callbacks.
pub(crate) fn init() {
    use pg_sys::SysCacheIdentifier as Cache;
    let none = Datum::from(0);
    // SAFETY: registers callbacks for the life of the process; the cache identifiers are PostgreSQL's own.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), none);
        pg_sys::CacheRegisterSyscacheCallback(Cache::AUTHOID as _, Some(role_changed), none);
        pg_sys::CacheRegisterSyscacheCallback(Cache::AUTHMEMROLEMEM as _, Some(role_changed), none);
        pg_sys::CacheRegisterSyscacheCallback(Cache::NAMESPACEOID as _, Some(schema_changed), none);
        pg_sys::CacheRegisterSyscacheCallback(Cache::PROCOID as _, Some(function_changed), none);
        pg_sys::CacheRegisterSyscacheCallback(Cache::OPEROID as _, Some(function_changed), none);
        pg_sys::CacheRegisterSyscacheCallback(Cache::TYPEOID as _, Some(type_changed), none);
        pg_sys::CacheRegisterSyscacheCallback(Cache::ENUMOID as _, Some(meaning_changed), none);
        pg_sys::CacheRegisterSyscacheCallback(Cache::CONSTROID as _, Some(check_changed), none);
        pg_sys::CacheRegisterSyscacheCallback(Cache::CASTSOURCETARGET as _, Some(meaning_changed), none);
    }
}
