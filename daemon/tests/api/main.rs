//! The daemon against a real PostgreSQL with the extension. `make daemon` starts one and runs this.

mod access;
mod attributes;
mod audit;
mod auth;
mod commands;
mod conformance;
mod data_sources;
mod day_one;
mod decision_functions;
mod discovery;
mod documents;
mod harness;
mod login_roles;
mod openapi;
mod policies;
mod process;
mod roles;
mod scale;
mod secrets;
mod serving;
mod store;
mod sync;
mod users;
