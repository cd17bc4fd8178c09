//! `effective_policies()`: what the policies make of relations for one user.

use std::collections::BTreeSet;

use pgrx::iter::TableIterator;
use pgrx::pg_sys::Oid;
use pgrx::{name, notice, prelude::*};
use policy::access::Standing;
use policy::decide::{self, Applicable, Selection, TableAccess};
use policy::function::Ruling;
use policy::model::{Id, Scope};

use super::relations::{self, Relation};
use super::{args, errors, sql};
use crate::catalog::{self, Catalog};
use crate::{identity, pg};

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
#[expect(clippy::type_complexity, reason = "pgrx reads the columns off the type")]
fn effective_policies(
    username: Option<&str>,
    relation: Option<Oid>,
) -> TableIterator<
    'static,
    (
        name!(on_relation, String),
        name!(policy, Option<String>),
        name!(policy_type, Option<String>),
        name!(effect, String),
        name!(column_name, Option<String>),
        name!(assigned_to, Option<String>),
        name!(priority, Option<i32>),
        name!(version, Option<i32>),
    ),
> {
    let username = args::username("username", username);
    let named = relation.map(relations::get);
    let catalog = catalog::catalog().unwrap_or_else(|| errors::corrupt_catalog("its tables are missing".to_owned()));
    let mut rows = Vec::new();
    if let Some(subject) = Subject::find(&catalog, username) {
        let mut applicable = decide::applicable(&catalog.policies, &catalog.assignments, subject.user, &subject.roles);
        subject.ask_decision_functions(&catalog, &mut applicable);
        let explain = named.is_some();
        for relation in named.map_or_else(relations::all, |relation| vec![relation]) {
            rows.extend(subject.effects(&catalog, &applicable, &relation, explain));
        }
    }
    TableIterator::new(rows.into_iter().map(|row| {
        let policy = row.policy;
        (
            row.on_relation,
            policy.as_ref().map(|policy| policy.name.clone()),
            policy.as_ref().map(|policy| policy.policy_type.to_owned()),
            row.effect.to_owned(),
            row.column,
            policy.as_ref().map(|policy| policy.assigned_to.clone()),
            policy.as_ref().map(|policy| policy.priority),
            policy.as_ref().map(|policy| policy.version),
        )
    }))
}

/// Something that took effect on a relation.
struct Row {
    on_relation: String,
    /// `None` for what is hidden by default.
    policy: Option<ByPolicy>,
    effect: &'static str,
    column: Option<String>,
}

struct ByPolicy {
    name: String,
    policy_type: &'static str,
    assigned_to: String,
    priority: i32,
    version: i32,
}

/// A user as far as policies can tell users apart.
struct Subject {
    name: String,
    login: Option<Oid>,
    user: Option<Id>,
    roles: BTreeSet<Id>,
}

