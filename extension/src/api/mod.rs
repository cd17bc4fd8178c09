//! The SQL functions of the schema `betweenrows`, one noun a file.
//!
//! Invariant: the catalog changes only here; every argument is checked before anything is written; every change is
//! recorded in `admin_audit` in the same transaction; a call that changes nothing writes nothing.
//!
//! The functions are SECURITY DEFINER with a pinned search_path (see the install script), so that the current role is the
//! extension's owner. Who asks is `session_user`.

mod access;
mod allowlist;
mod apply;
mod args;
mod assignments;
mod attributes;
mod audit;
mod audit_status;
mod check;
mod decision_context;
mod decision_functions;
mod discover;
mod effective;
mod errors;
mod export;
pub(crate) mod follow;
mod json;
mod login;
mod members;
mod parents;
mod policies;
mod query_audit;
mod relations;
mod rewritten_query;
mod roles;
mod settings;
mod short_forms;
mod sql;
mod status;
mod trust;
mod users;
mod validate_expression;
mod verify_audit;
mod whoami;
