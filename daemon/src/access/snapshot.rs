//! What is in force in a database, at one moment.

use std::collections::{BTreeSet, HashMap};

use policy::document::Document;
use serde::Deserialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Connection, PgConnection};

use crate::error::{Error, Result};
use crate::sync::target::unavailable;

/// A table, view or other relation that policies can be about.
#[derive(Debug, Clone, Deserialize)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `table`, `partitioned table`, `foreign table`, `view` or `materialized view`.
    pub kind: String,
    /// Its columns in their order.
    pub columns: Vec<Column>,
    /// `(schema, name)` of all that it is a partition of or inherits from.
    pub ancestors: Vec<(String, String)>,
}

/// A column.
#[derive(Debug, Clone, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as SQL writes it.
    pub data_type: String,
}

/// What is in force in a database.
pub struct Snapshot {
    /// Its catalog.
    pub document: Document,
    /// Its tables, by schema and name.
    pub tables: Vec<Table>,
    /// Whether these are all: a role that is governed itself does not get to see every table.
    pub is_complete: bool,
    /// Login roles that no policy applies to.
    pub exempt: BTreeSet<String>,
    /// PostgreSQL's own roles by their members, as far as they have the name of a role of the catalog.
    pub groups: HashMap<String, BTreeSet<String>>,
}

const TABLES: &str = "
    select jsonb_build_object('schema', n.nspname, 'name', c.relname,
        'kind', case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'f' then 'foreign table'
                when 'v' then 'view' else 'materialized view' end,
        'columns', (select coalesce(jsonb_agg(jsonb_build_object('name', a.attname,
                                    'data_type', format_type(a.atttypid, a.atttypmod)) order by a.attnum), '[]')
                    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
        'ancestors', (with recursive above(oid) as (
                          select i.inhparent from pg_inherits i where i.inhrelid = c.oid
                          union
                          select i.inhparent from pg_inherits i join above on i.inhrelid = above.oid)
                      select coalesce(jsonb_agg(jsonb_build_array(an.nspname, ac.relname)), '[]')
                      from above join pg_class ac on ac.oid = above.oid join pg_namespace an on an.oid = ac.relnamespace))
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'f', 'v', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'betweenrows')
      and n.nspname !~ '^pg_(toast|temp)' and ($1::text is null or n.nspname = $1) and ($2::text is null or c.relname = $2)
    order by n.nspname, c.relname";

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
        let tables: Vec<Json<Table>> = sqlx::query_scalar(TABLES)
            .bind(schema)
            .bind(table)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(unavailable)?;
        let exempt: Vec<String> = sqlx::query_scalar(
            // Whoever is governed has no access to the table, only to what the function says of it.
            "select rolname::text from pg_roles where rolsuper \
             union select jsonb_array_elements_text(betweenrows.status() -> 'exempt_roles')",
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(unavailable)?;
        let exempt: BTreeSet<String> = exempt.into_iter().collect();
        let reader: String = sqlx::query_scalar("select session_user::text")
            .fetch_one(&mut *snapshot)
            .await
            .map_err(unavailable)?;
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
            tables: tables.into_iter().map(|Json(table)| table).collect(),
            is_complete: exempt.contains(&reader),
            exempt,
            groups,
        })
    }
}
