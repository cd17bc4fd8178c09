//! A row of `query_audit`, as it is put together from an event's frames.

use std::rc::Rc;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::audit::event::{
    Applied, Finish, PlanDescription, SessionDescription, Start, StatementDescription, Status, Touched,
};
use crate::audit::text;

/// The length of `rewritten_query` from which on nothing is added to it.
const FURTHER: usize = 256 * 1024;
/// What stands at its end then.
const LEFT_OUT: &str = ";\n[further statements left out]";

/// Which event it is: the epoch, the session in it, the number in that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    /// The epoch of the spool.
    pub(crate) epoch: i64,
    /// The session.
    pub(crate) session: u64,
    /// The event.
    pub(crate) number: u64,
}

impl Key {
    /// The row's id: the same for the same event whenever it is read, and in the order of time. The layout is that of
    /// version 7 of RFC 9562, with the number and a hash in the place of random bits.
    pub(crate) fn id(&self, started_at: i64) -> String {
        let mut source = [0; 24];
        source[..8].copy_from_slice(&self.epoch.to_be_bytes());
        source[8..16].copy_from_slice(&self.session.to_be_bytes());
        source[16..].copy_from_slice(&self.number.to_be_bytes());
        let hash = digest(&SHA256, &source);
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&started_at.div_euclid(1000).to_be_bytes()[2..]);
        bytes[10..].copy_from_slice(&hash.as_ref()[..6]);
        // The microseconds below the millisecond, in 4096ths: method 3 of section 6.2.
        let fraction = (started_at.rem_euclid(1000) * 4096 / 1000) as u16;
        bytes[6..8].copy_from_slice(&(0x7000 | fraction).to_be_bytes());
        // Statements of one message began at the same time.
        bytes[8..10].copy_from_slice(&(0x8000 | (self.number & 0x3fff) as u16).to_be_bytes());
        let hex = hex(&bytes);
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// What descriptions tell of an event: the same for all executions of a prepared statement.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) user_id: Option<String>,
    pub(crate) username: String,
    pub(crate) login_role: String,
    pub(crate) roles: Vec<String>,
    pub(crate) database: String,
    pub(crate) application_name: String,
    pub(crate) client_addr: Option<String>,
    pub(crate) backend_pid: u32,
    pub(crate) query_id: Option<i64>,
    pub(crate) statement_kind: String,
    pub(crate) original_query: String,
    pub(crate) rewritten_query: Option<String>,
    pub(crate) relations: Vec<Touched>,
    pub(crate) policies_applied: Vec<Applied>,
    #[serde(default)]
    pub(crate) decisions: Vec<Value>,
    pub(crate) backend_start: i64,
    /// Whether literals are left out of its texts. No column.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) redacted: bool,
}

/// A row. Times are microseconds since 1970, the names are those of the columns.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) started_at: i64,
    pub(crate) finished_at: Option<i64>,
    pub(crate) status: Status,
    pub(crate) sqlstate: Option<String>,
    pub(crate) error_message: Option<String>,
    pub(crate) row_count: Option<i64>,
    pub(crate) planning_ms: Option<f64>,
    pub(crate) execution_ms: Option<f64>,
    pub(crate) parameters: Option<Value>,
    /// Shared by the rows that it is the same for.
    #[serde(flatten, with = "shared")]
    pub(crate) about: Rc<About>,
}

/// What is shared by rows stands in each of them.
mod shared {
    use std::rc::Rc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::About;

