//! Naming: for a statement of the client, what is hidden does not exist.
//!
//! A statement that mentions something hidden is analysed once more while hidden tables are out of reach ([`super::missing`])
//! and the descriptors of other relations show hidden columns as dropped. The parser then does everything right by itself:
//! stars, NATURAL joins, insert column lists and errors with their position. Descriptors are this backend's own, nothing
//! else runs meanwhile, and they are restored in any case.
//!
//! This layer is no boundary: whatever it misses reads NULL or fails in [`super::secure`].

use std::rc::Rc;

use pgrx::pg_sys::{self, Node, NodeTag, Oid, ParseState, Query, RTEKind, RangeTblEntry, RangeVar, RawStmt};

use super::{missing, whole_row};
use crate::catalog::governance::{Governance, State};
use crate::catalog::known::{self, Asker};
use crate::catalog::{self, Session};
use crate::gate;
use crate::guard::frames;
use crate::pg::walk::{self, Walk};
use crate::pg::{self, leaf, list, nodes, relation};
use crate::{audit, errors};

/// Does what has to be done with a statement that was just analysed, when it is known that naming has nothing to do with it;
/// returns whether it is. Called outside pgrx's guard.
///
/// # Safety
/// `query` is the argument of `post_parse_analyze_hook`.
pub(crate) unsafe fn is_done(query: *mut Query) -> bool {
    let nested = frames::nested();
    let done = match known::asker() {
        Asker::Unknown => return false,
        Asker::Absent => return true,
        Asker::Exempt => true,
        Asker::Subject(_) => {
            let top = analysed_query(query);
            let hides_rows = || known::hides() && walk::any_node(top, may_be_row);
            nested || top.is_null() || (known::is_shown_query(top) && !hides_rows())
        }
    };
    if done && mark_role_dependency(query) && !nested {
        missing::note_analysed(query);
    }
    done
}

/// The query itself, or the one inside a utility statement; NULL when there is none.
unsafe fn analysed_query(query: *mut Query) -> *mut Query {
    if (*query).commandType == pg_sys::CmdType::CMD_UTILITY {
        leaf::UtilityContainsQuery((*query).utilityStmt)
    } else {
        query
    }
}

/// Treats a statement that was just analysed, in place.
///
/// # Safety
/// The arguments are those of `post_parse_analyze_hook`.
pub(crate) unsafe fn apply(pstate: *mut ParseState, query: *mut Query) {
    if !catalog::epoch::is_installed() {
        return;
    }
    if !mark_role_dependency(query) {
        return;
    }
    if frames::nested() && !catalog::is_assumed() {
        return;
    }
    missing::note_analysed(query);
    let Some(session) = catalog::current() else { return };
    if session.catalog.is_empty() {
        return;
    }
    let top = analysed_query(query);
    let session = if top.is_null() {
        session
    } else {
        gate::for_query(&session, top)
    };
    let hidden = Hidden::in_query(&session, query);
    if !hidden.is_empty() {
        let tables = [hidden.tables.clone(), hidden.row_types.clone()].concat();
        let columns = [hidden.columns.clone(), hidden.rows.clone()].concat();
        audit::conceals(&session, tables, columns);
        analyse_again(pstate, query, &hidden);
        audit::concealed();
    }
}

/// Lets the plan cache make saved plans anew when the current role changes. The flag is read from the analysed tree only.
/// Returns false for a query that has it already: EXPLAIN, and from 18 on CREATE TABLE AS and DECLARE CURSOR, present the
/// query inside them once more when they run. It was treated with the statement around it, and is not one that
/// [`parse_again`] would find in the source text.
unsafe fn mark_role_dependency(query: *mut Query) -> bool {
    let target = analysed_query(query);
    if target.is_null() {
        return true;
    }
    if (*target).hasRowSecurity {
        return false;
    }
    // Nothing to govern, and PL/pgSQL evaluates such an expression without the executor only while it is unmarked.
    if (*target).rtable.is_null() && (*target).cteList.is_null() && !(*target).hasSubLinks {
        return true;
    }
    (*target).hasRowSecurity = true;
    true
}

