//! Inheritance between roles: `add_parent`, `remove_parent`.
//!
//! Invariant: the roles form no circle and no chain is longer than the policy crate allows, also when several sessions add
//! parents at once. Two edges can close a circle without having a role in common, so that rows are not enough to lock:
//! whoever adds an edge locks the table and then looks at what is committed.

use pgrx::{notice, prelude::*};
use policy::model::Id;
use policy::roles::RoleGraph;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{args, audit, errors, roles, sql};

const KIND: &str = "parent";

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn add_parent(role: Option<&str>, parent: Option<&str>) {
    let (role, parent) = (args::object_name("role", role), args::object_name("parent", parent));
    if !add(role, parent) {
        notice!("role \"{parent}\" is already a parent of role \"{role}\"");
    }
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn remove_parent(role: Option<&str>, parent: Option<&str>) {
    let (role, parent) = (args::object_name("role", role), args::object_name("parent", parent));
    if !remove(role, parent) {
        errors::undefined_link(
            format!("role \"{parent}\" is not a parent of role \"{role}\""),
            "Only direct parents can be removed; see betweenrows.export().",
        );
    }
}

/// Adds a parent to a role; `false` when it is one already.
pub(crate) fn add(role: &str, parent: &str) -> bool {
    // Keeps out whoever adds an edge, not whoever reads.
    sql::run("lock table betweenrows.role_parents in share row exclusive mode", &[]);
    let [role_id, parent_id] = ids(role, parent);
    let graph = graph();
    if graph.edges.contains(&(role_id, parent_id)) {
        return false;
    }
    if let Err(reason) = graph.roles.check_new_parent(role_id, parent_id) {
        errors::invalid_parent(role, parent, reason.to_string());
    }
    sql::run(
        "insert into betweenrows.role_parents (role_id, parent_id) values ($1, $2)",
        &[args::uuid(role_id).into(), args::uuid(parent_id).into()],
    );
    audit::record("add", KIND, role, &Value::Null, &link(role, parent));
    true
}

/// Removes a direct parent; `false` when there is none.
pub(crate) fn remove(role: &str, parent: &str) -> bool {
    let removed = sql::row(
        "delete from betweenrows.role_parents p where p.role_id = $1 and p.parent_id = $2 returning to_jsonb(p)",
        &ids(role, parent).map(|id| args::uuid(id).into()),
    );
    if removed.is_some() {
        audit::record("remove", KIND, role, &link(role, parent), &Value::Null);
    }
    removed.is_some()
}

struct Graph {
    roles: RoleGraph,
    edges: Vec<(Id, Id)>,
}

/// The graph as it is committed, and with what this transaction did.
fn graph() -> Graph {
    #[derive(Deserialize)]
    struct Role {
        id: String,
        name: String,
        is_active: bool,
        parents: Vec<String>,
    }
    let rows = sql::latest(
        "select jsonb_build_object('id', r.id, 'name', r.name, 'is_active', r.is_active, 'parents',
              (select coalesce(jsonb_agg(p.parent_id), '[]') from betweenrows.role_parents p where p.role_id = r.id))
          from betweenrows.roles r",
        &[],
    );
    let roles: Vec<Role> = rows.into_iter().map(sql::read).collect();
    let edges: Vec<(Id, Id)> = roles
        .iter()
        .flat_map(|role| {
            role.parents
                .iter()
                .map(|parent| (args::parse_id(&role.id), args::parse_id(parent)))
        })
        .collect();
    let nodes = roles
        .into_iter()
        .map(|role| (args::parse_id(&role.id), role.name, role.is_active));
    Graph {
        roles: RoleGraph::new(nodes, edges.iter().copied()),
        edges,
    }
}

fn ids(role: &str, parent: &str) -> [Id; 2] {
    [roles::refer_to(role), roles::refer_to(parent)].map(|row| args::id_of(&row))
}

fn link(role: &str, parent: &str) -> Value {
    json!({"role": role, "parent": parent})
}
