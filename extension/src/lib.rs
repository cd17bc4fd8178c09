//! betweenrows: data access governance inside PostgreSQL.
//!
//! The way of a statement: [`identity`] (who asks) → [`catalog`] (cached policies) → `policy::decide` → [`rewrite`] (query
//! tree) → [`guard`] (executor check) → [`audit`]. The hooks in [`hooks`] only dispatch; FFI and differences between PostgreSQL majors
//! live in [`pg`].

#![allow(static_mut_refs)] // hook chains are statics written once at server start

mod api;
mod audit;
mod catalog;
mod errors;
mod expression;
mod gate;
mod guard;
mod hooks;
mod identity;
mod pg;
mod redact;
mod rewrite;
pub mod settings;
mod utility;
mod visibility;

use pgrx::pg_sys;
use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

/// Called by PostgreSQL when the library is loaded. Loaded later than at server start, its hooks would miss what other
/// sessions do, so that is refused.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // SAFETY: reads a flag of the postmaster.
    if unsafe { !pg_sys::process_shared_preload_libraries_in_progress } {
        errors::not_preloaded();
    }
    settings::init();
    catalog::epoch::init();
    // Before the frames: callbacks run in the reverse order.
    audit::init();
    guard::frames::init();
    identity::switch::init();
    redact::init();
    utility::follow::init();
    gate::init();
    hooks::init();
}
