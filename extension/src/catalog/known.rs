//! What is known about whoever asks, so that a statement that concerns nothing governed crosses the hooks in a few dozen
//! instructions.
//!
//! Invariant: what is known here was decided by the catalog, for the same login role and current role, and nothing has
//! changed since: no invalidation of any kind was heard of. Whatever is not known is decided anew.

use std::cell::{Cell, RefCell};

use pgrx::pg_sys::{Oid, PlannedStmt, Query, RTEKind, RangeTblEntry};

use crate::gate::session::Fingerprint;
use crate::pg::{leaf, list, walk};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asker {
    /// Not known.
    Unknown,
    /// Somebody in a database without the extension.
    Absent,
    /// A role that nothing is governed for.
    Exempt,
    /// This role.
    Subject(Oid),
}

/// Relations that something is known about, by the last digits of their OIDs: one that is pushed out is decided anew.
struct Relations([Cell<Oid>; 256]);

impl Relations {
    const fn new() -> Self {
        Relations([const { Cell::new(Oid::INVALID) }; 256])
    }

    fn slot(&self, relid: Oid) -> &Cell<Oid> {
        &self.0[relid.to_u32() as usize % self.0.len()]
    }

    fn contains(&self, relid: Oid) -> bool {
        self.slot(relid).get() == relid
    }

    fn clear(&self) {
        for slot in &self.0 {
            slot.set(Oid::INVALID);
        }
    }
}

struct Known {
    /// Counts the invalidations heard of.
    changes: Cell<u64>,
    /// The count for which the rest holds.
    holds_at: Cell<u64>,
    login: Cell<Oid>,
    current: Cell<Oid>,
    asker: Cell<Asker>,
    /// Whether a table or a column may be hidden from the asker.
    hides: Cell<bool>,
    /// What decision functions were told that may change unheard.
    fingerprint: RefCell<Option<Fingerprint>>,
    /// Not governed, nor a filtered catalog.
    open: Relations,
    /// With all their columns visible.
    shown: Relations,
}

thread_local! {
    static KNOWN: Known = const {
        Known {
            changes: Cell::new(1),
            holds_at: Cell::new(0),
            login: Cell::new(Oid::INVALID),
            current: Cell::new(Oid::INVALID),
            asker: Cell::new(Asker::Unknown),
            hides: Cell::new(true),
            fingerprint: RefCell::new(None),
            open: Relations::new(),
            shown: Relations::new(),
        }
    };
}

/// Notes that something changed, whatever it is.
pub(crate) fn changed() {
    KNOWN.with(|known| known.changes.set(known.changes.get() + 1));
}

/// Forgets who asks: for a while it is somebody else.
pub(crate) fn forget() {
    KNOWN.with(|known| known.holds_at.set(0));
}

/// A number that is another one after each change.
pub(crate) fn changes() -> u64 {
    KNOWN.with(|known| known.changes.get())
}

/// The same while it is known who asks: what was decided for the asker since holds for this number.
pub(crate) fn settled() -> Option<u64> {
    (asker() != Asker::Unknown).then(changes)
}

/// Notes who asks, unless something changed since `changes` was the number of changes; returns whether it did.
pub(crate) fn learn(changes: u64, asker: Asker) -> bool {
    KNOWN.with(|known| {
        if known.changes.get() != changes {
            return false;
        }
        known.holds_at.set(changes);
        known.login.set(leaf::GetSessionUserId());
        known.current.set(leaf::GetUserId());
        known.asker.set(asker);
        known.hides.set(true);
        known.fingerprint.replace(None);
        known.open.clear();
        known.shown.clear();
        true
    })
}

/// Notes that nothing is hidden from the subject that was learned last.
pub(crate) fn learn_that_nothing_is_hidden() {
    KNOWN.with(|known| known.hides.set(false));
}

/// Whether a table or a column may be hidden from whoever asks.
pub(crate) fn hides() -> bool {
    KNOWN.with(|known| known.hides.get())
}

