//! The settings of the audit. All are SUSET or stricter: a subject never chooses what is recorded about it.

use std::ffi::CString;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use serde::{Deserialize, Serialize};

/// What is recorded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, PostgresGucEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    #[name = c"off"]
    Off,
    /// Statements that a policy refused.
    #[name = c"denied"]
    Denied,
    /// Every statement on governed relations.
    #[name = c"all"]
    All,
}

/// What happens to a statement whose event does not fit into the spool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum)]
pub enum Overflow {
    /// It waits for room, and is refused when none comes.
    #[name = c"block"]
    Block,
    /// It runs, and the lost event is counted.
    #[name = c"drop"]
    Drop,
}

/// How a partition is exported before it is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum)]
pub enum ExportFormat {
    /// Comma-separated values with a header line.
    #[name = c"csv"]
    Csv,
    /// One JSON object a line.
    #[name = c"jsonl"]
    JsonLines,
}

/// `betweenrows.audit`.
pub(crate) static LEVEL: GucSetting<Level> = GucSetting::<Level>::new(Level::All);
/// `betweenrows.audit_overflow`.
pub(crate) static OVERFLOW: GucSetting<Overflow> = GucSetting::<Overflow>::new(Overflow::Block);
/// `betweenrows.audit_block_timeout`, milliseconds.
pub(crate) static BLOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(5000);
/// `betweenrows.audit_parameters`.
pub(crate) static PARAMETERS: GucSetting<bool> = GucSetting::<bool>::new(false);
/// `betweenrows.audit_redact`.
pub(crate) static REDACT: GucSetting<bool> = GucSetting::<bool>::new(false);
/// `betweenrows.audit_rewritten`.
pub(crate) static REWRITTEN: GucSetting<bool> = GucSetting::<bool>::new(true);
/// `betweenrows.audit_durable`.
pub(crate) static DURABLE: GucSetting<bool> = GucSetting::<bool>::new(false);
/// `betweenrows.audit_hash_chain`.
pub(crate) static HASH_CHAIN: GucSetting<bool> = GucSetting::<bool>::new(false);
/// `betweenrows.audit_spool_size`, MB.
pub(crate) static SPOOL_SIZE: GucSetting<i32> = GucSetting::<i32>::new(256);
/// `betweenrows.audit_flush_interval`, milliseconds.
pub(crate) static FLUSH_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1000);
/// `betweenrows.audit_text_size`, bytes.
pub(crate) static TEXT_SIZE: GucSetting<i32> = GucSetting::<i32>::new(1024 * 1024);
/// `betweenrows.audit_retention`, days.
pub(crate) static RETENTION: GucSetting<i32> = GucSetting::<i32>::new(0);
/// `betweenrows.audit_export_directory`.
pub(crate) static EXPORT_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
/// `betweenrows.audit_export_format`.
pub(crate) static EXPORT_FORMAT: GucSetting<ExportFormat> = GucSetting::<ExportFormat>::new(ExportFormat::JsonLines);

/// How many bytes the spool of a database may hold.
pub(crate) fn spool_size() -> u64 {
    SPOOL_SIZE.get() as u64 * 1024 * 1024
}

/// Registers the settings, sorted by name.
pub(crate) fn init() {
    let none = GucFlags::default();
    GucRegistry::define_enum_guc(
        c"betweenrows.audit",
        c"What is recorded in betweenrows.query_audit.",
        c"off: nothing; denied: statements that a policy refused; all: every statement on relations that policies govern. Can be set for a role with ALTER ROLE.",
        &LEVEL,
        GucContext::Suset,
        none,
    );
    GucRegistry::define_int_guc(
        c"betweenrows.audit_block_timeout",
        c"How long a statement waits for room in the spool before it is refused.",
        c"Only with audit_overflow = block. Long enough for a burst, short enough that a worker that is stuck is noticed.",
        &BLOCK_TIMEOUT,
        0,
        3_600_000,
        GucContext::Suset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        c"betweenrows.audit_durable",
        c"Whether a statement waits until its event is on disk before it sends rows.",
        c"Off: events survive the end of a process and of the server, but the last ones not that of the operating system.",
        &DURABLE,
        GucContext::Suset,
        none,
    );
    GucRegistry::define_string_guc(
        c"betweenrows.audit_export_directory",
        c"Where partitions are exported to before they are dropped.",
        c"Empty: they are dropped without. A partition whose export fails is kept.",
        &EXPORT_DIRECTORY,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_enum_guc(
        c"betweenrows.audit_export_format",
        c"What exported partitions look like.",
        c"csv: comma-separated values with a header line; jsonl: one JSON object a line.",
        &EXPORT_FORMAT,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"betweenrows.audit_flush_interval",
        c"How often events are moved from the spool into the table.",
        c"A worker is in the database only while there is something to move and one such interval longer.",
        &FLUSH_INTERVAL,
        10,
        600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        c"betweenrows.audit_hash_chain",
        c"Whether each row carries a hash over itself and the row before it.",
        c"betweenrows.verify_audit() then finds rows that were removed or altered.",
        &HASH_CHAIN,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_enum_guc(
        c"betweenrows.audit_overflow",
        c"What happens to a statement whose event cannot be written.",
        c"block: it waits for room and is refused when none comes; drop: it runs, and audit_status() counts the lost event.",
        &OVERFLOW,
        GucContext::Suset,
        none,
    );
    GucRegistry::define_bool_guc(
        c"betweenrows.audit_parameters",
        c"Whether the values of parameters are recorded.",
        c"Off, since they may be what masks are there for.",
        &PARAMETERS,
        GucContext::Suset,
        none,
    );
    GucRegistry::define_bool_guc(
        c"betweenrows.audit_redact",
        c"Whether literals are left out of the text of statements that use masked columns.",
        c"Each literal becomes a question mark in original_query and rewritten_query.",
        &REDACT,
        GucContext::Suset,
        none,
    );
    GucRegistry::define_int_guc(
        c"betweenrows.audit_retention",
        c"After how many days a partition of query_audit is dropped.",
        c"0: never. How long to keep an audit is nothing to decide by default.",
        &RETENTION,
        0,
        36_500,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_bool_guc(
        c"betweenrows.audit_rewritten",
        c"Whether the rewritten text of statements is recorded.",
        c"It is made once for each plan. Without it the policies that took effect are recorded all the same.",
        &REWRITTEN,
        GucContext::Suset,
        none,
    );
    GucRegistry::define_int_guc(
        c"betweenrows.audit_spool_size",
        c"How much the spool of a database may hold.",
        c"What waits for being moved into the table; enough for the time that the worker may be away.",
        &SPOOL_SIZE,
        1,
        1_048_576,
        GucContext::Sighup,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_int_guc(
        c"betweenrows.audit_text_size",
        c"How many bytes of a statement's text are recorded.",
        c"Longer texts are cut, with a remark.",
        &TEXT_SIZE,
        1024,
        64 * 1024 * 1024,
        GucContext::Suset,
        GucFlags::UNIT_BYTE,
    );
}
