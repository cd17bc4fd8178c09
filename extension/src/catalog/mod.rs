//! The policies of this database as this backend knows them.
//!
//! # The cache protocol
//!
//! Invariant: a statement that starts after a change has been committed is decided by the changed catalog, in every backend.
//!
//! * **Writers.** Each table that decisions depend on has a statement trigger, `betweenrows.touch()`. It sends a relcache
//!   invalidation for the empty table `betweenrows.epoch`, or, for a change that concerns one user, for one of sixteen
//!   `betweenrows.bucket_NN`, chosen by a hash of the name. Invalidations are transactional: they go out at commit, reach
//!   every backend of the database, are in the WAL for standbys, and are applied by the writing session itself at its next
//!   command, and again when it rolls back.
//! * **Callbacks** ([`epoch`]) only mark: the catalog, the subjects or the relations as stale. They read nothing. Because
//!   the plan cache does not know about policies, they also mark all saved plans invalid; a bucket's only when a subject
//!   of this session is in it.
//! * **Readers** call [`current`], which takes pending invalidations and reloads what is stale. Loading reads with a fresh
//!   catalog snapshot ([`crate::pg::scan`]), so that a REPEATABLE READ transaction does not reload its own past, and starts
//!   again if an invalidation came in while it was reading.
//! * **Plans** carry proof of the subject and of a digest of everything decided for it ([`Session::proof`]). The executor
//!   guard compares it. A reload that changes nothing leaves the digest as it was.

pub(crate) mod access;
pub(crate) mod epoch;
pub(crate) mod governance;
pub(crate) mod known;
mod load;
pub(crate) mod mixing;
pub(crate) mod subject;
mod touch;

pub(crate) use load::inherited_roles;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys::{self, Oid};
use policy::access::{Standing, standing};
use policy::allowlist::Columns;
use policy::attribute;
use policy::model::{AccessMode, Assignment, Id, Policy, PolicyType};
use policy::roles::RoleGraph;

use self::governance::{Governance, State};
use self::known::Asker;
use self::mixing::Mixed;
use self::subject::Subject;
use crate::audit::overrides::Overrides;
use crate::errors;
use crate::gate::{self, Firing};
use crate::pg::leaf;

/// Everything decisions depend on that is not about one user.
pub(crate) struct Catalog {
    /// Schema `betweenrows`.
    pub(crate) namespace: Oid,
    /// Whether tables without a `column_allow` exist.
    pub(crate) access_mode: AccessMode,
    /// Whether subjects need an access grant. Who has one is asked when the subject is known.
    pub(crate) requires_grant: bool,
    /// A digest of the allowlist of what exists for subjects, where there is one. What it says of a table is looked up when
    /// the table is judged: most sessions use few of very many.
    pub(crate) allowlist: Option<String>,
    /// All policies, ordered by name.
    pub(crate) policies: Vec<Policy>,
    /// All assignments.
    pub(crate) assignments: Vec<Assignment>,
    /// Decision functions that can be read, ordered by name.
    pub(crate) functions: Vec<gate::Function>,
    /// Roles and their parents.
    pub(crate) roles: RoleGraph,
    /// The roles' ids by name: membership in a PostgreSQL role of that name counts too.
    pub(crate) role_names: BTreeMap<String, Id>,
    /// Attribute definitions by key.
    pub(crate) attributes: BTreeMap<String, attribute::Definition>,
    /// Exempt roles that exist.
    pub(crate) exempt_roles: HashSet<Oid>,
    /// Views and functions inside which nothing is governed.
    pub(crate) trusted: HashSet<(Oid, Oid)>,
    /// Hash of all of the above that is the same for every subject, equal for equal content.
    pub(crate) digest: u64,
    /// What is recorded for whom.
    pub(crate) audit: Overrides,
}

impl Catalog {
    /// Whether nothing is governed at all, for anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.access_mode == AccessMode::Open && self.allowlist.is_none()
    }

    /// Whether a subject may use the database.
    ///
    /// # Errors
    /// When the catalog is damaged.
    pub(crate) fn standing(&self, is_active: bool, user: Option<Id>, roles: &BTreeSet<Id>) -> Result<Standing, String> {
        let grants = if self.requires_grant {
            Some(load::grants(self.namespace, user, roles)?)
        } else {
            None
        };
        Ok(standing(is_active, grants.as_deref(), user, roles))
    }

    /// The allowlist's entry for a relation: one for all of it where there is no allowlist, none where it is not selected or
    /// that cannot be understood.
    pub(crate) fn selected(&self, schema: &str, name: &str) -> Option<Columns> {
        match &self.allowlist {
            None => Some(None),
            Some(_) => load::selected(self.namespace, schema, name).unwrap_or(None),
        }
    }
}

