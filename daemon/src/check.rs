//! What can be said of a document without any database, beyond its form: attributes, roles and users that it uses and
//! does not have, expressions that PostgreSQL cannot parse, and targets outside the catalog. Only sections that are there
//! are taken as complete.

use std::collections::BTreeSet;
use std::fmt;

use policy::allowlist::{Allowlist, Columns, Tables};
use policy::attribute::BUILT_IN_KEYS;
use policy::document::{Assignee, PolicySpec, Switch};
use policy::error::Issue;
use policy::model::{Check, Definition, Target};
use policy::pattern::Pattern;
use policy::placeholder::Fault;
use serde::Serialize;
use utoipa::ToSchema;

use crate::document::File;
use crate::expression;
use crate::store::{roles, users};

/// Something wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DocumentProblem)]
pub struct Problem {
    /// Where, such as `policies[2].definition.filter_expression`; empty for the document as a whole.
    pub path: String,
    /// What.
    pub message: String,
    /// Where in the expression, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match self.offset {
            Some(offset) => write!(f, " at byte {offset}"),
            None => Ok(()),
        }
    }
}

impl From<Issue> for Problem {
    fn from(Issue { path, message }: Issue) -> Self {
        Problem {
            path,
            message,
            offset: None,
        }
    }
}

/// What the document has, as far as it says so.
struct Known<'a> {
    keys: Option<BTreeSet<&'a str>>,
    roles: Option<BTreeSet<&'a str>>,
    users: Option<BTreeSet<&'a str>>,
    functions: Option<BTreeSet<&'a str>>,
    problems: Vec<Problem>,
}

/// Everything that is wrong.
pub fn problems(file: &File) -> Vec<Problem> {
    let document = &file.document;
    let mut known = Known {
        keys: names(&document.attributes, |definition| &definition.key),
        roles: names(&document.roles, |role| &role.name),
        users: names(&document.users, |user| &user.username),
        functions: names(&document.decision_functions, |function| &function.name),
        problems: Vec::new(),
    };
    if let Some(keys) = &mut known.keys {
        keys.extend(BUILT_IN_KEYS);
    }
    for (index, role) in document.roles.iter().flatten().enumerate() {
        for parent in role.parents.iter().flatten() {
            known.role(&format!("roles[{index}].parents"), parent);
        }
    }
    for (index, user) in document.users.iter().flatten().enumerate() {
        for role in user.roles.iter().flatten() {
            known.role(&format!("users[{index}].roles"), role);
        }
        for key in user.attributes.iter().flat_map(|values| values.keys()) {
            known.attribute(&format!("users[{index}].attributes"), key, None);
        }
    }
    for (index, policy) in document.policies.iter().flatten().enumerate() {
        known.definition(&format!("policies[{index}].definition"), policy);
        if let Some(name) = &policy.decision_function {
            known.function(&format!("policies[{index}].decision_function"), name);
        }
        for (number, assignment) in policy.assignments.iter().flatten().enumerate() {
            known.assignee(&format!("policies[{index}].assignments[{number}]"), &assignment.to);
        }
    }
    if let Switch::On(granted) = &document.access {
        for (index, assignee) in granted.iter().enumerate() {
            known.assignee(&format!("access[{index}]"), assignee);
        }
    }
    for other in &file.elsewhere {
        for (number, assignment) in other.assignments.iter().enumerate() {
            known.assignee(&format!("{}[{number}]", other.path), &assignment.to);
        }
    }
    known.problems
}

/// What is not wrong and still may not be what was meant: targets that mean nothing of a catalog have no effect.
pub fn warnings(file: &File, catalog: &Allowlist) -> Vec<Problem> {
    let mut found = Vec::new();
    for (index, policy) in file.document.policies.iter().flatten().enumerate() {
        // Other data sources have other catalogs.
        if policy.assignments.is_none() && file.elsewhere.iter().any(|other| other.policy == policy.name) {
            continue;
        }
        for (number, target) in policy.targets.iter().enumerate() {
            let path = format!("policies[{index}].targets[{number}]");
            found.extend(without_effect(&path, target, catalog));
        }
    }
    found
}

