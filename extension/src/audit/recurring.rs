//! Statements that come again with other constants: what is told of them is kept, with places for the constants.
//!
//! To print a rewritten statement takes PostgreSQL as long as to plan it, and a client that sends its statements as texts sends
//! the same few over and over.
//!
//! Invariant: what [`recognise`] makes is what describing the statement would make, letter by letter. That depends on
//!
//! * the statement before it is rewritten, which PostgreSQL's `equal` compares. What `equal` leaves out though it is printed is
//!   compared beside ([`Shape::printed`]). A statement with a node that this file does not know is never recognised;
//! * its constants. Only those are places that an operator or an array has as its arguments, where a constant is printed by
//!   itself whatever stands beside it. All constants, those of policies too, are of types that look the same under all settings;
//! * how filters are attached: statements with security barriers are not recognised;
//! * who asks, what the policies are, the catalogs: all is forgotten as soon as a change of any kind is heard of
//!   ([`known::changes`]), and the proof and the current role are compared;
//! * settings, which are compared ([`Surroundings`]).
//!
//! When a description is taken up it is compared once with what it is to take the place of.

mod shape;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::pg_sys::{self, Const, Oid, Query};

use self::shape::{FIRST_MARK, Marked, Shape};
use super::carried::{self, Told};
use super::event::Description;
use super::overrides::Wanted;
use super::settings;
use crate::catalog::{Session, known};
use crate::pg::{leaf, nodes};

/// How many descriptions a session keeps.
const KEPT: usize = 128;
/// How long one may be that is kept.
const LONGEST: usize = 32 * 1024;
/// How many statements are remembered as having been seen once.
const SEEN: usize = 4096;

/// What a description depends on beside the statement.
#[derive(Clone)]
struct Surroundings {
    proof: CString,
    role: Oid,
    search_path: CString,
    quotes_all: bool,
    conforming: bool,
}

/// A description that is kept.
struct Kept {
    /// The statement with marks in its places, in the cache's memory.
    tree: *mut Query,
    printed: Vec<i32>,
    surroundings: Surroundings,
    wanted: Wanted,
    masked: bool,
    /// Whether the text of the statement is in it.
    with_text: bool,
    /// The parts of the description, each with the place that follows it, but for the last.
    parts: Vec<(String, Option<usize>)>,
}

#[derive(Default)]
struct Cache {
    /// The number of changes that the rest holds for.
    changes: u64,
    /// By the hash of the statement; none for one that cannot be kept.
    kept: HashMap<u64, Option<Rc<Kept>>>,
    seen: HashSet<u64>,
    context: Option<pg_sys::MemoryContext>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// A statement that has come at least twice and whose description is to be kept.
pub(super) struct Candidate {
    changes: u64,
    shape: Shape,
    /// With marks, in the memory that the statement is planned in.
    tree: *mut Query,
    surroundings: Surroundings,
}

/// What is known of a statement.
pub(super) enum Recognised {
    /// Its description.
    Told(Told),
    /// Its description would be worth keeping.
    Candidate(Candidate),
    /// Nothing.
    Unknown,
}

/// Looks for the description of a statement.
///
/// # Safety
/// `query` is about to be rewritten without barriers and without regard to what it asks for.
pub(super) unsafe fn recognise(session: &Session, query: *mut Query) -> Recognised {
    // What functions said differs from time to time; literals that are left out are left out of the whole text.
    if settings::REDACT.get() || !session.firing.decisions.is_empty() || session.firing.is_of_query {
        return Recognised::Unknown;
    }
    let Some(shape) = Shape::of(query, session.subject.digest ^ session.firing.digest) else {
        return Recognised::Unknown;
    };
    let Some(changes) = known::settled() else {
        return Recognised::Unknown;
    };
    if CACHE.with_borrow(|cache| cache.changes != changes || cache.kept.len() >= KEPT || cache.seen.len() >= SEEN) {
        forget(changes);
    }
    let (found, seen) = CACHE.with_borrow_mut(|cache| {
        let found = cache.kept.get(&shape.hash).cloned();
        (found, !cache.seen.insert(shape.hash))
    });
    match found {
        Some(None) => return Recognised::Unknown,
        None if !seen => return Recognised::Unknown,
        None => {}
        Some(Some(kept)) => {
            if let Some(told) = kept.tell(session, query, &shape) {
                return Recognised::Told(told);
            }
        }
    }
    let tree = {
        let _marked = Marked::new(query, &shape);
        nodes::copy(query)
    };
    Recognised::Candidate(Candidate {
        changes,
        shape,
        tree,
        surroundings: Surroundings::now(session),
    })
}

impl Candidate {
    /// Keeps what is told of the statement, which is what the description says. `print` makes the text of the statement.
    ///
    /// # Safety
    /// `query` is the statement, which has been rewritten.
    pub(super) unsafe fn keep(
        self,
        query: *mut Query,
        told: &Told,
        description: Description,
        print: impl FnOnce() -> Option<String>,
    ) {
        let kept = self.take_apart(query, told, description, print);
        if self.changes != known::changes() || CACHE.with_borrow(|cache| cache.changes) != self.changes {
            return;
        }
        let kept = kept.map(|mut kept| {
            let old = pg_sys::MemoryContextSwitchTo(context());
            kept.tree = nodes::copy(self.tree);
            pg_sys::MemoryContextSwitchTo(old);
            Rc::new(kept)
        });
        CACHE.with_borrow_mut(|cache| cache.kept.insert(self.shape.hash, kept));
    }

