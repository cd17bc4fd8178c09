//! An API on a store of its own, and databases for it to manage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use betweenrowsd::api::{self, App};
use betweenrowsd::decisions::Decisions;
use betweenrowsd::secrets::seal::Sealer;
use betweenrowsd::secrets::token::TokenKey;
use betweenrowsd::store::users::{self, NewUser, Secret};
use betweenrowsd::store::{self, Actor, Store};
use betweenrowsd::sync;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tower::ServiceExt;
use uuid::Uuid;

use crate::conformance;

/// A password that is good enough.
pub const PASSWORD: &str = "Secret-1";
/// What tokens are signed with.
pub const SIGNING: [u8; 32] = [3; 32];

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A name that no other test of this run uses: login roles belong to the whole server.
pub fn unique(name: &str) -> String {
    format!("{name}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests with `make daemon`"))
}

/// Where the test server's socket is.
pub fn socket() -> String {
    variable("BR_TEST_SOCKET")
}

/// Its port.
pub fn port() -> u16 {
    variable("BR_TEST_PORT").parse().expect("a port")
}

/// The engine of decision functions.
pub fn engine() -> String {
    variable("BR_ENGINE_FILE")
}

/// The psql of the test server.
pub fn psql() -> String {
    variable("BR_TEST_PSQL")
}

/// Options for a session.
pub fn options(database: &str, user: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket())
        .port(port())
        .database(database)
        .username(user)
}

/// The URL of a database of the test server, for the superuser.
pub fn url(database: &str) -> String {
    format!(
        "postgres://postgres@localhost:{}/{database}?host={}",
        port(),
        socket().replace('/', "%2F")
    )
}

/// A superuser's session.
pub async fn superuser(database: &str) -> PgConnection {
    PgConnection::connect_with(&options(database, "postgres"))
        .await
        .expect("the test server answers")
}

/// The lock that a sync takes in its database, held until this is dropped: a sync waits in the middle of its work.
pub async fn hold_up_syncs(shop: &str) -> PgConnection {
    let mut holder = superuser(shop).await;
    sqlx::query("select pg_advisory_lock(x'62726f777302'::bigint)")
        .execute(&mut holder)
        .await
        .unwrap();
    holder
}

/// Whether a sync waits for that lock.
pub const SYNC_WAITS: &str = "select count(*)::text from pg_locks where locktype = 'advisory' and not granted \
                     and database = (select oid from pg_database where datname = current_database())";

/// Runs statements as a superuser.
pub async fn execute(database: &str, statements: &str) {
    let mut conn = superuser(database).await;
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(&mut conn)
        .await
        .unwrap_or_else(|error| panic!("{statements}: {error}"));
}

/// One text per row of a query that a user runs, or the SQLSTATE and message of its error.
pub async fn query_as(database: &str, user: &str, query: &str) -> Result<Vec<String>, String> {
    let text = |error: sqlx::Error| match error.as_database_error() {
        Some(error) => format!("{}: {}", error.code().unwrap_or_default(), error.message()),
        None => error.to_string(),
    };
    let mut conn = PgConnection::connect_with(&options(database, user))
        .await
        .map_err(text)?;
    sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
        .fetch_all(&mut conn)
        .await
        .map_err(text)
}

/// A new database with two tables that everybody may read, and the extension.
pub async fn database() -> String {
    let name = unique("shop");
    execute("postgres", &format!("create database {name}")).await;
    execute(&name, TABLES).await;
    name
}

/// The tables of a database to be governed.
pub const TABLES: &str = "
    create extension betweenrows;
    create table customers (id int primary key, org text not null, name text not null, ssn text);
    insert into customers values (1, 'acme', 'Ada', '900-00-0001'), (2, 'acme', 'Ben', '900-00-0002'),
                                 (3, 'globex', 'Chen', '900-00-0003');
    create table secrets (id int primary key, body text);
    insert into secrets values (1, 'hidden');
    grant select on customers, secrets to public;";

