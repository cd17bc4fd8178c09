//! The policy document: the one format for `apply()`, export, sync and policies as code.
//!
//! Reading is strict and reports every problem with its path, because what is silently skipped in a policy is silently
//! not enforced. A section or key that is absent is left alone by whoever applies the document, and so is one that is `null`, but for
//! the sections that [`Switch`] is for; references
//! to roles, users and attributes that the document does not list may exist in the catalog and are checked there.

mod read;
mod write;

use crate::allowlist::Allowlist;
use crate::attribute;
use crate::error::Issue;
use crate::function::FunctionSpec;
use crate::json::Issues;
use crate::model::{AccessMode, Definition, PolicyType, Target};
use serde_json::{Map, Value};

/// The only version there is.
pub const VERSION: u64 = 1;
/// Most items of a section, and most assignments of a policy.
pub const MAX_ITEMS: usize = 100_000;
/// Most parents of a role, and most roles of a user.
pub const MAX_MEMBERSHIPS: usize = 1_000;
/// Longest description in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 10_000;
/// Priority of an assignment that gives none.
pub const DEFAULT_PRIORITY: i32 = 100;

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The version of the format, [`VERSION`].
    pub version: u64,
    /// The access mode of the database.
    pub access_mode: Option<AccessMode>,
    /// Attribute definitions, by key.
    pub attributes: Option<Vec<attribute::Definition>>,
    /// Roles, by name.
    pub roles: Option<Vec<RoleSpec>>,
    /// Users, by username.
    pub users: Option<Vec<UserSpec>>,
    /// Decision functions, by name.
    pub decision_functions: Option<Vec<FunctionSpec>>,
    /// Policies, by name.
    pub policies: Option<Vec<PolicySpec>>,
    /// Who may use the database at all. On, a grant is required.
    pub access: Switch<Vec<Assignee>>,
    /// What exists in the database for subjects. On, what is not listed does not exist.
    pub catalog: Switch<Allowlist>,
}

/// A section that is in force or not, beside what it says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Switch<T> {
    /// It is absent: whatever is in force is left alone.
    #[default]
    Keep,
    /// It is `null`: nothing of the kind is to be in force.
    Off,
    /// This is to be in force.
    On(T),
}

/// A role of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSpec {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Whether it counts; `None` leaves it alone, and a new role is active.
    pub is_active: Option<bool>,
    /// Names of the roles it inherits from, all of them; `None` leaves them alone.
    pub parents: Option<Vec<String>>,
}

/// A user of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSpec {
    /// The name of its login role.
    pub username: String,
    /// Whether it has any access; `None` leaves it alone, and a new user is active.
    pub is_active: Option<bool>,
    /// Values by attribute key, all of them; `None` leaves them alone. Of the type of the definition where the document
    /// has it, else of any attribute type.
    pub attributes: Option<Map<String, Value>>,
    /// Names of the roles it is a direct member of, all of them; `None` leaves them alone.
    pub roles: Option<Vec<String>>,
}

/// A policy of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySpec {
    /// Its name.
    pub name: String,
    /// What it does.
    pub policy_type: PolicyType,
    /// For people.
    pub description: Option<String>,
    /// Whether it takes part; true unless the document says otherwise.
    pub is_enabled: bool,
    /// What it is about; suits the type.
    pub targets: Vec<Target>,
    /// How it does it; suits the type.
    pub definition: Definition,
    /// The name of the function that decides whether it takes part; without one it always does.
    pub decision_function: Option<String>,
    /// For whom it is, completely; `None` leaves that alone.
    pub assignments: Option<Vec<AssignmentSpec>>,
}

/// An assignment of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentSpec {
    /// The lower number wins; [`DEFAULT_PRIORITY`] unless the document says otherwise.
    pub priority: i32,
    /// For whom.
    pub to: Assignee,
}

/// For whom an assignment of a document is, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Assignee {
    /// Every subject.
    Everyone,
    /// One user.
    User(String),
    /// Those in a role.
    Role(String),
}

impl Document {
    /// Reads a document. The issues are never empty and at most a few hundred.
    pub fn parse(value: &Value) -> Result<Document, Vec<Issue>> {
        let mut issues = Issues::default();
        let document = read::document(value, &mut issues);
        issues.finish(document)
    }
}

impl AssignmentSpec {
    /// Reads a list of assignments that stands at `path` of something else. The issues are never empty.
    pub fn parse_list(value: &Value, path: &str) -> Result<Vec<AssignmentSpec>, Vec<Issue>> {
        let mut issues = Issues::default();
        let assignments = read::assignments(value, path, &mut issues);
        issues.finish(assignments)
    }
}

#[cfg(test)]
mod tests;