#[derive(Default)]
struct Cache {
    catalog: Option<Rc<Catalog>>,
    subjects: HashMap<Oid, Rc<Subject>>,
    /// By subject, by what decision functions answered, and by relation.
    relations: HashMap<(Oid, u64, Oid), Rc<Governance>, Mixed>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
    /// The session of the asker that [`known`] knows.
    static CURRENT: RefCell<Option<Session>> = const { RefCell::new(None) };
    /// The session that a statement is to be shown for, instead of the one that asks.
    static ASSUMED: RefCell<Option<Option<Session>>> = const { RefCell::new(None) };
}

/// The catalog and the subject a statement is decided with.
#[derive(Clone)]
pub(crate) struct Session {
    /// The catalog.
    pub(crate) catalog: Rc<Catalog>,
    /// Who asks.
    pub(crate) subject: Rc<Subject>,
    /// Which of the subject's policies take part.
    pub(crate) firing: Rc<Firing>,
}

impl Session {
    fn new(catalog: Rc<Catalog>, subject: Rc<Subject>) -> Self {
        let firing = gate::for_session(&catalog, &subject);
        Session {
            catalog,
            subject,
            firing,
        }
    }

    /// The proof that a plan was made for this subject under these policies.
    pub(crate) fn proof(&self) -> &CStr {
        self.firing.proof()
    }

    /// Whether a proof is one for this subject, be it under other policies.
    pub(crate) fn is_proof_for_subject(&self, proof: &CStr) -> bool {
        let words = |proof: &CStr| -> Vec<Vec<u8>> {
            let words = proof.to_bytes().split(|byte| *byte == b' ');
            words.take(2).map(<[u8]>::to_vec).collect()
        };
        words(proof) == words(self.proof())
    }

    /// How the subject may use a relation.
    pub(crate) fn governance(&self, relid: Oid) -> Rc<Governance> {
        let key = (self.subject.role, self.firing.digest, relid);
        if let Some(found) = CACHE.with_borrow(|cache| cache.relations.get(&key).cloned()) {
            return found;
        }
        let made = Rc::new(Governance::decide(self, relid));
        CACHE.with_borrow_mut(|cache| cache.relations.insert(key, made.clone()));
        made
    }

    /// Whether policies leave the relation alone.
    pub(crate) fn is_unrestricted(&self, relid: Oid) -> bool {
        self.governance(relid).state == State::Open && !crate::visibility::filters(self, relid)
    }

    /// Whether the relation is used as without the extension, and nothing of it is recorded.
    pub(crate) fn is_open(&self, relid: Oid) -> bool {
        let open = self.is_unrestricted(relid) && !self.governance(relid).noted;
        // What is open for one statement need not be for the next.
        if open && !self.firing.is_of_query {
            known::learn_open(self.subject.role, relid);
        }
        open
    }

    /// Whether a table or column may not exist for the subject.
    pub(crate) fn may_hide(&self) -> bool {
        let hides = |policy: &Policy| {
            matches!(
                policy.policy_type,
                PolicyType::ColumnAllow | PolicyType::ColumnDeny | PolicyType::TableDeny
            )
        };
        self.subject.standing != Standing::Admitted
            || self.catalog.allowlist.is_some()
            || self.catalog.access_mode == AccessMode::PolicyRequired
            || self.subject.policies(&self.catalog).any(hides)
    }

    /// Whether anything may be restricted for the subject.
    pub(crate) fn may_restrict(&self) -> bool {
        self.may_hide() || self.subject.policies(&self.catalog).next().is_some()
    }

    /// Whether the subject is a member of `betweenrows_auditor` or `betweenrows_admin`.
    pub(crate) fn is_auditor(&self) -> bool {
        ["betweenrows_auditor", "betweenrows_admin"].iter().any(|group| {
            // SAFETY: cached catalog lookups.
            crate::pg::role_oid(group)
                .is_some_and(|group| unsafe { pg_sys::is_member_of_role_nosuper(self.subject.role, group) })
        })
    }

    /// The session of another role, for what is judged by the role with whose rights a relation is read.
    pub(crate) fn of_role(&self, role: Oid) -> Session {
        Session::new(self.catalog.clone(), subject_of(&self.catalog, role))
    }
}

