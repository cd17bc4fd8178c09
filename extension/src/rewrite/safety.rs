//! Which statements reveal nothing about the rows that their functions are called for.
//!
//! Invariant: a statement is transparent only when everything in it that PostgreSQL could evaluate before a filter, on any
//! level, is known to this file and calls reviewed functions only ([`list`]). What is not known makes it opaque, so that its
//! filters are security barriers.
//!
//! Some places are evaluated only for rows that passed all conditions, wherever the planner puts the filter: what the outermost
//! level returns or assigns, the arguments of its aggregates and window functions, and the same of subqueries in such places.
//! There, any function of PostgreSQL's own will do. Not so where the planner can make a sort key or a condition of an expression:
//! in ORDER BY, GROUP BY and DISTINCT, in sorted aggregates and in `min` and `max`, which it turns into an index scan with a
//! condition. Any other subquery may run for a row that a filter excludes, or only if there is one: nothing in it may fail, also not
//! for its own rows, and neither may the subquery by what it returns.

mod condition;
mod functions;
mod list;

use std::ffi::c_void;

use pgrx::pg_sys::{
    self, Aggref, CmdType, Node, NodeTag, Oid, ParamListInfo, Query, RTEKind, RangeTblEntry, TargetEntry,
};
use pgrx::prelude::*;

use self::condition::{Call, Condition};
use crate::catalog;
use crate::pg::walk::{self, Walk};
use crate::pg::{self, list as pg_list, nodes, relation};

/// Whether every function of the statement, at all levels, is known to reveal nothing. `params` are the parameters that the
/// plan is made for, NULL for a generic plan.
///
/// # Safety
/// `query` is a valid rewritten query.
pub(crate) unsafe fn is_transparent(query: *mut Query, params: ParamListInfo) -> bool {
    Review { params }.level(query, true)
}

/// Whether a condition asks for the value of a subquery that may fail. One that is only looked through, as by EXISTS and IN, does not
/// look like a constant to the planner.
///
/// # Safety
/// `condition` is a valid expression.
pub(super) unsafe fn has_failing_subquery(condition: *mut Node) -> bool {
    use pg_sys::SubLinkType::{ALL_SUBLINK, ANY_SUBLINK, EXISTS_SUBLINK};
    let review = Review {
        params: std::ptr::null_mut(),
    };
    walk::walk(condition, &mut |node, _| match nodes::tag(node) {
        NodeTag::T_Query => Walk::Over,
        NodeTag::T_SubLink => {
            let sublink = node.cast::<pg_sys::SubLink>();
            let asks_for_value = !matches!((*sublink).subLinkType, ALL_SUBLINK | ANY_SUBLINK | EXISTS_SUBLINK);
            if asks_for_value && review.may_fail(sublink) {
                Walk::Stop
            } else {
                Walk::Into
            }
        }
        _ => Walk::Into,
    })
}

/// The review of one statement.
struct Review {
    params: ParamListInfo,
}

/// When an expression is evaluated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Perhaps before a filter, aggregates included.
    Early,
    /// Perhaps before a filter; aggregates and window functions of the level see rows that passed.
    Anywhere,
    /// For rows that passed only.
    Late,
}

impl Review {
    /// One query level and those below it. A late one runs for rows only that passed all conditions of the levels around it.
    unsafe fn level(&self, query: *mut Query, late_level: bool) -> bool {
        pg_sys::check_stack_depth();
        if !late_level && !self.bounds_cannot_fail(query) {
            return false;
        }
        let early = if late_level { Place::Anywhere } else { Place::Early };
        let late = late_level
            && (*query).setOperations.is_null()
            && matches!(
                (*query).commandType,
                CmdType::CMD_SELECT | CmdType::CMD_INSERT | CmdType::CMD_UPDATE
            );
        let targets = |targets: *mut pg_sys::List, late: bool| {
            pg_list::iter::<TargetEntry>(targets).all(|target| self.target(target, late, early))
        };
        if !targets((*query).targetList, late) || !targets((*query).returningList, late_level) {
            return false;
        }
        if !self.sort_clauses(query) {
            return false;
        }
        // Everything else, with whatever a later major adds to it.
        let mut rest = *query;
        rest.targetList = std::ptr::null_mut();
        rest.returningList = std::ptr::null_mut();
        let flags = pg_sys::QTW_EXAMINE_RTES_BEFORE;
        !walk::walk_query(&mut rest, flags, &mut |node, _| self.visit(node, early))
    }

