//! A data source: whether it can be reached, and whether the daemon's role has there what it needs.

use std::io::ErrorKind;

use sqlx::PgConnection;

use super::{Report, word};
use crate::commands::Failure;
use crate::error::Error;
use crate::store::data_sources::DataSource;
use crate::store::{Store, sync_states};
use crate::sync::login_roles::quoted;
use crate::sync::target::{self, Login};

/// Tells if one before it is of the same database: each would undo what the other does there.
pub fn not_twice(source: &DataSource, before: &[&DataSource], report: &mut Report) -> Result<(), Failure> {
    let place = |source: &DataSource| {
        let config = &source.config;
        (config.host.clone(), config.port, config.database.clone())
    };
    match before.iter().find(|other| place(other) == place(source)) {
        Some(other) => report.bad(
            &format!(
                "data sources \"{}\" and \"{}\" are of the same database",
                other.name, source.name
            ),
            &format!("betweenrowsd datasource set {} --active false", word(&source.name)),
        ),
        None => Ok(()),
    }
}

/// Looks at one.
pub async fn look_at(store: &Store, source: &DataSource, report: &mut Report) -> Result<(), Failure> {
    let what = format!("data source \"{}\"", source.name);
    let before = report.bad;
    let login = Login::of(&mut *store.read().await?, &store.sealer, source.id).await;
    let login = match login {
        Ok(login) => login,
        Err(error) => {
            let name = word(&source.name);
            return report.bad(
                &format!("{what}: {error}"),
                &format!("betweenrowsd datasource set {name} --password-stdin"),
            );
        }
    };
    match login.reach().await {
        Ok(mut database) => {
            if let Err(error) = database_of(&what, &mut database, report).await {
                report.bad(&format!("{what}: {error}"), "see what that server's log says of it")?;
            }
        }
        Err(error) => {
            let mend = mend(&error, source);
            report.bad(&format!("{what}: {}", target::unavailable(error)), &mend)?;
        }
    }
    if report.bad == before {
        sync(store, &what, source, report).await?;
    }
    if report.bad == before {
        report.good(&what)?;
    }
    Ok(())
}

/// What mends a connection that fails.
fn mend(error: &sqlx::Error, source: &DataSource) -> String {
    let set = format!("betweenrowsd datasource set {}", word(&source.name));
    let (role, database) = (quoted(&source.config.username), quoted(&source.config.database));
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01") => format!("{set} --password-stdin"),
            Some("28000") => format!(
                "on that server: create (or alter) role {role} login createrole; or add a line for it and this database to pg_hba.conf, \
                 then: select pg_reload_conf();"
            ),
            Some("3D000") => format!("{set} --database …"),
            Some("42501") => format!("on that server: grant connect on database {database} to {role};"),
            Some("53300") => "on that server, then restart it: alter system set max_connections = …;".to_owned(),
            Some("57P03") => "wait until that server has started".to_owned(),
            _ => "see what that server's log says of it".to_owned(),
        },
        sqlx::Error::Tls(_) => tls(&set),
        // A certificate that is not good enough is an error of the handshake.
        sqlx::Error::Io(error) if error.kind() == ErrorKind::InvalidData => tls(&set),
        _ => format!("start that server (systemctl start postgresql), or: {set} --host … --port … --password-stdin"),
    }
}

fn tls(set: &str) -> String {
    format!(
        "{set} --ssl-root-cert FILE with the authority that signed its certificate; where it has no TLS: \
         alter system set ssl = on; there, or for a socket: {set} --sslmode disable"
    )
}

/// What there is in a database.
#[derive(sqlx::FromRow)]
struct Found {
    version: i32,
    clock: f64,
    is_standby: bool,
    is_utf8: bool,
    role: String,
    /// What the extension is installed from, and its version in the database.
    available: Option<String>,
    installed: Option<String>,
    /// The libraries that are preloaded; null if the role may not know.
    libraries: Option<String>,
    is_admin: bool,
    may_create_roles: bool,
    may_identify: bool,
}

const LOOK: &str = "
    select current_setting('server_version_num')::int as version, extract(epoch from clock_timestamp())::float8 as clock,
           pg_is_in_recovery() as is_standby, getdatabaseencoding() = 'UTF8' as is_utf8, quote_ident(current_user) as role,
           (select default_version from pg_available_extensions where name = 'betweenrows') as available,
           (select extversion from pg_extension where extname = 'betweenrows') as installed,
           case when pg_has_role('pg_read_all_settings', 'usage') then current_setting('shared_preload_libraries') end as libraries,
           coalesce((select pg_has_role(oid, 'usage') from pg_roles where rolname = 'betweenrows_admin'), false) as is_admin,
           (select rolsuper or rolcreaterole from pg_roles where rolname = current_user) as may_create_roles,
           has_function_privilege('pg_control_system()', 'execute') as may_identify";

