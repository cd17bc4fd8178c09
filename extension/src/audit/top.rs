//! The client's statement that is running, as far as hooks have seen it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::rc::Rc;

use pgrx::pg_sys::{self, CmdType, Node, NodeTag, PlannedStmt, Query, QueryDesc};

use super::event::{Description, StatementDescription};
use super::text::command;
use super::{collect, literals, settings};
use crate::guard::frames;
use crate::pg::{leaf, list, nodes};

/// What is being run for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// Nothing is known yet: the statement is analysed or planned.
    Pending,
    /// A utility statement.
    Utility,
    /// A plan, which may belong to a portal that is run in several turns.
    Plan(*mut QueryDesc),
}

/// The client's statement. The pointers are valid while it runs.
#[derive(Clone, Copy)]
pub(super) struct Top {
    /// What is being run.
    pub(super) owner: Owner,
    source: *const c_char,
    location: i32,
    length: i32,
    /// What kind of statement it is.
    command: CmdType::Type,
    /// The same for those without a plan.
    utility: *mut Node,
    /// PostgreSQL's id of the statement, or 0.
    query_id: i64,
    /// The client's message that it was seen in.
    message: i64,
}

const NOTHING: Top = Top {
    owner: Owner::Pending,
    source: std::ptr::null(),
    location: 0,
    length: 0,
    command: CmdType::CMD_UNKNOWN,
    utility: std::ptr::null_mut(),
    query_id: 0,
    message: 0,
};

/// A description of a statement, with its number.
pub(super) type Numbered = (u64, Rc<[u8]>);

/// A statement that was described: its text, and what was made of it.
struct Described {
    text: Box<[u8]>,
    query_id: i64,
    redacted: bool,
    numbered: Numbered,
}

/// How many descriptions of statements a session keeps in mind, so as not to make and write them again.
const DESCRIPTIONS: usize = 256;

thread_local! {
    static TOP: Cell<Top> = const { Cell::new(NOTHING) };
    /// By the plan that the statement came to first.
    static KNOWN: RefCell<BTreeMap<u64, Described>> = RefCell::default();
}

/// The client's statement.
pub(super) fn get() -> Top {
    TOP.get()
}

/// Another one takes its place.
pub(super) fn set(top: Top) -> Top {
    TOP.replace(top)
}

/// It has ended.
pub(super) fn clear() {
    TOP.set(NOTHING);
}

/// The statement that stands in the source for a plan: what a rule made of one stands nowhere itself.
unsafe fn placed(stmt: *mut PlannedStmt) -> *mut PlannedStmt {
    let portal = pg_sys::ActivePortal;
    if (*stmt).stmt_location >= 0 || portal.is_null() {
        return stmt;
    }
    let all = || list::iter::<PlannedStmt>((*portal).stmts);
    let own = all().any(|other| other == stmt);
    all().find(|other| own && (**other).stmt_location >= 0).unwrap_or(stmt)
}

#[allow(clippy::unnecessary_cast, reason = "unsigned before 18")]
impl Top {
    /// A statement that is analysed or planned.
    ///
    /// # Safety
    /// The arguments are valid until that ends.
    pub(super) unsafe fn pending(source: *const c_char, query: *mut Query) -> Top {
        Top {
            source,
            command: (*query).commandType,
            utility: (*query).utilityStmt,
            query_id: (*query).queryId as i64,
            ..Top::unknown((*query).stmt_location, (*query).stmt_len)
        }
    }

    /// A statement of which nothing is known but where it stands in the source, which is the client's message.
    pub(super) fn unknown(location: i32, length: i32) -> Top {
        Top {
            location,
            length,
            message: leaf::GetCurrentStatementStartTimestamp(),
            ..NOTHING
        }
    }

