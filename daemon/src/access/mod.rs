//! What users see in a data source, and what a change of a policy would do to that.
//!
//! Both are worked out here, by the same [`policy::decide`] that the extension uses, from what is in force in the database
//! when it is asked: its catalog with everything that somebody made there by SQL, its tables and its exempt roles.
//!
//! Invariant: the database is only read.

pub mod changes;
pub mod preview;
mod snapshot;
mod view;

pub use snapshot::Snapshot;
pub use view::{Catalog, ColumnView, EffectView, FilterView, Standing, Subject, TableView};
