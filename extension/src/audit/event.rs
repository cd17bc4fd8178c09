//! What is recorded of a statement, and how it stands in the spool.
//!
//! What many events share stands in descriptions, which are written once for each file and session: the session, the
//! statement, and each plan that the statement came to, with what the policies did there.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The session that a statement came from.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct SessionDescription {
    /// `session_user`.
    pub(crate) login_role: String,
    /// The database's name.
    pub(crate) database: String,
    /// `application_name`.
    pub(crate) application_name: String,
    /// The client's address; none for a local socket.
    pub(crate) client_addr: Option<String>,
    /// The process.
    pub(crate) backend_pid: u32,
    /// When the session began, microseconds since 1970.
    pub(crate) backend_start: i64,
}

/// The client's statement.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct StatementDescription {
    /// The command tag: `SELECT`, `COPY`, `DO`.
    pub(crate) kind: String,
    /// Its text as sent.
    pub(crate) query: String,
    /// `compute_query_id`'s number.
    pub(crate) query_id: Option<i64>,
    /// Whether literals are left out of its texts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) redacted: bool,
}

/// What a plan, or an attempt that a policy refused, is about.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub(crate) struct PlanDescription {
    /// The subject's row in `users`.
    pub(crate) user_id: Option<String>,
    /// The subject.
    pub(crate) username: String,
    /// Its roles.
    pub(crate) roles: Vec<String>,
    /// What really ran.
    pub(crate) rewritten: Option<String>,
    /// What decision functions said, as [`crate::gate::Decision::to_json`] tells it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) decisions: Vec<serde_json::Value>,
    /// The governed relations in it.
    pub(crate) relations: Vec<Touched>,
    /// What the policies did.
    pub(crate) policies: Vec<Applied>,
}

/// A governed relation.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Touched {
    /// Its name, with the schema.
    pub(crate) relation: String,
    /// What was to be done with it.
    pub(crate) access: String,
    /// The columns that were read or compared.
    pub(crate) columns: Vec<String>,
    /// The columns that were given values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) written: Vec<String>,
}

/// What a policy did to a relation.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Applied {
    /// The relation's name, with the schema.
    pub(crate) relation: String,
    /// The policy's name.
    pub(crate) policy: String,
    /// Its id.
    pub(crate) policy_id: String,
    /// Its version.
    pub(crate) version: i32,
    /// What it did, in the words of `effective_policies()`.
    pub(crate) effect: String,
    /// The column that it did it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<String>,
    /// What its decision function said, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) decision: Option<String>,
}

/// A description in the spool.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Description {
    /// See [`SessionDescription`].
    Session(SessionDescription),
    /// See [`StatementDescription`].
    Statement(StatementDescription),
    /// See [`PlanDescription`].
    Plan(PlanDescription),
}

/// The beginning of a statement, or rather the first time that it comes to something governed.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Start {
    /// When the client's message came in, microseconds since 1970.
    pub(crate) at: i64,
    /// The numbers of the descriptions.
    pub(crate) session: u64,
    /// The same.
    pub(crate) statement: u64,
    /// The same.
    pub(crate) plan: u64,
    /// How long it was planned, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) planning: Option<f64>,
    /// The values of parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Value>,
}

/// A further plan that a running statement came to.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Touch {
    /// The number of its description.
    pub(crate) plan: u64,
    /// The number of a description of the statement that takes the place of the one before, whose text has literals that
    /// are to be left out for the plan's sake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) statement: Option<u64>,
}

/// How a statement ended.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Its end is not known: its process died.
    Started,
    /// It ran to its end.
    Success,
    /// A policy refused it, or a part of it.
    Denied,
    /// It failed for another reason.
    Error,
}

impl Status {
    /// The text form, as in the table.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Status::Started => "started",
            Status::Success => "success",
            Status::Denied => "denied",
            Status::Error => "error",
        }
    }
}

/// The end of a statement, or that a policy refuses it.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Finish {
    /// When, microseconds since 1970.
    pub(crate) at: i64,
    /// How.
    pub(crate) status: Status,
    /// The error's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sqlstate: Option<String>,
    /// The error's primary message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// Rows sent or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<u64>,
    /// How long it was executed, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) execution: Option<f64>,
}
