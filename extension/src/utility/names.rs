//! The relations that utility statements name.
//!
//! Invariant: a relation that does not exist for the subject is reported as PostgreSQL reports a missing one: the same
//! SQLSTATE and wording, and the position where the statement has one. Inside functions and procedures, where a statement
//! may be meant for somebody else's eyes, it is refused without a name.

use std::ffi::c_char;
use std::rc::Rc;

use pgrx::pg_sys::{self, List, Node, NodeTag, Oid, RangeVar};
use pgrx::prelude::*;

use crate::catalog::Session;
use crate::catalog::governance::{Column, Governance, Reading, State};
use crate::guard::frames;
use crate::pg::walk::{self, Walk};
use crate::pg::{self, list, nodes, objects, privileges, report};
use crate::{audit, errors, rewrite};

/// What a name stands for, for a subject.
pub(super) enum Found {
    /// Nothing: PostgreSQL says so itself, or the name is to be given to something new.
    Nothing,
    /// A relation that policies leave alone; one that they are about nevertheless is given.
    Free(Option<Rc<Governance>>),
    /// A relation that does not exist for the subject.
    Hidden,
    /// A relation that policies restrict.
    Restricted(Restricted),
}

/// A relation that policies restrict for a subject.
pub(super) struct Restricted {
    /// How.
    pub(super) governance: Rc<Governance>,
    /// Whether being hidden by default does not count.
    pub(super) waived: bool,
}

impl Restricted {
    /// The columns that exist for the subject.
    pub(super) fn columns(&self) -> impl Iterator<Item = &Column> {
        self.governance
            .columns
            .iter()
            .filter(|column| !column.facts.dropped && self.reading(column) != Reading::Hidden)
    }

    /// What the subject gets for a column.
    pub(super) fn reading(&self, column: &Column) -> Reading {
        column.reading(self.waived)
    }

    /// Whether a statement about the relation has to be refused here: PostgreSQL's own privileges would let it run, or its
    /// message might tell about a hidden column before it comes to them.
    pub(super) fn is_in_reach(&self) -> bool {
        self.hides_columns() || privileges::reach(self.governance.relid)
    }

    /// Whether there are columns that do not exist for the subject.
    pub(super) fn hides_columns(&self) -> bool {
        self.governance.hidden_columns(self.waived).next().is_some()
    }

    /// Refuses a column that does not exist for the subject.
    pub(super) fn refuse_hidden_column(&self, column: &str) {
        let mut hidden = self.governance.hidden_columns(self.waived);
        if hidden.any(|hidden| hidden.facts.name == column) {
            let relation = pg::relation_name(self.governance.relid).map_or_else(String::new, |(_, name)| name);
            errors::missing_column(column, &relation);
        }
    }
}

/// Looks a name up; an index stands for its table.
///
/// # Safety
/// `name` is a valid RangeVar.
pub(super) unsafe fn look(session: &Session, name: *mut RangeVar) -> Found {
    match resolve(name).and_then(|relid| objects::relation_of((pg_sys::RelationRelationId, relid))) {
        Some(relid) => judge(session, relid),
        None => Found::Nothing,
    }
}

/// The relation of a name, without locking it.
///
/// # Safety
/// `name` is a valid RangeVar.
pub(super) unsafe fn resolve(name: *mut RangeVar) -> Option<Oid> {
    let relid = pg_sys::RangeVarGetRelidExtended(
        name,
        pg_sys::NoLock as _,
        pg_sys::RVROption::RVR_MISSING_OK,
        None,
        std::ptr::null_mut(),
    );
    (relid != Oid::INVALID).then_some(relid)
}

/// What a relation is for a subject.
pub(super) fn judge(session: &Session, relid: Oid) -> Found {
    let governance = session.governance(relid);
    let waived = rewrite::is_waived_for(session, Oid::INVALID, relid);
    if governance.state != State::Open {
        audit::collect::consider(session, &governance, waived);
    }
    match governance.state {
        State::Open => Found::Free(Some(governance).filter(|governance| governance.noted)),
        State::Governed | State::Broken if !governance.exists(waived) => Found::Hidden,
        State::Governed if governance.is_unrestricted(waived) => Found::Free(Some(governance)),
        _ => Found::Restricted(Restricted { governance, waived }),
    }
}