    /// A utility statement.
    ///
    /// # Safety
    /// The arguments are valid until it ends.
    pub(super) unsafe fn utility(stmt: *mut PlannedStmt, source: *const c_char) -> Top {
        Top {
            owner: Owner::Utility,
            source,
            location: (*stmt).stmt_location,
            length: (*stmt).stmt_len,
            command: (*stmt).commandType,
            utility: (*stmt).utilityStmt,
            query_id: (*stmt).queryId as i64,
            message: leaf::GetCurrentStatementStartTimestamp(),
        }
    }

    /// A plan.
    ///
    /// # Safety
    /// `query_desc` is valid until it ends.
    pub(super) unsafe fn plan(query_desc: *mut QueryDesc) -> Top {
        let stmt = (*query_desc).plannedstmt;
        let placed = placed(stmt);
        Top {
            owner: Owner::Plan(query_desc),
            source: (*query_desc).sourceText,
            location: (*placed).stmt_location,
            length: (*placed).stmt_len,
            command: (*stmt).commandType,
            utility: (*stmt).utilityStmt,
            query_id: (*stmt).queryId as i64,
            message: leaf::GetCurrentStatementStartTimestamp(),
        }
    }

    /// What is being run in this message of the client, if anything was seen of it.
    pub(super) fn running(&self) -> Option<Owner> {
        (self.message == leaf::GetCurrentStatementStartTimestamp()).then_some(self.owner)
    }

    /// Whether what is being done is done directly by the client's utility statement of that kind.
    pub(super) unsafe fn is_directly(&self, tag: NodeTag) -> bool {
        self.owner == Owner::Utility && frames::depth() == 1 && nodes::is_a(self.utility, tag)
    }

    /// The description of the statement, which has come to this plan first. `masked` says that it uses a masked column.
    ///
    /// # Safety
    /// The statement is running.
    pub(super) unsafe fn describe(&self, plan: u64, masked: bool) -> Numbered {
        let text = self.text();
        let query_id = self.query_id;
        let redacted = masked && settings::REDACT.get();
        KNOWN.with_borrow_mut(|known| {
            if let Some(found) = known
                .get(&plan)
                .filter(|found| *found.text == *text && found.query_id == query_id && found.redacted == redacted)
            {
                return found.numbered.clone();
            }
            let description = Description::Statement(StatementDescription {
                kind: self.kind(),
                query: literals::shorten(String::from_utf8_lossy(text).trim(), masked),
                query_id: (query_id != 0).then_some(query_id),
                redacted,
            });
            let json = serde_json::to_vec(&description).unwrap_or_default();
            let numbered: Numbered = (collect::next_number(), json.into());
            if known.len() >= DESCRIPTIONS {
                known.clear();
            }
            let described = Described {
                text: text.into(),
                query_id,
                redacted,
                numbered: numbered.clone(),
            };
            known.insert(plan, described);
            numbered
        })
    }

    /// Its part of the source: a location of -1 stands for the beginning, a length of 0 for the rest.
    unsafe fn text(&self) -> &[u8] {
        let source = if self.source.is_null() {
            pg_sys::debug_query_string
        } else {
            self.source
        };
        if source.is_null() {
            return b"";
        }
        let text = CStr::from_ptr(source).to_bytes();
        let from = usize::try_from(self.location).unwrap_or(0);
        let to = match usize::try_from(self.length) {
            Ok(length) if length > 0 => from + length,
            _ => text.len(),
        };
        text.get(from..to).unwrap_or(text)
    }

    unsafe fn kind(&self) -> String {
        use pg_sys::CmdType::*;
        let name = match self.command {
            CMD_SELECT => "SELECT",
            CMD_INSERT => "INSERT",
            CMD_UPDATE => "UPDATE",
            CMD_DELETE => "DELETE",
            CMD_MERGE => "MERGE",
            _ => "",
        };
        if !name.is_empty() {
            return name.to_owned();
        }
        if self.utility.is_null() {
            // It could not be analysed: its words have to do.
            return command(&String::from_utf8_lossy(self.text()));
        }
        let tag = pg_sys::CreateCommandTag(self.utility);
        nodes::string(pg_sys::GetCommandTagName(tag))
    }
}
