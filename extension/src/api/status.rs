//! `status()`: the state of betweenrows in this database, and what an administrator should look at.
//!
//! Subjects are told no reason when something is closed to them; this is where the reason is.

use std::collections::HashMap;

use pgrx::pg_sys::Oid;
use pgrx::{JsonB, prelude::*};
use policy::decide::Relation;
use policy::model::{Definition, Policy, PolicyType, Targets, check_targets};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{access, allowlist, relations, settings, sql};
use crate::catalog::{self, Catalog};
use crate::expression::validate;
use crate::guard::trust;
use crate::pg::nodes;
use crate::{gate, identity, pg};

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn status() -> JsonB {
    let mut findings = Findings::default();
    exempt_roles(&mut findings);
    stored_settings(&mut findings);
    match catalog::defect() {
        Some(reason) => findings.error("catalog", "betweenrows", reason),
        None => {
            if let Some(catalog) = catalog::catalog() {
                attribute_definitions(&catalog, &mut findings);
                policies(&catalog, &mut findings);
                attribute_values(&catalog, &mut findings);
                decision_functions(&catalog, &mut findings);
                views(&catalog, &mut findings);
                attached_functions(&catalog, &mut findings);
                trusted_objects(&catalog, &mut findings);
                selected(&mut findings);
            }
        }
    }
    JsonB(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "access_mode": settings::access_mode().as_str(),
        "require_access_grant": access::is_required(),
        "has_catalog": settings::stored(settings::CATALOG).is_some(),
        "counts": sql::look(COUNTS, &[]).pop(),
        "exempt_roles": sql::look(
            "select to_jsonb(e.rolename) from betweenrows.exempt_roles e order by e.rolename", &[]),
        "trusted_objects": sql::look(
            "select jsonb_build_object('kind', t.kind, 'identity', t.identity) from betweenrows.trusted_objects t
             order by t.kind, t.identity", &[]),
        "findings": findings.0,
    }))
}

const COUNTS: &str = "
    select jsonb_build_object(
        'users', (select count(*) from betweenrows.users),
        'inactive_users', (select count(*) from betweenrows.users u where not u.is_active),
        'roles', (select count(*) from betweenrows.roles),
        'attributes', (select count(*) from betweenrows.attribute_definitions),
        'policies', (select count(*) from betweenrows.policies),
        'decision_functions', (select count(*) from betweenrows.decision_functions),
        'disabled_policies', (select count(*) from betweenrows.policies p where not p.is_enabled),
        'assignments', (select count(*) from betweenrows.policy_assignments),
        'access_grants', (select count(*) from betweenrows.access_grants))";

#[derive(Default)]
struct Findings(Vec<Value>);

impl Findings {
    /// Something is closed to subjects because of this.
    fn error(&mut self, kind: &str, name: &str, problem: impl Into<String>) {
        self.0
            .push(json!({"severity": "error", "kind": kind, "name": name, "problem": problem.into()}));
    }

    /// This may not be what was meant.
    fn warning(&mut self, kind: &str, name: &str, problem: impl Into<String>) {
        self.0
            .push(json!({"severity": "warning", "kind": kind, "name": name, "problem": problem.into()}));
    }
}

/// What somebody's own hands can do to the settings.
fn stored_settings(findings: &mut Findings) {
    let unknown = sql::look(
        "select to_jsonb(s.key) from betweenrows.settings s where s.key <> all ($1) order by s.key",
        &[settings::KEYS.map(str::to_owned).to_vec().into()],
    );
    for key in unknown.iter().filter_map(Value::as_str) {
        findings.warning("setting", key, "there is no setting of this name");
    }
    if let Some(value) = settings::stored_access_mode()
        && settings::parse_stored_access_mode(&value).is_none()
    {
        let problem = format!("{value} is neither \"open\" nor \"policy_required\"; it counts as \"policy_required\"");
        findings.error("setting", "access_mode", problem);
    }
    if settings::stored(settings::REQUIRE_ACCESS_GRANT).is_some_and(|value| !value.is_boolean()) {
        findings.error(
            "setting",
            settings::REQUIRE_ACCESS_GRANT,
            "it is neither true nor false; it counts as true",
        );
    }
    let granted = || sql::look("select to_jsonb(1) from betweenrows.access_grants limit 1", &[]);
    if access::is_required() && granted().is_empty() {
        findings.warning(
            "setting",
            settings::REQUIRE_ACCESS_GRANT,
            "nobody has an access grant: all subjects are shut out",
        );
    }
}