/// What a statement mentions that does not exist for the subject.
#[derive(Default)]
pub(super) struct Hidden {
    /// Tables.
    pub(super) tables: Vec<Oid>,
    /// Columns of tables that exist.
    pub(super) columns: Vec<(Oid, Vec<i16>)>,
    /// Tables whose row types it has values of, without being about the tables, and their hidden columns.
    rows: Vec<(Oid, Vec<i16>)>,
    /// Those of them that are hidden as a whole.
    pub(super) row_types: Vec<Oid>,
}

impl Hidden {
    /// In an analysed statement.
    unsafe fn in_query(session: &Session, query: *mut Query) -> Self {
        let mut hidden = Hidden::default();
        let top = analysed_query(query);
        if !top.is_null() {
            walk::any_query(top, &mut |query| {
                for rte in list::iter::<RangeTblEntry>((*query).rtable) {
                    if (*rte).rtekind == RTEKind::RTE_RELATION {
                        hidden.add(session, (*rte).relid);
                    }
                }
                false
            });
            if session.may_hide() {
                hidden.add_row_types(session, top);
            }
        }
        hidden
    }

    /// In a raw statement.
    pub(super) unsafe fn in_raw(session: &Session, stmt: *mut Node) -> Self {
        let mut hidden = Hidden::default();
        walk::walk_raw(stmt, &mut |node, _| {
            if nodes::is_a(node, NodeTag::T_RangeVar) {
                hidden.add(session, resolve(node.cast()));
            } else if nodes::is_a(node, NodeTag::T_TypeName) {
                hidden.add_row_type(session, resolve_type(node.cast()), false);
            }
            Walk::Into
        });
        hidden
    }

    /// The row types of all expressions. Rows that the subject did not make come from a relation or a function: what a trusted
    /// one returns is shown, and what is hidden by default may be read by others for the subject.
    unsafe fn add_row_types(&mut self, session: &Session, query: *mut Query) {
        let trusts = walk::walk(query.cast(), &mut |node, _| {
            let trusted = nodes::is_a(node, NodeTag::T_FuncExpr) && {
                let function = (*node.cast::<pg_sys::FuncExpr>()).funcid;
                session
                    .catalog
                    .trusted
                    .contains(&(pg_sys::ProcedureRelationId, function))
            };
            if trusted { Walk::Stop } else { Walk::Into }
        });
        walk::walk(query.cast(), &mut |node, _| {
            use NodeTag::*;
            let given = matches!(
                nodes::tag(node),
                T_Var | T_Param | T_FuncExpr | T_FieldSelect | T_Aggref | T_WindowFunc
            );
            if !(given && trusts) {
                self.add_row_type(session, own_type(node), given);
            }
            Walk::Into
        });
    }

    unsafe fn add_row_type(&mut self, session: &Session, oid: Oid, given: bool) {
        if pg::is_builtin(oid) {
            return;
        }
        let relid = row_relation(oid);
        let known = |(known, _): &(Oid, Vec<i16>)| *known == relid;
        if relid == Oid::INVALID || self.rows.iter().any(known) {
            return;
        }
        let mut found = Hidden::default();
        found.add_as(session, relid, given);
        if !found.tables.is_empty() {
            let columns = relation::columns(relid).into_iter().filter(|column| !column.dropped);
            let columns = columns.map(|column| column.attno).collect();
            self.row_types.push(relid);
            self.rows.push((relid, columns));
        }
        self.rows.append(&mut found.columns);
    }

    unsafe fn add(&mut self, session: &Session, relid: Oid) {
        self.add_as(session, relid, false);
    }

    /// With `given`, the subject did not name the relation: what is hidden by default counts only where it is read.
    unsafe fn add_as(&mut self, session: &Session, relid: Oid, given: bool) {
        if pg::is_builtin(relid) {
            return;
        }
        let governance: Rc<Governance> = session.governance(relid);
        if governance.state != State::Governed && governance.state != State::Broken {
            session.is_open(relid);
            return;
        }
        let waived = given || super::is_waived_for(session, Oid::INVALID, relid);
        if !governance.exists(waived) {
            self.tables.push(relid);
            return;
        }
        let columns: Vec<i16> = governance
            .hidden_columns(waived)
            .map(|column| column.facts.attno)
            .collect();
        if columns.is_empty() {
            // What is shown for one statement need not be for the next.
            if !given && !session.firing.is_of_query {
                known::learn_shown(session.subject.role, relid);
            }
        } else if self.columns.iter().all(|(known, _)| *known != relid) {
            self.columns.push((relid, columns));
        }
    }

