//! Role switches: a plan made for one subject must not be reused for another.
//!
//! No hook runs between a Bind message and the choice of a cached plan, so saved plans are marked at the switch itself, by
//! wrapping the assign hooks of the settings `role` and `session_authorization`.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

use pgrx::pg_sys;

type AssignHook = unsafe extern "C-unwind" fn(*const c_char, *mut c_void);

static ROLE: OnceLock<Option<AssignHook>> = OnceLock::new();
static SESSION: OnceLock<Option<AssignHook>> = OnceLock::new();

unsafe extern "C-unwind" fn role_assigned(value: *const c_char, extra: *mut c_void) {
    if let Some(Some(next)) = ROLE.get() {
        next(value, extra);
    }
    crate::catalog::epoch::identity_changed();
}

unsafe extern "C-unwind" fn session_assigned(value: *const c_char, extra: *mut c_void) {
    if let Some(Some(next)) = SESSION.get() {
        next(value, extra);
    }
    crate::catalog::epoch::identity_changed();
}

/// Wraps the assign hooks. Called once, at server start.
pub(crate) fn init() {
    // SAFETY: the settings exist from the start, live for the life of the process and are string settings.
    unsafe {
        wrap(c"role", &ROLE, role_assigned);
        wrap(c"session_authorization", &SESSION, session_assigned);
    }
}

unsafe fn wrap(name: &CStr, previous: &OnceLock<Option<AssignHook>>, hook: AssignHook) {
    let setting = setting(name).cast::<pg_sys::config_string>();
    assert!(!setting.is_null(), "the setting {name:?} exists in every PostgreSQL");
    previous.get_or_init(|| (*setting).assign_hook);
    (*setting).assign_hook = Some(hook);
}

#[cfg(feature = "pg15")]
unsafe fn setting(name: &CStr) -> *mut pg_sys::config_generic {
    let variables = pg_sys::get_guc_variables();
    (0..pg_sys::GetNumConfigOptions())
        .map(|index| *variables.add(index as usize))
        .find(|variable| CStr::from_ptr((**variable).name) == name)
        .unwrap_or(std::ptr::null_mut())
}

#[cfg(not(feature = "pg15"))]
unsafe fn setting(name: &CStr) -> *mut pg_sys::config_generic {
    pg_sys::find_option(name.as_ptr(), false, true, pg_sys::DEBUG1 as i32)
}