impl Subject {
    /// The user of that name, with or without a login role or a row in `users`; `None` when policies do not apply to it.
    fn find(catalog: &std::rc::Rc<Catalog>, name: &str) -> Option<Self> {
        let row = sql::look(
            "select jsonb_build_object('id', u.id, 'is_active', u.is_active, 'roles',
                 (select coalesce(jsonb_agg(m.role_id), '[]') from betweenrows.role_members m where m.user_id = u.id))
             from betweenrows.users u where u.username = $1",
            &[name.into()],
        )
        .pop();
        let login = pg::role_oid(name);
        if row.is_none() && login.is_none() {
            errors::undefined("user", name, "Name a user of betweenrows or a login role.");
        }
        if login.is_some_and(|role| identity::is_exempt(catalog, role)) {
            notice!("role \"{name}\" is exempt from all policies");
            return None;
        }
        if row.as_ref().is_some_and(|row| row["is_active"] == false) {
            notice!("user \"{name}\" is not active: every statement on tables is refused");
        }
        let mut direct: Vec<Id> = Vec::new();
        if let Some(ids) = row.as_ref().and_then(|row| row["roles"].as_array()) {
            direct.extend(ids.iter().filter_map(|id| id.as_str()).map(args::parse_id));
        }
        direct.extend(login.iter().flat_map(|&role| catalog::inherited_roles(catalog, role)));
        let subject = Subject {
            name: name.to_owned(),
            login,
            user: row.as_ref().map(args::id_of),
            roles: catalog.roles.active_roles(direct.into_iter()),
        };
        if catalog.standing(true, subject.user, &subject.roles) == Ok(Standing::WithoutGrant) {
            notice!("user \"{name}\" has no access grant: every statement on tables is refused");
        }
        Some(subject)
    }

    /// Leaves out what decision functions leave out now, as this session is. Where a function asks for the statement, its
    /// policies do what restricts.
    fn ask_decision_functions(&self, catalog: &std::rc::Rc<Catalog>, applicable: &mut [Applicable]) {
        let session = self.login.and_then(catalog::session_of);
        for entry in applicable.iter_mut() {
            let Some(function) = entry.policy.decision_function else {
                continue;
            };
            let ruling = match &session {
                Some(session) => session.firing.ruling(catalog, function),
                // Nobody can log in as such a user, who has no session.
                None => Ruling::Restrict,
            };
            entry.fires = entry.policy.takes_part(ruling);
        }
    }

    /// What took effect on one relation; with `explain` also what is hidden without a policy that says so.
    fn effects(&self, catalog: &Catalog, applicable: &[Applicable], relation: &Relation, explain: bool) -> Vec<Row> {
        let columns: Vec<&str> = relation.columns.iter().map(String::as_str).collect();
        let selected = catalog.selected(&relation.schema, &relation.name);
        let facts = decide::Relation {
            schema: &relation.schema,
            name: &relation.name,
            ancestors: &relation.ancestors,
            columns: &columns,
            selection: Selection::of(selected.as_ref()),
        };
        let decision = decide::decide(catalog.access_mode, applicable, &facts);
        let mut rows = Vec::new();
        let mut by_default = |effect, column| {
            rows.push(Row {
                on_relation: relation.quoted_name(),
                policy: None,
                effect,
                column,
            });
        };
        if explain && facts.selection == Selection::Nothing {
            by_default("not_in_catalog", None);
        } else if explain {
            for name in columns.iter().filter(|name| !facts.selection.includes(name)) {
                by_default("not_in_catalog", Some((*name).to_owned()));
            }
            if decision.table == TableAccess::NotAllowed {
                by_default("not_allowed", None);
            }
        }
        rows.extend(decision.effects().into_iter().map(|applied| {
            let entry = &applicable[applied.policy];
            Row {
                on_relation: relation.quoted_name(),
                policy: Some(ByPolicy {
                    name: entry.policy.name.clone(),
                    policy_type: entry.policy.policy_type.as_str(),
                    assigned_to: self.assigned_to(catalog, entry),
                    priority: entry.priority,
                    version: entry.policy.version,
                }),
                effect: applied.effect.as_str(),
                column: applied.column.map(|column| relation.columns[column].clone()),
            }
        }));
        rows
    }

    /// For whom the assignment is that decided the policy's rank.
    fn assigned_to(&self, catalog: &Catalog, entry: &Applicable) -> String {
        let mut found: Vec<String> = catalog
            .assignments
            .iter()
            .filter(|assignment| assignment.policy_id == entry.policy.id)
            .filter(|assignment| (assignment.priority, assignment.scope.rank()) == (entry.priority, entry.scope_rank))
            .filter_map(|assignment| match assignment.scope {
                Scope::All => Some("everyone".to_owned()),
                Scope::User(id) => (self.user == Some(id)).then(|| format!("user {}", self.name)),
                Scope::Role(id) if self.roles.contains(&id) => {
                    catalog.roles.name(id).map(|role| format!("role {role}"))
                }
                Scope::Role(_) => None,
            })
            .collect();
        found.sort();
        found.into_iter().next().unwrap_or_default()
    }
}
