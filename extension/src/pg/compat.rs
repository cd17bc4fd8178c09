//! Every difference between PostgreSQL majors that is more than a name.

use pgrx::pg_sys::{self, Bitmapset, Oid, Query, RangeTblEntry};

/// The permission part of a range table entry, which lives in the entry itself up to 15 and beside it from 16.
pub(crate) struct Permissions {
    /// Role whose privileges are checked; invalid means the current user.
    pub check_as_user: Oid,
    /// Columns that are read, offset by `FirstLowInvalidHeapAttributeNumber`.
    pub selected: *mut Bitmapset,
    /// Columns given a value by INSERT, offset by `FirstLowInvalidHeapAttributeNumber`.
    pub inserted: *mut Bitmapset,
    /// Columns given a value by UPDATE, same offset.
    pub updated: *mut Bitmapset,
}

/// Reads the permission part of `rte`, `None` when it has none.
///
/// # Safety
/// `rte` is an entry of `query`'s range table.
#[cfg(feature = "pg15")]
pub(crate) unsafe fn permissions(_query: *mut Query, rte: *mut RangeTblEntry) -> Option<Permissions> {
    Some(Permissions {
        check_as_user: (*rte).checkAsUser,
        selected: (*rte).selectedCols,
        inserted: (*rte).insertedCols,
        updated: (*rte).updatedCols,
    })
}

/// Reads the permission part of `rte`, `None` when it has none.
///
/// # Safety
/// `rte` is an entry of `query`'s range table.
#[cfg(not(feature = "pg15"))]
pub(crate) unsafe fn permissions(query: *mut Query, rte: *mut RangeTblEntry) -> Option<Permissions> {
    if (*rte).perminfoindex == 0 {
        return None;
    }
    let info = pg_sys::getRTEPermissionInfo((*query).rteperminfos, rte);
    Some(Permissions {
        check_as_user: (*info).checkAsUser,
        selected: (*info).selectedCols,
        inserted: (*info).insertedCols,
        updated: (*info).updatedCols,
    })
}

/// The permission part of a relation or of an expanded view, whose own stands up to 15 in the OLD entry of its query.
///
/// # Safety
/// `rte` is an entry of `query`'s range table.
pub(crate) unsafe fn permissions_of(query: *mut Query, rte: *mut RangeTblEntry) -> Option<Permissions> {
    #[cfg(feature = "pg15")]
    if (*rte).rtekind == pg_sys::RTEKind::RTE_SUBQUERY {
        let old = list_first((*(*rte).subquery).rtable).filter(|old| is_old_entry(*old))?;
        return permissions(query, old);
    }
    permissions(query, rte)
}

/// Moves the permission part of a relation that becomes the only entry of `inner`: up to 15 it travels inside the entry,
/// which the outer one then must not repeat.
///
/// # Safety
/// `inner_rte` is a copy of `outer_rte`, which is an entry of `outer`.
#[cfg(feature = "pg15")]
pub(crate) unsafe fn move_permissions(
    _outer: *mut Query,
    outer_rte: *mut RangeTblEntry,
    _inner: *mut Query,
    _inner_rte: *mut RangeTblEntry,
) {
    (*outer_rte).requiredPerms = 0;
    (*outer_rte).checkAsUser = Oid::INVALID;
    (*outer_rte).selectedCols = std::ptr::null_mut();
    (*outer_rte).insertedCols = std::ptr::null_mut();
    (*outer_rte).updatedCols = std::ptr::null_mut();
    (*outer_rte).extraUpdatedCols = std::ptr::null_mut();
    (*outer_rte).relid = Oid::INVALID;
    (*outer_rte).relkind = 0;
    (*outer_rte).rellockmode = 0;
}

/// Moves the permission part of a relation that becomes the only entry of `inner`: from 16 the inner query gets the
/// permission info, and an outer entry without an index is not checked.
///
/// # Safety
/// `inner_rte` is a copy of `outer_rte`, which is an entry of `outer`.
#[cfg(not(feature = "pg15"))]
pub(crate) unsafe fn move_permissions(
    outer: *mut Query,
    outer_rte: *mut RangeTblEntry,
    inner: *mut Query,
    inner_rte: *mut RangeTblEntry,
) {
    if (*outer_rte).perminfoindex != 0 {
        let info = pg_sys::getRTEPermissionInfo((*outer).rteperminfos, outer_rte);
        (*inner).rteperminfos = super::list::of(super::nodes::copy(info));
        (*inner_rte).perminfoindex = 1;
        (*outer_rte).perminfoindex = 0;
    }
    (*outer_rte).relid = Oid::INVALID;
    (*outer_rte).relkind = 0;
    (*outer_rte).rellockmode = 0;
}

/// Whether a Var of a RETURNING list asks for the OLD or the NEW row explicitly (18).
///
/// # Safety
/// `var` is a valid Var.
#[cfg(feature = "pg18")]
pub(crate) unsafe fn returning_type(var: *mut pg_sys::Var) -> Option<bool> {
    match (*var).varreturningtype {
        pg_sys::VarReturningType::VAR_RETURNING_OLD => Some(true),
        pg_sys::VarReturningType::VAR_RETURNING_NEW => Some(false),
        _ => None,
    }
}