    pub(super) fn serialize<S: Serializer>(about: &Rc<About>, serializer: S) -> Result<S::Ok, S::Error> {
        About::serialize(about, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rc<About>, D::Error> {
        About::deserialize(deserializer).map(Rc::new)
    }
}

impl About {
    /// What is known of an event that has begun with this plan.
    pub(crate) fn new(session: &SessionDescription, statement: &StatementDescription, plan: &PlanDescription) -> About {
        let mut about = About {
            user_id: plan.user_id.clone(),
            username: plan.username.clone(),
            login_role: session.login_role.clone(),
            roles: plan.roles.clone(),
            database: session.database.clone(),
            application_name: session.application_name.clone(),
            client_addr: session.client_addr.clone(),
            backend_pid: session.backend_pid,
            query_id: statement.query_id,
            statement_kind: statement.kind.clone(),
            original_query: statement.query.clone(),
            rewritten_query: None,
            relations: Vec::new(),
            policies_applied: Vec::new(),
            decisions: Vec::new(),
            backend_start: session.backend_start,
            redacted: statement.redacted,
        };
        about.add(plan);
        about
    }

    fn add(&mut self, plan: &PlanDescription) {
        let redacted = plan.rewritten.as_deref().filter(|_| self.redacted).map(text::redact);
        if let Some(text) = redacted.as_ref().or(plan.rewritten.as_ref()) {
            match &mut self.rewritten_query {
                None => self.rewritten_query = Some(text.clone()),
                // A loop can come to any number of statements.
                Some(all) if all.ends_with(LEFT_OUT) => {}
                Some(all) if all.len() > FURTHER => all.push_str(LEFT_OUT),
                // The statement itself and those of its functions, each once.
                Some(all) if !all.split(";\n").any(|one| one == text) => {
                    all.push_str(";\n");
                    all.push_str(text);
                }
                Some(_) => {}
            }
        }
        for touched in &plan.relations {
            let same = |known: &&mut Touched| known.relation == touched.relation && known.access == touched.access;
            match self.relations.iter_mut().find(same) {
                Some(known) => {
                    merge(&mut known.columns, &touched.columns);
                    merge(&mut known.written, &touched.written);
                }
                None => self.relations.push(touched.clone()),
            }
        }
        for applied in &plan.policies {
            if !self.policies_applied.contains(applied) {
                self.policies_applied.push(applied.clone());
            }
        }
        self.policies_applied.sort();
        for decision in &plan.decisions {
            if !self.decisions.contains(decision) {
                self.decisions.push(decision.clone());
            }
        }
    }
}

impl Row {
    /// The row of an event that has begun.
    pub(crate) fn begin(key: Key, start: Start, about: Rc<About>) -> Row {
        Row {
            id: key.id(start.at),
            started_at: start.at,
            finished_at: None,
            status: Status::Started,
            sqlstate: None,
            error_message: None,
            row_count: None,
            planning_ms: start.planning,
            execution_ms: None,
            parameters: if about.redacted {
                start.parameters.map(hidden)
            } else {
                start.parameters
            },
            about,
        }
    }

    /// Adds what a further plan is about.
    pub(crate) fn add(&mut self, plan: &PlanDescription) {
        Rc::make_mut(&mut self.about).add(plan);
    }

    /// The statement has come to something for whose sake literals are left out of its texts.
    pub(crate) fn redescribe(&mut self, statement: &StatementDescription) {
        let about = Rc::make_mut(&mut self.about);
        about.original_query.clone_from(&statement.query);
        about.redacted = true;
        about.rewritten_query = about.rewritten_query.take().map(|text| text::redact(&text));
        self.parameters = self.parameters.take().map(hidden);
    }

    /// Adds that a policy refused it, or a part of it. How it ends is not known yet.
    pub(crate) fn refuse(&mut self, refusal: Finish) {
        self.status = refusal.status;
        self.sqlstate = refusal.sqlstate;
        self.error_message = refusal.message;
    }

    /// Adds how it ended.
    pub(crate) fn end(&mut self, finish: Finish) {
        self.finished_at = Some(finish.at);
        self.status = finish.status;
        self.sqlstate = finish.sqlstate;
        self.error_message = finish.message;
        self.row_count = finish.rows.map(|rows| rows as i64);
        self.execution_ms = finish.execution;
    }

    /// All columns as JSON for people, with times as PostgreSQL prints them.
    pub(crate) fn readable(&self) -> Value {
        let mut value = self.canonical();
        for column in ["started_at", "finished_at", "backend_start"] {
            if let Some(micros) = value[column].as_i64() {
                value[column] = json!(super::time_text(micros));
            }
        }
        value
    }

    /// All columns as JSON in one well-defined form, for the hash chain.
    pub(crate) fn canonical(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or(Value::Null);
        value["status"] = json!(self.status.as_str());
        if let Some(columns) = value.as_object_mut() {
            columns.remove("redacted");
        }
        value
    }
}

/// The values of parameters without the values.
fn hidden(parameters: Value) -> Value {
    match parameters {
        Value::Array(values) => values.into_iter().map(hidden).collect(),
        Value::String(_) => "?".into(),
        other => other,
    }
}

/// Adds the names that are not there yet.
fn merge(names: &mut Vec<String>, further: &[String]) {
    for name in further {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
}

/// A value with the keys of all objects sorted and without nulls in objects, as text.
pub(crate) fn canonical_text(value: &Value) -> String {
    sorted(value).to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries = entries.into_iter().map(|(key, value)| (key.clone(), sorted(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        // PostgreSQL's jsonb keeps 1.0 and 1 apart, a column of type double precision does not.
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => json!(float as i64),
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}

/// The hash of a row that follows one with the hash `previous`.
pub(crate) fn link(previous: &[u8], position: i64, row: &Value) -> Vec<u8> {
    let mut source = previous.to_vec();
    source.extend_from_slice(&position.to_be_bytes());
    source.extend_from_slice(canonical_text(row).as_bytes());
    digest(&SHA256, &source).as_ref().to_vec()
}