/// What other programs take and the daemon's store does not, for those who bring the document in there.
pub fn refused_by_the_store(file: &File) -> Vec<Problem> {
    let document = &file.document;
    let mut found = Vec::new();
    let mut report = |path: String, problem: &str| {
        found.push(Problem {
            path,
            message: format!("{problem}; betweenrowsd refuses it"),
            offset: None,
        });
    };
    for (index, role) in document.roles.iter().flatten().enumerate() {
        if let Err(error) = roles::check_name(&role.name) {
            report(format!("roles[{index}]"), &error.to_string());
        }
    }
    for (index, user) in document.users.iter().flatten().enumerate() {
        if let Err(error) = users::check_username(&user.username) {
            report(format!("users[{index}]"), &error.to_string());
        }
    }
    match &document.access {
        Switch::Off => report("access".to_owned(), "null requires no grants"),
        Switch::On(granted) if granted.contains(&Assignee::Everyone) => {
            report("access".to_owned(), "a grant is for everyone");
        }
        Switch::On(_) | Switch::Keep => {}
    }
    if let Switch::On(catalog) = &document.catalog {
        let is_open = |tables: &Tables| {
            tables
                .as_ref()
                .is_none_or(|tables| tables.values().any(Option::is_none))
        };
        for (schema, _) in catalog.schemas.iter().filter(|(_, tables)| is_open(tables)) {
            let problem = format!("\"{schema}\" has no list of its tables, or of a table's columns");
            report("catalog".to_owned(), &problem);
        }
    }
    found
}

/// The patterns of a target that match nothing.
fn without_effect(path: &str, target: &Target, catalog: &Allowlist) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut report = |key: &str, what: &str, patterns: &[Pattern], is_used: &dyn Fn(&Pattern) -> bool| {
        for (number, pattern) in patterns.iter().enumerate().filter(|(_, pattern)| !is_used(pattern)) {
            found.push(Problem {
                path: format!("{path}.{key}[{number}]"),
                message: format!("\"{pattern}\" matches no {what} of the catalog, so it has no effect"),
                offset: None,
            });
        }
    };
    let meant = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
    report("schemas", "schema", &target.schemas, &|pattern| {
        catalog.schemas.keys().any(|schema| pattern.matches(schema))
    });
    let schemas = catalog.schemas.iter().filter(|(name, _)| meant(&target.schemas, name));
    let schemas: Vec<&Tables> = schemas.map(|(_, tables)| tables).collect();
    // Of a schema without a list all tables are selected, whatever their names, and of a table all columns.
    if schemas.is_empty() || schemas.iter().any(|tables| tables.is_none()) {
        return found;
    }
    let tables = || schemas.iter().copied().flatten().flatten();
    report("tables", "table", &target.tables, &|pattern| {
        tables().any(|(table, _)| pattern.matches(table))
    });
    let columns: Vec<&Columns> = tables()
        .filter(|(table, _)| meant(&target.tables, table))
        .map(|(_, columns)| columns)
        .collect();
    if columns.is_empty() || columns.iter().any(|columns| columns.is_none()) {
        return found;
    }
    report(
        "columns",
        "column",
        target.columns.as_deref().unwrap_or_default(),
        &|pattern| {
            columns
                .iter()
                .copied()
                .flatten()
                .flatten()
                .any(|column| pattern.matches(column))
        },
    );
    found
}

fn names<'a, T>(section: &'a Option<Vec<T>>, name: impl Fn(&'a T) -> &'a String) -> Option<BTreeSet<&'a str>> {
    let items = section.as_ref()?;
    Some(items.iter().map(|item| name(item).as_str()).collect())
}

fn is_unknown(known: &Option<BTreeSet<&str>>, name: &str) -> bool {
    known.as_ref().is_some_and(|known| !known.contains(name))
}

impl Known<'_> {
    fn report(&mut self, path: &str, message: String, offset: Option<usize>) {
        self.problems.push(Problem {
            path: path.to_owned(),
            message,
            offset,
        });
    }

    fn role(&mut self, path: &str, name: &str) {
        if is_unknown(&self.roles, name) {
            self.report(path, format!("there is no role \"{name}\""), None);
        }
    }

    fn attribute(&mut self, path: &str, key: &str, offset: Option<usize>) {
        if is_unknown(&self.keys, key) {
            self.report(path, format!("there is no attribute \"{key}\""), offset);
        }
    }

    fn function(&mut self, path: &str, name: &str) {
        if is_unknown(&self.functions, name) {
            self.report(path, format!("there is no decision function \"{name}\""), None);
        }
    }

    fn assignee(&mut self, path: &str, assignee: &Assignee) {
        match assignee {
            Assignee::Role(name) => self.role(path, name),
            Assignee::User(name) if is_unknown(&self.users, name) => {
                self.report(path, format!("there is no user \"{name}\""), None);
            }
            Assignee::User(_) | Assignee::Everyone => {}
        }
    }

    fn definition(&mut self, path: &str, policy: &PolicySpec) {
        for (field, text) in expressions(policy) {
            let path = format!("{path}.{field}");
            match expression::parse(text) {
                Err(Fault { offset, message }) => self.report(&path, message, Some(offset)),
                Ok(scan) => {
                    for Fault { offset, message } in scan.warnings {
                        self.report(&path, message, Some(offset));
                    }
                    for used in scan.placeholders {
                        self.attribute(&path, &used.key, Some(used.offset));
                    }
                }
            }
        }
    }
}

