//! What is recorded for whom: exceptions from `betweenrows.audit` for policies, users and roles.
//!
//! Each policy that takes effect says what is recorded: by its own exception or, without one, by the user's own, else those of
//! the user's roles, else the setting. Where several meet, the one that records most wins: nobody gets out of sight by becoming
//! a member of something, or by bringing a table into a statement whose policy is an exception.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Applied, Touched};
use super::settings::{self, Level};

/// The exceptions, as in `betweenrows.settings` under the key `audit`.
#[derive(Default, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Overrides {
    /// By the policy's name.
    #[serde(default)]
    policies: BTreeMap<String, Level>,
    /// By the user's name.
    #[serde(default)]
    users: BTreeMap<String, Level>,
    /// By the role's name.
    #[serde(default)]
    roles: BTreeMap<String, Level>,
}

/// Whose exception it is.
#[derive(Clone, Copy)]
pub(crate) enum Whose {
    /// A policy.
    Policy,
    /// A user.
    User,
    /// A role.
    Role,
}

/// What is to be recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// This at least.
    least: Level,
    /// And what the setting says.
    setting: bool,
}

impl Wanted {
    /// What is recorded now.
    pub(super) fn level(self) -> Level {
        if self.setting {
            self.least.max(settings::LEVEL.get())
        } else {
            self.least
        }
    }

    fn or(self, other: Wanted) -> Wanted {
        Wanted {
            least: self.least.max(other.least),
            setting: self.setting || other.setting,
        }
    }

    /// As one character, for a plan to carry: in upper case when the setting counts.
    pub(super) fn encode(self) -> char {
        let code = match self.least {
            Level::Off => 'o',
            Level::Denied => 'd',
            Level::All => 'a',
        };
        if self.setting { code.to_ascii_uppercase() } else { code }
    }

    /// The reverse of [`Wanted::encode`].
    pub(super) fn decode(code: u8) -> Option<Wanted> {
        let least = match code.to_ascii_lowercase() {
            b'o' => Level::Off,
            b'd' => Level::Denied,
            b'a' => Level::All,
            _ => return None,
        };
        Some(Wanted {
            least,
            setting: code.is_ascii_uppercase(),
        })
    }
}

impl Overrides {
    /// The exceptions of a kind, by name.
    pub(crate) fn of(&mut self, whose: Whose) -> &mut BTreeMap<String, Level> {
        match whose {
            Whose::Policy => &mut self.policies,
            Whose::User => &mut self.users,
            Whose::Role => &mut self.roles,
        }
    }

    /// What is recorded of a statement that comes to these relations, where these policies take effect for this user with
    /// these roles.
    pub(super) fn wanted<'a>(
        &self,
        user: &str,
        roles: &[String],
        relations: &[Touched],
        policies: impl Iterator<Item = &'a Applied> + Clone,
    ) -> Wanted {
        let exactly = |level: &Level| Wanted {
            least: *level,
            setting: false,
        };
        let of_roles = || roles.iter().filter_map(|role| self.roles.get(role)).max();
        let otherwise = self.users.get(user).or_else(of_roles).map_or(
            Wanted {
                least: Level::Off,
                setting: true,
            },
            exactly,
        );
        if self.policies.is_empty() {
            return otherwise;
        }
        let untouched = |touched: &&Touched| policies.clone().all(|applied| applied.relation != touched.relation);
        policies
            .clone()
            .map(|applied| self.policies.get(&applied.policy).map_or(otherwise, exactly))
            // No policy takes effect there.
            .chain(relations.iter().filter(untouched).map(|_| otherwise))
            .reduce(Wanted::or)
            .unwrap_or(otherwise)
    }
}
