//! What is recorded for whom: exceptions from `betweenrows.audit` for policies, users and roles.
//!
//! A policy's exception counts first, then the user's own, then those of the user's roles, then the setting. Where several of
//! a kind meet, the one that records most wins: nobody gets out of sight by becoming a member of something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::settings::Level;

/// The exceptions, as in `betweenrows.settings` under the key `audit`.
#[derive(Default, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Overrides {
    /// By the policy's name.
    #[serde(default)]
    pub(crate) policies: BTreeMap<String, Level>,
    /// By the user's name.
    #[serde(default)]
    pub(crate) users: BTreeMap<String, Level>,
    /// By the role's name.
    #[serde(default)]
    pub(crate) roles: BTreeMap<String, Level>,
}

impl Overrides {
    /// What the policies that took effect say.
    pub(crate) fn of_policies<'a>(&self, policies: impl Iterator<Item = &'a str>) -> Option<Level> {
        policies.filter_map(|policy| self.policies.get(policy)).max().copied()
    }

    /// What the user and its roles say.
    pub(crate) fn of_subject(&self, user: &str, roles: &[String]) -> Option<Level> {
        let own = self.users.get(user).copied();
        own.or_else(|| roles.iter().filter_map(|role| self.roles.get(role)).max().copied())
    }
}
