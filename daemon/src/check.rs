//! What can be said of a document without any database, beyond its form: attributes, roles and users that it uses and
//! does not have, and expressions whose placeholders or quotes are wrong. Only sections that are there are taken as
//! complete.

use std::collections::BTreeSet;

use policy::attribute::BUILT_IN_KEYS;
use policy::document::{Assignee, Document, PolicySpec};
use policy::model::{Check, Definition};
use policy::placeholder;

/// One line for each problem, with its path.
pub fn problems(document: &Document) -> Vec<String> {
    let mut problems = Vec::new();
    let keys: Option<BTreeSet<&str>> = document.attributes.as_ref().map(|definitions| {
        let defined = definitions.iter().map(|definition| definition.key.as_str());
        defined.chain(BUILT_IN_KEYS).collect()
    });
    let roles: Option<BTreeSet<&str>> = names(&document.roles, |role| &role.name);
    let users: Option<BTreeSet<&str>> = names(&document.users, |user| &user.username);
    let functions: Option<BTreeSet<&str>> = names(&document.decision_functions, |function| &function.name);
    let unknown =
        |known: &Option<BTreeSet<&str>>, name: &str| known.as_ref().is_some_and(|known| !known.contains(name));

    for (index, role) in document.roles.iter().flatten().enumerate() {
        for parent in role.parents.iter().flatten().filter(|parent| unknown(&roles, parent)) {
            problems.push(format!("roles[{index}].parents: there is no role \"{parent}\""));
        }
    }
    for (index, user) in document.users.iter().flatten().enumerate() {
        for role in user.roles.iter().flatten().filter(|role| unknown(&roles, role)) {
            problems.push(format!("users[{index}].roles: there is no role \"{role}\""));
        }
        for key in user.attributes.iter().flat_map(|values| values.keys()) {
            if unknown(&keys, key) {
                problems.push(format!("users[{index}].attributes: there is no attribute \"{key}\""));
            }
        }
    }
    for (index, policy) in document.policies.iter().flatten().enumerate() {
        for (field, text) in expressions(policy) {
            let place = format!("policies[{index}].definition.{field}");
            match placeholder::scan(text) {
                Err(fault) => problems.push(format!("{place}: {fault}")),
                Ok(scan) => {
                    problems.extend(scan.warnings.iter().map(|fault| format!("{place}: {fault}")));
                    let undefined = scan.keys().into_iter().filter(|key| unknown(&keys, key));
                    problems.extend(undefined.map(|key| format!("{place}: there is no attribute \"{key}\"")));
                }
            }
        }
        if let Some(function) = policy
            .decision_function
            .as_deref()
            .filter(|name| unknown(&functions, name))
        {
            problems.push(format!(
                "policies[{index}].decision_function: there is no decision function \"{function}\""
            ));
        }
        for (number, assignment) in policy.assignments.iter().flatten().enumerate() {
            let place = format!("policies[{index}].assignments[{number}]");
            match &assignment.to {
                Assignee::Role(name) if unknown(&roles, name) => {
                    problems.push(format!("{place}: there is no role \"{name}\""));
                }
                Assignee::User(name) if unknown(&users, name) => {
                    problems.push(format!("{place}: there is no user \"{name}\""));
                }
                _ => {}
            }
        }
    }
    problems
}

fn names<'a, T>(section: &'a Option<Vec<T>>, name: impl Fn(&'a T) -> &'a String) -> Option<BTreeSet<&'a str>> {
    let items = section.as_ref()?;
    Some(items.iter().map(|item| name(item).as_str()).collect())
}

fn expressions(policy: &PolicySpec) -> Vec<(&'static str, &str)> {
    match &policy.definition {
        Definition::RowFilter {
            filter_expression,
            check,
            ..
        } => {
            let mut found = vec![("filter_expression", filter_expression.as_str())];
            if let Check::Expression(text) = check {
                found.push(("check_expression", text));
            }
            found
        }
        Definition::ColumnMask { mask_expression, .. } => vec![("mask_expression", mask_expression)],
        Definition::None | Definition::Invalid(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::parse;

    const POLICY: &str = "
policies:
  - name: p
    policy_type: row_filter
    targets: [{schemas: [public], tables: [t]}]
    definition: {filter_expression: \"org = {user.tenant} and owner = {user.username} or x = '{user.tenant}'\"}
    assignments: [{role: support}, {user: alice}]
";

    #[test]
    fn what_a_document_uses_and_does_not_have_is_found() {
        let document = format!(
            "version: 1\nattributes: []\nroles: [{{name: staff, parents: [all]}}]\n\
             users: [{{username: bob, roles: [none], attributes: {{k: v}}}}]{POLICY}"
        );
        let found = problems(&parse(document.as_bytes()).unwrap());
        let expected = [
            "roles[0].parents: there is no role \"all\"",
            "users[0].roles: there is no role \"none\"",
            "users[0].attributes: there is no attribute \"k\"",
            "policies[0].definition.filter_expression: there is no attribute \"tenant\"",
            "policies[0].assignments[0]: there is no role \"support\"",
            "policies[0].assignments[1]: there is no user \"alice\"",
        ];
        for line in expected {
            assert!(found.iter().any(|problem| problem == line), "{line} in {found:#?}");
        }
        // The other one is the placeholder inside a literal.
        assert_eq!(found.len(), expected.len() + 1, "{found:#?}");
    }

    #[test]
    fn sections_that_are_absent_may_have_anything() {
        let found = problems(&parse(format!("version: 1{POLICY}").as_bytes()).unwrap());
        assert_eq!(found.len(), 1, "{found:#?}");
    }
}