    /// What is to be kept, but for the tree; `None` where the description cannot be put together again.
    unsafe fn take_apart(
        &self,
        query: *mut Query,
        told: &Told,
        mut description: Description,
        print: impl FnOnce() -> Option<String>,
    ) -> Option<Kept> {
        let Description::Plan(plan) = &mut description else {
            return None;
        };
        let with_text = plan.rewritten.is_some();
        // What the policies have put in has to be as well known as the rest.
        let is_known = !with_text || Shape::of(query, 0).is_some();
        if !is_known || with_text != carried::wants_text(told.wanted) || told.json.len() > LONGEST {
            return None;
        }
        let constants = self.shape.constants();
        if with_text {
            let _marked = Marked::new(query, &self.shape);
            plan.rewritten = print();
        }
        let marked = serde_json::to_string(&description).ok()?;
        let kept = Kept {
            tree: std::ptr::null_mut(),
            printed: self.shape.printed.clone(),
            surroundings: self.surroundings.clone(),
            wanted: told.wanted,
            masked: told.masked,
            with_text,
            parts: parts(&marked, if with_text { constants.len() } else { 0 })?,
        };
        (kept.json(&constants) == told.json).then_some(kept)
    }
}

/// Forgets everything: what is kept from now on holds for this number of changes.
unsafe fn forget(changes: u64) {
    let context = CACHE.with_borrow_mut(|cache| {
        cache.changes = changes;
        cache.kept.clear();
        cache.seen.clear();
        cache.context
    });
    if let Some(context) = context {
        pg_sys::MemoryContextReset(context);
    }
}

/// The memory that statements are kept in.
unsafe fn context() -> pg_sys::MemoryContext {
    let known = CACHE.with_borrow(|cache| cache.context);
    known.unwrap_or_else(|| {
        let context = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CacheMemoryContext,
            c"betweenrows recurring statements".as_ptr(),
            0,
            8 * 1024,
            8 * 1024 * 1024,
        );
        CACHE.with_borrow_mut(|cache| cache.context = Some(context));
        context
    })
}

impl Kept {
    /// The description of a statement, if it is this one.
    unsafe fn tell(&self, session: &Session, query: *mut Query, shape: &Shape) -> Option<Told> {
        if self.with_text != carried::wants_text(self.wanted)
            || self.printed != shape.printed
            || !self.surroundings.are_those_of(session)
        {
            return None;
        }
        let constants = shape.constants();
        let same = {
            let _marked = Marked::new(query, shape);
            pg_sys::equal(self.tree.cast(), query.cast())
        };
        if !same {
            return None;
        }
        let json = self.json(&constants);
        // One that is not too long as a whole has no text that is cut.
        (json.len() <= settings::TEXT_SIZE.get() as usize).then_some(Told {
            wanted: self.wanted,
            masked: self.masked,
            json,
        })
    }

    /// The description with these constants.
    unsafe fn json(&self, constants: &[*mut Const]) -> String {
        let texts: Vec<String> = constants.iter().map(|constant| text(*constant)).collect();
        let size = |(part, place): &(String, Option<usize>)| part.len() + place.map_or(0, |place| texts[place].len());
        let mut json = String::with_capacity(self.parts.iter().map(size).sum());
        for (part, place) in &self.parts {
            json.push_str(part);
            if let Some(place) = place {
                json.push_str(&texts[*place]);
            }
        }
        json
    }
}

/// A constant as a description has it.
unsafe fn text(constant: *mut Const) -> String {
    let value = (*constant).constvalue.value() as i32;
    if (*constant).consttype == pg_sys::INT4OID && !(*constant).constisnull && value >= 0 {
        return value.to_string();
    }
    let text = nodes::string(pg_sys::deparse_expression(
        constant.cast(),
        std::ptr::null_mut(),
        false,
        false,
    ));
    let quoted = serde_json::to_string(&text).expect("a text");
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// The parts of a description between its marks, of which there are so many; `None` when one is missing.
fn parts(marked: &str, marks: usize) -> Option<Vec<(String, Option<usize>)>> {
    let mut places: Vec<(usize, usize, usize)> = Vec::new();
    for mark in 0..marks {
        let text = format!("${}", FIRST_MARK + i32::try_from(mark).ok()?);
        let before = places.len();
        places.extend(marked.match_indices(&text).map(|(at, _)| (at, at + text.len(), mark)));
        if places.len() == before {
            return None;
        }
    }
    places.sort_unstable();
    let mut parts = Vec::with_capacity(places.len() + 1);
    let mut from = 0;
    for (at, end, mark) in places {
        parts.push((marked.get(from..at)?.to_owned(), Some(mark)));
        from = end;
    }
    parts.push((marked[from..].to_owned(), None));
    Some(parts)
}

impl Surroundings {
    fn now(session: &Session) -> Self {
        // SAFETY: reads settings.
        unsafe {
            Surroundings {
                proof: session.proof().to_owned(),
                role: leaf::GetUserId(),
                search_path: search_path().to_owned(),
                quotes_all: pg_sys::quote_all_identifiers,
                conforming: pg_sys::standard_conforming_strings,
            }
        }
    }

    fn are_those_of(&self, session: &Session) -> bool {
        // SAFETY: reads settings.
        unsafe {
            self.proof.as_c_str() == session.proof()
                && self.role == leaf::GetUserId()
                && self.search_path.as_c_str() == search_path()
                && self.quotes_all == pg_sys::quote_all_identifiers
                && self.conforming == pg_sys::standard_conforming_strings
        }
    }
}

/// # Safety
/// The result is not used after the setting has changed.
unsafe fn search_path<'a>() -> &'a CStr {
    let path = pg_sys::namespace_search_path;
    if path.is_null() { c"" } else { CStr::from_ptr(path) }
}
