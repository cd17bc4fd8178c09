//! From the text of an expression to a raw parse tree of exactly one expression.

use pgrx::pg_sys::{self, A_Expr, Node, NodeTag, ParamRef, RawStmt, ResTarget, SelectStmt};

use crate::pg::walk::{self, Walk};
use crate::pg::{list, nodes};

/// Parses the text of one expression.
///
/// # Errors
/// When it is more than an expression, such as `a FROM b` or `a, b`.
///
/// # Safety
/// Syntax errors are PostgreSQL's errors. The tree is in the current memory context.
pub(super) unsafe fn parse(text: *const std::ffi::c_char) -> Result<*mut Node, &'static str> {
    let stmts = pg_sys::raw_parser(text, pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
    let stmt: *mut RawStmt = list::nth(stmts, 0);
    let select = (*stmt).stmt.cast::<SelectStmt>();
    if list::len(stmts) != 1 || !nodes::is_a(select, NodeTag::T_SelectStmt) {
        return Err("the expression is not a single expression");
    }
    let plain = (*select).fromClause.is_null()
        && (*select).whereClause.is_null()
        && (*select).groupClause.is_null()
        && (*select).havingClause.is_null()
        && (*select).windowClause.is_null()
        && (*select).distinctClause.is_null()
        && (*select).sortClause.is_null()
        && (*select).limitOffset.is_null()
        && (*select).limitCount.is_null()
        && (*select).lockingClause.is_null()
        && (*select).withClause.is_null()
        && (*select).intoClause.is_null()
        && (*select).op == pg_sys::SetOperation::SETOP_NONE
        && list::len((*select).targetList) == 1;
    if !plain {
        return Err("the expression is not a single expression");
    }
    let target: *mut ResTarget = list::nth((*select).targetList, 0);
    if !(*target).name.is_null() || !(*target).indirection.is_null() {
        return Err("the expression is not a single expression");
    }
    // The parser expands a bare star only in a list of targets; as an expression it does not expect one.
    if nodes::is_a((*target).val, NodeTag::T_ColumnRef) {
        let column = (*target).val.cast::<pg_sys::ColumnRef>();
        if nodes::is_a(list::nth::<Node>((*column).fields, 0), NodeTag::T_A_Star) {
            return Err("the expression is not a single expression");
        }
    }
    Ok((*target).val)
}

/// Makes `a IN ({user.list})` mean `a = ANY ({user.list})`, and NOT IN `<> ALL`. `is_list` tells for a parameter number
/// whether its value is a list.
///
/// # Errors
/// When a list stands beside other elements.
///
/// # Safety
/// `tree` is a valid raw expression, modified in place.
pub(super) unsafe fn expand_lists(tree: *mut Node, is_list: &dyn Fn(i32) -> bool) -> Result<(), &'static str> {
    let mut mixed = false;
    walk::walk_raw(tree, &mut |node, _| {
        if nodes::is_a(node, NodeTag::T_A_Expr) {
            let expr = node.cast::<A_Expr>();
            if (*expr).kind == pg_sys::A_Expr_Kind::AEXPR_IN {
                let elements = (*expr).rexpr.cast::<pg_sys::List>();
                let lists = list::iter::<Node>(elements)
                    .filter(|element| is_list_param(*element, is_list))
                    .count();
                if lists > 0 && list::len(elements) > 1 {
                    mixed = true;
                    return Walk::Stop;
                }
                if lists == 1 {
                    let name = nodes::string((*list::nth::<pg_sys::String>((*expr).name, 0)).sval);
                    (*expr).kind = if name == "<>" {
                        pg_sys::A_Expr_Kind::AEXPR_OP_ALL
                    } else {
                        pg_sys::A_Expr_Kind::AEXPR_OP_ANY
                    };
                    (*expr).rexpr = list::nth(elements, 0);
                }
            }
        }
        Walk::Into
    });
    if mixed {
        Err("a list attribute must be the only element of IN")
    } else {
        Ok(())
    }
}

unsafe fn is_list_param(node: *mut Node, is_list: &dyn Fn(i32) -> bool) -> bool {
    nodes::is_a(node, NodeTag::T_ParamRef) && is_list((*node.cast::<ParamRef>()).number)
}