/// A login role for a daemon that is no superuser: it is governed like any other. The options are those of CREATE ROLE.
pub async fn daemon_role(database: &str, options: &str) -> String {
    let daemon = unique("daemon");
    execute(
        database,
        &format!(
            "create role {daemon} login {options}; grant betweenrows_admin to {daemon};
             grant execute on function pg_control_system() to {daemon}"
        ),
    )
    .await;
    daemon
}

/// An answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON; null if there is none.
    pub fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body, if the status is the expected one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// The error text, if the status is the expected one.
    #[track_caller]
    pub fn error(&self, status: u16) -> String {
        let body = self.expect(status);
        body["error"]
            .as_str()
            .unwrap_or_else(|| panic!("no error text in {body}"))
            .to_owned()
    }

    /// The tag of what was answered.
    #[track_caller]
    pub fn tag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }

    /// The id of the object that was answered.
    #[track_caller]
    pub fn id(&self) -> String {
        self.json()["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id in {}", self.text))
            .to_owned()
    }
}

/// An API, and an administrator who uses it.
pub struct Api {
    pub store: Arc<Store>,
    pub router: Router,
    pub database: String,
    pub admin: String,
    pub admin_id: Uuid,
    pub token: String,
}

impl Api {
    /// With an empty store but for the administrator. Answers do not wait for a sync: tests run it where they want it.
    pub async fn new() -> Api {
        let database = unique("control");
        let options = store::connect_options(&url(&database)).expect("the URL is good");
        store::create_database(&options)
            .await
            .expect("the database can be created");
        let pool = store::connect(options).await.expect("the store answers");
        store::MIGRATOR.run(&pool).await.expect("the migrations run");
        let sealer = Sealer::new(&[5; 32]);
        let store = Arc::new(Store {
            pool,
            sealer,
            decisions: Decisions::new(Some(engine().into())),
        });
        let admin = unique("root");
        let secret = Secret::of(PASSWORD.to_owned()).await.unwrap();
        let mut change = store.change(Actor::command_line()).await.unwrap();
        let new = NewUser {
            username: admin.clone(),
            is_admin: true,
            is_active: true,
            ..NewUser::default()
        };
        let admin_id = users::create(&mut change, &new, Some(&secret)).await.unwrap().id;
        change.commit().await.unwrap();
        let app = App::new(
            store.clone(),
            TokenKey::new(&SIGNING),
            Duration::from_secs(3_600),
            Duration::ZERO,
            Vec::new(),
        );
        let router = api::router(Arc::new(app), &[]);
        let mut api = Api {
            store,
            router,
            database,
            admin,
            admin_id,
            token: String::new(),
        };
        api.token = api.login(&api.admin, PASSWORD).await.expect(200)["token"]
            .as_str()
            .unwrap()
            .to_owned();
        api
    }