    /// Whether LIMIT, OFFSET and the frames of windows are right whatever the rows are, which is looked at when the level runs.
    unsafe fn bounds_cannot_fail(&self, query: *mut Query) -> bool {
        let is_framed =
            |window: *mut pg_sys::WindowClause| !(*window).startOffset.is_null() || !(*window).endOffset.is_null();
        [(*query).limitCount, (*query).limitOffset]
            .into_iter()
            .all(|bound| bound.is_null() || condition::count(bound, self.params).is_some())
            && !pg_list::iter((*query).windowClause).any(is_framed)
    }

    /// A target entry; one that rows are sorted or grouped by can be evaluated early.
    unsafe fn target(&self, target: *mut TargetEntry, late: bool, early: Place) -> bool {
        let place = if late && (*target).ressortgroupref == 0 {
            Place::Late
        } else {
            early
        };
        self.expression((*target).expr.cast(), place)
    }

    unsafe fn expression(&self, node: *mut Node, place: Place) -> bool {
        !walk::walk(node, &mut |node, _| self.visit(node, place))
    }

    /// One node: on to its children, or stop because it could reveal something.
    unsafe fn visit(&self, node: *mut Node, place: Place) -> Walk {
        let (transparent, next) = match nodes::tag(node) {
            NodeTag::T_Query => (self.level(node.cast(), place == Place::Late), Walk::Over),
            NodeTag::T_RangeTblEntry => (self.entry(node.cast()), Walk::Over),
            NodeTag::T_SetOperationStmt => (self.set_operation(node.cast()), Walk::Into),
            NodeTag::T_Aggref => (self.aggregate(node.cast(), place), Walk::Over),
            NodeTag::T_WindowFunc => (self.window_function(node.cast(), place), Walk::Over),
            NodeTag::T_SubLink if place != Place::Late => (self.returns_at_most_one_row(node.cast()), Walk::Into),
            _ if place == Place::Late => (is_own(node), Walk::Into),
            _ if is_inert(node) => (true, Walk::Into),
            _ => self.call(node),
        };
        if transparent { next } else { Walk::Stop }
    }

    /// An entry of the range table; the walk goes on to its contents by itself.
    unsafe fn entry(&self, rte: *mut RangeTblEntry) -> bool {
        match (*rte).rtekind {
            // A sampling method reports wrong arguments when the first row is asked for.
            RTEKind::RTE_RELATION => (*rte).tablesample.is_null() && !has_virtual_columns((*rte).relid),
            // XMLTABLE and JSON_TABLE.
            RTEKind::RTE_TABLEFUNC => false,
            _ => true,
        }
    }

    /// Whether a subquery may fail, as far as it can be told from itself: WITH queries belong to levels around it.
    unsafe fn may_fail(&self, sublink: *mut pg_sys::SubLink) -> bool {
        let query: *mut Query = (*sublink).subselect.cast();
        let asks_around = walk::any_query(query, &mut |query| {
            pg_list::iter::<RangeTblEntry>((*query).rtable).any(|rte| (*rte).rtekind == RTEKind::RTE_CTE)
        });
        asks_around || !self.returns_at_most_one_row(sublink) || !self.level(query, false)
    }

    /// Whether a subquery whose value is asked for cannot have a second row, which is an error.
    unsafe fn returns_at_most_one_row(&self, sublink: *mut pg_sys::SubLink) -> bool {
        use pg_sys::SubLinkType::{EXPR_SUBLINK, MULTIEXPR_SUBLINK, ROWCOMPARE_SUBLINK};
        if !matches!(
            (*sublink).subLinkType,
            EXPR_SUBLINK | MULTIEXPR_SUBLINK | ROWCOMPARE_SUBLINK
        ) {
            return true;
        }
        let query: *mut Query = (*sublink).subselect.cast();
        let from = (*(*query).jointree).fromlist;
        let limit = (*query).limitCount;
        let is_limited = !limit.is_null() && condition::count(limit, self.params).is_some_and(|count| count <= 1);
        let is_single = (*query).setOperations.is_null()
            && !(*query).hasTargetSRFs
            && (*query).groupClause.is_null()
            && (*query).groupingSets.is_null()
            && ((*query).hasAggs || from.is_null());
        is_limited || is_single || looks_up_key(query)
    }

    /// ORDER BY, GROUP BY, DISTINCT and windows compare values of their entries.
    unsafe fn sort_clauses(&self, query: *mut Query) -> bool {
        let targets = (*query).targetList;
        self.compares((*query).sortClause, targets)
            && self.compares((*query).groupClause, targets)
            && self.compares((*query).distinctClause, targets)
            && pg_list::iter::<pg_sys::WindowClause>((*query).windowClause).all(|window| {
                self.compares((*window).partitionClause, targets) && self.compares((*window).orderClause, targets)
            })
    }

