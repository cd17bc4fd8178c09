//! The short forms: a policy for one relation and its assignment in one call.

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use policy::document::DEFAULT_PRIORITY;
use policy::model::{Check, Definition, FilterMode, MAX_NAME_CHARS, PolicyType, Target};
use policy::pattern::Pattern;

use super::policies::Content;
use super::relations::{self, Relation};
use super::{args, assignments, errors, policies, sql};

/// The arguments that all short forms end with.
struct Tail<'a> {
    name: Option<&'a str>,
    to_user: Option<&'a str>,
    to_role: Option<&'a str>,
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn filter_rows(
    relation: Option<Oid>,
    expression: Option<&str>,
    name: Option<&str>,
    to_user: Option<&str>,
    to_role: Option<&str>,
) -> String {
    let relation = relations::get(args::required("relation", relation));
    let filter_expression = args::required("expression", expression).to_owned();
    let definition = Definition::RowFilter {
        filter_expression,
        mode: FilterMode::default(),
        check: Check::default(),
    };
    let form = Form {
        verb: "filter-rows",
        policy_type: PolicyType::RowFilter,
        columns: None,
        definition,
    };
    form.save(&relation, Tail { name, to_user, to_role })
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn mask_column(
    relation: Option<Oid>,
    column_name: Option<&str>,
    expression: Option<&str>,
    name: Option<&str>,
    to_user: Option<&str>,
    to_role: Option<&str>,
) -> String {
    let relation = relations::get(args::required("relation", relation));
    let column = args::required("column_name", column_name);
    if !relation.columns.iter().any(|name| name == column) {
        errors::undefined_column(column, &relation.qualified_name());
    }
    let columns = vec![exact("column_name", column)];
    let mask_expression = args::required("expression", expression).to_owned();
    let definition = Definition::ColumnMask {
        mask_expression,
        writable: false,
    };
    let form = Form {
        verb: "mask-column",
        policy_type: PolicyType::ColumnMask,
        columns: Some(columns),
        definition,
    };
    form.save(&relation, Tail { name, to_user, to_role })
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn deny_columns(
    relation: Option<Oid>,
    columns: Option<Vec<Option<String>>>,
    name: Option<&str>,
    to_user: Option<&str>,
    to_role: Option<&str>,
) -> String {
    let relation = relations::get(args::required("relation", relation));
    let columns = Some(column_list(&relation, columns));
    let form = Form {
        verb: "deny-columns",
        policy_type: PolicyType::ColumnDeny,
        columns,
        definition: Definition::None,
    };
    form.save(&relation, Tail { name, to_user, to_role })
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn deny_table(relation: Option<Oid>, name: Option<&str>, to_user: Option<&str>, to_role: Option<&str>) -> String {
    let relation = relations::get(args::required("relation", relation));
    let form = Form {
        verb: "deny-table",
        policy_type: PolicyType::TableDeny,
        columns: None,
        definition: Definition::None,
    };
    form.save(&relation, Tail { name, to_user, to_role })
}

/// See the comment on the SQL function.
#[pg_extern(sql = false)]
fn allow_columns(
    relation: Option<Oid>,
    columns: Option<Vec<Option<String>>>,
    name: Option<&str>,
    to_user: Option<&str>,
    to_role: Option<&str>,
) -> String {
    let relation = relations::get(args::required("relation", relation));
    let columns = Some(column_list(&relation, columns));
    let form = Form {
        verb: "allow-columns",
        policy_type: PolicyType::ColumnAllow,
        columns,
        definition: Definition::None,
    };
    form.save(&relation, Tail { name, to_user, to_role })
}

/// A short form on its way to becoming a policy.
struct Form {
    verb: &'static str,
    policy_type: PolicyType,
    columns: Option<Vec<Pattern>>,
    definition: Definition,
}

impl Form {
    fn save(self, relation: &Relation, tail: Tail) -> String {
        let whom = assignments::whom(tail.to_user, tail.to_role);
        let name = match tail.name {
            Some(_) => args::object_name("name", tail.name).to_owned(),
            None => self.free_name(relation),
        };
        let definition = args::valid("definition", self.definition_as_parsed());
        let target = Target {
            schemas: vec![exact("relation", &relation.schema)],
            tables: vec![exact("relation", &relation.name)],
            columns: self.columns,
        };
        let content = Content {
            decision_function: None,
            policy_type: self.policy_type,
            targets: vec![target],
            definition,
            description: None,
            is_enabled: true,
        };
        if policies::create(&name, &content).is_none() {
            errors::duplicate(
                "policy",
                &name,
                "Choose another name, or leave it out to have one made.",
            );
        }
        assignments::assign(&name, whom, DEFAULT_PRIORITY);
        name
    }

    /// The definition after the checks that one given as jsonb passes.
    fn definition_as_parsed(&self) -> Result<Definition, policy::error::Issue> {
        policy::model::parse_definition(self.policy_type, self.definition.to_json().as_ref())
    }

    /// A name that tells what the policy does, with a number behind it when that is taken.
    fn free_name(&self, relation: &Relation) -> String {
        let mut name = format!("{}:{}", self.verb, relation.qualified_name());
        if let (PolicyType::ColumnMask, Some([column])) = (self.policy_type, self.columns.as_deref()) {
            name = format!("{name}.{column}");
        }
        // Leaves room for a number.
        let name: String = name.chars().take(MAX_NAME_CHARS - 8).collect();
        let taken = sql::rows(
            "select to_jsonb(p.name) from betweenrows.policies p where starts_with(p.name, $1)",
            &[name.as_str().into()],
        );
        let is_free = |candidate: &String| !taken.iter().any(|other| other.as_str() == Some(candidate));
        std::iter::once(name.clone())
            .chain((2..).map(|number| format!("{name}-{number}")))
            .find(is_free)
            .unwrap_or(name)
    }
}

/// The columns of an argument of type text[]: names of existing columns, or patterns that match some.
fn column_list(relation: &Relation, names: Option<Vec<Option<String>>>) -> Vec<Pattern> {
    let names = args::required("columns", names);
    if names.is_empty() {
        errors::invalid_argument("columns", "The list is empty.", "Name at least one column.");
    }
    let mut patterns: Vec<Pattern> = Vec::with_capacity(names.len());
    for name in names {
        let name = args::required("columns", name);
        let pattern = if relation.columns.contains(&name) {
            exact("columns", &name)
        } else {
            match Pattern::new(&name) {
                Ok(pattern) if relation.columns.iter().any(|column| pattern.matches(column)) => pattern,
                _ => errors::undefined_column(&name, &relation.qualified_name()),
            }
        };
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    patterns
}

/// A pattern that matches one name only. A name with a star in it has none.
fn exact(argument: &str, name: &str) -> Pattern {
    match Pattern::new(name) {
        Ok(pattern) if pattern.is_exact() => pattern,
        _ => errors::invalid_argument(
            argument,
            format!("The name \"{name}\" contains a star, which stands for any characters in a policy's targets."),
            "Use betweenrows.create_policy() with a pattern that fits.",
        ),
    }
}