    /// Whether everything that the statement mentions exists.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.columns.is_empty() && self.rows.is_empty()
    }

    /// Shows the columns as dropped until the result is dropped. `lock` is taken on their tables; none when the statement
    /// has locked them.
    pub(super) unsafe fn conceal_columns(&self, lock: u32) -> Vec<Patch> {
        // A table that is shown by its columns and its row type is treated once.
        let rows = self
            .rows
            .iter()
            .filter(|(relid, _)| self.columns.iter().all(|(known, _)| known != relid));
        let rows = rows.map(|(relid, columns)| Patch::apply(*relid, columns, pg_sys::AccessShareLock));
        self.columns
            .iter()
            .map(|(relid, columns)| Patch::apply(*relid, columns, lock))
            .chain(rows)
            .collect()
    }
}

/// The relation that a name stands for, invalid for none.
pub(super) unsafe fn resolve(name: *mut RangeVar) -> Oid {
    let none = std::ptr::null_mut();
    pg_sys::RangeVarGetRelidExtended(name, pg_sys::NoLock as _, pg_sys::RVROption::RVR_MISSING_OK, None, none)
}

/// The type that a name stands for, invalid for none.
pub(super) unsafe fn resolve_type(name: *mut pg_sys::TypeName) -> Oid {
    if (*name).pct_type || (*name).names.is_null() {
        return Oid::INVALID;
    }
    pg_sys::LookupTypeNameOid(std::ptr::null_mut(), name, true)
}

/// The relation whose rows are the values of a type, the elements of an array or what a domain is about; invalid for none.
pub(super) unsafe fn row_relation(oid: Oid) -> Oid {
    if oid == Oid::INVALID {
        return oid;
    }
    let base = pg_sys::getBaseType(oid);
    let element = pg_sys::get_element_type(base);
    pg_sys::typeOrDomainTypeRelid(if element == Oid::INVALID { base } else { element })
}

/// The type of the values of an expression, of those kinds that do not take it over from what is below them; invalid for
/// others. Raises nothing.
unsafe fn own_type(node: *mut Node) -> Oid {
    use NodeTag::*;
    match nodes::tag(node) {
        T_Var => (*node.cast::<pg_sys::Var>()).vartype,
        T_Const => (*node.cast::<pg_sys::Const>()).consttype,
        T_Param => (*node.cast::<pg_sys::Param>()).paramtype,
        T_FuncExpr => (*node.cast::<pg_sys::FuncExpr>()).funcresulttype,
        T_OpExpr => (*node.cast::<pg_sys::OpExpr>()).opresulttype,
        T_Aggref => (*node.cast::<pg_sys::Aggref>()).aggtype,
        T_WindowFunc => (*node.cast::<pg_sys::WindowFunc>()).wintype,
        T_FieldSelect => (*node.cast::<pg_sys::FieldSelect>()).resulttype,
        T_RowExpr => (*node.cast::<pg_sys::RowExpr>()).row_typeid,
        T_CoerceViaIO => (*node.cast::<pg_sys::CoerceViaIO>()).resulttype,
        T_ArrayCoerceExpr => (*node.cast::<pg_sys::ArrayCoerceExpr>()).resulttype,
        T_ConvertRowtypeExpr => (*node.cast::<pg_sys::ConvertRowtypeExpr>()).resulttype,
        T_CoerceToDomain => (*node.cast::<pg_sys::CoerceToDomain>()).resulttype,
        _ => Oid::INVALID,
    }
}

/// Whether the values of an expression may be rows of a table that is not PostgreSQL's own. Raises nothing.
unsafe fn may_be_row(node: *mut Node) -> bool {
    !pg::is_builtin(own_type(node))
}

/// A raw statement.
struct Parsed {
    raw: *mut RawStmt,
    /// Whether its rows go to the client, so that nothing depends on the types of its columns.
    plain: bool,
}