    unsafe fn compares(&self, clauses: *mut pg_sys::List, targets: *mut pg_sys::List) -> bool {
        pg_list::iter::<pg_sys::SortGroupClause>(clauses).all(|clause| {
            let compared = pg_sys::get_sortgroupclause_expr(clause, targets);
            self.compares_values(&*clause, compared, pg_sys::exprCollation(compared))
        })
    }

    /// Whether comparing values like `compared` with the operators of a clause reveals nothing.
    unsafe fn compares_values(&self, clause: &pg_sys::SortGroupClause, compared: *mut Node, collation: Oid) -> bool {
        [clause.eqop, clause.sortop]
            .into_iter()
            .filter(|operator| *operator != Oid::INVALID)
            .all(|operator| self.function(pg_sys::get_opcode(operator), vec![compared, compared], collation))
    }

    /// UNION, INTERSECT and EXCEPT compare rows column by column.
    unsafe fn set_operation(&self, operation: *mut pg_sys::SetOperationStmt) -> bool {
        let types = pg_list::iter_oid((*operation).colTypes);
        let collations = pg_list::iter_oid((*operation).colCollations);
        let clauses = pg_list::iter::<pg_sys::SortGroupClause>((*operation).groupClauses);
        clauses
            .zip(types.zip(collations))
            .all(|(clause, (type_oid, collation))| {
                let compared = nodes::null(type_oid, -1, collation);
                self.compares_values(&*clause, compared, collation)
            })
    }

    /// An aggregate sees rows that passed; but what it sorts by, and what `min` and `max` look for, can become a sort key or
    /// a condition.
    unsafe fn aggregate(&self, aggregate: *mut Aggref, place: Place) -> bool {
        if !pg::is_builtin((*aggregate).aggfnoid) {
            return false;
        }
        let early = !(*aggregate).aggorder.is_null()
            || !(*aggregate).aggdistinct.is_null()
            || has_sort_operator((*aggregate).aggfnoid);
        let (inside, outside) = aggregated(place);
        let late = !early && inside == Place::Late;
        let args = || pg_list::iter::<TargetEntry>((*aggregate).args).map(|arg| (*arg).expr.cast::<Node>());
        let cannot_fail = || {
            list::aggregates_safely((*aggregate).aggfnoid)
                && is_deterministic((*aggregate).inputcollid, &args().collect::<Vec<_>>())
        };
        (inside == Place::Late || cannot_fail())
            && pg_list::iter::<TargetEntry>((*aggregate).args).all(|arg| self.target(arg, late, outside))
            && self.compares((*aggregate).aggorder, (*aggregate).args)
            && self.compares((*aggregate).aggdistinct, (*aggregate).args)
            && self.expression((*aggregate).aggfilter.cast(), inside)
            && self.expression((*aggregate).aggdirectargs.cast(), inside)
    }

    unsafe fn window_function(&self, function: *mut pg_sys::WindowFunc, place: Place) -> bool {
        let (inside, _) = aggregated(place);
        pg::is_builtin((*function).winfnoid)
            && (inside == Place::Late || list::aggregates_safely((*function).winfnoid))
            && self.expression((*function).args.cast(), inside)
            && self.expression((*function).aggfilter.cast(), inside)
    }

    /// A node that calls functions: whether they are reviewed, and whether to look into its arguments.
    unsafe fn call(&self, node: *mut Node) -> (bool, Walk) {
        if self.is_reviewed(node) {
            (true, Walk::Into)
        } else {
            // What the planner folds is never evaluated for a row.
            (condition::is_foldable(node, self.params), Walk::Over)
        }
    }

