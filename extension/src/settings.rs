//! The `betweenrows.*` settings. All of them are SUSET or stricter: a subject never chooses how it is governed.

use decision::Limits;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;

/// How row filters are kept from functions of the user's statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum)]
pub enum Barrier {
    /// A filter is an ordinary condition when every function of the statement is known to reveal nothing about the rows
    /// it is called for; otherwise it is a security barrier.
    #[name = c"adaptive"]
    Adaptive,
    /// A filter is always a security barrier.
    #[name = c"always"]
    Always,
}

/// `betweenrows.barrier`.
pub static BARRIER: GucSetting<Barrier> = GucSetting::<Barrier>::new(Barrier::Adaptive);

/// `betweenrows.decision_fuel`: a typical function takes less than half a million; ten million take less than a millisecond.
pub static DECISION_FUEL: GucSetting<i32> = GucSetting::<i32>::new(Limits::DEFAULT.fuel as i32);
/// `betweenrows.decision_memory`, in kB: the engine itself takes two megabytes.
pub static DECISION_MEMORY: GucSetting<i32> = GucSetting::<i32>::new((Limits::DEFAULT.memory / 1024) as i32);
/// `betweenrows.decision_source_limit`, in bytes.
pub static DECISION_SOURCE_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);
/// `betweenrows.decision_config_limit`, in bytes.
pub static DECISION_CONFIG_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(16 * 1024);
/// `betweenrows.decision_log_limit`, in bytes.
pub static DECISION_LOG_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(Limits::DEFAULT.log as i32);
/// `betweenrows.decision_clock_offset`, in seconds.
pub static DECISION_CLOCK_OFFSET: GucSetting<i32> = GucSetting::<i32>::new(0);

/// Registers the settings and reserves their prefix.
pub(crate) fn init() {
    GucRegistry::define_enum_guc(
        c"betweenrows.barrier",
        c"When row filters are security barriers.",
        c"adaptive: only for statements that use functions which could reveal the rows they are called for; always: for every statement, which can cost index scans.",
        &BARRIER,
        GucContext::Suset,
        GucFlags::default(),
    );
    crate::audit::settings::init();
    let number = |name, short, long, setting: &'static GucSetting<i32>, least, most, flags| {
        GucRegistry::define_int_guc(name, short, long, setting, least, most, GucContext::Suset, flags);
    };
    number(
        c"betweenrows.decision_clock_offset",
        c"What is added to the time that decision functions are told.",
        c"To try what they decide at another time of the day or week; 0 is the time of the statement.",
        &DECISION_CLOCK_OFFSET,
        -i32::MAX,
        i32::MAX,
        GucFlags::UNIT_S,
    );
    number(
        c"betweenrows.decision_config_limit",
        c"Longest config of a decision function.",
        c"It is read for each evaluation.",
        &DECISION_CONFIG_LIMIT,
        2,
        1 << 20,
        GucFlags::UNIT_BYTE,
    );
    number(
        c"betweenrows.decision_fuel",
        c"What one evaluation of a decision function may take.",
        c"Counts the instructions of the sandbox, the same on every machine: ten million take less than a millisecond. A running evaluation cannot be cancelled, so this is what bounds its time.",
        &DECISION_FUEL,
        1_000_000,
        1_000_000_000,
        GucFlags::default(),
    );
    number(
        c"betweenrows.decision_log_limit",
        c"What is kept of the messages of one evaluation of a decision function.",
        c"The rest is left out.",
        &DECISION_LOG_LIMIT,
        0,
        1 << 20,
        GucFlags::UNIT_BYTE,
    );
    number(
        c"betweenrows.decision_memory",
        c"Memory that one evaluation of a decision function may use.",
        c"The engine itself takes about two megabytes of it.",
        &DECISION_MEMORY,
        4 * 1024,
        64 * 1024,
        GucFlags::UNIT_KB,
    );
    number(
        c"betweenrows.decision_source_limit",
        c"Longest source of a decision function.",
        c"Applies when a function is saved.",
        &DECISION_SOURCE_LIMIT,
        32,
        1 << 20,
        GucFlags::UNIT_BYTE,
    );
    // SAFETY: the name is a static C string.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"betweenrows".as_ptr()) };
}
