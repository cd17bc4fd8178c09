//! Whole rows as values without a fixed type: `row_to_json(t)`, `json_agg(t)`, `t::text`, `SELECT t`.
//!
//! A row of a table's type has a field for every column, so that a hidden one would show by its name, as NULL. Where nothing
//! depends on the type, the naming layer puts a record of the visible columns in its place.

use pgrx::pg_sys::{self, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, Var};

use crate::pg::{list, nodes, relation, walk};

/// Replaces whole-row references to relations with hidden columns at every level.
///
/// # Safety
/// `query` was just analysed and may be modified; `columns` are the hidden ones by relation; `plain` says that the rows of
/// its SELECT list go to the client and that nothing depends on their types.
pub(super) unsafe fn replace(query: *mut Query, columns: &[(Oid, Vec<i16>)], plain: bool) {
    let mut queries = Vec::new();
    walk::any_query(query, &mut |query| {
        queries.push(query);
        false
    });
    for current in queries {
        let row_of = |node: *mut Node| record(current, node, columns);
        if plain && current == query && (*query).setOperations.is_null() {
            for target in list::iter::<pg_sys::TargetEntry>((*query).targetList) {
                // A row that is sorted or grouped by has to keep the type that the operators were chosen for.
                if (*target).ressortgroupref == 0
                    && let Some(record) = row_of((*target).expr.cast())
                {
                    (*target).expr = record.cast();
                }
            }
        }
        walk::mutate_query(current, false, &mut |node, _| match nodes::tag(node) {
            NodeTag::T_Query => Some(node),
            NodeTag::T_FuncExpr => {
                let call = node.cast::<pg_sys::FuncExpr>();
                replace_arguments((*call).args, (*call).funcid, &row_of);
                None
            }
            NodeTag::T_Aggref => {
                let call = node.cast::<pg_sys::Aggref>();
                replace_aggregated((*call).args, (*call).aggargtypes, (*call).aggfnoid, &row_of);
                None
            }
            NodeTag::T_NullTest if (*node.cast::<pg_sys::NullTest>()).argisrow => {
                let test = node.cast::<pg_sys::NullTest>();
                if let Some(record) = row_of((*test).arg.cast()) {
                    (*test).arg = record.cast();
                }
                None
            }
            NodeTag::T_CoerceViaIO => {
                let cast = node.cast::<pg_sys::CoerceViaIO>();
                if let Some(record) = row_of((*cast).arg.cast()) {
                    (*cast).arg = record.cast();
                }
                None
            }
            _ => None,
        });
    }
}

unsafe fn replace_arguments(args: *mut pg_sys::List, function: Oid, row_of: &dyn Fn(*mut Node) -> Option<*mut Node>) {
    for index in 0..list::len(args) {
        if let Some(record) = row_of(list::nth(args, index))
            && accepts_record(function, index)
        {
            list::set(args, index, record);
        }
    }
}

unsafe fn replace_aggregated(
    args: *mut pg_sys::List,
    types: *mut pg_sys::List,
    function: Oid,
    row_of: &dyn Fn(*mut Node) -> Option<*mut Node>,
) {
    for (index, target) in list::iter::<pg_sys::TargetEntry>(args).enumerate() {
        // Sorted and distinct arguments are compared by their type's operators.
        if (*target).ressortgroupref == 0
            && let Some(record) = row_of((*target).expr.cast())
            && accepts_record(function, index)
        {
            (*target).expr = record.cast();
            (*(*types).elements.add(index)).oid_value = pg_sys::RECORDOID;
        }
    }
}

/// Whether a function takes a record of any shape as that argument and returns the same type whatever it gets.
unsafe fn accepts_record(function: Oid, index: usize) -> bool {
    let (mut types, mut count) = (std::ptr::null_mut(), 0);
    let result = pg_sys::get_func_signature(function, &mut types, &mut count);
    let variadic = pg_sys::get_func_variadictype(function) == pg_sys::ANYOID;
    let declared = if index < count as usize {
        *types.add(index)
    } else {
        Oid::INVALID
    };
    let takes_any = (variadic && index + 1 >= count as usize)
        || [
            pg_sys::RECORDOID,
            pg_sys::ANYOID,
            pg_sys::ANYELEMENTOID,
            pg_sys::ANYNONARRAYOID,
            pg_sys::ANYCOMPATIBLEOID,
            pg_sys::ANYCOMPATIBLENONARRAYOID,
        ]
        .contains(&declared);
    takes_any && pg_sys::get_typtype(result) as u8 != pg_sys::TYPTYPE_PSEUDO
}

/// The record of visible columns for a whole-row Var of this query level, `None` for any other node. It is NULL where the
/// row is: the nullable side of an outer join has no row of NULLs.
unsafe fn record(query: *mut Query, node: *mut Node, columns: &[(Oid, Vec<i16>)]) -> Option<*mut Node> {
    if !nodes::is_a(node, NodeTag::T_Var) {
        return None;
    }
    let var = node.cast::<Var>();
    if (*var).varattno != 0 || (*var).varlevelsup != 0 {
        return None;
    }
    let rte: *mut RangeTblEntry = nodes::rte(query, usize::try_from((*var).varno).ok()?);
    if (*rte).rtekind != RTEKind::RTE_RELATION {
        return None;
    }
    let (relid, hidden) = columns.iter().find(|(relid, _)| *relid == (*rte).relid)?;
    let row = nodes::make::<pg_sys::RowExpr>(NodeTag::T_RowExpr);
    for column in relation::columns(*relid) {
        if column.dropped || hidden.contains(&column.attno) {
            continue;
        }
        let field: *mut Var = nodes::copy(var);
        (*field).varattno = column.attno;
        (*field).varattnosyn = column.attno;
        (*field).vartype = column.type_oid;
        (*field).vartypmod = column.typmod;
        (*field).varcollid = column.collation;
        (*row).args = list::push((*row).args, field);
        (*row).colnames = list::push((*row).colnames, pg_sys::makeString(nodes::pstr(&column.name)));
    }
    (*row).row_typeid = pg_sys::RECORDOID;
    (*row).row_format = pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
    (*row).location = (*var).location;

    let test = nodes::make::<pg_sys::NullTest>(NodeTag::T_NullTest);
    (*test).arg = nodes::copy(node).cast();
    (*test).nulltesttype = pg_sys::NullTestType::IS_NULL;
    // The value is NULL, as opposed to a row of NULLs.
    (*test).argisrow = false;
    (*test).location = -1;
    let when = nodes::make::<pg_sys::CaseWhen>(NodeTag::T_CaseWhen);
    (*when).expr = test.cast();
    (*when).result = nodes::null(pg_sys::RECORDOID, -1, Oid::INVALID).cast();
    (*when).location = -1;
    let case = nodes::make::<pg_sys::CaseExpr>(NodeTag::T_CaseExpr);
    (*case).casetype = pg_sys::RECORDOID;
    (*case).args = list::of(when);
    (*case).defresult = row.cast();
    (*case).location = -1;
    Some(case.cast())
}