/// The expressions of a policy, with the keys of its definition that they stand under.
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
            "policies[0].definition.filter_expression: there is no attribute \"tenant\" at byte 6",
            "policies[0].assignments[0]: there is no role \"support\"",
            "policies[0].assignments[1]: there is no user \"alice\"",
        ];
        for line in expected {
            assert!(
                found.iter().any(|problem| problem.to_string() == line),
                "{line} in {found:#?}"
            );
        }
        // The other one is the placeholder inside a literal.
        assert_eq!(found.len(), expected.len() + 1, "{found:#?}");
    }

    #[test]
    fn expressions_are_parsed() {
        let text = format!("version: 1{}", POLICY.replace("org = {", "org = = {"));
        let found = problems(&parse(text.as_bytes()).unwrap());
        assert_eq!(
            found[0].to_string(),
            "policies[0].definition.filter_expression: syntax error at or near \"=\" at byte 6"
        );
    }

    #[test]
    fn sections_that_are_absent_may_have_anything() {
        let found = problems(&parse(format!("version: 1{POLICY}").as_bytes()).unwrap());
        assert_eq!(found.len(), 1, "{found:#?}");
    }

    #[test]
    fn what_only_other_programs_take_is_told() {
        let told = |text: &str| {
            let file = parse(format!("version: 1\n{text}").as_bytes()).unwrap();
            refused_by_the_store(&file)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        for (text, path) in [
            ("users: [{username: bob}, {username: ab}]", "users[1]: username: "),
            ("roles: [{name: ' r'}]", "roles[0]: name: "),
            ("access: null", "access: null"),
            ("access: [{user: bob}, {}]", "access: a grant"),
            ("catalog: {schemas: [{schema: s}]}", "catalog: \"s\""),
            (
                "catalog: {schemas: [{schema: s, tables: [{table: t}]}]}",
                "catalog: \"s\"",
            ),
        ] {
            let found = told(text);
            assert!(found.len() == 1 && found[0].starts_with(path), "{text}: {found:?}");
        }
        let good = "users: [{username: bob}]\nroles: [{name: r}]\naccess: [{role: r}]\ncatalog: null";
        assert_eq!(told(good), [""; 0]);
    }

    #[test]
    fn targets_outside_the_catalog_are_told() {
        let document = "version: 1
catalog: {schemas: [{schema: public, tables: [{table: orders, columns: [id, org]}, {table: notes}]}, {schema: ref}]}
policies:
  - {name: a, policy_type: table_deny, targets: [{schemas: [public, other], tables: [orders, gone, n*]}]}
  - {name: b, policy_type: column_deny, targets: [{schemas: [public], tables: [orders], columns: [org, ssn, i*]}]}
  - {name: c, policy_type: column_deny, targets: [{schemas: ['*'], tables: [any], columns: [ssn]}]}
  - {name: d, policy_type: column_deny, targets: [{schemas: [public], tables: ['*'], columns: [ssn]}]}
  - {name: e, policy_type: table_deny, targets: [{schemas: [s], tables: [t]}], assignments: [{datasource: other}]}
";
        let file = parse(document.as_bytes()).unwrap();
        let Switch::On(catalog) = &file.document.catalog else {
            panic!("it has one");
        };
        let found: Vec<String> = warnings(&file, catalog).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "policies[0].targets[0].schemas[1]: \"other\" matches no schema of the catalog, so it has no effect",
                "policies[0].targets[0].tables[1]: \"gone\" matches no table of the catalog, so it has no effect",
                "policies[1].targets[0].columns[1]: \"ssn\" matches no column of the catalog, so it has no effect",
            ]
        );
        assert_eq!(problems(&file), []);
        assert_eq!(warnings(&file, &Allowlist::default()).len(), 5, "nothing exists");
    }
}