async fn database_of(what: &str, database: &mut PgConnection, report: &mut Report) -> Result<(), Failure> {
    let found: Found = sqlx::query_as(LOOK).fetch_one(&mut *database).await?;
    let role = &found.role;
    report.clock(what, found.clock)?;
    if found.version < 150_000 {
        let mend = "move the database to PostgreSQL 15 or later";
        return report.bad(&format!("{what}: its PostgreSQL is older than 15"), mend);
    }
    if found.is_standby {
        let mend = "change the data source to the primary (betweenrowsd datasource set)";
        return report.bad(&format!("{what}: it is a standby, which cannot be written to"), mend);
    }
    if !found.is_utf8 {
        let mend =
            "dump it and restore it into one that was made with: create database … encoding 'UTF8' template template0;";
        report.bad(&format!("{what}: the database's encoding is not UTF8"), mend)?;
    }
    if found.available.is_none() {
        let mend =
            "copy betweenrows.so, betweenrows_engine.cwasm, betweenrows.control and betweenrows--*.sql to that server";
        report.bad(&format!("{what}: the server does not have the extension's files"), mend)?;
    }
    if let Some(libraries) = &found.libraries
        && !libraries.split(',').any(|library| library.trim() == "betweenrows")
    {
        preload(what, Some(libraries), report)?;
    }
    match (&found.installed, &found.available) {
        (None, _) => {
            let mend = "as a superuser, in that database: create extension betweenrows;";
            return report.bad(&format!("{what}: the extension is not installed in the database"), mend);
        }
        (Some(installed), Some(available)) if installed != available => report.bad(
            &format!("{what}: the extension is of version {installed}, its files are of {available}"),
            "as a superuser, in that database: alter extension betweenrows update;",
        )?,
        _ => {}
    }
    if found.is_admin {
        audit(what, &found, database, report).await?;
    } else {
        let mend = format!("grant betweenrows_admin to {role};");
        report.bad(&format!("{what}: the role is not a member of betweenrows_admin"), &mend)?;
    }
    if !found.may_create_roles {
        let mend = format!("alter role {role} createrole;");
        report.bad(&format!("{what}: the role may not create login roles"), &mend)?;
    }
    if !found.may_identify {
        let mend = format!("in that database: grant execute on function pg_control_system() to {role};");
        report.bad(
            &format!("{what}: the role may not ask for the server's identity"),
            &mend,
        )?;
    }
    Ok(())
}

/// The list may have other libraries, which must not get lost; each is a literal of its own.
fn preload(what: &str, libraries: Option<&str>, report: &mut Report) -> Result<(), Failure> {
    let mend = match libraries {
        Some(libraries) => {
            let others = libraries
                .split(',')
                .map(str::trim)
                .filter(|library| !library.is_empty());
            let all: Vec<String> = others
                .chain(["betweenrows"])
                .map(|library| format!("'{library}'"))
                .collect();
            format!(
                "alter system set shared_preload_libraries = {}; then restart that server",
                all.join(", ")
            )
        }
        None => "add betweenrows to shared_preload_libraries of that server, then restart it".to_owned(),
    };
    report.bad(&format!("{what}: the library is not preloaded"), &mend)
}

/// What the extension says of its audit, if its library is there.
async fn audit(what: &str, found: &Found, database: &mut PgConnection, report: &mut Report) -> Result<(), Failure> {
    match target::audit_status(database).await {
        Ok(status) => {
            for finding in status["findings"].as_array().into_iter().flatten() {
                let text = |key: &str| finding[key].as_str().unwrap_or_default();
                report.bad(&format!("{what}: {}", text("problem")), text("hint"))?;
            }
            Ok(())
        }
        // It was reported if the role may know the setting.
        Err(_) if found.libraries.is_some() => Ok(()),
        Err(Error::Unavailable(said)) if said.contains("55000") => preload(what, None, report),
        Err(error) => Err(error.into()),
    }
}

/// How its sync goes.
async fn sync(store: &Store, what: &str, source: &DataSource, report: &mut Report) -> Result<(), Failure> {
    let state = sync_states::find(&mut *store.read().await?, source.id).await?;
    for warning in state.warnings.as_array().into_iter().flatten() {
        let text = warning.as_str().unwrap_or_default();
        let (problem, mend) = text.split_once("; ").unwrap_or((text, "see the sync's state"));
        report.bad(&format!("{what}: {problem}"), mend)?;
    }
    if state.state != "in_sync" {
        let error = state.error.map(|error| format!(": {error}")).unwrap_or_default();
        report.bad(
            &format!("{what}: its sync is {}{error}", state.state),
            "betweenrowsd status says why; a daemon has to be running: systemctl start betweenrowsd",
        )?;
    }
    Ok(())
}
