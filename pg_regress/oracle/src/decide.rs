//! What policies mean, written down once more from the design and on purpose without a look at the extension's code:
//! the oracle would prove little if it shared the product's decision.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::{Assignee, Check, Kind, Policy, User, Value, definitions};
use crate::schema::Table;
use crate::types::quote;
use crate::world::World;

/// Whose rights count for what is hidden by default (`policy_required`, or outside a `column_allow`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rights {
    /// An exempt role: nothing is hidden by default.
    Exempt,
    /// This user.
    Of(usize),
}

/// What a subject gets to see of one relation, as SQL over the raw relation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// The relation does not exist.
    pub hidden: bool,
    /// Conditions that a row has to meet, all of them.
    pub filters: Vec<String>,
    /// Conditions that a new row has to meet, all of them.
    pub checks: Vec<String>,
    /// Column → expression.
    pub masks: BTreeMap<String, String>,
    /// Columns that do not exist.
    pub denied: BTreeSet<String>,
}

/// What `subject` sees of a relation with these columns and names; `names` has the relation's own name and those of
/// the tables it is a partition or child of.
pub fn decide(
    world: &World,
    subject: usize,
    rights: Rights,
    names: &[String],
    columns: &[String],
    generated: &[Generated],
) -> Decision {
    let user = &world.users[subject];
    let mut decision = Decision::default();
    let mut masks: BTreeMap<String, (i32, u8, String, String)> = BTreeMap::new();
    let (mut permissive, mut permissive_checks) = (Vec::new(), Vec::new());
    for policy in world.policies.iter().filter(|policy| policy.enabled) {
        let Some((priority, tie)) = applies(world, user, policy) else {
            continue;
        };
        let Some(matched) = matching(policy, names, columns) else {
            continue;
        };
        match &policy.kind {
            Kind::Filter {
                expression,
                permissive: lenient,
                check,
            } => {
                let filter = format!("({})", instantiate(expression, user));
                let check = match check {
                    Check::Filter => Some(filter.clone()),
                    Check::Expression(check) => Some(format!("({})", instantiate(check, user))),
                    Check::None => None,
                };
                if *lenient {
                    permissive.push(filter);
                    permissive_checks.push(check);
                } else {
                    decision.filters.push(filter);
                    decision.checks.extend(check);
                }
            }
            Kind::Mask(expression) => {
                for column in matched {
                    let rank = (priority, tie, policy.name.clone(), instantiate(expression, user));
                    let first = masks.entry(column).or_insert_with(|| rank.clone());
                    if (rank.0, rank.1, &rank.2) < (first.0, first.1, &first.2) {
                        *first = rank;
                    }
                }
            }
            Kind::Deny => decision.denied.extend(matched),
            Kind::TableDeny => decision.hidden = true,
            Kind::Allow => {}
        }
    }
    if !permissive.is_empty() {
        decision.filters.push(format!("({})", permissive.join(" OR ")));
        // One that demands nothing lets every new row in.
        let checks: Option<Vec<String>> = permissive_checks.into_iter().collect();
        decision
            .checks
            .extend(checks.map(|checks| format!("({})", checks.join(" OR "))));
    }
    decision.masks = masks
        .into_iter()
        .map(|(column, (_, _, _, expression))| (column, expression))
        .collect();
    for column in generated {
        if decision.denied.contains(&column.base) {
            decision.denied.insert(column.name.clone());
        } else if decision.masks.contains_key(&column.base) {
            decision
                .masks
                .entry(column.name.clone())
                .or_insert_with(|| format!("NULL::{}", column.decl));
        }
    }
    if let Rights::Of(owner) = rights {
        hide_by_default(world, subject, owner, names, columns, &mut decision);
    }
    decision.masks.retain(|column, _| !decision.denied.contains(column));
    decision
}

/// A generated column: masks and denies extend to it.
#[derive(Debug, Clone)]
pub struct Generated {
    /// Its name.
    pub name: String,
    /// The column it is computed from.
    pub base: String,
    /// Its declared type.
    pub decl: &'static str,
}

