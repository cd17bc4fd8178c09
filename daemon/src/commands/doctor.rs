//! `doctor`: what is wrong with the set-up, and the command that mends it.

use std::process::ExitCode;

use sqlx::Connection;

use super::Outcome;
use crate::config::Config;
use crate::decisions::Decisions;
use crate::error::Result;
use crate::secrets::keys::Keys;
use crate::secrets::seal::Sealer;
use crate::store::data_sources::{self, DataSource};
use crate::store::users::VERIFIER_PLACE;
use crate::store::{self, Store, Window};
use crate::sync::target;
use crate::tls::Identity;

struct Report {
    bad: u32,
}

impl Report {
    fn good(&self, what: &str) {
        println!("ok    {what}");
    }

    fn bad(&mut self, what: &str, mend: &str) {
        self.bad += 1;
        println!("bad   {what}\n      → {mend}");
    }
}

/// `doctor`. Changes nothing.
pub async fn doctor(config: &Config) -> Outcome {
    let mut report = Report { bad: 0 };
    let keys = Keys::load(
        config.encryption_key.as_deref(),
        config.jwt_secret.as_deref(),
        &config.state_dir,
    );
    let keys = match keys {
        Ok(keys) => {
            report.good("keys can be used");
            Some(keys)
        }
        Err(problem) => {
            report.bad(&problem, "correct the file or the variable");
            None
        }
    };
    if let Some(files) = &config.tls {
        match Identity::load(files.clone()) {
            Ok(_) => report.good("the certificate can be used"),
            Err(problem) => report.bad(&problem, "correct tls_cert and tls_key"),
        }
    }
    if let (Some(store), Some(keys)) = (open_store(config, &mut report).await?, keys) {
        let store = Store {
            pool: store,
            sealer: Sealer::new(&keys.encryption),
            decisions: Decisions::new(config.engine_file.clone()),
        };
        match store.decisions.load().await {
            Ok(()) => report.good("decision functions can be compiled"),
            Err(problem) => report.bad(
                &problem.to_string(),
                "copy the file of the release that the extension is of, and set BR_ENGINE_FILE",
            ),
        }
        secrets(&store, &mut report).await?;
        administrators(&store, &mut report).await?;
        let mut conn = store.read().await?;
        for source in data_sources::list(&mut conn, "", Window::ALL).await?.0 {
            data_source(&store, &source, &mut report).await?;
        }
    }
    Ok(ExitCode::from(u8::from(report.bad > 0)))
}

async fn open_store(config: &Config, report: &mut Report) -> std::result::Result<Option<sqlx::PgPool>, super::Failure> {
    let options = store::connect_options(&config.database_url)?;
    let connected = sqlx::PgConnection::connect_with(&options).await;
    let mut conn = match connected {
        Ok(conn) => conn,
        Err(error) => {
            let mend = "start the server, or set BR_ADMIN_DATABASE_URL; `betweenrowsd migrate` creates the database";
            report.bad(&format!("the store cannot be reached: {error}"), mend);
            return Ok(None);
        }
    };
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(&mut conn)
        .await?;
    if version < 150_000 {
        report.bad(
            "the store's PostgreSQL is older than 15",
            "move the store to PostgreSQL 15 or later",
        );
    }
    let has_schema: bool = sqlx::query_scalar("select to_regclass('public._sqlx_migrations') is not null")
        .fetch_one(&mut conn)
        .await?;
    let applied: i64 = if has_schema {
        sqlx::query_scalar("select count(*) from _sqlx_migrations where success")
            .fetch_one(&mut conn)
            .await?
    } else {
        0
    };
    let known = store::MIGRATOR
        .iter()
        .filter(|step| step.migration_type.is_up_migration())
        .count();
    if applied != known as i64 {
        report.bad(
            &format!("the store has {applied} of {known} migrations"),
            "betweenrowsd migrate",
        );
        return Ok(None);
    }
    report.good("the store can be reached and is up to date");
    Ok(Some(store::connect(options).await?))
}

