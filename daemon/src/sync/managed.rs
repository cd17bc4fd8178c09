//! Names of what the store has in a database.

use std::collections::{BTreeMap, BTreeSet};

use policy::document::{Assignee, Document};
use serde::{Deserialize, Serialize};

/// For whom an assignment is, as the SQL functions take it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Whom {
    /// The user, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The role, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// Names of objects and of the links between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Managed {
    /// Keys.
    pub attributes: BTreeSet<String>,
    /// Roles with their parents.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// Users with their roles.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// Policies with their assignments.
    pub policies: BTreeMap<String, BTreeSet<Whom>>,
}

impl Managed {
    /// What a document creates.
    pub fn of(document: &Document) -> Self {
        let attributes = document.attributes.iter().flatten();
        let roles = document.roles.iter().flatten();
        let users = document.users.iter().flatten();
        let policies = document.policies.iter().flatten();
        Managed {
            attributes: attributes.map(|definition| definition.key.clone()).collect(),
            roles: roles
                .map(|role| (role.name.clone(), role.parents.iter().flatten().cloned().collect()))
                .collect(),
            users: users
                .map(|user| (user.username.clone(), user.roles.iter().flatten().cloned().collect()))
                .collect(),
            policies: policies
                .map(|policy| {
                    let assignments = policy.assignments.iter().flatten();
                    (
                        policy.name.clone(),
                        assignments.map(|assignment| whom(&assignment.to)).collect(),
                    )
                })
                .collect(),
        }
    }

    /// What is in either.
    pub fn union(&self, other: &Managed) -> Managed {
        Managed {
            attributes: &self.attributes | &other.attributes,
            roles: both(&self.roles, &other.roles),
            users: both(&self.users, &other.users),
            policies: both(&self.policies, &other.policies),
        }
    }
}

fn both<T: Ord + Clone>(
    one: &BTreeMap<String, BTreeSet<T>>,
    other: &BTreeMap<String, BTreeSet<T>>,
) -> BTreeMap<String, BTreeSet<T>> {
    let mut union = one.clone();
    for (name, links) in other {
        union.entry(name.clone()).or_default().extend(links.iter().cloned());
    }
    union
}

fn whom(assignee: &Assignee) -> Whom {
    match assignee {
        Assignee::Everyone => Whom { user: None, role: None },
        Assignee::User(name) => Whom {
            user: Some(name.clone()),
            role: None,
        },
        Assignee::Role(name) => Whom {
            user: None,
            role: Some(name.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_links_are_found_and_survive_json() {
        let document = Document::parse(&json!({
            "version": 1,
            "attributes": [{"key": "tenant", "value_type": "string"}],
            "roles": [{"name": "staff"}, {"name": "support", "parents": ["staff"]}],
            "users": [{"username": "alice", "roles": ["support"]}],
            "policies": [{"name": "p", "policy_type": "table_deny", "targets": [{"schemas": ["s"], "tables": ["t"]}],
                          "assignments": [{}, {"role": "support"}, {"user": "alice"}]}],
        }))
        .unwrap();
        let managed = Managed::of(&document);
        let text = serde_json::to_string(&managed).unwrap();
        assert_eq!(
            text,
            r#"{"attributes":["tenant"],"roles":{"staff":[],"support":["staff"]},"users":{"alice":["support"]},"#
                .to_owned()
                + r#""policies":{"p":[{},{"role":"support"},{"user":"alice"}]}}"#
        );
        assert_eq!(serde_json::from_str::<Managed>(&text).unwrap(), managed);
        assert_eq!(serde_json::from_str::<Managed>("{}").unwrap(), Managed::default());
    }

    #[test]
    fn a_union_has_the_links_of_both() {
        let one: Managed = serde_json::from_value(json!({"users": {"a": ["x"], "b": []}})).unwrap();
        let other: Managed = serde_json::from_value(json!({"users": {"a": ["y"]}, "attributes": ["k"]})).unwrap();
        let expected = json!({"users": {"a": ["x", "y"], "b": []}, "attributes": ["k"]});
        assert_eq!(one.union(&other), serde_json::from_value(expected).unwrap());
    }
}