    unsafe fn is_reviewed(&self, node: *mut Node) -> bool {
        let args = |args: *mut pg_sys::List| pg_list::iter::<Node>(args).collect::<Vec<_>>();
        match nodes::tag(node) {
            NodeTag::T_FuncExpr => {
                let call = node.cast::<pg_sys::FuncExpr>();
                self.function((*call).funcid, args((*call).args), (*call).inputcollid)
            }
            // The three have one shape.
            NodeTag::T_OpExpr | NodeTag::T_DistinctExpr | NodeTag::T_NullIfExpr => {
                let call = node.cast::<pg_sys::OpExpr>();
                pg_sys::set_opfuncid(call);
                self.function((*call).opfuncid, args((*call).args), (*call).inputcollid)
            }
            NodeTag::T_ScalarArrayOpExpr => {
                let call = node.cast::<pg_sys::ScalarArrayOpExpr>();
                pg_sys::set_sa_opfuncid(call);
                self.function((*call).opfuncid, args((*call).args), (*call).inputcollid)
            }
            NodeTag::T_RowCompareExpr => {
                let call = node.cast::<pg_sys::RowCompareExpr>();
                let operators = pg_list::iter_oid((*call).opnos).zip(pg_list::iter_oid((*call).inputcollids));
                let sides = pg_list::iter::<Node>((*call).largs).zip(pg_list::iter::<Node>((*call).rargs));
                operators.zip(sides).all(|((operator, collation), (left, right))| {
                    self.function(pg_sys::get_opcode(operator), vec![left, right], collation)
                })
            }
            NodeTag::T_CoerceViaIO => {
                let cast = node.cast::<pg_sys::CoerceViaIO>();
                let arg: *mut Node = (*cast).arg.cast();
                let (mut input, mut output, mut io_param, mut varlena) =
                    (Oid::INVALID, Oid::INVALID, Oid::INVALID, false);
                pg_sys::getTypeOutputInfo(pg_sys::exprType(arg), &mut output, &mut varlena);
                pg_sys::getTypeInputInfo((*cast).resulttype, &mut input, &mut io_param);
                [output, input]
                    .into_iter()
                    .all(|function| list::condition(function) == Some(Condition::Always))
            }
            NodeTag::T_MinMaxExpr => {
                let call = node.cast::<pg_sys::MinMaxExpr>();
                let collation = (*call).inputcollid;
                pg_sys::get_typtype((*call).minmaxtype) as u8 == b'b'
                    && pg::is_builtin((*call).minmaxtype)
                    && pg_sys::get_element_type((*call).minmaxtype) == Oid::INVALID
                    && is_deterministic(collation, &args((*call).args))
            }
            NodeTag::T_SubscriptingRef => {
                let subscript = node.cast::<pg_sys::SubscriptingRef>();
                let container = (*subscript).refcontainertype;
                (*subscript).refassgnexpr.is_null()
                    && (container == pg_sys::JSONBOID || pg_sys::get_element_type(container) != Oid::INVALID)
            }
            // Elements that are arrays have to be of one size.
            NodeTag::T_ArrayExpr => !(*node.cast::<pg_sys::ArrayExpr>()).multidims,
            _ => false,
        }
    }

    /// Whether a function reveals nothing when it is called with these arguments.
    unsafe fn function(&self, function: Oid, args: Vec<*mut Node>, collation: Oid) -> bool {
        let Some(condition) = list::condition(function) else {
            return false;
        };
        is_deterministic(collation, &args)
            && Call {
                args,
                params: self.params,
            }
            .fulfils(condition)
    }
}

/// Whether a query looks one table up by a key, whose columns are read as they are stored.
unsafe fn looks_up_key(query: *mut Query) -> bool {
    let Some(session) = catalog::current() else {
        return false;
    };
    let plain = pg_list::len((*query).rtable) == 1 && (*query).setOperations.is_null() && !(*query).hasTargetSRFs;
    if !plain || pg_list::len((*(*query).jointree).fromlist) != 1 {
        return false;
    }
    let rte = nodes::rte(query, 1);
    if (*rte).rtekind != RTEKind::RTE_RELATION
        || relation::kind((*rte).relid) != b'r'
        || ((*rte).inh && relation::has_children((*rte).relid))
        || session.governance((*rte).relid).alters_columns(false)
    {
        return false;
    }
    let mut equalities = Vec::new();
    walk::walk((*(*query).jointree).quals, &mut |node, _| match nodes::tag(node) {
        NodeTag::T_List => Walk::Into,
        NodeTag::T_BoolExpr if (*node.cast::<pg_sys::BoolExpr>()).boolop == pg_sys::BoolExprType::AND_EXPR => {
            Walk::Into
        }
        NodeTag::T_OpExpr => {
            equalities.extend(compared_column(node.cast()));
            Walk::Over
        }
        _ => Walk::Over,
    });
    relation::is_key((*rte).relid, &equalities)
}

