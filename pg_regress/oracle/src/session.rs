//! Connections, the ways a query can be run through one, and what came of it.

use std::fmt;
use std::io::Read;

use postgres::types::{FromSql, Type};
use postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::dice::Dice;
use crate::types::Ty;

/// Where the server is, and the scratch database.
#[derive(Debug, Clone)]
pub struct Server {
    /// Host name or socket directory.
    pub host: String,
    /// Port.
    pub port: u16,
    /// A superuser.
    pub user: String,
    /// The scratch database, which the run creates and drops.
    pub dbname: String,
}

impl Server {
    /// A connection as `user` that finds unqualified names in `search_path`.
    pub fn connect(&self, user: &str, dbname: &str, search_path: &str) -> Result<Client, postgres::Error> {
        self.connect_listening(user, dbname, search_path, |_| {})
    }

    /// As [`Server::connect`], with somebody who listens to notices.
    pub fn connect_listening(
        &self,
        user: &str,
        dbname: &str,
        search_path: &str,
        listener: impl Fn(postgres::error::DbError) + Send + Sync + 'static,
    ) -> Result<Client, postgres::Error> {
        let mut config = Config::new();
        config.notice_callback(listener);
        config
            .host(&self.host)
            .port(self.port)
            .user(user)
            .dbname(dbname)
            .application_name("oracle");
        config.options(&format!(
            "-c search_path={search_path},public -c statement_timeout=10s -c jit=off"
        ));
        config.connect(NoTls)
    }
}

/// What a statement came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A result, or only a command tag.
    Rows {
        /// Column names.
        names: Vec<String>,
        /// Names of the columns' types, where the way of running tells them.
        types: Vec<String>,
        /// Rows.
        rows: Vec<Vec<Option<String>>>,
        /// The count in the command tag.
        count: u64,
    },
    /// An error.
    Failure {
        /// SQLSTATE.
        code: String,
        /// The message.
        message: String,
        /// The position in the statement.
        position: Option<u32>,
        /// The hint.
        hint: Option<String>,
    },
    /// The connection is gone.
    Lost(String),
}

impl Outcome {
    /// The SQLSTATE of a failure.
    pub fn code(&self) -> Option<&str> {
        match self {
            Outcome::Failure { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The outcome without an order of rows.
    pub fn sorted(mut self) -> Outcome {
        if let Outcome::Rows { rows, .. } = &mut self {
            rows.sort();
        }
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Rows {
                names,
                types,
                rows,
                count,
            } => {
                writeln!(
                    f,
                    "{} rows, tag {count}, columns {} {}",
                    rows.len(),
                    names.join(" | "),
                    types.join(" | ")
                )?;
                for row in rows.iter().take(40) {
                    let cells: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap_or("∅")).collect();
                    writeln!(f, "  {}", cells.join(" | "))?;
                }
                Ok(())
            }
            Outcome::Failure {
                code,
                message,
                position,
                hint,
            } => {
                writeln!(
                    f,
                    "ERROR {code}: {message}{}",
                    position.map(|at| format!(" at {at}")).unwrap_or_default()
                )?;
                hint.as_ref().map_or(Ok(()), |hint| writeln!(f, "  HINT: {hint}"))
            }
            Outcome::Lost(why) => writeln!(f, "CONNECTION LOST: {why}"),
        }
    }
}

/// A way to run a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// As it is, with the simple protocol.
    Simple,
    /// Behind another statement in the same message.
    Second,
    /// PREPARE and EXECUTE with a generic plan, twice.
    Prepared,
    /// With the extended protocol and binary results.
    Extended,
    /// Through a cursor, in two steps.
    Cursor,
    /// Through a holdable cursor that outlives its transaction.
    Hold,
    /// CREATE TEMP TABLE AS, then read.
    TempTable,
    /// CREATE TEMP VIEW, then read.
    TempView,
    /// COPY (query) TO STDOUT.
    Copy,
    /// As the body of the subject's own SQL function.
    SqlFunction,
    /// As the body of the subject's own plpgsql function.
    PlFunction,
    /// EXPLAIN must work, then the query.
    Explain,
    /// `betweenrows.rewritten_query`, run by a superuser.
    Rewritten,
}

