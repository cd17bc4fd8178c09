//! Whose code a policy runs through the types of its values.
//!
//! A value is made with the checks of all domains in its type, however deep, and nothing of that is in the tree: a function
//! that fills a row type finds the domains of its columns when it runs. So no part of the expression may make values of a
//! type that a subject owns, or that has a subject's code in it. Values that are only read, a column's for one, have been
//! made before; but `to_json`, for one, looks for casts of whatever it is given.

use pgrx::pg_sys::{self, Node, NodeTag, Oid};

use super::code::{Inspection, Object, is_trusted};
use crate::catalog::epoch;
use crate::pg::types::{self, Shape};
use crate::pg::{self, list, nodes};

/// The types of a node's values, and whether the node makes them.
unsafe fn of_node(node: *mut Node) -> (Vec<Oid>, bool) {
    use NodeTag::*;
    match nodes::tag(node) {
        T_Var
        | T_Param
        | T_RelabelType
        | T_CoalesceExpr
        | T_CaseExpr
        | T_CaseTestExpr
        | T_CoerceToDomainValue
        | T_SubLink
        | T_FieldSelect
        | T_SubscriptingRef
        | T_NullIfExpr
        | T_CollateExpr
        | T_ArrayExpr
        | T_MinMaxExpr => (vec![pg_sys::exprType(node)], false),
        T_Const => (
            vec![pg_sys::exprType(node)],
            !(*node.cast::<pg_sys::Const>()).constisnull,
        ),
        T_FuncExpr | T_OpExpr | T_Aggref | T_WindowFunc | T_FieldStore | T_CoerceViaIO | T_ArrayCoerceExpr
        | T_ConvertRowtypeExpr | T_RowExpr | T_CoerceToDomain | T_SetToDefault => (vec![pg_sys::exprType(node)], true),
        #[cfg(not(feature = "pg15"))]
        T_JsonValueExpr | T_JsonConstructorExpr => (vec![pg_sys::exprType(node)], true),
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        T_JsonExpr => (vec![pg_sys::exprType(node)], true),
        T_RangeTblFunction => {
            let columns = (*node.cast::<pg_sys::RangeTblFunction>()).funccoltypes;
            (list::iter_oid(columns).collect(), true)
        }
        T_TableFunc => {
            let columns = (*node.cast::<pg_sys::TableFunc>()).coltypes;
            (list::iter_oid(columns).collect(), true)
        }
        _ => (Vec::new(), false),
    }
}

impl Inspection {
    /// What is wrong with the types of a node.
    pub(super) unsafe fn types(&mut self, node: *mut Node) -> Option<String> {
        let (types, made) = of_node(node);
        types.into_iter().find_map(|oid| self.type_(oid, made))
    }

    /// What is wrong with a type whose values are read, or `made`.
    unsafe fn type_(&mut self, oid: Oid, made: bool) -> Option<String> {
        if pg::is_builtin(oid) || !self.types.insert((oid, made)) {
            return None;
        }
        pg_sys::check_stack_depth();
        // Before anything is read, so that no change is missed.
        epoch::watch_type(oid);
        let Some(shape) = types::shape(oid) else {
            return Some("a type of the expression does not exist".into());
        };
        // Whoever owns an enumeration cannot attach code to it but for casts, and nobody owns arrays apart from their elements.
        let owned = !matches!(shape, Shape::Enum | Shape::Array(_));
        if made && owned && !is_trusted(Object::Type(oid), None) {
            let name = types::name(oid);
            return Some(format!(
                "type \"{name}\" is neither built in nor owned by an exempt role"
            ));
        }
        let code = match &shape {
            Shape::Base(functions) | Shape::Range { functions, .. } => functions.clone(),
            _ => Vec::new(),
        };
        let code = code.into_iter().chain(types::casts(oid));
        let parts = match shape {
            Shape::Array(part) | Shape::Range { subtype: part, .. } | Shape::Multirange(part) => vec![part],
            Shape::Domain(base) => {
                epoch::watch_domains();
                let checks = if made { types::checks(oid) } else { Vec::new() };
                if let Some(culprit) = checks.into_iter().find_map(|check| self.tree(check)) {
                    return Some(culprit);
                }
                vec![base]
            }
            Shape::Row { relid, columns } => {
                epoch::watch_row_type(relid);
                columns
            }
            Shape::Base(_) | Shape::Enum => Vec::new(),
        };
        code.into_iter()
            .find_map(|function| self.function(function))
            .or_else(|| parts.into_iter().find_map(|part| self.type_(part, made)))
    }
}