/// A name without a role is a promise to whoever creates that role.
fn exempt_roles(findings: &mut Findings) {
    let gone = sql::look(
        "select to_jsonb(e.rolename) from betweenrows.exempt_roles e
         where not exists (select from pg_catalog.pg_roles r where r.rolname = e.rolename) order by e.rolename",
        &[],
    );
    for name in gone.iter().filter_map(Value::as_str) {
        findings.warning(
            "exempt_role",
            name,
            "there is no role of this name; one that is created would be exempt",
        );
    }
}

/// A definition that cannot be read counts as undefined.
fn attribute_definitions(catalog: &Catalog, findings: &mut Findings) {
    let keys = sql::look(
        "select to_jsonb(d.key) from betweenrows.attribute_definitions d order by d.key",
        &[],
    );
    for key in keys
        .iter()
        .filter_map(Value::as_str)
        .filter(|key| !catalog.attributes.contains_key(*key))
    {
        findings.error(
            "attribute",
            key,
            "the definition cannot be read; define the attribute anew",
        );
    }
}

/// Without an answer, policies do what restricts.
fn decision_functions(catalog: &Catalog, findings: &mut Findings) {
    let names = sql::look(
        "select to_jsonb(f.name) from betweenrows.decision_functions f order by f.name",
        &[],
    );
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    for name in &names {
        if !catalog.functions.iter().any(|function| function.facts.name == *name) {
            findings.error("decision_function", name, "the function cannot be read; alter it");
        }
    }
    if !names.is_empty()
        && let Some(problem) = gate::problem()
    {
        findings.error("engine", "betweenrows", problem);
    }
    for function in catalog.functions.iter().filter(|function| function.facts.is_enabled) {
        if function.engine != decision::ENGINE_ID {
            findings.warning(
                "decision_function",
                &function.facts.name,
                "it was compiled by another engine, and is compiled anew for each evaluation; alter its source",
            );
        }
    }
}

fn policies(catalog: &Catalog, findings: &mut Findings) {
    let relations = relations::all();
    for policy in catalog.policies.iter().filter(|policy| policy.is_enabled) {
        if let Targets::Valid(targets) = &policy.targets
            && !relations
                .iter()
                .any(|relation| targets.iter().any(|target| relation.matches(target)))
        {
            findings.warning("policy", &policy.name, "no relation matches its targets");
        }
        if let Some(problem) = problem(catalog, policy) {
            findings.error("policy", &policy.name, problem);
        } else if !catalog
            .assignments
            .iter()
            .any(|assignment| assignment.policy_id == policy.id)
        {
            findings.warning("policy", &policy.name, "it is assigned to nobody");
        }
    }
}

/// Why a policy closes the relations that it is about.
fn problem(catalog: &Catalog, policy: &Policy) -> Option<String> {
    let targets = match &policy.targets {
        Targets::Invalid(reason) => return Some(format!("{reason}; every relation is closed")),
        Targets::Valid(targets) => targets,
    };
    if let Definition::Invalid(reason) = &policy.definition {
        return Some(reason.clone());
    }
    if let Err(issue) = check_targets(policy.policy_type, targets) {
        return Some(issue.to_string());
    }
    if !matches!(policy.policy_type, PolicyType::RowFilter | PolicyType::ColumnMask) {
        return None;
    }
    let Some(owner) = pg::role_oid(&policy.owner) else {
        return Some(format!("its owner, the role \"{}\", does not exist", policy.owner));
    };
    let finding = validate::policy(catalog, policy, owner)?;
    let (schema, relation) = &finding.relation;
    let place = finding
        .diagnostic
        .position
        .map_or(String::new(), |position| format!(", character {position}"));
    Some(format!(
        "{}{place}, for the relation \"{schema}.{relation}\": {}",
        finding.path, finding.diagnostic.message
    ))
}

/// A stored value that does not suit its definition closes what needs it to that user.
fn attribute_values(catalog: &Catalog, findings: &mut Findings) {
    #[derive(Deserialize)]
    struct User {
        username: String,
        attributes: Map<String, Value>,
    }
    let users = sql::look(
        "select jsonb_build_object('username', u.username, 'attributes', u.attributes) from betweenrows.users u
         where u.attributes <> '{}' order by u.username",
        &[],
    );
    for user in users.into_iter().map(sql::read::<User>) {
        for (key, value) in &user.attributes {
            match catalog
                .attributes
                .get(key)
                .map(|definition| definition.parse_value(value))
            {
                Some(Ok(_)) => {}
                Some(Err(issue)) => {
                    findings.error(
                        "user",
                        &user.username,
                        format!("attributes.{key}{}: {}", issue.path, issue.message),
                    );
                }
                None => findings.warning("user", &user.username, format!("attributes.{key}: has no definition")),
            }
        }
    }
}

