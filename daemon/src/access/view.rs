//! What a subject sees of a table, and why.

use std::collections::{BTreeSet, HashMap};

use policy::access::{self, Standing as Admission};
use policy::allowlist::Allowlist;
use policy::decide::{self, Applicable, ColumnAccess, Decision, Selection, TableAccess};
use policy::document::{Assignee, Document, Switch, UserSpec};
use policy::model::{AccessMode, Assignment, Definition, FilterMode, Id, Policy, Scope, Targets};
use policy::roles::RoleGraph;
use serde::Serialize;
use utoipa::ToSchema;

use super::Snapshot;
use crate::discovery::upstream::Relation;

/// A document, as policies are decided by.
pub struct Catalog {
    mode: AccessMode,
    policies: Vec<Policy>,
    assignments: Vec<Assignment>,
    /// Names of policies' decision functions, as far as they are enabled.
    functions: Vec<Option<String>>,
    roles: RoleGraph,
    users: HashMap<String, User>,
    /// Who is admitted, where a grant is required.
    grants: Option<Vec<Scope>>,
    /// What exists for subjects, where that is bounded.
    allowlist: Option<Allowlist>,
}

struct User {
    id: Id,
    is_active: bool,
    roles: Vec<String>,
}

/// What keeps a subject from running statements, or policies from applying to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing: policies decide.
    Governed,
    /// Its user is not active there, or has no grant: no statement on a table runs.
    Refused,
    /// No policy applies to its login role.
    Exempt,
}

/// Somebody who may run statements.
pub struct Subject {
    /// Whether policies decide.
    pub standing: Standing,
    name: String,
    user: Option<Id>,
    roles: BTreeSet<Id>,
}

/// What a subject sees of a table. PostgreSQL's own privileges are a matter of their own.
///
/// Policies with a decision function are taken as if it fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TableView {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// `table`, `partitioned table`, `foreign table`, `view` or `materialized view`.
    pub kind: String,
    /// Whether it exists for the subject.
    pub is_visible: bool,
    /// Why it does not.
    #[schema(required)]
    pub hidden_because: Option<String>,
    /// Its columns, hidden ones too.
    pub columns: Vec<ColumnView>,
    /// What keeps rows back. Restrictive ones have to hold all, of the permissive ones one.
    pub filters: Vec<FilterView>,
    /// The policies that take effect, in order of precedence.
    pub policies: Vec<EffectView>,
}

/// What a subject sees of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ColumnView {
    /// Its name.
    pub column: String,
    /// Its type.
    pub data_type: String,
    /// `visible`, `masked` or `hidden`.
    pub access: String,
    /// What it shows in place of its values.
    #[schema(required)]
    pub mask: Option<String>,
    /// The policy that masks or hides it; none when it is hidden because no allowlist lists it.
    #[schema(required)]
    pub policy: Option<String>,
}

/// A row filter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct FilterView {
    /// The policy.
    pub policy: String,
    /// What has to hold.
    pub expression: String,
    /// `restrictive` or `permissive`.
    pub mode: String,
    /// The function that decides whether it takes part.
    #[schema(required)]
    pub decision_function: Option<String>,
}

/// A policy that takes effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EffectView {
    /// The policy.
    pub policy: String,
    /// `row_filter`, `column_mask`, …
    pub policy_type: String,
    /// `rows_filtered`, `column_masked`, … as in `betweenrows.effective_policies()`.
    pub effect: String,
    /// The column that it is about.
    #[schema(required)]
    pub column: Option<String>,
    /// `everyone`, `user …` or `role …`: the assignment that decides its rank.
    pub assigned_to: String,
    /// The priority of that assignment.
    pub priority: i32,
    /// The function that decides whether it takes part.
    #[schema(required)]
    pub decision_function: Option<String>,
}

