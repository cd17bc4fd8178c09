//! What is checked when a policy is saved, whichever function saves it.

use std::collections::BTreeSet;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, ereport};
use policy::attribute::BUILT_IN_KEYS;
use policy::model::{Check, Definition, Policy, PolicyType, Target, Targets};
use policy::placeholder;

use super::{attributes, errors, relations, sql};
use crate::expression::validate;
use crate::{catalog, pg};

/// Refuses a policy that could not be applied, and warns about one that may surprise. Its subqueries are to read with the
/// rights of the role `owner`.
pub(crate) fn policy(name: &str, policy_type: PolicyType, targets: Vec<Target>, definition: Definition, owner: &str) {
    for (field, expression) in expressions(&definition) {
        placeholders(field, expression);
    }
    if policy_type == PolicyType::ColumnMask {
        warn_of_masked_keys(name, &targets);
    }
    let Some(owner_id) = pg::role_oid(owner) else {
        errors::undefined(
            "role",
            owner,
            "It owns the policy. Whoever changes the definition becomes the owner.",
        );
    };
    let policy = Policy {
        id: 0,
        name: name.to_owned(),
        version: 0,
        policy_type,
        targets: Targets::Valid(targets),
        definition,
        is_enabled: true,
        owner: owner.to_owned(),
        decision_function: None,
    };
    let Some(catalog) = catalog::catalog() else { return };
    if let Some(finding) = validate::policy(&catalog, &policy, owner_id) {
        errors::unsuitable_expression(name, &finding);
    }
    for (path, warning) in validate::warnings(&catalog, &policy, owner_id) {
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!("policy \"{name}\": {}", warning.message),
            "betweenrows",
        )
        .set_detail(path)
        .set_hint(warning.hint)
        .report(PgLogLevel::WARNING);
    }
}

/// The attributes that a policy's expressions use, without those that every user has.
pub(crate) fn keys(definition: &Definition) -> BTreeSet<String> {
    expressions(definition)
        .into_iter()
        .filter_map(|(_, expression)| placeholder::scan(expression).ok())
        .flat_map(|scan| scan.placeholders)
        .map(|placeholder| placeholder.key)
        .filter(|key| !BUILT_IN_KEYS.contains(&key.as_str()))
        .collect()
}

/// The expressions of a definition, with the paths of their fields.
fn expressions(definition: &Definition) -> Vec<(&'static str, &str)> {
    match definition {
        Definition::RowFilter {
            filter_expression,
            check,
            ..
        } => {
            let mut found = vec![("definition.filter_expression", filter_expression.as_str())];
            if let Check::Expression(text) = check {
                found.push(("definition.check_expression", text));
            }
            found
        }
        Definition::ColumnMask { mask_expression, .. } => {
            vec![("definition.mask_expression", mask_expression.as_str())]
        }
        Definition::None | Definition::Invalid(_) => Vec::new(),
    }
}

/// Refuses placeholders that cannot be read or whose attribute has no definition.
fn placeholders(field: &str, expression: &str) {
    let scan = placeholder::scan(expression)
        .unwrap_or_else(|fault| errors::bad_expression(place(field, expression, fault.offset), &fault.message));
    for warning in &scan.warnings {
        ereport!(
            PgLogLevel::WARNING,
            PgSqlErrorCode::ERRCODE_WARNING,
            warning.message.clone(),
            place(field, expression, warning.offset)
        );
    }
    let used = || {
        scan.placeholders
            .iter()
            .filter(|found| !BUILT_IN_KEYS.contains(&found.key.as_str()))
    };
    let defined = attributes::refer_to(used().map(|found| found.key.as_str()));
    for found in used() {
        if !defined.iter().any(|definition| definition.key == found.key) {
            errors::undefined_attribute(&found.key, &place(field, expression, found.offset));
        }
    }
}

/// A byte offset in an expression as people find it: the path of the field and the character, from 1.
fn place(field: &str, expression: &str, offset: usize) -> String {
    let character = expression.get(..offset).map_or(0, |before| before.chars().count()) + 1;
    format!("{field}, character {character}")
}

/// A masked key no longer finds its row: joins and lookups by the real value come back empty.
fn warn_of_masked_keys(name: &str, targets: &[Target]) {
    for relation in relations::all() {
        let masked: Vec<&str> = relation
            .columns
            .iter()
            .filter(|column| {
                targets
                    .iter()
                    .any(|target| relation.matches(target) && target.matches_column(column))
            })
            .map(String::as_str)
            .collect();
        if masked.is_empty() {
            continue;
        }
        let keys = sql::look(
            "select to_jsonb(a.attname) from pg_catalog.pg_attribute a
             where a.attrelid = $1 and a.attnum > 0 and a.attname = any ($2)
               and (exists (select from pg_catalog.pg_index i
                            where i.indrelid = a.attrelid and i.indisunique and a.attnum = any (i.indkey))
                    or exists (select from pg_catalog.pg_constraint c
                               where c.contype = 'f'
                                 and (c.conrelid = a.attrelid and a.attnum = any (c.conkey)
                                      or c.confrelid = a.attrelid and a.attnum = any (c.confkey))))
             order by a.attnum",
            &[pgrx::pg_sys::Oid::from(relation.oid).into(), masked.into()],
        );
        for column in keys.iter().filter_map(|column| column.as_str()) {
            ereport!(
                PgLogLevel::WARNING,
                PgSqlErrorCode::ERRCODE_WARNING,
                format!(
                    "policy \"{name}\" masks column \"{column}\" of \"{}\", which is part of a key",
                    relation.qualified_name()
                ),
                "Users who see it masked cannot join on it or look it up by its value."
            );
        }
    }
}