/// Names that the catalog allowlist selects and nothing has. They are selected when something gets them.
fn selected(findings: &mut Findings) {
    let Some(allowlist) = allowlist::current() else { return };
    let relations = relations::all();
    let mut found: HashMap<&str, HashMap<&str, &[String]>> = HashMap::new();
    for relation in &relations {
        let tables = found.entry(&relation.schema).or_default();
        tables.insert(&relation.name, &relation.columns);
    }
    for (schema, tables) in &allowlist.schemas {
        let Some(found) = found.get(schema.as_str()) else {
            findings.warning("catalog", schema, "there is no relation in a schema of this name");
            continue;
        };
        for (table, columns) in tables.iter().flatten() {
            let name = format!("{schema}.{table}");
            let Some(found) = found.get(table.as_str()) else {
                findings.warning("catalog", &name, "there is no relation of this name");
                continue;
            };
            for column in columns.iter().flatten().filter(|column| !found.contains(column)) {
                findings.warning("catalog", &name, format!("there is no column \"{column}\""));
            }
        }
    }
}

/// Trust that has ended stays on record until it is given anew or taken away.
fn trusted_objects(catalog: &Catalog, findings: &mut Findings) {
    #[derive(Deserialize)]
    struct Trusted {
        kind: String,
        schema_name: String,
        object_name: String,
        identity: String,
    }
    let rows = sql::look(
        "select to_jsonb(t) from betweenrows.trusted_objects t order by t.kind, t.identity",
        &[],
    );
    for row in rows.into_iter().map(sql::read::<Trusted>) {
        let holds = trust::Kind::parse(&row.kind).is_some_and(|kind| {
            trust::find(kind, &row.schema_name, &row.object_name, &row.identity)
                .is_some_and(|oid| catalog.trusted.contains(&(kind.class(), oid)))
        });
        if !holds {
            findings.warning(
                "trusted_object",
                &row.identity,
                "the trust has ended: the object, its name or its owner has changed since",
            );
        }
    }
}

/// A view of an exempt owner shows other rows when a column that its conditions use is masked for whoever reads it.
fn views(catalog: &Catalog, findings: &mut Findings) {
    let masks: Vec<&Policy> = catalog
        .policies
        .iter()
        .filter(|policy| policy.is_enabled && policy.policy_type == PolicyType::ColumnMask)
        .collect();
    if masks.is_empty() {
        return;
    }
    for view in relations::views() {
        if !identity::is_exempt(catalog, view.owner())
            || catalog.trusted.contains(&(pg_sys::RelationRelationId, view.oid()))
        {
            continue;
        }
        for (relid, attno) in pg::views::condition_columns(view.oid()) {
            let Some((schema, name)) = pg::relation_name(relid) else {
                continue;
            };
            for policy in &masks {
                if validate::masked_columns(policy, relid, &schema, &name).contains(&attno) {
                    let problem = format!(
                        "a condition uses a column of \"{schema}.{name}\" that the policy \"{}\" masks; \
                         betweenrows.trust() lets the view work on the stored values",
                        policy.name
                    );
                    findings.warning("view", &view.qualified_name(), problem);
                }
            }
        }
    }
}

/// What triggers and their like do for others than the subject is not judged: who owns them can change what they call.
fn attached_functions(catalog: &Catalog, findings: &mut Findings) {
    let keeps_values = |policy: &&Policy| {
        policy.is_enabled
            && matches!(
                policy.policy_type,
                PolicyType::ColumnMask | PolicyType::ColumnDeny | PolicyType::ColumnAllow
            )
    };
    let policies: Vec<&Policy> = catalog.policies.iter().filter(keeps_values).collect();
    if policies.is_empty() {
        return;
    }
    for (relid, schema, name) in pg::relation::all_targets() {
        let relation = Relation::named(&schema, &name);
        if !policies.iter().any(|policy| relation.is_governed_by(policy)) {
            continue;
        }
        let mut functions: Vec<(String, Oid)> = pg::attached::functions(relid)
            .into_iter()
            .filter_map(with_owner)
            .collect();
        functions.sort_by(|left, right| left.0.cmp(&right.0));
        for (function, owner) in functions {
            if identity::is_exempt(catalog, owner) {
                continue;
            }
            let owner = pg::role_name(owner).unwrap_or_default();
            let problem = format!(
                "is attached to \"{schema}.{name}\" and gets stored values that policies keep from users; \
                 its owner \"{owner}\" is not exempt and can change what it calls"
            );
            findings.warning("function", &function, problem);
        }
    }
}

/// A function's name with its arguments, and its owner.
fn with_owner(function: Oid) -> Option<(String, Oid)> {
    // SAFETY: cached catalog lookups; the name is copied.
    unsafe {
        let owner = trust::function_owner(function)?;
        Some((nodes::string(pg_sys::format_procedure_qualified(function)), owner))
    }
}