impl Mode {
    /// A random way.
    pub fn random(dice: &mut Dice) -> Mode {
        use Mode::*;
        let modes = [
            Simple,
            Second,
            Prepared,
            Extended,
            Cursor,
            Hold,
            TempTable,
            TempView,
            Copy,
            SqlFunction,
            PlFunction,
            Explain,
            Rewritten,
        ];
        modes[dice.weighted(&[40, 4, 9, 6, 4, 3, 5, 4, 5, 4, 4, 3, 3])]
    }

    /// Whether the query runs below executor nesting level 0, where hidden names are judged differently.
    pub fn nested(self) -> bool {
        matches!(self, Mode::SqlFunction | Mode::PlFunction)
    }

    /// Whether error positions refer to the query's own text.
    pub fn keeps_positions(self) -> bool {
        matches!(self, Mode::Simple | Mode::Extended)
    }

    /// The statements of this way; the last one gives the result.
    pub fn statements(self, query: &str, types: Option<&[Ty]>, subject: &str) -> Vec<String> {
        let types = types.unwrap_or_default();
        let function = |language: &str, body: String| {
            let columns: Vec<String> = types
                .iter()
                .enumerate()
                .map(|(index, ty)| format!("c{} {}", index + 1, ty.name()))
                .collect();
            let list: Vec<String> = types
                .iter()
                .enumerate()
                .map(|(index, ty)| format!("q.c{}::{}", index + 1, ty.name()))
                .collect();
            let body = body.replace("{list}", &list.join(", "));
            let columns = columns.join(", ");
            vec![
                "BEGIN".into(),
                format!(
                    "CREATE FUNCTION pg_temp.query() RETURNS TABLE ({columns}) LANGUAGE {language} AS $body${body}$body$"
                ),
                "SELECT * FROM pg_temp.query()".into(),
            ]
        };
        match self {
            Mode::Simple | Mode::Extended | Mode::Copy => vec![query.to_string()],
            Mode::Second => vec![format!("SELECT 1 AS \"first\"; {query}")],
            Mode::Prepared => vec![
                "SET plan_cache_mode = force_generic_plan".into(),
                format!("PREPARE query AS {query}"),
                "EXECUTE query".into(),
                "EXECUTE query".into(),
            ],
            Mode::Cursor => vec![
                "BEGIN".into(),
                format!("DECLARE query CURSOR FOR {query}"),
                "FETCH ALL FROM query".into(),
            ],
            Mode::Hold => vec![
                format!("DECLARE query CURSOR WITH HOLD FOR {query}"),
                "FETCH ALL FROM query".into(),
            ],
            Mode::TempTable => {
                vec![
                    "BEGIN".into(),
                    format!("CREATE TEMP TABLE query_result AS {query}"),
                    "SELECT * FROM query_result".into(),
                ]
            }
            Mode::TempView => {
                vec![
                    "BEGIN".into(),
                    format!("CREATE TEMP VIEW query_view AS {query}"),
                    "SELECT * FROM query_view".into(),
                ]
            }
            Mode::SqlFunction => function("sql", format!("SELECT {{list}} FROM ({query}) AS q")),
            Mode::PlFunction => function(
                "plpgsql",
                format!("BEGIN RETURN QUERY SELECT {{list}} FROM ({query}) AS q; END"),
            ),
            Mode::Explain => vec![format!("EXPLAIN (VERBOSE, COSTS OFF) {query}"), query.to_string()],
            Mode::Rewritten => {
                vec![format!(
                    "SELECT betweenrows.rewritten_query($query${query}$query$, '{subject}')"
                )]
            }
        }
    }