    /// Sends a request with that Authorization header.
    pub async fn raw(&self, method: Method, path: &str, authorization: Option<&str>, body: impl Into<Body>) -> Answer {
        let authorization = authorization.map(|value| (header::AUTHORIZATION, value));
        self.request(method, path, authorization.into_iter(), body).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        headers: impl Iterator<Item = (HeaderName, &str)>,
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = self
            .router
            .clone()
            .oneshot(request.body(body.into()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        };
        conformance::check_answer(&method, path, &answer);
        answer
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let path = format!("/api/v1{path}");
        let text = body.as_ref().map(Value::to_string).unwrap_or_default();
        let token = format!("Bearer {}", self.token);
        let answer = self.raw(method.clone(), &path, Some(&token), text).await;
        if let Some(body) = body.filter(|_| answer.status.is_success()) {
            conformance::check_accepted(&method, &path, &body);
        }
        answer
    }

    /// Sends a change of what had that tag when it was read.
    pub async fn if_match(&self, method: Method, path: &str, tag: &str, body: Value) -> Answer {
        let token = format!("Bearer {}", self.token);
        let headers = [(header::AUTHORIZATION, token.as_str()), (header::IF_MATCH, tag)];
        self.request(method, &format!("/api/v1{path}"), headers.into_iter(), body.to_string())
            .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub async fn login(&self, username: &str, password: &str) -> Answer {
        let body = json!({"username": username, "password": password}).to_string();
        self.raw(Method::POST, "/api/v1/auth/login", None, body).await
    }

    /// Creates a user; its id.
    pub async fn user(&self, username: &str) -> String {
        let answer = self
            .post("/users", json!({"username": username, "password": PASSWORD}))
            .await;
        answer.expect(201);
        answer.id()
    }

    /// Creates a role; its id.
    pub async fn role(&self, name: &str) -> String {
        let answer = self.post("/roles", json!({"name": name})).await;
        answer.expect(201);
        answer.id()
    }

    /// Creates a row filter on customers; its id.
    pub async fn filter(&self, name: &str, expression: &str) -> String {
        let answer = self
            .post(
                "/policies",
                json!({"name": name, "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["customers"]}],
                       "definition": {"filter_expression": expression}}),
            )
            .await;
        answer.expect(201);
        answer.id()
    }

    /// Creates a decision function; its id.
    pub async fn function(&self, name: &str, source: &str) -> String {
        let body = json!({"name": name, "decision_fn": source, "evaluate_context": "session"});
        let answer = self.post("/decision-functions", body).await;
        answer.expect(201);
        answer.id()
    }

    /// Adds a database of the test server as a data source in open mode and without a catalog, used as superuser; its id.
    pub async fn data_source(&self, database: &str) -> String {
        let answer = self
            .post(
                "/datasources",
                json!({"name": database, "ds_type": "postgres", "access_mode": "open", "catalog_mode": "everything",
                       "config": {"host": socket(), "port": port(), "database": database, "username": "postgres",
                                  "sslmode": "disable"}}),
            )
            .await;
        answer.expect(201);
        answer.id()
    }

    /// Adds a data source where nobody answers; its id.
    pub async fn unreachable(&self, name: &str) -> String {
        let answer = self
            .post(
                "/datasources",
                json!({"name": name, "ds_type": "postgres", "access_mode": "open",
                       "config": {"host": "127.0.0.1", "port": 1, "database": "x", "username": "x",
                                  "sslmode": "disable"}}),
            )
            .await;
        answer.expect(201);
        answer.id()
    }

    /// An API with one data source; its database and its id.
    pub async fn with_shop() -> (Api, String, String) {
        let api = Api::new().await;
        let shop = database().await;
        let source = api.data_source(&shop).await;
        (api, shop, source)
    }

    /// Creates a user whose name begins so; the name and the id.
    pub async fn person(&self, name: &str) -> (String, String) {
        let name = unique(name);
        let id = self.user(&name).await;
        (name, id)
    }

    /// Lets just these users use a data source.
    pub async fn grant(&self, source: &str, users: &[&str]) {
        self.put(&format!("/datasources/{source}/users"), json!({"user_ids": users}))
            .await
            .expect(200);
    }

    /// Adds users to a role.
    pub async fn join(&self, role: &str, users: &[&str]) {
        self.post(&format!("/roles/{role}/members"), json!({"user_ids": users}))
            .await
            .expect(200);
    }

    /// Assigns a policy to everyone in a data source.
    pub async fn assign(&self, source: &str, policy: &str) {
        self.post(&format!("/datasources/{source}/policies"), json!({"policy_id": policy}))
            .await
            .expect(201);
    }

    /// Has a data source used by another login role.
    pub async fn use_as(&self, source: &str, role: &str) {
        self.put(&format!("/datasources/{source}"), json!({"config": {"username": role}}))
            .await
            .expect(200);
    }

    /// Syncs a data source; the state it is in then.
    pub async fn sync(&self, id: &str) -> Value {
        sync::sync(&self.store, id.parse().unwrap()).await.unwrap();
        self.get(&format!("/datasources/{id}/sync")).await.expect(200)
    }

    /// Syncs a data source, which has to work.
    #[track_caller]
    pub fn sync_well(&self, id: &str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let state = self.sync(id).await;
            assert_eq!(state["state"], "in_sync", "{caller}: {state:#}");
            state
        }
    }
}