/// A name as PostgreSQL writes it in messages.
///
/// # Safety
/// `name` is a valid RangeVar.
pub(super) unsafe fn text(name: *mut RangeVar) -> String {
    let relation = nodes::string((*name).relname);
    match nodes::string((*name).schemaname) {
        schema if schema.is_empty() => relation,
        schema => format!("{schema}.{relation}"),
    }
}

/// Reports a hidden relation as missing. With a `source` the error has the position of the name in it.
///
/// # Safety
/// `name` is a valid RangeVar, `source` NULL or the text of the statement.
pub(super) unsafe fn raise_missing(name: *mut RangeVar, source: *const c_char) -> ! {
    if frames::nested() {
        errors::denied();
    }
    let message = format!("relation \"{}\" does not exist", text(name));
    if source.is_null() {
        errors::missing_relation(message);
    }
    audit::refused();
    let pstate = pg_sys::make_parsestate(std::ptr::null_mut());
    (*pstate).p_sourcetext = source;
    report::parser_error(
        pstate,
        PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        &message,
        (*name).location,
    )
}

/// The name that a list of strings makes, like `{schema, relation}`.
///
/// # Safety
/// `names` is a list of one to three String nodes.
pub(super) unsafe fn from_list(names: *mut List) -> *mut RangeVar {
    pg_sys::makeRangeVarFromNameList(names)
}

/// The name that a list of strings makes without its last element, which names something inside the relation.
///
/// # Safety
/// `names` is a list of String nodes.
pub(super) unsafe fn from_list_without_last(names: *mut List) -> Option<(*mut RangeVar, String)> {
    let length = list::len(names);
    if length < 2 {
        return None;
    }
    let last: *mut pg_sys::String = list::nth(names, length - 1);
    let relation = pg_sys::list_truncate(pg_sys::list_copy(names), length as i32 - 1);
    Some((from_list(relation), nodes::string((*last).sval)))
}

/// Reports hidden relations in raw statements that no analysis of ours will see, like the actions of a rule.
///
/// # Safety
/// `tree` is NULL, a raw expression or statement, or a list of such, `source` the text of the statement.
pub(super) unsafe fn refuse_hidden_in(session: &Session, tree: *mut Node, source: *const c_char) {
    use NodeTag::*;
    if tree.is_null() {
        return;
    }
    match nodes::tag(tree) {
        T_List => {
            for element in list::iter::<Node>(tree.cast()) {
                refuse_hidden_in(session, element, source);
            }
        }
        T_ReturnStmt => refuse_hidden_in(session, (*tree.cast::<pg_sys::ReturnStmt>()).returnval, source),
        // Names no relation, and PostgreSQL's walker does not know it.
        T_NotifyStmt => {}
        _ => refuse_hidden_below(session, tree, source),
    }
}

unsafe fn refuse_hidden_below(session: &Session, tree: *mut Node, source: *const c_char) {
    let mut with_names = Vec::new();
    walk::walk_raw(tree, &mut |node, _| {
        if nodes::is_a(node, NodeTag::T_CommonTableExpr) {
            with_names.push(nodes::string((*node.cast::<pg_sys::CommonTableExpr>()).ctename));
        }
        Walk::Into
    });
    walk::walk_raw(tree, &mut |node, _| {
        if nodes::is_a(node, NodeTag::T_RangeVar) {
            let name = node.cast::<RangeVar>();
            let is_with = (*name).schemaname.is_null() && with_names.contains(&nodes::string((*name).relname));
            if !is_with && matches!(look(session, name), Found::Hidden) {
                raise_missing(name, source);
            }
        }
        Walk::Into
    });
}

/// The schemas of a list of names that there are.
///
/// # Safety
/// `names` is a list of String nodes.
pub(super) unsafe fn schemas(names: *mut List) -> impl Iterator<Item = Oid> {
    list::iter::<pg_sys::String>(names)
        .map(|name| pg_sys::get_namespace_oid((*name).sval, true))
        .filter(|schema| *schema != Oid::INVALID)
}

/// The object that a statement names, `None` when there is none.
///
/// # Safety
/// `object` is what the parser makes for this kind of object.
pub(super) unsafe fn object(kind: pg_sys::ObjectType::Type, object: *mut Node) -> Option<objects::Object> {
    let mut relation: pg_sys::Relation = std::ptr::null_mut();
    let address = pg_sys::get_object_address(kind, object, &mut relation, pg_sys::AccessShareLock as _, true);
    if !relation.is_null() {
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as _);
    }
    (address.objectId != Oid::INVALID).then_some((address.classId, address.objectId))
}
