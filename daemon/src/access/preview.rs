//! What a change of one policy would do, for everyone and every table that it is about.

use std::collections::{BTreeMap, BTreeSet};

use policy::document::{Document, PolicySpec};
use policy::function::FunctionSpec;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::changes::differences;
use super::{Catalog, Snapshot, Standing, TableView};
use crate::discovery::upstream::Relation;

/// Most changes that are told of a data source.
pub const MOST_CHANGES: usize = 500;
/// Most users that are named for one change.
pub const MOST_NAMES: usize = 100;

/// What would change in a data source.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = PreviewedImpact)]
pub struct Impact {
    /// The data source.
    pub data_source_id: Uuid,
    /// Its name.
    pub datasource_name: String,
    /// Why it could not be asked.
    #[schema(required)]
    pub error: Option<String>,
    /// How many users see something else. Login roles that are no users there are not counted.
    pub affected_users: usize,
    /// How many changes there are; at most 500 are told.
    pub total_changes: usize,
    /// What changes, by table.
    pub changes: Vec<Change>,
}

/// What changes for some users, who all see the same, in one table.
#[derive(Debug, Serialize, ToSchema)]
pub struct Change {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// For whom, at most a hundred of them.
    pub users: Vec<String>,
    /// How many users these are.
    pub user_count: usize,
    /// Whether login roles that are no users there see the change as well.
    pub others: bool,
    /// What is seen then and not now.
    pub gains: Vec<String>,
    /// What is seen now and not then.
    pub loses: Vec<String>,
    /// What is seen now.
    pub before: TableView,
    /// What would be seen.
    pub after: TableView,
}

/// A policy as it would be in a data source; `spec` is none where it would not be there.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name now, if there is one.
    pub old_name: Option<String>,
    /// The policy with its assignments there.
    pub spec: Option<PolicySpec>,
    /// Its decision function.
    pub function: Option<FunctionSpec>,
}

/// The catalog after the change.
fn changed(document: &Document, wanted: &Wanted) -> Document {
    let mut document = document.clone();
    let policies = document.policies.get_or_insert_default();
    let new_name = wanted.spec.as_ref().map(|spec| &spec.name);
    policies.retain(|policy| Some(&policy.name) != wanted.old_name.as_ref() && Some(&policy.name) != new_name);
    policies.extend(wanted.spec.clone());
    if let Some(function) = &wanted.function {
        let functions = document.decision_functions.get_or_insert_default();
        functions.retain(|known| known.name != function.name);
        functions.push(function.clone());
    }
    document
}

/// Fills in who sees what otherwise.
pub fn impact(snapshot: &Snapshot, wanted: &Wanted, impact: &mut Impact) {
    let after = changed(&snapshot.document, wanted);
    let tables = tables(snapshot, wanted);
    let (before, after) = (Catalog::new(&snapshot.document), Catalog::new(&after));
    // Those to whom the same policies apply see the same: they are looked at once.
    let mut alike: BTreeMap<[Vec<String>; 2], Vec<Option<&str>>> = BTreeMap::new();
    // A login role that is no user has a name that no user can have.
    for name in before.usernames().map(Some).chain([None]) {
        let subject = |catalog: &Catalog| catalog.subject(name.unwrap_or_default(), snapshot);
        if subject(&before).standing == Standing::Governed {
            let key = [&before, &after].map(|catalog| {
                let applicable = catalog.applicable(&subject(catalog));
                let place = |entry: &policy::decide::Applicable| {
                    format!("{} {} {}", entry.priority, entry.scope_rank, entry.policy.name)
                };
                applicable.iter().map(place).collect()
            });
            alike.entry(key).or_default().push(name);
        }
    }
    let mut affected = BTreeSet::new();
    for names in alike.values() {
        let view = |catalog: &Catalog, table: &Relation| {
            let subject = catalog.subject(names[0].unwrap_or_default(), snapshot);
            catalog.view(&subject, &catalog.applicable(&subject), table)
        };
        for table in &tables {
            let (old, new) = (view(&before, table), view(&after, table));
            let found = differences(&old, &new);
            if found.gains.is_empty() && found.loses.is_empty() {
                continue;
            }
            let mut users: Vec<&str> = names.iter().flatten().copied().collect();
            users.sort_unstable();
            affected.extend(users.iter().copied());
            impact.total_changes += 1;
            if impact.changes.len() < MOST_CHANGES {
                impact.changes.push(Change {
                    schema: table.schema.clone(),
                    table: table.name.clone(),
                    user_count: users.len(),
                    users: users.into_iter().take(MOST_NAMES).map(str::to_owned).collect(),
                    others: names.contains(&None),
                    gains: found.gains,
                    loses: found.loses,
                    before: without_assignments(old),
                    after: without_assignments(new),
                });
            }
        }
    }
    impact.affected_users = affected.len();
    impact
        .changes
        .sort_by(|one, other| (&one.schema, &one.table, &one.users).cmp(&(&other.schema, &other.table, &other.users)));
}

/// The tables that the policy is about, now or then.
fn tables<'a>(snapshot: &'a Snapshot, wanted: &Wanted) -> Vec<&'a Relation> {
    let policies = snapshot.document.policies.iter().flatten();
    let old = policies.filter(|policy| Some(&policy.name) == wanted.old_name.as_ref());
    let targets: Vec<_> = old.chain(&wanted.spec).flat_map(|policy| &policy.targets).collect();
    let is_about = |table: &&Relation| {
        let own = std::iter::once((&table.schema, &table.name));
        let mut names = own.chain(table.ancestors.iter().map(|(schema, name)| (schema, name)));
        names.any(|(schema, name)| targets.iter().any(|target| target.matches_table(schema, name)))
    };
    snapshot.tables.iter().filter(is_about).collect()
}

/// Users who see the same may do so through different assignments.
fn without_assignments(mut view: TableView) -> TableView {
    for policy in &mut view.policies {
        policy.assigned_to.clear();
    }
    view
}