async fn secrets(store: &Store, report: &mut Report) -> Result<()> {
    let sealed =
        sqlx::query!(r#"select id, login_verifier as "login_verifier!" from users where login_verifier is not null"#)
            .fetch_all(&store.pool)
            .await?;
    let unreadable = sealed
        .iter()
        .filter(|user| {
            store
                .sealer
                .open(VERIFIER_PLACE, user.id, &user.login_verifier)
                .is_err()
        })
        .count();
    if unreadable == 0 {
        report.good("secrets in the store can be opened");
    } else {
        report.bad(
            &format!("{unreadable} secrets in the store were sealed with another key"),
            "set BR_ENCRYPTION_KEY (or the state directory) to the key that the store was used with before",
        );
    }
    Ok(())
}

async fn administrators(store: &Store, report: &mut Report) -> Result<()> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from users where is_admin and is_active and password_hash is not null"#
    )
    .fetch_one(&store.pool)
    .await?;
    if count > 0 {
        report.good("there is an active administrator");
    } else {
        report.bad(
            "there is no active administrator with a password",
            "betweenrowsd user create --username NAME --admin",
        );
    }
    Ok(())
}

async fn data_source(store: &Store, source: &DataSource, report: &mut Report) -> Result<()> {
    let what = format!("data source \"{}\"", source.name);
    let mut conn = store.read().await?;
    let mut database = match target::connect(&mut conn, &store.sealer, source.id).await {
        Ok(database) => database,
        Err(error) => {
            report.bad(
                &format!("{what}: {error}"),
                "start that server, or change the data source",
            );
            return Ok(());
        }
    };
    let (preloaded, available, installed, admin, createrole, control, role): (
        bool,
        bool,
        bool,
        bool,
        bool,
        bool,
        String,
    ) = sqlx::query_as(
        "select current_setting('shared_preload_libraries') ~ '\\mbetweenrows\\M', \
             exists (select from pg_available_extensions where name = 'betweenrows'), \
             exists (select from pg_extension where extname = 'betweenrows'), \
             coalesce((select pg_has_role(oid, 'usage') from pg_roles where rolname = 'betweenrows_admin'), false), \
             (select rolsuper or rolcreaterole from pg_roles where rolname = current_user), \
             has_function_privilege('pg_control_system()', 'execute'), quote_ident(current_user)",
    )
    .fetch_one(&mut database)
    .await
    .map_err(target::unavailable)?;
    let before = report.bad;
    if !available {
        report.bad(
            &format!("{what}: the server does not have the extension's files"),
            "copy betweenrows.so, betweenrows.control and betweenrows--*.sql to that server",
        );
    }
    if !preloaded {
        report.bad(
            &format!("{what}: the library is not preloaded"),
            "alter system set shared_preload_libraries = 'betweenrows'; then restart that server",
        );
    }
    if !installed {
        report.bad(
            &format!("{what}: the extension is not installed in the database"),
            "as a superuser, in that database: create extension betweenrows;",
        );
    } else if !admin {
        report.bad(
            &format!("{what}: the role is not a member of betweenrows_admin"),
            &format!("grant betweenrows_admin to {role};"),
        );
    }
    if !createrole {
        report.bad(
            &format!("{what}: the role may not create login roles"),
            &format!("alter role {role} createrole;"),
        );
    }
    if !control {
        report.bad(
            &format!("{what}: the role may not ask for the server's identity"),
            &format!("grant execute on function pg_control_system() to {role};"),
        );
    }
    if source.last_sync_result != "in_sync" && source.is_active {
        report.bad(
            &format!("{what}: its sync is {}", source.last_sync_result),
            "betweenrowsd status says why; a daemon has to be running",
        );
    }
    if report.bad == before {
        report.good(&what);
    }
    Ok(())
}
