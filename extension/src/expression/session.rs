//! What in an expression depends on the session, and not on the user that policies are about.
//!
//! It is allowed, since it can be meant; but whoever may SET ROLE to another role, or set a setting, chooses what such an
//! expression says.

use pgrx::pg_sys::{self, Node, NodeTag, Oid, SQLValueFunctionOp};

use super::compile::Compiled;
use crate::pg::walk::{self, Walk};
use crate::pg::{self, list, nodes};

/// Something to be warned of when a policy is saved.
#[derive(PartialEq, Eq)]
pub(crate) struct Warning {
    /// What it is.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) hint: &'static str,
}

/// The warnings about a compiled expression, each once.
pub(crate) fn warnings(compiled: &Compiled) -> Vec<Warning> {
    let mut found = Vec::new();
    // SAFETY: nothing is compiled before the copy of the tree has been walked.
    unsafe {
        walk::walk(compiled.tree(), &mut |node, _| {
            if let Some(warning) = warning(node)
                && !found.contains(&warning)
            {
                found.push(warning);
            }
            Walk::Into
        });
    }
    found
}

unsafe fn warning(node: *mut Node) -> Option<Warning> {
    let (name, arguments) = match nodes::tag(node) {
        NodeTag::T_SQLValueFunction => match (*node.cast::<pg_sys::SQLValueFunction>()).op {
            SQLValueFunctionOp::SVFOP_CURRENT_ROLE => ("current_role".to_owned(), 0),
            SQLValueFunctionOp::SVFOP_CURRENT_USER | SQLValueFunctionOp::SVFOP_USER => ("current_user".to_owned(), 0),
            SQLValueFunctionOp::SVFOP_SESSION_USER => ("session_user".to_owned(), 0),
            _ => return None,
        },
        NodeTag::T_CoerceViaIO => {
            let cast: *mut pg_sys::CoerceViaIO = node.cast();
            return of_notation(pg_sys::exprType((*cast).arg.cast())).or_else(|| of_notation((*cast).resulttype));
        }
        NodeTag::T_FuncExpr => {
            let call: *mut pg_sys::FuncExpr = node.cast();
            if !pg::is_builtin((*call).funcid) {
                return None;
            }
            let name = nodes::string(pg_sys::get_func_name((*call).funcid));
            (name, list::len((*call).args))
        }
        _ => return None,
    };
    of_function(&name, arguments)
}

fn of_function(name: &str, arguments: usize) -> Option<Warning> {
    let (problem, hint) = match name {
        "current_role" | "current_user" | "getpgusername" => (
            "follows SET ROLE",
            "Use {user.username}, which no change of the role changes.",
        ),
        "session_user" => (
            "is not always the user whom the policy is about",
            "Use {user.username}, which always is.",
        ),
        "current_setting" => (
            "returns what a client may have set",
            "Use an attribute of the user, as in {user.key}.",
        ),
        _ if asks_about_current_role(name, arguments) => (
            "asks about the current role, which SET ROLE changes",
            "Pass {user.username} as the role.",
        ),
        _ => return None,
    };
    Some(Warning {
        message: format!("{name} {problem}"),
        hint,
    })
}

/// A type whose values are written in the way that a setting says, which a client may set.
fn of_notation(type_oid: Oid) -> Option<Warning> {
    let (name, hint) = match type_oid {
        pg_sys::DATEOID => ("date", "Use to_char or to_date."),
        pg_sys::TIMESTAMPOID => ("timestamp", "Use to_char or to_timestamp."),
        pg_sys::TIMESTAMPTZOID => ("timestamptz", "Use to_char or to_timestamp, with AT TIME ZONE."),
        pg_sys::INTERVALOID => ("interval", "Use to_char."),
        pg_sys::BYTEAOID => ("bytea", "Use encode or decode."),
        _ => return None,
    };
    Some(Warning {
        message: format!("a cast between {name} and text follows settings of the client"),
        hint,
    })
}

/// The functions that take a role, called without one.
fn asks_about_current_role(name: &str, arguments: usize) -> bool {
    match name {
        "has_column_privilege" => arguments == 3,
        "row_security_active" => true,
        "pg_has_role" => arguments == 2,
        _ => name.starts_with("has_") && name.ends_with("_privilege") && arguments == 2,
    }
}

#[cfg(test)]
mod tests {
    use super::of_function;

    #[test]
    fn functions_that_name_a_role_are_fine() {
        for (name, arguments, warned) in [
            ("pg_has_role", 2, true),
            ("pg_has_role", 3, false),
            ("has_table_privilege", 2, true),
            ("has_table_privilege", 3, false),
            ("has_column_privilege", 3, true),
            ("has_column_privilege", 4, false),
            ("current_user", 0, true),
            ("current_setting", 1, true),
            ("lower", 1, false),
        ] {
            assert_eq!(of_function(name, arguments).is_some(), warned, "{name}");
        }
    }
}
