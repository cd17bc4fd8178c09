//! The extension's own access to its catalog tables, which no policy governs.
//!
//! Invariant: [`active`] is true only while a function of this extension runs its own statements. Those touch nothing but
//! the tables of the schema `betweenrows` and system catalogs, whose triggers are the extension's own, so that no user's
//! code can run inside.

use std::cell::Cell;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

struct Scope;

impl Drop for Scope {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Runs `f` with the extension's access. The scope ends with `f`, also when an error unwinds through it.
pub(crate) fn with_catalog_access<R>(f: impl FnOnce() -> R) -> R {
    super::known::forget();
    DEPTH.set(DEPTH.get() + 1);
    let _scope = Scope;
    f()
}

/// Whether the extension's own access is in force.
pub(crate) fn active() -> bool {
    DEPTH.get() > 0
}
