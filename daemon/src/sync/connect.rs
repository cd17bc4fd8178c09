//! Who may log in to the database of a data source.
//!
//! PostgreSQL can only allow: as long as everybody may connect (PUBLIC, which is the default), a login role that another
//! database of the server needs gets into this one, too, where it can run no statement. So the right goes to a role of the
//! database's own, whose members are those with a grant, exempt roles and those that replicate, and PUBLIC loses it. One
//! role, because a database's list of rights has room for some hundreds of entries only.
//!
//! Taking it from PUBLIC is up to the database's owner. Where the daemon's role is not, the command for the owner is told.

use std::collections::BTreeSet;

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::login_roles::{execute, literal, mark, quoted, step};
use super::target;
use crate::error::{Error, Result};
use crate::store::sync_states::Step;

/// What was done, and what somebody else has to do.
#[derive(Default)]
pub struct Outcome {
    /// What was done.
    pub steps: Vec<Step>,
    /// What this role may not do, with the command that mends it.
    pub warnings: Vec<String>,
}

/// What there is.
#[derive(sqlx::FromRow)]
struct Found {
    database: String,
    role: String,
    /// The role of those who may connect.
    group: String,
    /// Its comment; null if there is no such role.
    comment: Option<String>,
    exists: bool,
    /// Whether PUBLIC may connect.
    public: bool,
    /// Whether the role of those who may connect, and that of the daemon, may do so by themselves.
    group_may: bool,
    daemon_may: bool,
    /// Whether this role may act as the database's owner, and whether it may give the right.
    owns: bool,
    gives: bool,
}

const LOOK: &str = "
    with here as (select oid, datname, datdba, aclexplode(coalesce(datacl, acldefault('d', datdba))) as acl
                  from pg_database where datname = current_database()),
    may as (select (acl).grantee, (acl).is_grantable from here where (acl).privilege_type = 'CONNECT'),
    named as (select oid, 'betweenrows_connect_' || oid as name, datdba from pg_database where datname = current_database())
    select current_database()::text as database, current_user::text as role, n.name as group,
           shobj_description(g.oid, 'pg_authid') as comment, g.oid is not null as exists,
           exists (select from may where grantee = 0) as public,
           exists (select from may where grantee = g.oid) as group_may,
           pg_has_role(n.datdba, 'usage') or exists (select from may join pg_roles r on r.oid = grantee where r.rolname = current_user) as daemon_may,
           pg_has_role(n.datdba, 'usage') as owns,
           has_database_privilege(n.oid, 'connect with grant option') as gives
    from named n left join pg_roles g on g.rolname = n.name";

/// Those who should be members of the role and are not, and the other way round.
const DIFFERENCES: &str = "
    with wanted as (select oid, rolname from pg_roles where not rolsuper and rolname !~ '^pg_' and rolname <> $1
                    and (rolname = any ($2) or rolreplication
                         or rolname = any ($3))),
    members as (select distinct r.oid, r.rolname from pg_auth_members m join pg_roles r on r.oid = m.member
                where m.roleid = $1::regrole and r.rolname <> current_user)
    select w.rolname::text, true from wanted w where w.oid not in (select oid from members) and w.rolname <> current_user
    union all select m.rolname::text, false from members m where m.oid not in (select oid from wanted)
    order by 1";

/// Brings it about, in the caller's transaction, as far as this role may. `allowed` are the names of those with a grant.
pub async fn restrict(target: &mut PgConnection, store_id: Uuid, allowed: &BTreeSet<String>) -> Result<Outcome> {
    let mut attempt = target.begin().await.map_err(target::unavailable)?;
    let found: Found = sqlx::query_as(LOOK)
        .fetch_one(&mut *attempt)
        .await
        .map_err(target::unavailable)?;
    match bring_about(&mut attempt, store_id, allowed, &found).await {
        Ok(outcome) => {
            attempt.commit().await.map_err(target::unavailable)?;
            Ok(outcome)
        }
        // The role may not manage roles. What it was to do is optional: no statement runs without a grant.
        Err(Error::Forbidden(_)) => {
            attempt.rollback().await.map_err(target::unavailable)?;
            let warning = format!(
                "the daemon cannot keep users without a grant from logging in; a superuser has to run: \
                 alter role {} createrole",
                quoted(&found.role)
            );
            Ok(Outcome {
                steps: Vec::new(),
                warnings: vec![warning],
            })
        }
        Err(other) => Err(other),
    }
}

