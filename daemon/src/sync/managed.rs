//! Names of what the store has in a database.

use std::collections::{BTreeMap, BTreeSet};

use policy::document::{Assignee, Document, UserSpec};
use ring::digest;
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
    /// Decision functions.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub decision_functions: BTreeSet<String>,
    /// Policies with their assignments.
    pub policies: BTreeMap<String, BTreeSet<Whom>>,
    /// What was last applied of each user, as a digest. Only there when all of it was accepted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub applied_users: BTreeMap<String, String>,
}

impl Managed {
    /// What a document creates.
    pub fn of(document: &Document) -> Self {
        let attributes = document.attributes.iter().flatten();
        let roles = document.roles.iter().flatten();
        let users = document.users.iter().flatten();
        let functions = document.decision_functions.iter().flatten();
        let policies = document.policies.iter().flatten();
        Managed {
            attributes: attributes.map(|definition| definition.key.clone()).collect(),
            roles: roles
                .map(|role| (role.name.clone(), role.parents.iter().flatten().cloned().collect()))
                .collect(),
            users: users
                .map(|user| (user.username.clone(), user.roles.iter().flatten().cloned().collect()))
                .collect(),
            decision_functions: functions.map(|function| function.name.clone()).collect(),
            policies: policies
                .map(|policy| {
                    let assignments = policy.assignments.iter().flatten();
                    (
                        policy.name.clone(),
                        assignments.map(|assignment| whom(&assignment.to)).collect(),
                    )
                })
                .collect(),
            applied_users: BTreeMap::new(),
        }
    }

    /// The same, with the users of a document that is in force now.
    pub fn in_force(mut self, document: &Document) -> Self {
        let users = document.users.iter().flatten();
        self.applied_users = users.map(|user| (user.username.clone(), digest(user))).collect();
        self
    }

    /// The document without the users who are in force as they are in it. There may be very many of them, and a change
    /// mostly concerns none or one.
    pub fn without_users_in_force(&self, document: &Document) -> Document {
        let mut document = document.clone();
        if let Some(users) = &mut document.users {
            users.retain(|user| self.applied_users.get(&user.username) != Some(&digest(user)));
        }
        document
    }

    /// What is in either.
    pub fn union(&self, other: &Managed) -> Managed {
        Managed {
            attributes: &self.attributes | &other.attributes,
            roles: both(&self.roles, &other.roles),
            users: both(&self.users, &other.users),
            decision_functions: &self.decision_functions | &other.decision_functions,
            policies: both(&self.policies, &other.policies),
            applied_users: BTreeMap::new(),
        }
    }
}

fn digest(user: &UserSpec) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{user:?}").as_bytes());
    hash.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
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
    fn only_users_that_changed_are_left() {
        let document = |users: serde_json::Value| Document::parse(&json!({"version": 1, "users": users})).unwrap();
        let before = document(json!([{"username": "a", "is_active": true}, {"username": "b"}]));
        let after = document(json!([{"username": "a", "is_active": false}, {"username": "b"}, {"username": "c"}]));
        let managed = Managed::of(&before).in_force(&before);
        let names = |document: Document| {
            document
                .users
                .unwrap()
                .into_iter()
                .map(|user| user.username)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(managed.without_users_in_force(&after)), ["a", "c"]);
        assert_eq!(names(managed.without_users_in_force(&before)), [""; 0]);
        // What may or may not have been applied is applied again.
        let unsure = managed.union(&Managed::of(&after));
        assert_eq!(names(unsure.without_users_in_force(&after)), ["a", "b", "c"]);
    }

    #[test]
    fn a_union_has_the_links_of_both() {
        let one: Managed = serde_json::from_value(json!({"users": {"a": ["x"], "b": []}})).unwrap();
        let other: Managed = serde_json::from_value(json!({"users": {"a": ["y"]}, "attributes": ["k"]})).unwrap();
        let expected = json!({"users": {"a": ["x", "y"], "b": []}, "attributes": ["k"]});
        assert_eq!(one.union(&other), serde_json::from_value(expected).unwrap());
    }
}
