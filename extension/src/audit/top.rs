//! The client's statement that is running, as far as hooks have seen it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::rc::Rc;

use pgrx::pg_sys::{self, CmdType, NodeTag, PlannedStmt, QueryDesc};

use super::event::{Description, StatementDescription};
use super::{collect, literals, settings};
use crate::guard::frames;
use crate::pg::{leaf, nodes};

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
    stmt: *mut PlannedStmt,
    source: *const c_char,
    location: i32,
    length: i32,
    /// What kind of statement it is, as far as that is known without a plan.
    command: CmdType::Type,
    /// The client's message that it was seen in.
    message: i64,
}

const NOTHING: Top = Top {
    owner: Owner::Pending,
    stmt: std::ptr::null_mut(),
    source: std::ptr::null(),
    location: 0,
    length: 0,
    command: CmdType::CMD_UNKNOWN,
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

impl Top {
    /// A statement that is analysed or planned; `location` and `length` say where it stands in the source.
    pub(super) fn pending(source: *const c_char, location: i32, length: i32, command: CmdType::Type) -> Top {
        Top {
            owner: Owner::Pending,
            stmt: std::ptr::null_mut(),
            source,
            location,
            length,
            command,
            message: leaf::GetCurrentStatementStartTimestamp(),
        }
    }

    /// A utility statement.
    ///
    /// # Safety
    /// The arguments are valid until it ends.
    pub(super) unsafe fn utility(stmt: *mut PlannedStmt, source: *const c_char) -> Top {
        Top {
            owner: Owner::Utility,
            stmt,
            source,
            location: (*stmt).stmt_location,
            length: (*stmt).stmt_len,
            command: (*stmt).commandType,
            message: leaf::GetCurrentStatementStartTimestamp(),
        }
    }

    /// A plan.
    ///
    /// # Safety
    /// `query_desc` is valid until it ends.
    pub(super) unsafe fn plan(query_desc: *mut QueryDesc) -> Top {
        let stmt = (*query_desc).plannedstmt;
        Top {
            owner: Owner::Plan(query_desc),
            stmt,
            source: (*query_desc).sourceText,
            location: (*stmt).stmt_location,
            length: (*stmt).stmt_len,
            command: (*stmt).commandType,
            message: leaf::GetCurrentStatementStartTimestamp(),
        }
    }

    /// What is being run in this message of the client, if anything was seen of it.
    pub(super) fn running(&self) -> Option<Owner> {
        (self.message == leaf::GetCurrentStatementStartTimestamp()).then_some(self.owner)
    }

    /// Whether what is being done is done directly by the client's utility statement of that kind.
    pub(super) unsafe fn is_directly(&self, tag: NodeTag) -> bool {
        self.owner == Owner::Utility && frames::depth() == 1 && nodes::is_a((*self.stmt).utilityStmt, tag)
    }

    /// The description of the statement, which has come to this plan first. `masked` says that it uses a masked column.
    ///
    /// # Safety
    /// The statement is running.
    pub(super) unsafe fn describe(&self, plan: u64, masked: bool) -> Numbered {
        let text = self.text();
        #[allow(clippy::unnecessary_cast, reason = "unsigned before 18")]
        let query_id = if self.stmt.is_null() {
            0
        } else {
            (*self.stmt).queryId as i64
        };
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
        if self.stmt.is_null() {
            // It failed before there was a plan: its first word has to do.
            let text = String::from_utf8_lossy(self.text());
            let word: String = text
                .trim_start()
                .chars()
                .take_while(char::is_ascii_alphabetic)
                .collect();
            return if word.is_empty() {
                "SELECT".to_owned()
            } else {
                word.to_ascii_uppercase()
            };
        }
        let tag = pg_sys::CreateCommandTag((*self.stmt).utilityStmt);
        nodes::string(pg_sys::GetCommandTagName(tag))
    }
}