async fn bring_about(
    target: &mut PgConnection,
    store_id: Uuid,
    allowed: &BTreeSet<String>,
    found: &Found,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let (group, database) = (quoted(&found.group), quoted(&found.database));
    let mark = mark(store_id);
    if !found.exists {
        execute(target, &format!("create role {group} nologin")).await?;
        execute(target, &format!("comment on role {group} is {}", literal(&mark))).await?;
        outcome.steps.push(step("create", &found.group, "those who may log in"));
    } else if found.comment.as_deref() != Some(mark.as_str()) {
        outcome.warnings.push(format!(
            "the role {group} is not of this store, so users without a grant may be able to log in; a superuser has to run: \
             drop role {group}"
        ));
        return Ok(outcome);
    }
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    let exempt = exempt_roles(target).await?;
    let differences: Vec<(String, bool)> = sqlx::query_as(DIFFERENCES)
        .bind(&found.group)
        .bind(allowed)
        .bind(exempt)
        .fetch_all(&mut *target)
        .await
        .map_err(target::unavailable)?;
    for (verb, preposition, is_wanted) in [("grant", "to", true), ("revoke", "from", false)] {
        let names: Vec<&str> = differences
            .iter()
            .filter(|(_, wanted)| *wanted == is_wanted)
            .map(|(name, _)| name.as_str())
            .collect();
        for chunk in names.chunks(500) {
            let list: Vec<String> = chunk.iter().map(|name| quoted(name)).collect();
            execute(target, &format!("{verb} {group} {preposition} {}", list.join(", "))).await?;
        }
        let detail = if is_wanted {
            "may log in here"
        } else {
            "may not log in here any more"
        };
        outcome
            .steps
            .extend(names.into_iter().map(|name| step(verb, name, detail)));
    }
    let mut lacking = Vec::new();
    if !found.group_may {
        lacking.push(group.clone());
    }
    if !found.daemon_may {
        lacking.push(quoted(&found.role));
    }
    let list = lacking.join(", ");
    if found.gives && !lacking.is_empty() {
        execute(target, &format!("grant connect on database {database} to {list}")).await?;
        outcome.steps.push(step("grant", &found.group, "connect"));
    }
    if found.public && found.owns {
        execute(target, &format!("revoke connect on database {database} from public")).await?;
        outcome.steps.push(step("revoke", "public", "connect"));
    } else if found.public || (!found.gives && !lacking.is_empty()) {
        let mut commands = Vec::new();
        if !found.gives && !lacking.is_empty() {
            commands.push(format!("grant connect on database {database} to {list}"));
        }
        if found.public {
            commands.push(format!("revoke connect on database {database} from public"));
        }
        outcome.warnings.push(format!(
            "users without a grant may be able to log in, though not to run a statement; the owner of the database has to run: \
             {};",
            commands.join("; ")
        ));
    }
    Ok(outcome)
}

/// Only exempt roles may read the extension's tables; others are told what an administrator may know.
async fn exempt_roles(target: &mut PgConnection) -> Result<Vec<String>> {
    let is_exempt: bool = sqlx::query_scalar("select (betweenrows.whoami() ->> 'is_exempt')::boolean")
        .fetch_one(&mut *target)
        .await
        .map_err(target::unavailable)?;
    let query = match is_exempt {
        true => "select rolename from betweenrows.exempt_roles",
        false => "select jsonb_array_elements_text(betweenrows.status() -> 'exempt_roles')",
    };
    sqlx::query_scalar(query)
        .fetch_all(target)
        .await
        .map_err(target::unavailable)
}
