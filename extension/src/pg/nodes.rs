//! Constructors and accessors for PostgreSQL's nodes.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Node, NodeTag, Oid, Query, RangeTblEntry, TargetEntry, Var};

/// The tag of a node.
///
/// # Safety
/// `node` is a valid node.
pub(crate) unsafe fn tag<T>(node: *mut T) -> NodeTag {
    (*node.cast::<Node>()).type_
}

/// Whether `node` is not NULL and has the given tag.
///
/// # Safety
/// `node` is NULL or a valid node.
pub(crate) unsafe fn is_a<T>(node: *mut T, tag: NodeTag) -> bool {
    !node.is_null() && (*node.cast::<Node>()).type_ == tag
}

/// A zeroed node of type `T` in the current memory context.
///
/// # Safety
/// `T` is the C struct that belongs to `tag`.
pub(crate) unsafe fn make<T>(tag: NodeTag) -> *mut T {
    let node = pg_sys::palloc0(size_of::<T>()).cast::<T>();
    (*node.cast::<Node>()).type_ = tag;
    node
}

/// A deep copy in the current memory context.
///
/// # Safety
/// `node` is NULL or a valid node that `copyObject` knows.
pub(crate) unsafe fn copy<T>(node: *mut T) -> *mut T {
    pg_sys::copyObjectImpl(node.cast()).cast()
}

/// The range table entry with the 1-based index.
///
/// # Safety
/// `query` is valid and has that entry.
pub(crate) unsafe fn rte(query: *mut Query, index: usize) -> *mut RangeTblEntry {
    super::list::nth((*query).rtable, index - 1)
}

/// A copy of a Rust string as a C string in the current memory context.
///
/// # Panics
/// When `text` contains a NUL byte, which no PostgreSQL string does.
pub(crate) fn pstr(text: &str) -> *mut std::ffi::c_char {
    assert!(!text.as_bytes().contains(&0), "no NUL bytes in PostgreSQL strings");
    // SAFETY: the copy has room for the text and a NUL.
    unsafe {
        let copy = pg_sys::palloc(text.len() + 1).cast::<u8>();
        copy.copy_from_nonoverlapping(text.as_ptr(), text.len());
        copy.add(text.len()).write(0);
        copy.cast()
    }
}

/// The Rust string of a C string; empty for NULL. Bytes that are not UTF-8 are replaced.
///
/// # Safety
/// `text` is NULL or NUL-terminated.
pub(crate) unsafe fn string(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        String::new()
    } else {
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// A target entry.
///
/// # Safety
/// `expr` is a valid expression.
pub(crate) unsafe fn target(expr: *mut Node, resno: usize, name: &str) -> *mut TargetEntry {
    pg_sys::makeTargetEntry(expr.cast(), resno as i16, pstr(name), false)
}

/// A NULL constant of a type.
pub(crate) fn null(type_oid: Oid, typmod: i32, collation: Oid) -> *mut Node {
    // SAFETY: makeNullConst looks the type's length up and allocates.
    unsafe { pg_sys::makeNullConst(type_oid, typmod, collation).cast() }
}

/// A boolean constant.
pub(crate) fn boolean(value: bool) -> *mut Node {
    // SAFETY: allocates a Const.
    unsafe { pg_sys::makeBoolConst(value, false) }
}

/// The AND of the given quals: NULL for none, the qual itself for one.
///
/// # Safety
/// The quals are valid boolean expressions.
pub(crate) unsafe fn and(quals: &[*mut Node]) -> *mut Node {
    combine(pg_sys::BoolExprType::AND_EXPR, quals)
}

/// The OR of the given quals: false for none.
///
/// # Safety
/// The quals are valid boolean expressions.
pub(crate) unsafe fn or(quals: &[*mut Node]) -> *mut Node {
    if quals.is_empty() {
        boolean(false)
    } else {
        combine(pg_sys::BoolExprType::OR_EXPR, quals)
    }
}

unsafe fn combine(kind: pg_sys::BoolExprType::Type, quals: &[*mut Node]) -> *mut Node {
    match quals {
        [] => std::ptr::null_mut(),
        [one] => *one,
        many => {
            let mut list = std::ptr::null_mut();
            for qual in many {
                list = super::list::push(list, *qual);
            }
            pg_sys::makeBoolExpr(kind, list, -1).cast()
        }
    }
}

/// A Var of the current query level.
pub(crate) fn var(varno: i32, attno: i16, type_oid: Oid, typmod: i32, collation: Oid) -> *mut Var {
    // SAFETY: allocates a Var.
    unsafe { pg_sys::makeVar(varno as _, attno, type_oid, typmod, collation, 0) }
}

/// A call of a function of that schema that returns boolean, `None` when there is none for arguments of these types.
///
/// # Safety
/// `args` is NULL or a list of valid expressions.
pub(crate) unsafe fn call(schema: Oid, function: &CStr, args: *mut pg_sys::List, types: &[Oid]) -> Option<*mut Node> {
    let schema = pg_sys::makeString(pg_sys::get_namespace_name(schema));
    let names = super::list::push(
        super::list::of(schema),
        pg_sys::makeString(function.as_ptr().cast_mut()),
    );
    let function = pg_sys::LookupFuncName(names, types.len() as i32, types.as_ptr(), true);
    let format = pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
    (function != Oid::INVALID)
        .then(|| pg_sys::makeFuncExpr(function, pg_sys::BOOLOID, args, Oid::INVALID, Oid::INVALID, format).cast())
}

/// The attribute numbers in a set of columns, which is offset by `FirstLowInvalidHeapAttributeNumber`.
///
/// # Safety
/// `set` is NULL or a valid set.
pub(crate) unsafe fn attributes(set: *mut pg_sys::Bitmapset) -> Vec<i16> {
    let mut found = Vec::new();
    let mut member = -1;
    loop {
        member = pg_sys::bms_next_member(set, member);
        if member < 0 {
            return found;
        }
        found.push((member + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16);
    }
}
