//! The control daemon of betweenrows: one store of users, roles, attributes, policies and data sources, a REST API to
//! change it, and a sync that keeps the catalog of each database in step.
//!
//! The way of a change: `api` or `commands` → `store` (checked, audited, in one transaction) → `sync` →
//! `betweenrows.apply()` in each database that it concerns.

pub mod access;
pub mod api;
pub mod audit;
pub mod check;
pub mod commands;
pub mod config;
pub mod decisions;
pub mod discovery;
pub mod document;
pub mod error;
pub mod expression;
pub mod secrets;
pub mod server;
pub mod store;
pub mod sync;
pub mod time;
pub mod tls;
