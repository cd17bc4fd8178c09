//! PostgreSQL's `List`, iterated without copying.

use pgrx::pg_sys::{self, List};

/// Iterates over the pointers of a `List`; `NIL` is empty.
///
/// # Safety
/// `list` is NULL or a valid pointer list whose cells point to `T`, and it is not modified meanwhile.
pub(crate) unsafe fn iter<T>(list: *mut List) -> impl DoubleEndedIterator<Item = *mut T> + ExactSizeIterator {
    let length = len(list);
    (0..length).map(move |index| nth(list, index))
}

/// The number of cells; 0 for `NIL`.
///
/// # Safety
/// `list` is NULL or valid.
pub(crate) unsafe fn len(list: *mut List) -> usize {
    if list.is_null() { 0 } else { (*list).length as usize }
}

/// The `index`-th pointer, counted from 0.
///
/// # Safety
/// `list` is a valid pointer list with more than `index` cells of type `T`.
pub(crate) unsafe fn nth<T>(list: *mut List, index: usize) -> *mut T {
    debug_assert!(index < len(list));
    (*(*list).elements.add(index)).ptr_value.cast()
}

/// Replaces the `index`-th pointer.
///
/// # Safety
/// As for [`nth`].
pub(crate) unsafe fn set<T>(list: *mut List, index: usize, value: *mut T) {
    (*(*list).elements.add(index)).ptr_value = value.cast();
}

/// Iterates over an OID list.
///
/// # Safety
/// `list` is NULL or a valid `OidList`.
pub(crate) unsafe fn iter_oid(list: *mut List) -> impl Iterator<Item = pg_sys::Oid> {
    (0..len(list)).map(move |index| (*(*list).elements.add(index)).oid_value)
}

/// Appends a pointer and returns the list, which may have moved.
///
/// # Safety
/// `list` is NULL or a valid pointer list.
pub(crate) unsafe fn push<T>(list: *mut List, value: *mut T) -> *mut List {
    pg_sys::lappend(list, value.cast())
}

/// A list of one pointer.
///
/// # Safety
/// `value` may be stored in the current memory context.
pub(crate) unsafe fn of<T>(value: *mut T) -> *mut List {
    push(std::ptr::null_mut(), value)
}
