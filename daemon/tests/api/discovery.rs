//! Discovery jobs and the catalog.

use axum::http::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use uuid::Uuid;

use crate::harness::{Api, daemon_role, database, execute, port, query_as, socket, superuser, unique};

const KINDS: &str = "
    create schema sales;
    create table sales.orders (id bigint primary key, org text not null default 'acme', total numeric(10,2),
                               at timestamptz, tags text[], twice numeric generated always as (total * 2) stored);
    create table sales.parted (day date) partition by range (day);
    create table sales.parted_1 partition of sales.parted default;
    create view sales.recent as select id, org from sales.orders;
    create materialized view sales.sums as select org, sum(total) total from sales.orders group by org;
    create foreign data wrapper w; create server s foreign data wrapper w;
    create foreign table sales.remote (id int) server s;";

impl Api {
    /// Begins a job; the path of it.
    async fn discover(&self, source: &str, request: Value) -> String {
        let path = format!("/datasources/{source}/discover");
        let job = self.post(&path, request).await.expect(202);
        format!("{path}/{}", job["job_id"].as_str().expect("an id"))
    }

    /// Waits for the end of a job.
    async fn end_of(&self, job: &str) -> Value {
        loop {
            let job = self.get(job).await.expect(200);
            if job["status"] != "running" {
                return job;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Runs a job, which has to succeed; its result.
    pub async fn run_job(&self, source: &str, request: Value) -> Value {
        let job = self.discover(source, request).await;
        let job = self.end_of(&job).await;
        assert_eq!(job["status"], "completed", "{job}");
        job["result"].clone()
    }

    async fn catalog(&self, source: &str) -> Value {
        self.get(&format!("/datasources/{source}/catalog")).await.expect(200)
    }
}

/// A selection of whole tables, as clients have always sent it.
fn selection(schema: &str, tables: &[&str]) -> Value {
    let tables: Vec<Value> = tables
        .iter()
        .map(|table| json!({"table_name": table, "table_type": "BASE TABLE", "is_selected": true}))
        .collect();
    json!({"action": "save_catalog",
           "schemas": [{"schema_name": schema, "is_selected": true, "tables": tables}]})
}

/// `name: is_selected` of a table's columns.
fn columns(catalog: &Value, table: &str) -> Vec<String> {
    let schemas = catalog["schemas"].as_array().unwrap();
    let mut tables = schemas.iter().flat_map(|schema| schema["tables"].as_array().unwrap());
    let table = tables
        .find(|found| found["table_name"] == table)
        .unwrap_or_else(|| panic!("no {table} in {catalog:#}"));
    let columns = table["columns"].as_array().unwrap().iter();
    columns
        .map(|column| format!("{}: {}", column["column_name"].as_str().unwrap(), column["is_selected"]))
        .collect()
}

fn texts(list: &Value, key: &str) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn schemas_tables_and_columns_are_found() {
    let api = Api::new().await;
    let shop = database().await;
    execute(&shop, KINDS).await;
    let source = api.data_source(&shop).await;
    let schemas = api.run_job(&source, json!({"action": "discover_schemas"})).await;
    let expected = json!([{"schema_name": "public", "is_already_selected": false},
                          {"schema_name": "sales", "is_already_selected": false}]);
    assert_eq!(schemas, expected);
    let tables = json!({"action": "discover_tables", "schemas": ["sales", "pg_catalog", "betweenrows", "none"]});
    let tables = api.run_job(&source, tables).await;
    let found: Vec<String> = texts(&tables, "table_name")
        .into_iter()
        .zip(texts(&tables, "table_type"))
        .map(|(name, kind)| format!("{name} {kind}"))
        .collect();
    let expected = [
        "orders TABLE",
        "parted PARTITIONED TABLE",
        "parted_1 TABLE",
        "recent VIEW",
        "remote FOREIGN TABLE",
        "sums MATERIALIZED VIEW",
    ];
    assert_eq!(found, expected);
    let orders = json!({"schema": "sales", "table": "orders"});
    let request =
        json!({"action": "discover_columns", "tables": [orders, orders, {"schema": "sales", "table": "none"}]});
    let columns = api.run_job(&source, request).await;
    let expected = [
        ("id", "bigint", "Int64", false, Value::Null),
        ("org", "text", "Utf8", false, json!("'acme'::text")),
        ("total", "numeric(10,2)", "Decimal128(38,20)", true, Value::Null),
        (
            "at",
            "timestamp with time zone",
            "Timestamp(Nanosecond,Some(\"UTC\"))",
            true,
            Value::Null,
        ),
        ("tags", "text[]", "Utf8", true, Value::Null),
        (
            "twice",
            "numeric",
            "Decimal128(38,20)",
            true,
            json!("(total * (2)::numeric)"),
        ),
    ];
    let expected: Vec<Value> = expected
        .into_iter()
        .zip(1..)
        .map(|((name, data_type, arrow_type, is_nullable, default), position)| {
            json!({"schema_name": "sales", "table_name": "orders", "column_name": name, "ordinal_position": position,
                   "data_type": data_type, "is_nullable": is_nullable, "column_default": default,
                   "arrow_type": arrow_type, "is_already_selected": true})
        })
        .collect();
    assert_eq!(columns, Value::Array(expected));
}

#[tokio::test]
async fn a_catalog_is_saved_and_read() {
    let (api, _, source) = Api::with_shop().await;
    assert_eq!(api.catalog(&source).await, json!({"schemas": []}));
    let result = api
        .run_job(&source, selection("public", &["customers", "elsewhere"]))
        .await;
    assert_eq!(result, json!({"ok": true, "missing_tables": ["public.elsewhere"]}));
    let catalog = api.catalog(&source).await;
    let schema = &catalog["schemas"][0];
    assert_eq!(
        (&schema["schema_name"], &schema["schema_alias"]),
        (&json!("public"), &json!("public"))
    );
    let customers = &schema["tables"][0];
    assert_eq!(
        (&customers["table_type"], &customers["is_selected"]),
        (&json!("TABLE"), &json!(true))
    );
    let ssn = &customers["columns"][3];
    let expected = json!({"id": ssn["id"], "column_name": "ssn", "ordinal_position": 4, "data_type": "text",
                          "is_nullable": true, "column_default": null, "arrow_type": "Utf8", "is_selected": true});
    assert_eq!(*ssn, expected);
    assert_eq!(schema["tables"][1]["columns"], json!([]));
    assert_eq!(
        api.get(&format!("/datasources/{source}")).await.expect(200)["catalog_mode"],
        "selected"
    );

    // Ids stay; what is not listed any more goes.
    let schemas = json!([{"schema_name": "public", "is_selected": true, "tables": [
        {"table_name": "customers", "table_type": "TABLE", "is_selected": true,
         "columns": [{"column_name": "ssn", "is_selected": false}]}]}]);
    api.run_job(&source, json!({"action": "save_catalog", "schemas": schemas}))
        .await;
    let again = api.catalog(&source).await;
    let tables = again["schemas"][0]["tables"].as_array().unwrap();
    assert_eq!((tables.len(), &tables[0]["id"]), (1, &customers["id"]));
    assert_eq!(
        columns(&again, "customers"),
        ["id: true", "org: true", "name: true", "ssn: false"]
    );
    let schemas = api.run_job(&source, json!({"action": "discover_schemas"})).await;
    assert_eq!(schemas, json!([{"schema_name": "public", "is_already_selected": true}]));
    let audit = api.get("/audit/admin?resource_type=datasource").await.expect(200);
    assert_eq!(
        audit["data"][0]["changes"],
        json!({"before": {"public": {"customers": ["id", "org", "name", "ssn"]}},
               "after": {"public": {"customers": ["id", "org", "name"]}}})
    );
}

/// What nobody selected stays hidden: whoever saves a catalog again may not know that there is more now.
#[tokio::test]
async fn a_new_column_stays_hidden_until_it_is_selected() {
    let (api, shop, source) = Api::with_shop().await;
    api.run_job(&source, selection("public", &["customers"])).await;
    execute(&shop, "alter table customers add salary int, drop ssn").await;
    let request = json!({"action": "discover_columns", "tables": [{"schema": "public", "table": "customers"}]});
    let found = api.run_job(&source, request).await;
    assert_eq!(
        (&found[3]["column_name"], &found[3]["is_already_selected"]),
        (&json!("salary"), &json!(false))
    );
    api.run_job(&source, selection("public", &["customers"])).await;
    assert_eq!(
        columns(&api.catalog(&source).await, "customers"),
        ["id: true", "org: true", "name: true", "salary: false"]
    );
    // A table that is seen for the first time: naming selected columns means that the others are not.
    let column = |name: &str, is_selected: bool| json!({"column_name": name, "is_selected": is_selected});
    let save = |customers: Value, secrets: Value| {
        json!({"action": "save_catalog", "schemas": [{"schema_name": "public", "is_selected": true, "tables": [
            {"table_name": "customers", "table_type": "TABLE", "is_selected": true, "columns": customers},
            {"table_name": "secrets", "table_type": "TABLE", "is_selected": true, "columns": secrets}]}]})
    };
    let request = save(json!([column("salary", true)]), json!([column("id", true)]));
    api.run_job(&source, request).await;
    let catalog = api.catalog(&source).await;
    assert_eq!(
        columns(&catalog, "customers"),
        ["id: true", "org: true", "name: true", "salary: true"]
    );
    assert_eq!(columns(&catalog, "secrets"), ["id: true", "body: false"]);
}

#[tokio::test]
async fn drift_is_reported_and_taken_over() {
    let api = Api::new().await;
    let shop = database().await;
    execute(
        &shop,
        "create schema old; create table old.t (a int); create table gone (a int)",
    )
    .await;
    let source = api.data_source(&shop).await;
    let mut request = selection("public", &["customers", "gone"]);
    let old = selection("old", &["t"])["schemas"][0].clone();
    request["schemas"].as_array_mut().unwrap().push(old);
    api.run_job(&source, request).await;
    let sync = json!({"action": "sync_catalog"});
    let quiet = api.run_job(&source, sync.clone()).await;
    assert_eq!(
        (&quiet["changed_columns"], &quiet["has_breaking_changes"]),
        (&json!([]), &json!(false))
    );
    assert_eq!(quiet["added_tables"], json!(["public.secrets"]));
    execute(
        &shop,
        "drop schema old cascade; create schema fresh; drop table gone; create table extra (a int);
         alter table customers add salary int, drop ssn, alter id type bigint, alter name drop not null",
    )
    .await;
    let drift = api.run_job(&source, sync.clone()).await;
    let expected = json!({
        "added_schemas": ["fresh"], "removed_schemas": ["old"], "added_tables": ["public.extra", "public.secrets"],
        "removed_tables": ["old.t", "public.gone"], "added_columns": ["public.customers.salary"],
        "removed_columns": ["public.customers.ssn"],
        "retyped_columns": [{"column": "public.customers.id", "from": "integer", "to": "bigint"}],
        "changed_columns": ["public.customers.id", "public.customers.name", "public.customers.salary (new)",
                            "public.customers.ssn (removed)"],
        "has_breaking_changes": true,
    });
    assert_eq!(drift, expected);
    assert_eq!(
        columns(&api.catalog(&source).await, "customers"),
        ["id: true", "org: true", "name: true", "salary: false"]
    );
    let state = api.get(&format!("/datasources/{source}/sync")).await.expect(200);
    assert_eq!(state["catalog_drift"], expected);
    let again = api.run_job(&source, sync).await;
    assert_eq!(
        (&again["changed_columns"], &again["removed_tables"]),
        (&json!([]), &expected["removed_tables"])
    );
}

/// The daemon's own role is governed: the system catalogs do not show it what is not selected.
#[tokio::test]
async fn what_is_hidden_from_the_daemons_role_is_found() {
    let api = Api::new().await;
    let shop = database().await;
    let daemon = daemon_role(&shop, "createrole").await;
    execute(&shop, "select betweenrows.set_access_mode('policy_required')").await;
    let hidden = "select count(*)::text from pg_class where relname = 'customers'";
    assert_eq!(query_as(&shop, &daemon, hidden).await.unwrap(), ["0"]);
    let source = api.data_source(&shop).await;
    api.use_as(&source, &daemon).await;
    let tables = json!({"action": "discover_tables", "schemas": ["public"]});
    let tables = api.run_job(&source, tables).await;
    assert_eq!(texts(&tables, "table_name"), ["customers", "secrets"]);
    let subject = unique("subject");
    execute(&shop, &format!("create role {subject} login")).await;
    let refused = query_as(&shop, &subject, "select betweenrows.discover('{public}')::text").await;
    assert!(refused.unwrap_err().starts_with("42501"), "nobody else may ask");
}

#[tokio::test]
async fn a_job_is_followed_to_its_end() {
    let (api, shop, source) = Api::with_shop().await;
    let events = async |job: &str| {
        let token = format!("Bearer {}", api.token);
        let answer = api
            .raw(Method::GET, &format!("/api/v1{job}/events"), Some(&token), "")
            .await;
        assert_eq!(answer.headers["content-type"], "text/event-stream");
        let lines = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = lines.map(|line| serde_json::from_str(line).unwrap());
        events.collect::<Vec<Value>>()
    };
    let job = api.discover(&source, json!({"action": "discover_schemas"})).await;
    let told = events(&job).await;
    assert_eq!(
        told[0],
        json!({"type": "progress", "phase": "connecting", "detail": "connecting to the database"})
    );
    assert_eq!(
        told[told.len() - 2..],
        [
            json!({"type": "result", "data": [{"schema_name": "public", "is_already_selected": false}]}),
            json!({"type": "done"})
        ]
    );
    assert_eq!(events(&job).await, told, "also for whoever comes later");

    execute("postgres", &format!("alter database {shop} allow_connections false")).await;
    let job = api.discover(&source, selection("public", &["customers"])).await;
    let told = events(&job).await;
    let error = &told[told.len() - 1];
    assert_eq!(error["type"], "error");
    assert!(error["message"].as_str().unwrap().contains(&shop), "{error}");
    let job = api.end_of(&job).await;
    assert_eq!((&job["status"], &job["error"]), (&json!("failed"), &error["message"]));
    assert_eq!(
        api.catalog(&source).await,
        json!({"schemas": []}),
        "nothing of it was saved"
    );
}

/// A selection is a person's work, and so is the one that somebody else saved or imported meanwhile.
#[tokio::test]
async fn a_catalog_that_changed_meanwhile_is_not_overwritten() {
    let (api, shop, source) = Api::with_shop().await;
    let (path, catalog) = (
        format!("/datasources/{source}/discover"),
        format!("/datasources/{source}/catalog"),
    );
    let read = api.get(&catalog).await.tag();
    let save = selection("public", &["customers"]);
    let job = api.if_match(Method::POST, &path, &read, save.clone()).await.expect(202);
    let job = format!("{path}/{}", job["job_id"].as_str().unwrap());
    assert_eq!(api.end_of(&job).await["status"], "completed");
    let refused = api.if_match(Method::POST, &path, &read, save.clone()).await;
    assert!(refused.error(409).contains("changed meanwhile"), "{}", refused.text);

    // While a job asks the database, a document comes in.
    for request in [save, json!({"action": "sync_catalog"})] {
        let mut blocker = superuser(&shop).await;
        let mut blocking = blocker.begin().await.unwrap();
        sqlx::query("lock table pg_attrdef in access exclusive mode")
            .execute(&mut *blocking)
            .await
            .unwrap();
        let job = api.discover(&source, request).await;
        lock_waits(&shop, "1").await;
        let column = unique("new");
        let tables = json!([{"table": "secrets", "columns": ["id", column]}]);
        let document = json!({"version": 1, "catalog": {"schemas": [{"schema": "public", "tables": tables}]}});
        api.post(&format!("/policies/import?datasource_id={source}"), document)
            .await
            .expect(200);
        blocking.rollback().await.unwrap();
        let ended = api.end_of(&job).await;
        assert_eq!(ended["status"], "failed", "{ended}");
        assert!(
            ended["error"].as_str().unwrap().contains("changed meanwhile"),
            "{ended}"
        );
        let mut kept = columns(&api.catalog(&source).await, "secrets");
        kept.retain(|column| column.ends_with(": true"));
        assert_eq!(kept, ["id: true".to_owned(), format!("{column}: true")]);
    }
}

/// Waits until so many sessions of the daemon wait for a lock in a database.
async fn lock_waits(database: &str, expected: &str) {
    let waiting = format!(
        "select count(*)::text from pg_stat_activity where datname = '{database}' and application_name = 'betweenrowsd' \
         and wait_event_type = 'Lock'"
    );
    while query_as("postgres", "postgres", &waiting).await.unwrap() != [expected] {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cancelled_job_stops_in_the_database_too() {
    let (api, shop, source) = Api::with_shop().await;
    // Whoever asks for defaults of columns has to wait.
    let mut blocker = superuser(&shop).await;
    let mut blocking = blocker.begin().await.unwrap();
    sqlx::query("lock table pg_attrdef in access exclusive mode")
        .execute(&mut *blocking)
        .await
        .unwrap();
    let job = api.discover(&source, selection("public", &["customers"])).await;
    lock_waits(&shop, "1").await;
    let path = format!("/datasources/{source}/discover");
    let refused = api.post(&path, json!({"action": "sync_catalog"})).await.error(409);
    let id = job.rsplit('/').next().unwrap();
    assert!(refused.contains(id), "{refused}");
    api.delete(&job).await.expect(204);
    let ended = api.get(&job).await.expect(200);
    assert_eq!(
        (&ended["status"], &ended["error"]),
        (&json!("failed"), &json!("cancelled"))
    );
    api.delete(&job).await.error(404);
    let token = format!("Bearer {}", api.token);
    let events = api
        .raw(Method::GET, &format!("/api/v1{job}/events"), Some(&token), "")
        .await;
    assert!(
        events.text.trim_end().ends_with(r#"data: {"type":"cancelled"}"#),
        "{}",
        events.text
    );
    lock_waits(&shop, "0").await;
    api.run_job(&source, json!({"action": "discover_schemas"})).await;
    blocking.rollback().await.unwrap();
    assert_eq!(api.catalog(&source).await, json!({"schemas": []}));
}

/// A daemon that was killed cannot say so: its session with the store ends, and with it the lock of its job.
#[tokio::test]
async fn the_job_of_a_daemon_that_is_gone_does_not_run_for_ever() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let job = Uuid::new_v4();
    let mut daemon = superuser(&api.database).await;
    sqlx::query("select pg_advisory_lock(x'62727703'::int, hashtext($1))")
        .bind(job.to_string())
        .execute(&mut daemon)
        .await
        .unwrap();
    sqlx::query("insert into discovery_jobs (id, data_source_id, action) values ($1, $2::uuid, 'sync_catalog')")
        .bind(job)
        .bind(&source)
        .execute(&mut daemon)
        .await
        .unwrap();
    let path = format!("/datasources/{source}/discover/{job}");
    assert_eq!(api.get(&path).await.expect(200)["status"], "running");
    let request = json!({"action": "discover_schemas"});
    api.post(&format!("/datasources/{source}/discover"), request.clone())
        .await
        .error(409);
    daemon.close().await.unwrap();
    // The server may take a moment to notice.
    let ended = api.end_of(&path).await;
    assert!(ended["error"].as_str().unwrap().contains("has ended"), "{ended}");
    api.run_job(&source, request).await;
}

#[tokio::test]
async fn what_cannot_be_discovered_is_refused() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let path = format!("/datasources/{source}/discover");
    for request in [
        json!({}),
        json!({"action": "drop_everything"}),
        json!({"action": "discover_tables"}),
        json!({"action": "discover_tables", "schemas": ["a\0"]}),
        json!({"action": "discover_columns", "tables": [{"schema": "public"}]}),
        json!({"action": "save_catalog"}),
        json!({"action": "save_catalog", "schemas": [{"schema_name": "public"}]}),
        json!({"action": "save_catalog", "schemas": [{"schema_name": "", "is_selected": true}]}),
    ] {
        api.post(&path, request).await.error(422);
    }
    let nowhere = format!("/datasources/{}", Uuid::new_v4());
    api.post(&format!("{nowhere}/discover"), json!({"action": "discover_schemas"}))
        .await
        .error(404);
    api.get(&format!("{nowhere}/catalog")).await.error(404);
    for job in [
        format!("{path}/{}", Uuid::new_v4()),
        format!("{nowhere}/discover/{}", Uuid::new_v4()),
    ] {
        api.get(&job).await.error(404);
        api.get(&format!("{job}/events")).await.error(404);
        api.delete(&job).await.error(404);
    }
    // The job of one data source is not that of another.
    let job = api.discover(&source, json!({"action": "discover_schemas"})).await;
    api.end_of(&job).await;
    let other = api.data_source(&database().await).await;
    api.get(&job.replace(&source, &other)).await.error(404);
    let bad = json!({"name": "away", "ds_type": "postgres", "catalog_mode": "some",
                     "config": {"host": socket(), "port": port(), "database": "d", "username": "u"}});
    api.post("/datasources", bad).await.error(422);
}
