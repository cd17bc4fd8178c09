//! FFI helpers, and every difference between PostgreSQL majors.

pub(crate) mod attached;
pub(crate) mod compat;
pub(crate) mod depend;
pub(crate) mod leaf;
pub(crate) mod list;
pub(crate) mod nodes;
pub(crate) mod objects;
pub(crate) mod pinned;
pub(crate) mod privileges;
pub(crate) mod relation;
pub(crate) mod report;
pub(crate) mod scan;
pub(crate) mod types;
pub(crate) mod views;
pub(crate) mod walk;

use pgrx::pg_sys::{self, Oid};

/// The first OID that initdb does not hand out: everything below is PostgreSQL's own.
pub(crate) const FIRST_NORMAL_OID: u32 = 16384;

/// Whether PostgreSQL itself created the object, so that no policy can be about it.
pub(crate) fn is_builtin(oid: Oid) -> bool {
    oid.to_u32() < FIRST_NORMAL_OID
}

/// The attribute with the 0-based index.
///
/// # Safety
/// `desc` is valid and has more than `index` attributes.
pub(crate) unsafe fn attribute(desc: pg_sys::TupleDesc, index: usize) -> *mut pg_sys::FormData_pg_attribute {
    #[cfg(feature = "pg18")]
    {
        // From 18 the full attributes follow the compact ones.
        let compact = (*desc).compact_attrs.as_mut_ptr();
        let full = compact
            .add((*desc).natts as usize)
            .cast::<pg_sys::FormData_pg_attribute>();
        full.add(index)
    }
    #[cfg(not(feature = "pg18"))]
    {
        (*desc).attrs.as_mut_ptr().add(index)
    }
}

/// The schema of a relation and its name, `None` when it has gone away.
pub(crate) fn relation_name(relid: Oid) -> Option<(String, String)> {
    // SAFETY: syscache lookups; the strings are copied before anything else happens.
    unsafe {
        let name = pg_sys::get_rel_name(relid);
        if name.is_null() {
            return None;
        }
        let namespace = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relid));
        if namespace.is_null() {
            return None;
        }
        Some((nodes::string(namespace), nodes::string(name)))
    }
}

/// The name of a role, `None` when there is none with this OID.
pub(crate) fn role_name(role: Oid) -> Option<String> {
    // SAFETY: a syscache lookup that returns NULL for a missing role.
    let name = unsafe { pg_sys::GetUserNameFromId(role, true) };
    // SAFETY: the string was just made for us.
    (!name.is_null()).then(|| unsafe { nodes::string(name) })
}

/// The OID of a role by name.
pub(crate) fn role_oid(name: &str) -> Option<Oid> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: a syscache lookup with a NUL-terminated name.
    let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (oid != Oid::INVALID).then_some(oid)
}

/// The five characters of an SQLSTATE: PostgreSQL packs six bits for each, least significant first (`MAKE_SQLSTATE`).
pub(crate) fn sqlstate(code: pgrx::PgSqlErrorCode) -> String {
    let code = code as i32;
    (0..5)
        .map(|index| char::from(((code >> (6 * index)) & 0x3f) as u8 + b'0'))
        .collect()
}

/// Runs `f` with the rights of a role, as PostgreSQL runs index expressions: without the means to take on other rights.
pub(crate) fn with_rights_of<R>(role: Oid, f: impl FnOnce() -> R) -> R {
    struct Scope {
        user: Oid,
        context: i32,
    }
    impl Drop for Scope {
        fn drop(&mut self) {
            // SAFETY: puts back what was current. An abort of the transaction, which an error leads to, does the same.
            unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
        }
    }
    let mut scope = Scope {
        user: Oid::INVALID,
        context: 0,
    };
    // SAFETY: reads and sets backend state.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut scope.user, &mut scope.context);
        let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
        pg_sys::SetUserIdAndSecContext(role, scope.context | restricted as i32);
    }
    f()
}