/// The column of a level's own table that an operator compares with something from elsewhere, and the operator with the column on
/// its left.
unsafe fn compared_column(call: *mut pg_sys::OpExpr) -> Option<(i16, Oid)> {
    if pg_list::len((*call).args) != 2 {
        return None;
    }
    let column = |side: *mut Node| {
        let mut node = side;
        while nodes::is_a(node, NodeTag::T_RelabelType) {
            node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
        }
        let var = node.cast::<pg_sys::Var>();
        (nodes::is_a(node, NodeTag::T_Var) && (*var).varlevelsup == 0).then(|| (*var).varattno)
    };
    let sides: [*mut Node; 2] = [pg_list::nth((*call).args, 0), pg_list::nth((*call).args, 1)];
    let is_elsewhere = |side: *mut Node| !pg_sys::contain_vars_of_level(side, 0);
    match (column(sides[0]), column(sides[1])) {
        (Some(attno), None) if is_elsewhere(sides[1]) => Some((attno, (*call).opno)),
        (None, Some(attno)) if is_elsewhere(sides[0]) => Some((attno, pg_sys::get_commutator((*call).opno))),
        _ => None,
    }
}

/// Where the arguments of an aggregate are evaluated, and where they are if they become a sort key or a condition.
fn aggregated(place: Place) -> (Place, Place) {
    match place {
        Place::Early => (Place::Early, Place::Early),
        Place::Anywhere | Place::Late => (Place::Late, Place::Anywhere),
    }
}

/// Whether a collation is one that cannot fail. Two columns' collations can be in conflict, which is an error when the first
/// value is compared; a user's collation can be one that patterns do not work with, or warn of a version.
unsafe fn is_deterministic(collation: Oid, args: &[*mut Node]) -> bool {
    if collation == Oid::INVALID {
        args.iter()
            .all(|arg| !pg_sys::type_is_collatable(pg_sys::exprType(*arg)))
    } else {
        pg::is_builtin(collation)
    }
}

/// Whether a node neither calls a function nor fails.
unsafe fn is_inert(node: *mut Node) -> bool {
    matches!(
        nodes::tag(node),
        NodeTag::T_List
            | NodeTag::T_FromExpr
            | NodeTag::T_JoinExpr
            | NodeTag::T_RangeTblRef
            | NodeTag::T_RangeTblFunction
            | NodeTag::T_CommonTableExpr
            | NodeTag::T_TargetEntry
            | NodeTag::T_OnConflictExpr
            | NodeTag::T_WithCheckOption
            | NodeTag::T_Var
            | NodeTag::T_Const
            | NodeTag::T_Param
            | NodeTag::T_SubLink
            | NodeTag::T_BoolExpr
            | NodeTag::T_NullTest
            | NodeTag::T_BooleanTest
            | NodeTag::T_CaseExpr
            | NodeTag::T_CaseWhen
            | NodeTag::T_CaseTestExpr
            | NodeTag::T_CoalesceExpr
            | NodeTag::T_RelabelType
            | NodeTag::T_CollateExpr
            | NodeTag::T_RowExpr
            | NodeTag::T_FieldSelect
            | NodeTag::T_GroupingFunc
            | NodeTag::T_SQLValueFunction
    )
}

#[pg_guard]
unsafe extern "C-unwind" fn is_foreign(function: Oid, _context: *mut c_void) -> bool {
    !pg::is_builtin(function)
}

/// Whether a node itself calls a function that is not PostgreSQL's own.
unsafe fn calls_foreign_function(node: *mut Node) -> bool {
    pg_sys::check_functions_in_node(node, Some(is_foreign), std::ptr::null_mut())
}

/// Whether a node calls nothing but functions of PostgreSQL's own: a domain's checks and a type's comparison can be a
/// user's.
unsafe fn is_own(node: *mut Node) -> bool {
    match nodes::tag(node) {
        NodeTag::T_CoerceToDomain => false,
        NodeTag::T_MinMaxExpr => pg::is_builtin((*node.cast::<pg_sys::MinMaxExpr>()).minmaxtype),
        _ => !calls_foreign_function(node),
    }
}

/// Whether an aggregate can be replaced by the first row of an index.
unsafe fn has_sort_operator(aggregate: Oid) -> bool {
    let cache = pg_sys::SysCacheIdentifier::AGGFNOID as _;
    let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(aggregate));
    if tuple.is_null() {
        return true;
    }
    let operator = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_aggregate>()).aggsortop;
    pg_sys::ReleaseSysCache(tuple);
    operator != Oid::INVALID
}

/// Whether a relation has columns whose expressions the planner puts in their place later (18).
#[cfg(feature = "pg18")]
unsafe fn has_virtual_columns(relid: Oid) -> bool {
    let relation = pg_sys::relation_open(relid, pg_sys::NoLock as _);
    let constraints = (*(*relation).rd_att).constr;
    let found = !constraints.is_null() && (*constraints).has_generated_virtual;
    pg_sys::relation_close(relation, pg_sys::NoLock as _);
    found
}

#[cfg(not(feature = "pg18"))]
unsafe fn has_virtual_columns(_relid: Oid) -> bool {
    false
}