/// The same for a subject. With a fingerprint it is known only while that holds, since decision functions would have to be
/// asked again.
pub(crate) fn learn_subject(changes: u64, role: Oid, fingerprint: Option<Fingerprint>) -> bool {
    let learned = learn(changes, Asker::Subject(role));
    if learned {
        KNOWN.with(|known| known.fingerprint.replace(fingerprint));
    }
    learned
}

/// Who asks, as far as it is known.
pub(crate) fn asker() -> Asker {
    KNOWN.with(Known::asker)
}

/// Whether it is known that the database does not have the extension: quicker than [`asker`].
pub(crate) fn is_absent() -> bool {
    KNOWN.with(|known| known.asker.get() == Asker::Absent && known.asker() == Asker::Absent)
}

impl Known {
    fn asker(&self) -> Asker {
        let holds = self.holds_at.get() == self.changes.get()
            && self.login.get() == leaf::GetSessionUserId()
            && self.current.get() == leaf::GetUserId()
            && self.fingerprint.borrow().as_ref().is_none_or(Fingerprint::holds);
        if holds { self.asker.get() } else { Asker::Unknown }
    }
}

/// Notes a relation that is not governed for the subject.
pub(crate) fn learn_open(subject: Oid, relid: Oid) {
    KNOWN.with(|known| {
        if known.asker() == Asker::Subject(subject) {
            known.open.slot(relid).set(relid);
        }
    });
}

/// Notes a relation that hides neither itself nor a column from the subject's statements.
pub(crate) fn learn_shown(subject: Oid, relid: Oid) {
    KNOWN.with(|known| {
        if known.asker() == Asker::Subject(subject) {
            known.shown.slot(relid).set(relid);
        }
    });
}

/// Whether a plan is known to read and write nothing governed.
///
/// # Safety
/// `stmt` is a valid plan.
pub(crate) unsafe fn is_open_plan(stmt: *mut PlannedStmt) -> bool {
    KNOWN.with(|known| match known.asker() {
        Asker::Unknown => false,
        Asker::Absent | Asker::Exempt => true,
        Asker::Subject(_) => relations((*stmt).rtable).all(|relid| known.open.contains(relid)),
    })
}

/// Whether a statement is known to concern nothing governed, at any level.
///
/// # Safety
/// `query` is a valid query, and the caller owns nothing with a destructor.
pub(crate) unsafe fn is_open_query(query: *mut Query) -> bool {
    match asker() {
        Asker::Unknown => false,
        Asker::Absent | Asker::Exempt => true,
        Asker::Subject(_) => walk::all_queries(query, opens),
    }
}

/// Whether a statement is known to name nothing hidden, at any level.
///
/// # Safety
/// As for [`is_open_query`].
pub(crate) unsafe fn is_shown_query(query: *mut Query) -> bool {
    match asker() {
        Asker::Unknown => false,
        Asker::Absent | Asker::Exempt => true,
        Asker::Subject(_) => walk::all_queries(query, shows),
    }
}

unsafe fn opens(query: *mut Query) -> bool {
    KNOWN.with(|known| {
        list::iter::<RangeTblEntry>((*query).rtable).all(|rte| match (*rte).rtekind {
            RTEKind::RTE_RELATION => known.open.contains((*rte).relid),
            // A view: where it is not named here, its query still has it as an entry.
            RTEKind::RTE_SUBQUERY => (*rte).relid == Oid::INVALID || known.open.contains((*rte).relid),
            _ => true,
        })
    })
}

unsafe fn shows(query: *mut Query) -> bool {
    KNOWN
        .with(|known| relations((*query).rtable).all(|relid| known.open.contains(relid) || known.shown.contains(relid)))
}

unsafe fn relations(rtable: *mut pgrx::pg_sys::List) -> impl Iterator<Item = Oid> {
    list::iter::<RangeTblEntry>(rtable)
        .filter(|rte| (**rte).rtekind == RTEKind::RTE_RELATION)
        .map(|rte| (*rte).relid)
}