/// The catalog, up to date, or `None` when the database does not have the extension.
///
/// # Panics
/// With an error that closes everything, when the catalog is damaged as a whole.
pub(crate) fn catalog() -> Option<Rc<Catalog>> {
    up_to_date().unwrap_or_else(|_| errors::catalog_unreadable())
}

/// As [`catalog`], and `None` when the catalog is damaged: for what must not stand in the way of mending it.
pub(crate) fn readable() -> Option<Rc<Catalog>> {
    up_to_date().unwrap_or(None)
}

fn up_to_date() -> Result<Option<Rc<Catalog>>, String> {
    // SAFETY: reads backend state.
    if unsafe { pg_sys::MyDatabaseId } == Oid::INVALID || !leaf::IsTransactionState() {
        return Ok(None);
    }
    let Some(namespace) = epoch::namespace() else {
        return Ok(None);
    };
    for _ in 0..100 {
        let stale = epoch::take_stale();
        CACHE.with_borrow_mut(|cache| {
            if stale.catalog {
                *cache = Cache::default();
            }
            if stale.subjects {
                cache.subjects.clear();
                cache.relations.clear();
            }
            if stale.relations {
                cache.relations.clear();
            }
            for changed in epoch::take_changed() {
                cache
                    .relations
                    .retain(|(_, _, relid), governance| *relid != changed && !governance.related.contains(&changed));
            }
        });
        if let Some(catalog) = CACHE.with_borrow(|cache| cache.catalog.clone()) {
            return Ok(Some(catalog));
        }
        let catalog = load::catalog(namespace)?;
        CACHE.with_borrow_mut(|cache| cache.catalog = Some(Rc::new(catalog)));
        // Loading took locks and with them invalidations: go round until nothing was marked meanwhile.
    }
    Err("the catalog changes all the time".into())
}

/// Why the catalog cannot be read as a whole, which closes everything.
pub(crate) fn defect() -> Option<String> {
    load::catalog(epoch::namespace()?).err()
}

/// What the current statement is decided with: `None` when nothing is governed for whoever asks.
pub(crate) fn current() -> Option<Session> {
    if let Some(assumed) = ASSUMED.with_borrow(Clone::clone) {
        return assumed;
    }
    match known::asker() {
        Asker::Absent | Asker::Exempt => return None,
        Asker::Subject(_) => return CURRENT.with_borrow(Clone::clone),
        Asker::Unknown => {}
    }
    let changes = known::changes();
    // Decided without the catalog, so that a superuser can mend a damaged one.
    if crate::identity::is_superuser_only() {
        if epoch::is_found() {
            known::learn(changes, Asker::Exempt);
        }
        return None;
    }
    let catalog = catalog()?;
    let Some(role) = crate::identity::subject_role(&catalog) else {
        known::learn(changes, Asker::Exempt);
        return None;
    };
    if access::active() {
        return None;
    }
    let subject = subject_of(&catalog, role);
    let session = Session::new(catalog, subject);
    let hides = session.may_hide();
    if known::learn_subject(changes, role, session.firing.fingerprint.clone()) {
        if !hides {
            known::learn_that_nothing_is_hidden();
        }
        CURRENT.set(Some(session.clone()));
    }
    Some(session)
}

/// Decides as if another session asked (`Some(None)`: one that nothing is governed for), or as usual again (`None`).
pub(crate) fn assume(session: Option<Option<Session>>) {
    known::forget();
    ASSUMED.set(session);
}

/// Whether statements are analysed for somebody else, to be shown.
pub(crate) fn is_assumed() -> bool {
    ASSUMED.with_borrow(Option::is_some)
}

/// The session a given role would have, governed or not.
pub(crate) fn session_of(role: Oid) -> Option<Session> {
    let catalog = catalog()?;
    let subject = subject_of(&catalog, role);
    Some(Session::new(catalog, subject))
}

fn subject_of(catalog: &Rc<Catalog>, role: Oid) -> Rc<Subject> {
    if let Some(found) = CACHE.with_borrow(|cache| cache.subjects.get(&role).cloned()) {
        return found;
    }
    match Subject::load(catalog, role) {
        Ok(subject) => {
            let subject = Rc::new(subject);
            epoch::watch_bucket(&subject.name);
            CACHE.with_borrow_mut(|cache| cache.subjects.insert(role, subject.clone()));
            subject
        }
        Err(_) => errors::catalog_unreadable(),
    }
}