/// Makes an expression that replaces a Var of OLD or NEW read that row, and be NULL where the row does not exist (18).
///
/// # Safety
/// `expr` is a valid expression with Vars of `varno` at level `level`, which may be modified.
#[cfg(feature = "pg18")]
pub(crate) unsafe fn apply_returning(expr: *mut pg_sys::Node, varno: i32, level: u32, old: bool) -> *mut pg_sys::Node {
    use super::{nodes, walk};
    let kind = if old {
        pg_sys::VarReturningType::VAR_RETURNING_OLD
    } else {
        pg_sys::VarReturningType::VAR_RETURNING_NEW
    };
    walk::walk(expr, &mut |node, depth| {
        if nodes::is_a(node, pg_sys::NodeTag::T_Var) {
            let var = node.cast::<pg_sys::Var>();
            if (*var).varno == varno && (*var).varlevelsup == level + depth {
                (*var).varreturningtype = kind;
            }
        }
        walk::Walk::Into
    });
    let wrapper = nodes::make::<pg_sys::ReturningExpr>(pg_sys::NodeTag::T_ReturningExpr);
    (*wrapper).retlevelsup = level as i32;
    (*wrapper).retold = old;
    (*wrapper).retexpr = expr.cast();
    wrapper.cast()
}

/// The view that a subquery entry was expanded from. The rewriter keeps its OID in `relid` from 16 and in late 15 minors;
/// before, the view's query still has the OLD entry as its first one.
///
/// # Safety
/// `rte` is a valid subquery entry of a rewritten query.
pub(crate) unsafe fn view_of_subquery(rte: *mut RangeTblEntry) -> Option<Oid> {
    if (*rte).relid != Oid::INVALID {
        return Some((*rte).relid);
    }
    let rtable = (*(*rte).subquery).rtable;
    if super::list::len(rtable) < 2 {
        return None;
    }
    let old: *mut RangeTblEntry = super::list::nth(rtable, 0);
    is_old_entry(old).then_some((*old).relid)
}

/// Whether `rte` is the OLD entry that views' queries carry up to 15: never read, there for the permission check only.
///
/// # Safety
/// `rte` is a valid entry.
pub(crate) unsafe fn is_old_entry(rte: *mut RangeTblEntry) -> bool {
    (*rte).rtekind == pg_sys::RTEKind::RTE_RELATION
        && (*rte).relkind as u8 == pg_sys::RELKIND_VIEW
        && !(*rte).inFromCl
        && matches!(super::nodes::string((*(*rte).eref).aliasname).as_str(), "old" | "new")
}

/// The role with whose rights an expanded view is read: invalid means the current user. Up to 15 the permission data
/// stands in the OLD entry of the view's query.
///
/// # Safety
/// `rte` is a view's subquery entry of `query`.
#[cfg(feature = "pg15")]
pub(crate) unsafe fn reader_of_view(_query: *mut Query, rte: *mut RangeTblEntry) -> Oid {
    let rtable = (*(*rte).subquery).rtable;
    list_first(rtable)
        .filter(|old| is_old_entry(*old))
        .map_or(Oid::INVALID, |old| (*old).checkAsUser)
}

#[cfg(feature = "pg15")]
unsafe fn list_first(rtable: *mut pg_sys::List) -> Option<*mut RangeTblEntry> {
    (super::list::len(rtable) > 0).then(|| super::list::nth(rtable, 0))
}

/// The role with whose rights an expanded view is read: invalid means the current user.
///
/// # Safety
/// `rte` is a view's subquery entry of `query`.
#[cfg(not(feature = "pg15"))]
pub(crate) unsafe fn reader_of_view(query: *mut Query, rte: *mut RangeTblEntry) -> Oid {
    permissions(query, rte).map_or(Oid::INVALID, |permissions| permissions.check_as_user)
}

/// Whether the roles that the entries of a query's own level are read as may do what the query does with them.
///
/// # Safety
/// `query` is a valid rewritten query.
pub(crate) unsafe fn is_permitted(query: *mut Query) -> bool {
    check_permissions(query, false)
}

/// Raises PostgreSQL's error when they may not.
///
/// # Safety
/// `query` is a valid rewritten query.
pub(crate) unsafe fn refuse_unless_permitted(query: *mut Query) {
    check_permissions(query, true);
}

#[cfg(feature = "pg15")]
unsafe fn check_permissions(query: *mut Query, raise: bool) -> bool {
    pg_sys::ExecCheckRTPerms((*query).rtable, raise)
}

#[cfg(not(feature = "pg15"))]
unsafe fn check_permissions(query: *mut Query, raise: bool) -> bool {
    pg_sys::ExecCheckPermissions((*query).rtable, (*query).rteperminfos, raise)
}