impl Catalog {
    /// From a document that has everything, as the export of a database has.
    pub fn new(document: &Document) -> Self {
        let roles: Vec<_> = document.roles.iter().flatten().collect();
        let id = |index: usize| index as Id + 1;
        let role_ids: HashMap<&str, Id> = roles
            .iter()
            .enumerate()
            .map(|(index, role)| (role.name.as_str(), id(index)))
            .collect();
        let edges = roles.iter().enumerate().flat_map(|(index, role)| {
            let parents = role.parents.iter().flatten();
            let known = parents.filter_map(|parent| role_ids.get(parent.as_str()).copied());
            known.map(move |parent| (id(index), parent))
        });
        let named = roles.iter().enumerate();
        let graph = RoleGraph::new(
            named.map(|(index, role)| (id(index), role.name.clone(), role.is_active.unwrap_or(true))),
            edges,
        );
        let users: HashMap<String, User> = document
            .users
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, user)| (user.username.clone(), User::of(id(index), user)))
            .collect();
        let enabled: BTreeSet<&str> = document
            .decision_functions
            .iter()
            .flatten()
            .filter(|function| function.is_enabled)
            .map(|function| function.name.as_str())
            .collect();
        let scope = |to: &Assignee| match to {
            Assignee::Everyone => Some(Scope::All),
            Assignee::User(name) => users.get(name).map(|user| Scope::User(user.id)),
            Assignee::Role(name) => graph.id(name).map(Scope::Role),
        };
        let (mut policies, mut assignments, mut functions) = (Vec::new(), Vec::new(), Vec::new());
        for (index, spec) in document.policies.iter().flatten().enumerate() {
            for assignment in spec.assignments.iter().flatten() {
                assignments.extend(scope(&assignment.to).map(|scope| Assignment {
                    id: id(assignments.len()),
                    policy_id: id(index),
                    scope,
                    priority: assignment.priority,
                }));
            }
            functions.push(
                spec.decision_function
                    .clone()
                    .filter(|name| enabled.contains(name.as_str())),
            );
            policies.push(Policy {
                id: id(index),
                name: spec.name.clone(),
                version: 1,
                policy_type: spec.policy_type,
                targets: Targets::Valid(spec.targets.clone()),
                definition: spec.definition.clone(),
                is_enabled: spec.is_enabled,
                owner: String::new(),
                decision_function: None,
            });
        }
        let grants = match &document.access {
            Switch::On(grants) => Some(grants.iter().filter_map(scope).collect()),
            Switch::Off | Switch::Keep => None,
        };
        let allowlist = match &document.catalog {
            Switch::On(allowlist) => Some(allowlist.clone()),
            Switch::Off | Switch::Keep => None,
        };
        Catalog {
            mode: document.access_mode.unwrap_or_default(),
            policies,
            assignments,
            functions,
            roles: graph,
            users,
            grants,
            allowlist,
        }
    }

    /// Names of the users.
    pub fn usernames(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// The subject of that name, which need not be a user.
    pub fn subject(&self, name: &str, snapshot: &Snapshot) -> Subject {
        let user = self.users.get(name);
        let groups = snapshot.groups.get(name).into_iter().flatten();
        let direct = user.into_iter().flat_map(|user| &user.roles).chain(groups);
        let roles = self.roles.active_roles(direct.filter_map(|role| self.roles.id(role)));
        let is_active = user.is_none_or(|user| user.is_active);
        let user = user.map(|user| user.id);
        let admission = access::standing(is_active, self.grants.as_deref(), user, &roles);
        let standing = match admission {
            _ if snapshot.exempt.contains(name) => Standing::Exempt,
            Admission::Admitted => Standing::Governed,
            Admission::Inactive | Admission::WithoutGrant => Standing::Refused,
        };
        Subject {
            standing,
            name: name.to_owned(),
            user,
            roles,
        }
    }

    /// The policies that apply to a subject, in order of precedence. All of them fire.
    pub fn applicable(&self, subject: &Subject) -> Vec<Applicable<'_>> {
        match subject.standing {
            Standing::Exempt => Vec::new(),
            _ => decide::applicable(&self.policies, &self.assignments, subject.user, &subject.roles),
        }
    }

    /// What a subject sees of a table, where these policies apply to it.
    pub fn view(&self, subject: &Subject, applicable: &[Applicable], table: &Relation) -> TableView {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let is_exempt = subject.standing == Standing::Exempt;
        let allowlist = self.allowlist.as_ref().filter(|_| !is_exempt);
        let relation = decide::Relation {
            schema: &table.schema,
            name: &table.name,
            ancestors: &table.ancestors,
            columns: &names,
            selection: allowlist.map_or(Selection::Everything, |allowlist| {
                allowlist.selection(&table.schema, &table.name)
            }),
        };
        let mode = if is_exempt { AccessMode::Open } else { self.mode };
        let decision = decide::decide(mode, applicable, &relation);
        let hidden_because = self.hidden_because(applicable, &decision, relation.selection);
        let is_visible = hidden_because.is_none();
        TableView {
            schema: table.schema.clone(),
            table: table.name.clone(),
            kind: table.table_type().to_lowercase(),
            is_visible,
            hidden_because,
            columns: columns(applicable, &decision, table, is_visible),
            filters: if is_visible {
                self.filters(applicable, &decision)
            } else {
                Vec::new()
            },
            policies: self.effects(subject, applicable, &decision, table),
        }
    }

    fn hidden_because(&self, applicable: &[Applicable], decision: &Decision, selection: Selection) -> Option<String> {
        match decision.table {
            TableAccess::Denied { by } => Some(format!("policy \"{}\" denies it", applicable[by].policy.name)),
            TableAccess::NotAllowed if selection == Selection::Nothing => {
                Some("the catalog does not select it".to_owned())
            }
            TableAccess::NotAllowed if self.mode == AccessMode::PolicyRequired => {
                Some("no column_allow lets it be seen, and the access mode is policy_required".to_owned())
            }
            TableAccess::NotAllowed => {
                Some("none of its columns is selected by the catalog and listed by a column_allow".to_owned())
            }
            TableAccess::Visible => {
                let (policy, reason) = decision.broken.first()?;
                let name = &applicable[*policy].policy.name;
                Some(format!("policy \"{name}\" cannot be applied: {reason}"))
            }
        }
    }

    fn function(&self, policy: &Policy) -> Option<String> {
        let index = self.policies.iter().position(|known| std::ptr::eq(known, policy))?;
        self.functions[index].clone()
    }

    fn filters(&self, applicable: &[Applicable], decision: &Decision) -> Vec<FilterView> {
        let filters = decision.restrictive.iter().chain(decision.permissive.iter().flatten());
        filters
            .filter_map(|&index| {
                let policy = applicable[index].policy;
                let Definition::RowFilter {
                    filter_expression,
                    mode,
                    ..
                } = &policy.definition
                else {
                    return None;
                };
                Some(FilterView {
                    policy: policy.name.clone(),
                    expression: filter_expression.clone(),
                    mode: FilterMode::as_str(*mode).to_owned(),
                    decision_function: self.function(policy),
                })
            })
            .collect()
    }

    fn effects(
        &self,
        subject: &Subject,
        applicable: &[Applicable],
        decision: &Decision,
        table: &Relation,
    ) -> Vec<EffectView> {
        let effects = decision.effects().into_iter();
        effects
            .map(|applied| {
                let entry = &applicable[applied.policy];
                EffectView {
                    policy: entry.policy.name.clone(),
                    policy_type: entry.policy.policy_type.as_str().to_owned(),
                    effect: applied.effect.as_str().to_owned(),
                    column: applied.column.map(|column| table.columns[column].name.clone()),
                    assigned_to: self.assigned_to(subject, entry),
                    priority: entry.priority,
                    decision_function: self.function(entry.policy),
                }
            })
            .collect()
    }

    /// For whom the assignment is that decided the policy's rank.
    fn assigned_to(&self, subject: &Subject, entry: &Applicable) -> String {
        let of_policy = self.assignments.iter().filter(|assignment| {
            assignment.policy_id == entry.policy.id
                && (assignment.priority, assignment.scope.rank()) == (entry.priority, entry.scope_rank)
        });
        let mut found: Vec<String> = of_policy
            .filter_map(|assignment| match assignment.scope {
                Scope::All => Some("everyone".to_owned()),
                Scope::User(id) => (subject.user == Some(id)).then(|| format!("user {}", subject.name)),
                Scope::Role(id) => {
                    let name = self.roles.name(id).filter(|_| subject.roles.contains(&id));
                    name.map(|name| format!("role {name}"))
                }
            })
            .collect();
        found.sort();
        found.into_iter().next().unwrap_or_default()
    }
}

