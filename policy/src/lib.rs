//! The meaning of betweenrows policies, free of PostgreSQL and of any I/O.
//!
//! Invariant: what is decided here depends on nothing but the arguments. The same subject, relation and policies give
//! the same [`decide::Decision`], whatever the order in which they were stored.

pub mod access;
pub mod allowlist;
pub mod attribute;
pub mod decide;
pub mod document;
pub mod error;
pub mod function;
mod json;
pub mod model;
pub mod pattern;
pub mod placeholder;
pub mod retarget;
pub mod roles;
