//! What a function sees as `ctx`.
//!
//! ```json
//! {"session": {"user": {"id": null, "username": "alice", "roles": ["support"], "tenant": "acme"},
//!              "time": {"now": "2026-11-21T13:30:00Z", "hour": 13, "day_of_week": "Saturday"},
//!              "datasource": {"name": "shop", "access_mode": "open"},
//!              "application_name": "psql", "client_address": "10.0.0.1", "read_only": false},
//!  "query": {"tables": [{"datasource": "shop", "schema": "public", "table": "orders", "columns": ["id", "org"]}],
//!            "columns": ["id", "org"], "join_count": 0, "has_aggregation": false, "has_subquery": false,
//!            "has_where": true, "statement_type": "SELECT"}}
//! ```

use serde_json::{Map, Value, json};

/// The session, as far as functions may know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Who asks.
    pub user: User,
    /// Microseconds since 1970.
    pub now: i64,
    /// Name of the database or data source.
    pub datasource: String,
    /// Its access mode.
    pub access_mode: &'static str,
    /// What the client calls itself; not to be relied on.
    pub application_name: Option<String>,
    /// The address that the client comes from; none over a Unix socket.
    pub client_address: Option<String>,
    /// Whether the transaction cannot write.
    pub read_only: bool,
}

/// A user, as functions see it.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Its id; none for a role without a user.
    pub id: Option<String>,
    /// Its name.
    pub username: String,
    /// The names of its active roles, inherited ones included, in alphabetical order.
    pub roles: Vec<String>,
    /// A value for each attribute that is defined, null where the user has none.
    pub attributes: Vec<(String, Value)>,
}

/// A statement, as functions see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The tables and views that it names, directly or through views and subqueries, each once.
    pub tables: Vec<Table>,
    /// How many joins it has, on all levels: one less than the number of tables, subqueries and functions of each level.
    pub join_count: usize,
    /// Whether it aggregates or groups.
    pub has_aggregation: bool,
    /// Whether it has a subquery or common table expression.
    pub has_subquery: bool,
    /// Whether any of its levels has a WHERE.
    pub has_where: bool,
    /// SELECT, INSERT, UPDATE, DELETE or MERGE.
    pub statement_type: &'static str,
}

/// A table or view of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The columns that the statement uses anywhere, in the table's order.
    pub columns: Vec<String>,
}

impl Session {
    /// The part `ctx.session`.
    pub fn to_json(&self) -> Value {
        let mut user = Map::new();
        // First, so that no attribute hides what is built in.
        for (key, value) in &self.user.attributes {
            user.insert(key.clone(), value.clone());
        }
        user.insert("id".to_owned(), json!(self.user.id));
        user.insert("username".to_owned(), json!(self.user.username));
        user.insert("roles".to_owned(), json!(self.user.roles));
        json!({
            "user": user,
            "time": time(self.now),
            "datasource": {"name": self.datasource, "access_mode": self.access_mode},
            "application_name": self.application_name,
            "client_address": self.client_address,
            "read_only": self.read_only,
        })
    }
}

impl Query {
    /// The part `ctx.query`.
    pub fn to_json(&self, datasource: &str) -> Value {
        let mut columns: Vec<&str> = Vec::new();
        for column in self.tables.iter().flat_map(|table| &table.columns) {
            if !columns.contains(&column.as_str()) {
                columns.push(column);
            }
        }
        let table = |table: &Table| json!({"datasource": datasource, "schema": table.schema, "table": table.name, "columns": table.columns});
        json!({
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
            "columns": columns,
            "join_count": self.join_count,
            "has_aggregation": self.has_aggregation,
            "has_subquery": self.has_subquery,
            "has_where": self.has_where,
            "statement_type": self.statement_type,
        })
    }
}

/// The whole context, as [`crate::Engine::evaluate`] takes it. A session function gets no `query`.
pub fn context(session: &Session, query: Option<&Query>) -> String {
    let mut context = Map::new();
    context.insert("session".to_owned(), session.to_json());
    if let Some(query) = query {
        context.insert("query".to_owned(), query.to_json(&session.datasource));
    }
    Value::Object(context).to_string()
}

