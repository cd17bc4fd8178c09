//! `verify_audit()`: whether the rows of `query_audit` are those that were recorded, by the hash chains of their days.
//!
//! Rows are read piece by piece and findings given as they are found, so that a day may have any number of either.

use std::collections::VecDeque;

use pgrx::datum::{Date, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::{Uuid, name, prelude::*};
use serde_json::{Value, json};

use super::{args, sql};
use crate::audit::worker::row;

/// The days that have a chain, or rows of one, with the end that was noted.
const DAYS: &str = "
    select jsonb_build_object('day', d.day, 'position', c.position, 'hash', encode(c.hash, 'hex'), 'unchained', coalesce(c.unchained, 0))
    from (select c.day from betweenrows.query_audit_chain c
          union
          select distinct (q.started_at at time zone 'UTC')::date from betweenrows.query_audit q
          where q.chain_position is not null
            and q.started_at >= ($1 at time zone 'UTC')::date::timestamp at time zone 'UTC'
            and q.started_at < (($2 at time zone 'UTC')::date + 1)::timestamp at time zone 'UTC') d
    left join betweenrows.query_audit_chain c using (day)
    where d.day >= ($1 at time zone 'UTC')::date and d.day <= ($2 at time zone 'UTC')::date
    order by d.day";

/// The rows of a day's chain in order, with all columns that the hashes cover.
const CHAINED: &str = "
    select jsonb_build_object('position', q.chain_position, 'hash', encode(q.chain_hash, 'hex'), 'row', jsonb_build_object(
            'id', q.id, 'started_at', (extract(epoch from q.started_at) * 1000000)::bigint, 'finished_at', (extract(epoch from q.finished_at) * 1000000)::bigint,
            'user_id', q.user_id, 'username', q.username, 'login_role', q.login_role, 'roles', q.roles,
            'database', q.database, 'application_name', q.application_name, 'client_addr', host(q.client_addr),
            'backend_pid', q.backend_pid, 'query_id', q.query_id, 'statement_kind', q.statement_kind,
            'original_query', q.original_query, 'rewritten_query', q.rewritten_query, 'relations', q.relations,
            'policies_applied', q.policies_applied, 'decisions', q.decisions, 'status', q.status, 'sqlstate', q.sqlstate,
            'error_message', q.error_message, 'row_count', q.row_count, 'planning_ms', q.planning_ms,
            'execution_ms', q.execution_ms, 'parameters', q.parameters, 'backend_start', (extract(epoch from q.backend_start) * 1000000)::bigint))
    from betweenrows.query_audit q
    where q.chain_position is not null
      and q.started_at >= ($1::date)::timestamp at time zone 'UTC' and q.started_at < ($1::date + 1)::timestamp at time zone 'UTC'
    order by q.chain_position";

/// How many rows of a day have no place in its chain, and the first of them.
const UNCHAINED: &str = "
    select jsonb_build_object('rows', count(*), 'first', (array_agg(q.id order by q.started_at, q.id))[:100])
    from (select q.id, q.started_at from betweenrows.query_audit q
          where q.chain_position is null
            and q.started_at >= ($1::date)::timestamp at time zone 'UTC' and q.started_at < ($1::date + 1)::timestamp at time zone 'UTC'
          order by q.started_at, q.id limit $2) q";

/// How many rows without a place are counted beyond those that may have none.
const COUNTED: i64 = 100;

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
#[expect(clippy::type_complexity, reason = "pgrx reads the columns off the type")]
fn verify_audit(
    from_time: Option<TimestampWithTimeZone>,
    to_time: Option<TimestampWithTimeZone>,
) -> TableIterator<
    'static,
    (
        name!(day, Option<Date>),
        name!(row_id, Option<Uuid>),
        name!(position, Option<i64>),
        name!(problem, String),
    ),
> {
    let from = args::required("from_time", from_time);
    let to = args::required("to_time", to_time);
    let findings = Findings {
        days: sql::look(DAYS, &[from.into(), to.into()]).into(),
        chain: None,
        found: VecDeque::new(),
    };
    TableIterator::new(findings.map(|finding| {
        let day = finding.day.parse::<Date>().ok();
        let id = finding.id.map(|id: String| args::uuid(args::parse_id(&id)));
        (day, id, finding.position, finding.problem)
    }))
}

/// Something that is not as it was recorded.
struct Finding {
    day: String,
    id: Option<String>,
    position: Option<i64>,
    problem: String,
}

/// What is found, day after day.
struct Findings {
    days: VecDeque<Value>,
    chain: Option<Chain>,
    found: VecDeque<Finding>,
}

impl Iterator for Findings {
    type Item = Finding;

    fn next(&mut self) -> Option<Finding> {
        while self.found.is_empty() {
            check_for_interrupts!();
            let mut chain = match self.chain.take() {
                None => Chain::of(self.days.pop_front()?),
                Some(chain) => chain,
            };
            if chain.go_on(&mut self.found) {
                self.chain = Some(chain);
            } else {
                chain.conclude(&mut self.found);
            }
        }
        self.found.pop_front()
    }
}

/// The chain of one day.
struct Chain {
    /// What was noted of it.
    noted: Value,
    day: String,
    rows: sql::Pieces,
    /// The position and the hash of the last row that was read.
    head: (i64, Vec<u8>),
}

impl Chain {
    fn of(noted: Value) -> Chain {
        let day = noted["day"].as_str().unwrap_or_default().to_owned();
        Chain {
            rows: sql::Pieces::of(CHAINED, &[day.clone().into()]),
            noted,
            day,
            head: (0, Vec::new()),
        }
    }

    /// Looks at some more rows; false when there are none.
    fn go_on(&mut self, found: &mut VecDeque<Finding>) -> bool {
        let rows = self.rows.next();
        for row in &rows {
            self.check(row, found);
        }
        !rows.is_empty()
    }

    /// Compares a row with what was recorded of it, and goes on with the recorded hash, so that one altered row is one
    /// finding.
    fn check(&mut self, row: &Value, found: &mut VecDeque<Finding>) {
        let position = row["position"].as_i64().unwrap_or(0);
        let id = row["row"]["id"].as_str().map(str::to_owned);
        let hash = row["hash"].as_str().unwrap_or_default();
        let next = self.head.0 + 1;
        if position < next {
            found.push_back(self.finding(id, Some(position), "the row was added"));
            return;
        }
        if position > next {
            let problem = format!("the rows from {next} to {} were removed", position - 1);
            found.push_back(self.finding(None, Some(next), problem));
        } else if row::hex(&row::link(&self.head.1, position, &row["row"])) != hash {
            found.push_back(self.finding(id, Some(position), "the row was altered"));
        }
        let bytes = (0..hash.len() / 2).filter_map(|at| u8::from_str_radix(hash.get(2 * at..2 * at + 2)?, 16).ok());
        self.head = (position, bytes.collect());
    }

    /// Compares the end with the one that was noted, and the rows without a place with how many may have none.
    fn conclude(&self, found: &mut VecDeque<Finding>) {
        if self.noted["position"] != json!(self.head.0) {
            let problem = match self.noted["position"].as_i64() {
                None => "the end of the day's chain is not known".to_owned(),
                Some(last) => format!("the rows from {} to {last} were removed", self.head.0 + 1),
            };
            found.push_back(self.finding(None, None, problem));
        } else if self.noted["hash"] != json!(row::hex(&self.head.1)) {
            found.push_back(self.finding(None, None, "the end of the day's chain is another one"));
        }
        let expected = self.noted["unchained"].as_i64().unwrap_or(0);
        let limit = expected.saturating_add(COUNTED);
        let Some(unchained) = sql::look(UNCHAINED, &[self.day.clone().into(), limit.into()]).pop() else {
            return;
        };
        let rows = unchained["rows"].as_i64().unwrap_or(0);
        if rows == expected {
            return;
        }
        if expected > 0 {
            let more = if rows == limit { " or more" } else { "" };
            let problem = format!("{rows}{more} rows have no place in the chain, {expected} were recorded without one");
            found.push_back(self.finding(None, None, problem));
            return;
        }
        for id in unchained["first"].as_array().into_iter().flatten() {
            let id = id.as_str().map(str::to_owned);
            found.push_back(self.finding(id, None, "the row was added: it has no place in the chain"));
        }
        if rows == limit {
            found.push_back(self.finding(None, None, "there may be more rows without a place in the chain"));
        }
    }

    fn finding(&self, id: Option<String>, position: Option<i64>, problem: impl Into<String>) -> Finding {
        Finding {
            day: self.day.clone(),
            id,
            position,
            problem: problem.into(),
        }
    }
}
