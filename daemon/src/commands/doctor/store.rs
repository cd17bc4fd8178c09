//! The store: whether it can be reached, is up to date, and opens with the key.

use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{Connection, PgConnection};

use super::{Report, word};
use crate::commands::Failure;
use crate::config::Config;
use crate::store::{self, Store, sealing};
use crate::sync::target;

/// The store, if it can be used.
pub async fn open(config: &Config, report: &mut Report) -> Result<Option<PgPool>, Failure> {
    let options = store::connect_options(&config.database_url)?;
    let mut conn = match PgConnection::connect_with(&options).await {
        Ok(conn) => conn,
        Err(error) => {
            let mend = mend(&error, &options);
            let said = target::unavailable(error);
            report.bad(&format!("the store cannot be reached: {said}"), &mend)?;
            return Ok(None);
        }
    };
    let (version, clock, may_create, has_schema, role, is_standby): (i32, f64, bool, bool, String, bool) =
        sqlx::query_as(
            "select current_setting('server_version_num')::int, extract(epoch from clock_timestamp())::float8, \
         has_schema_privilege('public', 'create'), to_regclass('public._sqlx_migrations') is not null, \
         quote_ident(current_user), pg_is_in_recovery()",
        )
        .fetch_one(&mut conn)
        .await?;
    report.clock("the store", clock)?;
    if version < 150_000 {
        report.bad(
            "the store's PostgreSQL is older than 15",
            "move the store to PostgreSQL 15 or later",
        )?;
    }
    if is_standby {
        report.bad(
            "the store is on a standby, which cannot be written to",
            "set BR_ADMIN_DATABASE_URL to the primary",
        )?;
        return Ok(None);
    }
    if !has_schema && !may_create {
        report.bad(
            "the role may not create tables in the store",
            &format!("as the owner of that database, in it: grant create on schema public to {role};"),
        )?;
        return Ok(None);
    }
    let applied: Vec<i64> = match has_schema {
        true => {
            let applied = sqlx::query_scalar("select version from _sqlx_migrations where success");
            applied.fetch_all(&mut conn).await?
        }
        false => Vec::new(),
    };
    let steps = store::MIGRATOR.iter();
    let known: Vec<i64> = steps
        .filter(|step| step.migration_type.is_up_migration())
        .map(|step| step.version)
        .collect();
    if applied.iter().any(|version| !known.contains(version)) {
        report.bad(
            "the store was used with a later version than this one",
            "install the later version",
        )?;
        return Ok(None);
    }
    if applied.len() != known.len() {
        report.bad(
            &format!("the store has {} of {} migrations", applied.len(), known.len()),
            "betweenrowsd migrate",
        )?;
        return Ok(None);
    }
    report.good("the store can be reached and is up to date")?;
    Ok(Some(store::connect(options).await?))
}

fn mend(error: &sqlx::Error, options: &PgConnectOptions) -> String {
    let role = word(options.get_username());
    let name = word(options.get_database().unwrap_or(options.get_username()));
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("3D000") => {
            format!(
                "betweenrowsd migrate; where its role may not create databases, as a superuser: createdb --owner {role} {name}"
            )
        }
        Some("28P01") => "put the right password into BR_ADMIN_DATABASE_URL".to_owned(),
        Some("28000") => format!(
            "on that server: createuser --createdb {role}; or add a line for it to pg_hba.conf, then: select pg_reload_conf();"
        ),
        Some("42501") => format!("on that server: grant connect on database {name} to {role};"),
        Some("53300") => "on that server, then restart it: alter system set max_connections = …;".to_owned(),
        Some("57P03") => "wait until that server has started".to_owned(),
        _ => "start that server (systemctl start postgresql), or set BR_ADMIN_DATABASE_URL".to_owned(),
    }
}

/// Whether the key is the store's.
pub async fn secrets(store: &Store, report: &mut Report) -> Result<(), Failure> {
    match sealing::unreadable(&mut *store.read().await?, &store.sealer).await? {
        0 => report.good("secrets in the store can be opened"),
        count => report.bad(
            &format!("{count} secrets in the store were sealed with another key"),
            "set BR_ENCRYPTION_KEY (or the state directory) to the key that the store was used with before; if that is lost: \
             betweenrowsd reseal --forget, and set the passwords of users and data sources again",
        ),
    }
}

/// Whether somebody can log in.
pub async fn administrators(store: &Store, report: &mut Report) -> Result<(), Failure> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from users where is_admin and is_active and password_hash is not null"#
    )
    .fetch_one(&store.pool)
    .await?;
    if count > 0 {
        report.good("there is an active administrator")
    } else {
        report.bad(
            "there is no active administrator with a password",
            "betweenrowsd user create --username NAME --admin",
        )
    }
}