/// `column_allow` and `policy_required`, judged for the role with whose rights the relation is read. What another role may
/// see in full it may show; of what it may see in part it shows what the subject may see itself.
fn hide_by_default(
    world: &World,
    subject: usize,
    owner: usize,
    names: &[String],
    columns: &[String],
    decision: &mut Decision,
) {
    let hidden = |user: usize| {
        let user = &world.users[user];
        let enabled = world
            .policies
            .iter()
            .filter(|policy| policy.enabled && applies(world, user, policy).is_some());
        let matched =
            |kind: Kind| move |policy: &&Policy| policy.kind == kind && matching(policy, names, columns).is_some();
        let denied = enabled.clone().any(|policy| matched(Kind::TableDeny)(&policy));
        let mut allows = enabled.filter(matched(Kind::Allow)).peekable();
        let none = allows.peek().is_none();
        let allowed: BTreeSet<String> = allows
            .filter_map(|policy| matching(policy, names, columns))
            .flatten()
            .collect();
        let outside: BTreeSet<String> = columns
            .iter()
            .filter(|c| !none && !allowed.contains(*c))
            .cloned()
            .collect();
        (denied || (none && world.policy_required), outside)
    };
    let (gone, outside) = hidden(owner);
    if owner != subject && !gone && outside.is_empty() {
        return;
    }
    let (gone, outside) = hidden(subject);
    decision.hidden |= gone;
    decision.denied.extend(outside);
}

/// The lowest priority number with which the policy is assigned to the user, and how ties at it are broken.
fn applies(world: &World, user: &User, policy: &Policy) -> Option<(i32, u8)> {
    let roles = active_roles(world, user);
    let matched = policy.assignments.iter().filter_map(|(to, priority)| match to {
        Assignee::User(name) if user.registered && *name == user.name => Some((*priority, 0)),
        Assignee::Role(name) if roles.contains(name) => Some((*priority, 1)),
        Assignee::All => Some((*priority, 2)),
        _ => None,
    });
    matched.min()
}

/// The user's active roles and their active ancestors; an inactive role cuts off what lies above it.
fn active_roles(world: &World, user: &User) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&String> = user.roles.iter().chain(&user.groups).collect();
    while let Some(name) = open.pop() {
        let Some(role) = world.roles.iter().find(|role| role.name == *name && role.active) else {
            continue;
        };
        if found.insert(name.clone()) {
            open.extend(&role.parents);
        }
    }
    found
}

/// Whether a target matches the relation, and which of its columns it names.
fn matching(policy: &Policy, names: &[String], columns: &[String]) -> Option<Vec<String>> {
    let hit = |target: &&crate::policy::Target| {
        target
            .tables
            .iter()
            .any(|pattern| names.iter().any(|name| glob(pattern, name)))
    };
    let targets: Vec<_> = policy.targets.iter().filter(hit).collect();
    let named = |column: &&String| {
        targets
            .iter()
            .any(|target| target.columns.iter().any(|pattern| glob(pattern, column)))
    };
    let needs_columns = matches!(policy.kind, Kind::Mask(_) | Kind::Deny | Kind::Allow);
    let matched: Vec<String> = columns.iter().filter(named).cloned().collect();
    if targets.is_empty() || (needs_columns && matched.is_empty()) {
        None
    } else {
        Some(matched)
    }
}

/// Whether `text` matches a case-sensitive pattern with `*` anywhere.
pub fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| glob(tail, &rest[at..]))
        }),
    }
}

/// The expression with the subject's attributes in place of its placeholders.
fn instantiate(expression: &str, user: &User) -> String {
    let mut text = expression.replace("{{user.", "{user.").replace("}}", "}");
    text = text.replace("{user.username}", &quote(&user.name));
    for (key, kind, default) in definitions() {
        let value = user.attributes.get(key).cloned().or(default);
        let place = format!("{{user.{key}}}");
        // IN over a list is IN over its elements, none of them for an empty or missing one.
        if kind == "list" {
            let elements = format!("IN (SELECT unnest({}))", literal(value.as_ref(), kind));
            text = text.replace(&format!("IN ({place})"), &elements);
        }
        text = text.replace(&place, &literal(value.as_ref(), kind));
    }
    text
}

fn literal(value: Option<&Value>, kind: &str) -> String {
    match value {
        Some(Value::Text(text)) => format!("{}::text", quote(text)),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::List(items)) => {
            format!(
                "ARRAY[{}]::text[]",
                items.iter().map(quote).collect::<Vec<_>>().join(", ")
            )
        }
        None => format!(
            "NULL::{}",
            match kind {
                "string" => "text",
                "list" => "text[]",
                other => other,
            }
        ),
    }
}

/// The names under which policies reach a table: its own and its ancestors'.
pub fn lineage(tables: &[Table], table: &Table) -> Vec<String> {
    let mut names = vec![table.name.clone()];
    let mut next = table.parent.clone();
    while let Some(name) = next {
        next = tables
            .iter()
            .find(|table| table.name == name)
            .and_then(|table| table.parent.clone());
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, expected) in [
            ("t*", "t1", true),
            ("*1", "t1", true),
            ("t", "t1", false),
            ("*", "", true),
            ("a*b*c", "axxbc", true),
            ("a*b*c", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