/// The part `ctx.session.time` of a time in microseconds since 1970, in UTC.
fn time(now: i64) -> Value {
    let seconds = now.div_euclid(1_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    // 1970 began on a Thursday.
    let day_of_week = [
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
    ][days.rem_euclid(7) as usize];
    json!({
        "now": format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
        "hour": hour,
        "day_of_week": day_of_week,
    })
}

/// The time, in microseconds since 1970, that a text of the form of `ctx.session.time.now` says; `None` for other forms.
pub fn parse_time(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits
            .bytes()
            .all(|digit| digit.is_ascii_digit())
            .then(|| digits.parse::<i64>().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    if !text.ends_with('Z') || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The inverse of `civil`, by the same author.
    let year = year - i64::from(month <= 2);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = year.div_euclid(400) * 146_097 + day_of_era - 719_468;
    Some((days * 86_400 + seconds) * 1_000_000)
}

/// The time that a context tells, in microseconds since 1970, so that `Date` can agree with it.
pub fn told_time(context: &Value) -> Option<i64> {
    parse_time(context["session"]["time"]["now"].as_str()?)
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar: Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> (String, i64, String) {
        let time = time(seconds * 1_000_000);
        (
            time["now"].as_str().unwrap().to_owned(),
            time["hour"].as_i64().unwrap(),
            time["day_of_week"].as_str().unwrap().to_owned(),
        )
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let is = |seconds: i64, now: &str, hour, day: &str| {
            assert_eq!(at(seconds), (now.to_owned(), hour, day.to_owned()));
            assert_eq!(parse_time(now), Some(seconds * 1_000_000));
        };
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-11-21T13:30:00+01:00",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        is(0, "1970-01-01T00:00:00Z", 0, "Thursday");
        is(-1, "1969-12-31T23:59:59Z", 23, "Wednesday");
        is(951_827_696, "2000-02-29T12:34:56Z", 12, "Tuesday");
        is(1_795_267_800, "2026-11-21T13:30:00Z", 13, "Saturday");
        is(4_107_542_400, "2100-03-01T00:00:00Z", 0, "Monday");
    }

    #[test]
    fn attributes_stand_beside_what_is_built_in_and_never_hide_it() {
        let session = Session {
            user: User {
                id: None,
                username: "alice".to_owned(),
                roles: vec!["staff".to_owned()],
                attributes: vec![
                    ("level".to_owned(), json!(3)),
                    ("tenant".to_owned(), Value::Null),
                    ("username".to_owned(), json!("root")),
                ],
            },
            now: 0,
            datasource: "shop".to_owned(),
            access_mode: "open",
            application_name: Some("psql".to_owned()),
            client_address: None,
            read_only: true,
        };
        let query = Query {
            tables: vec![
                Table {
                    schema: "public".to_owned(),
                    name: "a".to_owned(),
                    columns: vec!["id".to_owned(), "x".to_owned()],
                },
                Table {
                    schema: "public".to_owned(),
                    name: "b".to_owned(),
                    columns: vec!["id".to_owned()],
                },
            ],
            join_count: 1,
            statement_type: "SELECT",
            ..Query::default()
        };
        let value: Value = serde_json::from_str(&context(&session, Some(&query))).unwrap();
        assert_eq!(
            value["session"]["user"],
            json!({"level": 3, "tenant": null, "username": "alice", "id": null, "roles": ["staff"]})
        );
        assert_eq!(
            value["session"]["datasource"],
            json!({"name": "shop", "access_mode": "open"})
        );
        assert_eq!(value["query"]["columns"], json!(["id", "x"]));
        assert_eq!(
            value["query"]["tables"][1],
            json!({"datasource": "shop", "schema": "public", "table": "b", "columns": ["id"]})
        );
        let value: Value = serde_json::from_str(&context(&session, None)).unwrap();
        assert_eq!(value.get("query"), None);
    }
}