/// The statement's raw tree, made anew from the source text: the one that was analysed has been scribbled on.
unsafe fn parse_again(pstate: *mut ParseState, query: *mut Query) -> Option<Parsed> {
    if (*pstate).p_sourcetext.is_null() {
        return None;
    }
    let stmts = pg_sys::raw_parser((*pstate).p_sourcetext, pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
    let location = (*query).stmt_location.max(0);
    let stmt = list::iter::<RawStmt>(stmts).find(|stmt| (**stmt).stmt_location == location)?;
    let inner = inner_statement((*stmt).stmt, (*query).commandType == pg_sys::CmdType::CMD_UTILITY);
    let raw = nodes::make::<RawStmt>(NodeTag::T_RawStmt);
    (*raw).stmt = inner;
    (*raw).stmt_location = (*stmt).stmt_location;
    (*raw).stmt_len = (*stmt).stmt_len;
    let plain = (*stmt).stmt == inner
        && nodes::is_a(inner, NodeTag::T_SelectStmt)
        && (*inner.cast::<pg_sys::SelectStmt>()).intoClause.is_null();
    Some(Parsed { raw, plain })
}

/// The part of a utility statement that is analysed as a statement of its own.
unsafe fn inner_statement(stmt: *mut Node, utility: bool) -> *mut Node {
    if utility {
        return stmt;
    }
    match nodes::tag(stmt) {
        NodeTag::T_ViewStmt => (*stmt.cast::<pg_sys::ViewStmt>()).query,
        NodeTag::T_PrepareStmt => inner_statement((*stmt.cast::<pg_sys::PrepareStmt>()).query, false),
        NodeTag::T_CopyStmt => (*stmt.cast::<pg_sys::CopyStmt>()).query,
        NodeTag::T_ExplainStmt => inner_statement((*stmt.cast::<pg_sys::ExplainStmt>()).query, false),
        NodeTag::T_CreateTableAsStmt => inner_statement((*stmt.cast::<pg_sys::CreateTableAsStmt>()).query, false),
        NodeTag::T_DeclareCursorStmt => (*stmt.cast::<pg_sys::DeclareCursorStmt>()).query,
        _ => stmt,
    }
}

/// The statement whose names are resolved by analysis, inside whatever contains it.
pub(super) unsafe fn analysed_statement(stmt: *mut Node) -> *mut Node {
    let inner = inner_statement(stmt, false);
    if inner.is_null() { stmt } else { inner }
}

/// Analyses the statement without what is hidden and puts the result in the place of `query`.
unsafe fn analyse_again(pstate: *mut ParseState, query: *mut Query, hidden: &Hidden) {
    let Some(Parsed { raw, plain }) = parse_again(pstate, query) else {
        return hidden.tables.first().map_or((), |table| missing::raise(pstate, *table));
    };
    if hidden.tables.is_empty() {
        refuse_insert_without_columns((*raw).stmt, &hidden.columns);
    }
    missing::refuse_types(pstate, analysed_statement((*raw).stmt), &hidden.row_types);
    missing::conceal_tables(analysed_statement((*raw).stmt), &hidden.tables);
    let own = pg_sys::make_parsestate(std::ptr::null_mut());
    (*own).p_sourcetext = (*pstate).p_sourcetext;
    (*own).p_queryEnv = (*pstate).p_queryEnv;
    (*own).p_pre_columnref_hook = (*pstate).p_pre_columnref_hook;
    (*own).p_post_columnref_hook = (*pstate).p_post_columnref_hook;
    if is_explain(query) {
        fix_parameters(own, query);
    } else {
        (*own).p_paramref_hook = (*pstate).p_paramref_hook;
        (*own).p_coerce_param_hook = (*pstate).p_coerce_param_hook;
        (*own).p_ref_hook_state = (*pstate).p_ref_hook_state;
    }
    let concealing = missing::Concealing::begin();
    let patches = hidden.conceal_columns(pg_sys::NoLock);
    let analysed = pg_sys::transformTopLevelStmt(own, raw);
    drop((patches, concealing));
    pg_sys::free_parsestate(own);
    if let Some(table) = hidden.tables.first() {
        missing::raise(pstate, *table);
    }
    (*analysed).queryId = (*query).queryId;
    (*analysed).stmt_location = (*query).stmt_location;
    (*analysed).stmt_len = (*query).stmt_len;
    let top = analysed_query(analysed);
    if !top.is_null() {
        whole_row::replace(top, &hidden.columns, plain);
    }
    *query = *analysed;
    mark_role_dependency(query);
}

unsafe fn is_explain(query: *mut Query) -> bool {
    (*query).commandType == pg_sys::CmdType::CMD_UTILITY && nodes::is_a((*query).utilityStmt, NodeTag::T_ExplainStmt)
}

/// Gives an analysis the types of the parameters that the statement was found to have. EXPLAIN (GENERIC_PLAN) looks for them by
/// hooks whose state is gone as soon as the statement has been analysed.
unsafe fn fix_parameters(pstate: *mut ParseState, query: *mut Query) {
    let visit_all = |visit: &mut dyn FnMut(&pg_sys::Param)| {
        walk::walk(analysed_query(query).cast(), &mut |node, _| {
            if nodes::is_a(node, NodeTag::T_Param) {
                let param = &*node.cast::<pg_sys::Param>();
                if param.paramkind == pg_sys::ParamKind::PARAM_EXTERN && param.paramid > 0 {
                    visit(param);
                }
            }
            Walk::Into
        });
    };
    let mut count = 0;
    visit_all(&mut |param| count = count.max(param.paramid));
    // Numbers are the client's choice: PostgreSQL's allocator refuses what is too much.
    let types: *mut Oid = pg_sys::palloc0(count as usize * size_of::<Oid>()).cast();
    visit_all(&mut |param| *types.add(param.paramid as usize - 1) = param.paramtype);
    pg_sys::setup_parse_fixed_parameters(pstate, types, count);
}

/// Positions in a row without a column list would be counted without the hidden columns: refused, lest values land in the
/// wrong ones.
unsafe fn refuse_insert_without_columns(stmt: *mut Node, columns: &[(Oid, Vec<i16>)]) {
    let refuse_for = |target: *mut RangeVar| {
        let target = resolve(target);
        if columns.iter().any(|(relid, _)| *relid == target) {
            errors::unsupported(
                "INSERT into this relation needs a list of columns",
                "Name the columns that are to be set.",
            );
        }
    };
    walk::walk_raw(analysed_statement(stmt), &mut |node, _| {
        if nodes::is_a(node, NodeTag::T_InsertStmt) {
            let insert = node.cast::<pg_sys::InsertStmt>();
            if (*insert).cols.is_null() && !(*insert).selectStmt.is_null() {
                refuse_for((*insert).relation);
            }
        } else if nodes::is_a(node, NodeTag::T_MergeStmt) {
            let merge = node.cast::<pg_sys::MergeStmt>();
            let inserts_by_position = list::iter::<pg_sys::MergeWhenClause>((*merge).mergeWhenClauses).any(|clause| {
                (*clause).commandType == pg_sys::CmdType::CMD_INSERT
                    && (*clause).targetList.is_null()
                    && !(*clause).values.is_null()
            });
            if inserts_by_position {
                refuse_for((*merge).relation);
            }
        }
        Walk::Into
    });
}

/// Columns of an open relation that are shown as dropped until this value is dropped.
pub(super) struct Patch {
    relation: pg_sys::Relation,
    lock: i32,
    desc: pg_sys::TupleDesc,
    columns: Vec<i16>,
}

impl Patch {
    /// Hides columns of a relation.
    unsafe fn apply(relid: Oid, columns: &[i16], lock: u32) -> Self {
        let lock = lock as i32;
        let relation = pg_sys::relation_open(relid, lock);
        let desc = (*relation).rd_att;
        // A rebuild of the relation's cache entry replaces the descriptor; ours has to stay in memory until it is restored.
        pg_sys::IncrTupleDescRefCount(desc);
        let patch = Patch {
            relation,
            lock,
            desc,
            columns: columns.to_vec(),
        };
        patch.show_as_dropped(true);
        patch
    }

    fn show_as_dropped(&self, dropped: bool) {
        for attno in &self.columns {
            let index = *attno as usize - 1;
            // SAFETY: the descriptor is pinned and has these attributes.
            unsafe {
                (*pg::attribute(self.desc, index)).attisdropped = dropped;
                #[cfg(feature = "pg18")]
                {
                    (*(*self.desc).compact_attrs.as_mut_ptr().add(index)).attisdropped = dropped;
                }
            }
        }
    }
}

impl Drop for Patch {
    fn drop(&mut self) {
        self.show_as_dropped(false);
        // After an error the resource owner gives both back.
        if !std::thread::panicking() {
            // SAFETY: both were taken in `apply`.
            unsafe {
                pg_sys::DecrTupleDescRefCount(self.desc);
                pg_sys::relation_close(self.relation, self.lock);
            }
        }
    }
}