impl User {
    fn of(id: Id, spec: &UserSpec) -> Self {
        User {
            id,
            is_active: spec.is_active.unwrap_or(true),
            roles: spec.roles.clone().unwrap_or_default(),
        }
    }
}

fn columns(applicable: &[Applicable], decision: &Decision, table: &Relation, is_visible: bool) -> Vec<ColumnView> {
    let columns = table.columns.iter().zip(&decision.columns);
    columns
        .map(|(column, access)| {
            let by = |index: usize| Some(applicable[index].policy.name.clone());
            let (access, mask, policy) = match *access {
                ColumnAccess::Denied { by: index } => ("hidden", None, by(index)),
                _ if !is_visible => ("hidden", None, None),
                ColumnAccess::NotAllowed { .. } => ("hidden", None, None),
                ColumnAccess::Visible { mask: None } => ("visible", None, None),
                ColumnAccess::Visible { mask: Some(index) } => {
                    let expression = match &applicable[index].policy.definition {
                        Definition::ColumnMask { mask_expression, .. } => Some(mask_expression.clone()),
                        _ => None,
                    };
                    ("masked", expression, by(index))
                }
            };
            ColumnView {
                column: column.name.clone(),
                data_type: column.data_type.clone(),
                access: access.to_owned(),
                mask,
                policy,
            }
        })
        .collect()
}
