//! Discovery: looking into the database of a data source, and keeping its catalog.
//!
//! What takes long is a job. [`jobs`](crate::store::jobs) has what every daemon knows of it, [`Runner`] runs it on this
//! one, [`actions`] says what the kinds of jobs do, [`upstream`] asks the database, and [`drift`] compares.

mod actions;
pub mod drift;
mod request;
mod runner;
pub mod upstream;

pub use actions::drift_of;
pub use drift::Drift;
pub use request::{ColumnSelection, Request, SchemaSelection, TableRef, TableSelection};
pub use runner::Runner;
