//! What is recorded of a statement, and how it stands in the spool.
//!
//! What many events share stands in descriptions, which are written once for each file and session: the session, the
//! statement, and each plan that the statement came to, with what the policies did there. They are JSON. What is written for
//! each statement is a few numbers and stands there as such: every statement pays for it twice, its own process and the
//! worker. Without anything of PostgreSQL's, so that the unit tests can run (`pg_regress/crash`).

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
#[derive(Clone, PartialEq, Debug)]
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
    pub(crate) planning: Option<f64>,
    /// The values of parameters.
    pub(crate) parameters: Option<Value>,
}

/// A further plan that a running statement came to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Touch {
    /// The number of its description.
    pub(crate) plan: u64,
    /// The number of a description of the statement that takes the place of the one before, whose text has literals that
    /// are to be left out for the plan's sake.
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

    /// Its byte in a frame: the first letter.
    fn as_byte(self) -> u8 {
        self.as_str().as_bytes()[0]
    }

    fn of_byte(byte: u8) -> Option<Status> {
        // A frame never says that a statement's end is not known.
        [Status::Success, Status::Denied, Status::Error]
            .into_iter()
            .find(|status| status.as_byte() == byte)
    }
}

/// The end of a statement, or that a policy refuses it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Finish {
    /// When, microseconds since 1970.
    pub(crate) at: i64,
    /// How.
    pub(crate) status: Status,
    /// The error's code.
    pub(crate) sqlstate: Option<String>,
    /// The error's primary message.
    pub(crate) message: Option<String>,
    /// Rows sent or changed.
    pub(crate) rows: Option<u64>,
    /// How long it was executed, milliseconds.
    pub(crate) execution: Option<f64>,
}

/// Stands for a number that is not known. Nothing has as many rows, or is the last of as many descriptions.
const NO_NUMBER: u64 = u64::MAX;
/// The length of an error's code.
const CODE: usize = 5;

fn known_number(number: u64) -> Option<u64> {
    Some(number).filter(|number| *number != NO_NUMBER)
}

/// A duration in whole nanoseconds. Milliseconds that are made of these have few enough digits that every program reads what
/// another one printed, which the hash chain needs.
fn nanoseconds(milliseconds: Option<f64>) -> u64 {
    milliseconds.map_or(NO_NUMBER, |milliseconds| (milliseconds * 1e6).round() as u64)
}

fn milliseconds(nanoseconds: u64) -> Option<f64> {
    known_number(nanoseconds).map(|nanoseconds| nanoseconds as f64 / 1e6)
}

fn numbers<const N: usize>(numbers: [u64; N]) -> Vec<u8> {
    let mut body = Vec::with_capacity(8 * N + 1);
    for number in numbers {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body
}

/// The numbers at the beginning, and what follows them.
fn read_numbers<const N: usize>(body: &[u8]) -> Option<([u64; N], &[u8])> {
    let (chunks, _) = body.split_at_checked(8 * N)?.0.as_chunks();
    let mut numbers = [0; N];
    for (number, chunk) in numbers.iter_mut().zip(chunks) {
        *number = u64::from_le_bytes(*chunk);
    }
    Some((numbers, &body[8 * N..]))
}

impl Start {
    /// The body of a frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = numbers([
            self.at as u64,
            self.session,
            self.statement,
            self.plan,
            nanoseconds(self.planning),
        ]);
        if let Some(parameters) = &self.parameters {
            body.extend_from_slice(parameters.to_string().as_bytes());
        }
        body
    }

    /// The reverse of [`Start::encode`].
    pub(crate) fn decode(body: &[u8]) -> Option<Start> {
        let ([at, session, statement, plan, planning], parameters) = read_numbers(body)?;
        Some(Start {
            at: at as i64,
            session,
            statement,
            plan,
            planning: milliseconds(planning),
            parameters: match parameters {
                [] => None,
                json => Some(serde_json::from_slice(json).ok()?),
            },
        })
    }
}

impl Touch {
    /// The body of a frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        numbers([self.plan, self.statement.unwrap_or(NO_NUMBER)])
    }

    /// The reverse of [`Touch::encode`].
    pub(crate) fn decode(body: &[u8]) -> Option<Touch> {
        let ([plan, statement], _) = read_numbers(body)?;
        Some(Touch {
            plan,
            statement: known_number(statement),
        })
    }
}

impl Finish {
    /// The body of a frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let rows = self.rows.unwrap_or(NO_NUMBER);
        let mut body = numbers([self.at as u64, rows, nanoseconds(self.execution)]);
        body.push(self.status.as_byte());
        if let (Some(sqlstate), Some(message)) = (&self.sqlstate, &self.message) {
            body.extend_from_slice(format!("{sqlstate:CODE$}{message}").as_bytes());
        }
        body
    }

    /// The reverse of [`Finish::encode`].
    pub(crate) fn decode(body: &[u8]) -> Option<Finish> {
        let ([at, rows, execution], rest) = read_numbers(body)?;
        let (status, error) = rest.split_first()?;
        let error = std::str::from_utf8(error).ok()?;
        let (sqlstate, message) = error.split_at_checked(CODE).unzip();
        Some(Finish {
            at: at as i64,
            status: Status::of_byte(*status)?,
            sqlstate: sqlstate.map(str::to_owned),
            message: message.map(str::to_owned),
            rows: known_number(rows),
            execution: milliseconds(execution),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_and_ends_are_read_back() {
        for (planning, parameters) in [(None, None), (Some(0.25), Some(serde_json::json!(["1", null])))] {
            let start = Start {
                at: -5,
                session: 1,
                statement: 2,
                plan: u64::MAX,
                planning,
                parameters,
            };
            assert_eq!(Start::decode(&start.encode()), Some(start));
        }
        for (status, error) in [
            (Status::Success, None),
            (Status::Denied, Some(("42501".to_owned(), "ü".to_owned()))),
            (Status::Error, Some(("22012".to_owned(), String::new()))),
        ] {
            let (sqlstate, message) = error.unzip();
            for rows in [None, Some(0), Some(7)] {
                let finish = Finish {
                    at: 1_700_000_000_000_000,
                    status,
                    sqlstate: sqlstate.clone(),
                    message: message.clone(),
                    rows,
                    execution: rows.map(|rows| rows as f64),
                };
                assert_eq!(Finish::decode(&finish.encode()), Some(finish));
            }
        }
        for statement in [None, Some(8)] {
            let touch = Touch { plan: 9, statement };
            assert_eq!(Touch::decode(&touch.encode()), Some(touch));
        }
    }

    #[test]
    fn durations_are_read_back_from_what_is_printed() {
        for nanoseconds in [0, 1, 1_873, 123_456_789, 86_400_000_000_001] {
            let printed = milliseconds(nanoseconds).expect("a number");
            assert_eq!(super::nanoseconds(Some(printed)), nanoseconds);
            let read: f64 =
                serde_json::from_str(&serde_json::to_string(&printed).expect("a number")).expect("a number");
            assert_eq!(read.to_bits(), printed.to_bits());
        }
        assert_eq!(milliseconds(nanoseconds(None)), None);
    }

    #[test]
    fn what_is_too_short_is_nothing() {
        let body = Finish {
            at: 1,
            status: Status::Success,
            sqlstate: None,
            message: None,
            rows: None,
            execution: None,
        }
        .encode();
        for length in 0..body.len() {
            assert_eq!(Finish::decode(&body[..length]), None);
        }
        assert_eq!(Start::decode(&[0; 39]), None);
        assert_eq!(Touch::decode(&[0; 15]), None);
    }
}
