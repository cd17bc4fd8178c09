//! Settings with a value of ours for a while.

use std::ffi::CStr;

use pgrx::pg_sys;

/// A setting's name and value.
pub(crate) type Setting = (&'static CStr, &'static CStr);

/// The settings that say what a text means as SQL, apart from the schemas that names are looked up in: what a backslash is,
/// what constants of types with several notations are.
pub(crate) const ANALYSIS: &[Setting] = &[
    (c"standard_conforming_strings", c"on"),
    (c"backslash_quote", c"safe_encoding"),
    (c"transform_null_equals", c"off"),
    (c"array_nulls", c"on"),
    (c"DateStyle", c"ISO, MDY"),
    (c"IntervalStyle", c"postgres"),
    (c"TimeZone", c"UTC"),
    (c"lc_monetary", c"C"),
    (c"xmloption", c"content"),
];

/// Gives settings of this process values for its whole life.
///
/// # Safety
/// The process is a worker of ours that has just connected.
pub(crate) unsafe fn for_process(settings: &[Setting]) {
    for (name, value) in settings {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// Settings of the session that have other values until this is dropped, also by an error that unwinds.
pub(crate) struct Pinned(i32);

impl Pinned {
    /// Gives each setting its value.
    ///
    /// # Safety
    /// Every role may set these settings to these values.
    pub(crate) unsafe fn new(settings: &[(&CStr, &CStr)]) -> Self {
        Pinned(begin(settings))
    }
}

/// As [`Pinned::new`], until [`end`] is called with the result or the (sub)transaction ends.
///
/// # Safety
/// Every role may set these settings to these values.
pub(crate) unsafe fn begin(settings: &[(&CStr, &CStr)]) -> i32 {
    let level = pg_sys::NewGUCNestLevel();
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
    level
}

/// Puts back what was set since `begin` returned `level`.
///
/// # Safety
/// Nothing that began later is still in force.
pub(crate) unsafe fn end(level: i32) {
    pg_sys::AtEOXact_GUC(true, level);
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: puts back what was set since the nest level began.
        unsafe { end(self.0) };
    }
}
