//! What is in force in a database, at one moment, whoever asks: the daemon's role there may be governed itself.

use std::collections::{BTreeSet, HashMap};

use policy::document::Document;
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::discovery::upstream::{self, Relation};
use crate::error::{Error, Result};
use crate::sync::target::unavailable;

/// What is in force in a database.
pub struct Snapshot {
    /// Its catalog.
    pub document: Document,
    /// Its tables with their columns, by schema and name.
    pub tables: Vec<Relation>,
    /// Login roles that no policy applies to.
    pub exempt: BTreeSet<String>,
    /// PostgreSQL's own roles by their members, as far as they have the name of a role of the catalog.
    pub groups: HashMap<String, BTreeSet<String>>,
}

/// Membership as PostgreSQL counts it, without what superusers have by being superusers.
const GROUPS: &str = "
    with recursive member_of(member, role) as (
        select member, roleid from pg_auth_members
        union
        select m.member, above.roleid from member_of m join pg_auth_members above on above.member = m.role)
    select m.rolname::text, g.rolname::text from member_of o join pg_roles m on m.oid = o.member
    join pg_roles g on g.oid = o.role where m.rolcanlogin and g.rolname = any ($1)";

impl Snapshot {
    /// Reads what is in force, and the tables of that schema and name; `None` stands for any.
    pub async fn read(target: &mut PgConnection, schema: Option<&str>, table: Option<&str>) -> Result<Snapshot> {
        let mut snapshot = target.begin().await.map_err(unavailable)?;
        sqlx::query("set transaction isolation level repeatable read read only")
            .execute(&mut *snapshot)
            .await
            .map_err(unavailable)?;
        let exported: Value = sqlx::query_scalar("select betweenrows.export()")
            .fetch_one(&mut *snapshot)
            .await
            .map_err(unavailable)?;
        let document = Document::parse(&exported).map_err(|issues| {
            let issues: Vec<String> = issues.iter().map(ToString::to_string).collect();
            Error::Unavailable(format!("its catalog cannot be read: {}", issues.join("; ")))
        })?;
        let mut schemas = upstream::schemas(&mut snapshot).await?;
        schemas.retain(|name| schema.is_none_or(|schema| schema == name));
        let mut relations = upstream::relations(&mut snapshot, &schemas).await?;
        relations.retain(|relation| table.is_none_or(|table| table == relation.name));
        let names = relations.into_iter().map(|relation| (relation.schema, relation.name));
        let tables = upstream::columns(&mut snapshot, &names.collect::<Vec<_>>()).await?;
        let exempt: Vec<String> = sqlx::query_scalar(
            // Whoever is governed has no access to the table, only to what the function says of it.
            "select rolname::text from pg_roles where rolsuper \
             union select jsonb_array_elements_text(betweenrows.status() -> 'exempt_roles')",
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(unavailable)?;
        let exempt: BTreeSet<String> = exempt.into_iter().collect();
        let names: Vec<&str> = document.roles.iter().flatten().map(|role| role.name.as_str()).collect();
        let members: Vec<(String, String)> = sqlx::query_as(GROUPS)
            .bind(names)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(unavailable)?;
        snapshot.commit().await.map_err(unavailable)?;
        let mut groups: HashMap<String, BTreeSet<String>> = HashMap::new();
        for (member, group) in members {
            groups.entry(member).or_default().insert(group);
        }
        Ok(Snapshot {
            document,
            tables,
            exempt,
            groups,
        })
    }
}