    /// What undoes the traces of this way.
    fn cleanup(self) -> &'static str {
        match self {
            Mode::Prepared => "DEALLOCATE query",
            Mode::Cursor | Mode::TempTable | Mode::TempView | Mode::SqlFunction | Mode::PlFunction => "ROLLBACK",
            Mode::Hold => "CLOSE ALL",
            _ => "",
        }
    }

    /// Runs the query this way.
    pub fn run(self, client: &mut Client, query: &str, types: Option<&[Ty]>, subject: &str) -> Outcome {
        let statements = self.statements(query, types, subject);
        let mut outcome = Outcome::Lost("nothing ran".into());
        for statement in &statements {
            outcome = match self {
                Mode::Extended => extended(client, statement),
                Mode::Copy => copy(client, statement),
                _ => simple(client, statement),
            };
            if !matches!(outcome, Outcome::Rows { .. }) {
                break;
            }
        }
        if !self.cleanup().is_empty()
            && let lost @ Outcome::Lost(_) = simple(client, self.cleanup())
        {
            return lost;
        }
        outcome
    }
}

/// Runs statements of the simple protocol; the result is the last one's.
pub fn simple(client: &mut Client, statement: &str) -> Outcome {
    let messages = match client.simple_query(statement) {
        Ok(messages) => messages,
        Err(error) => return failure(&error),
    };
    let (mut names, mut rows, mut count) = (Vec::new(), Vec::new(), 0);
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                names = columns.iter().map(|column| column.name().to_string()).collect();
                rows.clear();
            }
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|index| row.get(index).map(str::to_string)).collect());
            }
            SimpleQueryMessage::CommandComplete(tag) => count = tag,
            _ => {}
        }
    }
    Outcome::Rows {
        names,
        types: Vec::new(),
        rows,
        count,
    }
}

/// The bytes of a value, whatever its type.
struct Bytes(String);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Bytes(raw.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn extended(client: &mut Client, statement: &str) -> Outcome {
    let run = |client: &mut Client| -> Result<Outcome, postgres::Error> {
        let prepared = client.prepare(statement)?;
        let names = prepared
            .columns()
            .iter()
            .map(|column| column.name().to_string())
            .collect();
        let types = prepared
            .columns()
            .iter()
            .map(|column| column.type_().name().to_string())
            .collect();
        let mut rows = Vec::new();
        for row in client.query(&prepared, &[])? {
            let mut cells = Vec::new();
            for index in 0..row.len() {
                cells.push(row.try_get::<_, Option<Bytes>>(index)?.map(|bytes| bytes.0));
            }
            rows.push(cells);
        }
        let count = rows.len() as u64;
        Ok(Outcome::Rows {
            names,
            types,
            rows,
            count,
        })
    };
    run(client).unwrap_or_else(|error| failure(&error))
}

fn copy(client: &mut Client, query: &str) -> Outcome {
    let run = |client: &mut Client| -> Result<String, postgres::Error> {
        let mut text = String::new();
        let mut reader = client.copy_out(&format!("COPY ({query}) TO STDOUT WITH (HEADER)"))?;
        if let Err(error) = reader.read_to_string(&mut text) {
            return match error.into_inner().map(|inner| inner.downcast::<postgres::Error>()) {
                Some(Ok(error)) => Err(*error),
                _ => Ok("unreadable".to_string()),
            };
        }
        Ok(text)
    };
    match run(client) {
        Ok(text) => {
            let mut lines = text.lines().map(str::to_string);
            let names = vec![lines.next().unwrap_or_default()];
            let rows: Vec<_> = lines.map(|line| vec![Some(line)]).collect();
            let count = rows.len() as u64;
            Outcome::Rows {
                names,
                types: Vec::new(),
                rows,
                count,
            }
        }
        Err(error) => failure(&error),
    }
}

fn failure(error: &postgres::Error) -> Outcome {
    match error.as_db_error() {
        Some(db) => Outcome::Failure {
            code: db.code().code().to_string(),
            message: db.message().to_string(),
            position: match db.position() {
                Some(postgres::error::ErrorPosition::Original(at)) => Some(*at),
                _ => None,
            },
            hint: db.hint().map(str::to_string),
        },
        None => Outcome::Lost(error.to_string()),
    }
}
