//! Keeping the catalog of each data source in step with the store.
//!
//! Invariants:
//! - What a data source should have is computed after its lock was taken *there*, or the store says then that nothing has
//!   changed since, and applied in one transaction. A daemon that was cut off from the store can therefore not put an older
//!   document over a newer one.
//! - The names of what may be created are in the store before it is created, and only such names are ever removed:
//!   objects that somebody made by SQL are left alone, also when they belong to the daemon's own login role.
//! - A policy that a database refuses holds nothing else up, least of all that somebody loses access. It stays there as
//!   it was, and its data source is `partial` until it is mended.

mod apply;
mod connect;
pub(crate) mod login_roles;
mod managed;
mod run;
pub mod target;
pub mod worker;

pub use apply::{preflight, preflight_function};
pub use run::sync;
