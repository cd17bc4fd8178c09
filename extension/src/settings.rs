//! The `betweenrows.*` settings. All of them are SUSET or stricter: a subject never chooses how it is governed.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;

/// How row filters are kept from functions of the user's statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum)]
pub enum Barrier {
    /// A filter is an ordinary condition when every function of the statement is known to reveal nothing about the rows
    /// it is called for; otherwise it is a security barrier.
    #[name = c"adaptive"]
    Adaptive,
    /// A filter is always a security barrier.
    #[name = c"always"]
    Always,
}

/// `betweenrows.barrier`.
pub static BARRIER: GucSetting<Barrier> = GucSetting::<Barrier>::new(Barrier::Adaptive);

/// Registers the settings and reserves their prefix.
pub(crate) fn init() {
    GucRegistry::define_enum_guc(
        c"betweenrows.barrier",
        c"When row filters are security barriers.",
        c"adaptive: only for statements that use functions which could reveal the rows they are called for; always: for every statement, which can cost index scans.",
        &BARRIER,
        GucContext::Suset,
        GucFlags::default(),
    );
    crate::audit::settings::init();
    // SAFETY: the name is a static C string.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"betweenrows".as_ptr()) };
}
