//! Metrics: of requests as they are answered, of the sync from the store whenever they are asked for.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::Value;
use sqlx::PgConnection;

use crate::error::{Error, Result};
use crate::time;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DataSource {
    data_source: String,
}

type Seconds = Gauge<f64, AtomicU64>;

/// What data sources said of their audits at their last sync.
#[derive(Default)]
struct Audit {
    backlog: Family<DataSource, Gauge>,
    dropped: Family<DataSource, Gauge>,
    set_aside: Family<DataSource, Gauge>,
    moved: Family<DataSource, Seconds>,
    age: Family<DataSource, Seconds>,
}

impl Audit {
    fn registered(registry: &mut Registry) -> Self {
        let audit = Audit::default();
        let numbers = [
            (
                "audit_backlog_bytes",
                "Recorded and not in the table yet",
                &audit.backlog,
            ),
            ("audit_dropped", "Events lost since the server started", &audit.dropped),
            (
                "audit_files_set_aside",
                "Files that could not be moved",
                &audit.set_aside,
            ),
        ];
        for (name, help, family) in numbers {
            registry.register(name, help, family.clone());
        }
        let times = [
            (
                "audit_last_moved_seconds",
                "When events were moved last, since 1970",
                &audit.moved,
            ),
            (
                "audit_status_age_seconds",
                "Time since the data source said so",
                &audit.age,
            ),
        ];
        for (name, help, family) in times {
            registry.register(name, help, family.clone());
        }
        audit
    }

    fn clear(&self) {
        for family in [&self.backlog, &self.dropped, &self.set_aside] {
            family.clear();
        }
        for family in [&self.moved, &self.age] {
            family.clear();
        }
    }

    fn set(&self, labels: &DataSource, status: &Value, age: f64) {
        let numbers = [
            ("backlog_bytes", &self.backlog),
            ("dropped", &self.dropped),
            ("files_set_aside", &self.set_aside),
        ];
        for (key, family) in numbers {
            if let Some(number) = status[key].as_i64() {
                family.get_or_create(labels).set(number);
            }
        }
        if let Some(moved) = status["last_moved"].as_str().and_then(time::parse) {
            self.moved
                .get_or_create(labels)
                .set(moved.timestamp_millis() as f64 / 1_000.0);
        }
        self.age.get_or_create(labels).set(age);
    }
}

/// What is measured.
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Histogram,
    backlog: Family<DataSource, Gauge>,
    failures: Family<DataSource, Gauge>,
    problems: Family<DataSource, Gauge>,
    age: Family<DataSource, Seconds>,
    epoch: Family<DataSource, Gauge>,
    audit: Audit,
    /// One scrape at a time clears and fills the families of data sources.
    scrape: Mutex<()>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("betweenrows");
        let requests = Family::default();
        let durations = Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]);
        let (backlog, failures, problems): (Family<_, Gauge>, Family<_, Gauge>, Family<_, Gauge>) = Default::default();
        let age = Family::default();
        let epoch: Family<_, Gauge> = Family::default();
        registry.register("http_requests", "Requests that were answered", requests.clone());
        registry.register("http_request_duration_seconds", "Time to the answer", durations.clone());
        registry.register(
            "sync_backlog",
            "Changes that are not in force in the data source",
            backlog.clone(),
        );
        registry.register("sync_failures", "Failed syncs in a row", failures.clone());
        registry.register(
            "sync_problems",
            "Policies that the data source refuses",
            problems.clone(),
        );
        registry.register("sync_age_seconds", "Time since the last successful sync", age.clone());
        registry.register(
            "sync_epoch",
            "The change that is in force in the data source",
            epoch.clone(),
        );
        let audit = Audit::registered(&mut registry);
        Metrics {
            audit,
            registry,
            requests,
            durations,
            backlog,
            failures,
            problems,
            age,
            epoch,
            scrape: Mutex::default(),
        }
    }
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, method: &Method, route: String, status: StatusCode, elapsed: Duration) {
        // Methods can be invented by clients, too.
        let method = match *method {
            Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::HEAD | Method::OPTIONS => {
                method.as_str()
            }
            _ => "other",
        };
        let labels = Request {
            method: method.to_owned(),
            route,
            status: status.as_u16(),
        };
        self.requests.get_or_create(&labels).inc();
        self.durations.observe(elapsed.as_secs_f64());
    }

    /// All metrics, as text.
    pub async fn text(&self, conn: &mut PgConnection) -> Result<String> {
        let rows = sqlx::query!(
            r#"select d.name, s.requested - s.done as "backlog!", s.failures, s.done,
               jsonb_array_length(s.problems) as "problems!",
               extract(epoch from now() - s.succeeded_at)::float8 as age,
               s.audit, extract(epoch from now() - s.audit_at)::float8 as audit_age
               from sync_states s join data_sources d on d.id = s.data_source_id where d.is_active"#
        )
        .fetch_all(conn)
        .await?;
        let _one = self.scrape.lock().expect("no holder panics");
        self.backlog.clear();
        self.failures.clear();
        self.problems.clear();
        self.age.clear();
        self.epoch.clear();
        self.audit.clear();
        for row in rows {
            let labels = DataSource { data_source: row.name };
            self.backlog.get_or_create(&labels).set(row.backlog);
            self.failures.get_or_create(&labels).set(i64::from(row.failures));
            self.problems.get_or_create(&labels).set(i64::from(row.problems));
            self.epoch.get_or_create(&labels).set(row.done);
            if let Some(age) = row.age {
                self.age.get_or_create(&labels).set(age);
            }
            if let (Some(status), Some(age)) = (&row.audit, row.audit_age) {
                self.audit.set(&labels, status, age);
            }
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(text)
    }
}
