//! Settings with a value of ours for a while.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Settings of the session that have other values until this is dropped, also by an error that unwinds.
pub(crate) struct Pinned(i32);

impl Pinned {
    /// Gives each setting its value.
    ///
    /// # Safety
    /// Every role may set these settings to these values.
    pub(crate) unsafe fn new(settings: &[(&CStr, &CStr)]) -> Self {
        let pinned = Pinned(pg_sys::NewGUCNestLevel());
        for (name, value) in settings {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        pinned
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: puts back what was set since the nest level began.
        unsafe { pg_sys::AtEOXact_GUC(true, self.0) };
    }
}
