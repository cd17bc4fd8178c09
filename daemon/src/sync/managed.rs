//! Names of what the store has in a database.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use policy::document::{Assignee, Document, Switch};
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

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, &self.role) {
            (Some(user), _) => write!(f, "user \"{user}\""),
            (None, Some(role)) => write!(f, "role \"{role}\""),
            (None, None) => f.write_str("everyone"),
        }
    }
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
    /// Those who may use the database; `None` when it is not known that a grant is required there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<BTreeSet<Whom>>,
    /// What was last applied of the catalog, as a digest. Only there when all of it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_catalog: Option<String>,
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
            access: match &document.access {
                Switch::On(grants) => Some(grants.iter().map(whom).collect()),
                Switch::Keep | Switch::Off => None,
            },
            applied_catalog: None,
            applied_users: BTreeMap::new(),
        }
    }

    /// The same, with the users and the catalog of a document that is in force now.
    pub fn in_force(mut self, document: &Document) -> Self {
        self.applied_catalog = Some(digest(&document.catalog));
        let users = document.users.iter().flatten();
        self.applied_users = users.map(|user| (user.username.clone(), digest(user))).collect();
        self
    }

    /// The document without the users who are in force as they are in it, and without access grants and catalog if all of
    /// that is. There may be very many of them, and a change mostly concerns none or one.
    pub fn without_what_is_in_force(&self, document: &Document) -> Document {
        let mut document = document.clone();
        if self.access.is_some() && self.access == Managed::of(&document).access {
            document.access = Switch::Keep;
        }
        if self.applied_catalog.as_ref() == Some(&digest(&document.catalog)) {
            document.catalog = Switch::Keep;
        }
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
            access: match (&self.access, &other.access) {
                (Some(one), Some(other)) => Some(one | other),
                (one, other) => one.clone().or_else(|| other.clone()),
            },
            applied_catalog: None,
            applied_users: BTreeMap::new(),
        }
    }
}

fn digest(of: &impl std::fmt::Debug) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{of:?}").as_bytes());
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
            "access": [{"user": "alice"}, {"role": "support"}],
        }))
        .unwrap();
        let managed = Managed::of(&document);
        let text = serde_json::to_string(&managed).unwrap();
        assert_eq!(
            text,
            r#"{"attributes":["tenant"],"roles":{"staff":[],"support":["staff"]},"users":{"alice":["support"]},"#
                .to_owned()
                + r#""policies":{"p":[{},{"role":"support"},{"user":"alice"}]},"access":[{"role":"support"},{"user":"alice"}]}"#
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
        assert_eq!(names(managed.without_what_is_in_force(&after)), ["a", "c"]);
        assert_eq!(names(managed.without_what_is_in_force(&before)), [""; 0]);
        // What may or may not have been applied is applied again.
        let unsure = managed.union(&Managed::of(&after));
        assert_eq!(names(unsure.without_what_is_in_force(&after)), ["a", "b", "c"]);
    }

    #[test]
    fn access_and_catalog_are_left_out_only_when_they_are_known_to_be_in_force() {
        let document = |access: serde_json::Value, tables: serde_json::Value| {
            let catalog = json!({"schemas": [{"schema": "s", "tables": tables}]});
            Document::parse(&json!({"version": 1, "access": access, "catalog": catalog})).unwrap()
        };
        let before = document(json!([]), json!([]));
        let left = |managed: &Managed, document: &Document| {
            let left = managed.without_what_is_in_force(document);
            (left.access != Switch::Keep, left.catalog != Switch::Keep)
        };
        assert_eq!(
            left(&Managed::default(), &before),
            (true, true),
            "that grants are required was never applied"
        );
        let managed = Managed::of(&before).in_force(&before);
        assert_eq!(left(&managed, &before), (false, false));
        assert_eq!(
            left(&managed, &document(json!([{"user": "a"}]), json!([]))),
            (true, false)
        );
        assert_eq!(
            left(&managed, &document(json!([]), json!([{"table": "t"}]))),
            (false, true)
        );
        let unsure = managed.union(&Managed::of(&document(json!([{"user": "a"}]), json!([]))));
        assert_eq!(left(&unsure, &before), (true, true));
    }

    #[test]
    fn a_union_has_the_links_of_both() {
        let one: Managed = serde_json::from_value(json!({"users": {"a": ["x"], "b": []}})).unwrap();
        let other: Managed = serde_json::from_value(json!({"users": {"a": ["y"]}, "attributes": ["k"]})).unwrap();
        let expected = json!({"users": {"a": ["x", "y"], "b": []}, "attributes": ["k"]});
        assert_eq!(one.union(&other), serde_json::from_value(expected).unwrap());
    }
}
