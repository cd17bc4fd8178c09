//! A subject: the role that asks, with its user row, attribute values, roles and policies.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use pgrx::pg_sys::Oid;
use policy::access::Standing;
use policy::attribute::{self, Value};
use policy::decide::{self, Applicable};
use policy::model::{Id, Policy};
use serde_json::Map;

use super::{Catalog, load};
use crate::gate::{self, Firing};
use crate::pg::{self, scan};

/// A role and everything that decides what it may see.
pub(crate) struct Subject {
    /// The PostgreSQL role.
    pub(crate) role: Oid,
    /// Its name, which is the betweenrows username.
    pub(crate) name: String,
    /// The id of its user row, if there is one.
    pub(crate) user: Option<Id>,
    /// Whether it may use any table of the database.
    pub(crate) standing: Standing,
    /// The attribute values set for the user.
    pub(crate) attributes: Map<String, serde_json::Value>,
    /// Active roles and their active ancestors.
    pub(crate) roles: BTreeSet<Id>,
    /// The policies that apply: index into the catalog's policies, priority, scope rank; in order of precedence.
    applicable: Vec<(usize, i32, u8)>,
    /// Hash of the catalog and of all of the above, equal for equal content.
    pub(crate) digest: u64,
    /// The proof that a plan was made for this subject under these policies.
    pub(crate) proof: CString,
    /// Whether a decision function says if one of the policies takes part.
    pub(crate) is_gated: bool,
    /// What holds when none does.
    pub(crate) ungated: Rc<Firing>,
}

/// Why an attribute has no value to put into an expression.
pub(crate) enum AttributeError {
    /// There is no definition of the key.
    Undefined,
    /// The definition requires a value and the subject has none.
    Required,
    /// The stored value does not fit the definition.
    Invalid,
}

impl Subject {
    /// Reads the user of a role's name.
    ///
    /// # Errors
    /// When the catalog is damaged.
    pub(super) fn load(catalog: &Catalog, role: Oid) -> Result<Subject, String> {
        let name = pg::role_name(role).ok_or("the role is gone")?;
        let rows = scan::read(
            catalog.namespace,
            "users",
            Some(("username", "users_username_key", scan::Key::Text(&name))),
        )?;
        let (mut user, mut is_active, mut attributes, mut direct) = (None, true, Map::new(), Vec::new());
        if let Some(row) = rows.first() {
            let id = row.id("id")?;
            user = Some(id);
            is_active = row.bool("is_active")?;
            attributes = match row.json("attributes")? {
                Some(serde_json::Value::Object(map)) => map,
                _ => return Err("attributes is no object".into()),
            };
            let key = Some(("user_id", "role_members_user_id_idx", scan::Key::Uuid(id)));
            for member in scan::read(catalog.namespace, "role_members", key)? {
                direct.push(member.id("role_id")?);
            }
        }
        direct.extend(load::inherited_roles(catalog, role));
        let roles = catalog.roles.active_roles(direct.into_iter());
        // A role without a user row is active.
        let standing = catalog.standing(is_active, user, &roles)?;
        let applicable = decide::applicable(&catalog.policies, &catalog.assignments, user, &roles)
            .into_iter()
            .map(|applied| {
                let index = catalog
                    .policies
                    .iter()
                    .position(|policy| std::ptr::eq(policy, applied.policy));
                (
                    index.expect("an applicable policy is one of the catalog's"),
                    applied.priority,
                    applied.scope_rank,
                )
            })
            .collect::<Vec<_>>();
        let is_gated = applicable
            .iter()
            .any(|&(index, ..)| catalog.policies[index].decision_function.is_some());
        let mut hasher = DefaultHasher::new();
        (catalog.digest, role.to_u32(), &name, user, standing, &roles).hash(&mut hasher);
        serde_json::Value::Object(attributes.clone())
            .to_string()
            .hash(&mut hasher);
        let digest = hasher.finish();
        let proof =
            CString::new(format!("betweenrows {} {digest:x}", role.to_u32())).map_err(|error| error.to_string())?;
        Ok(Subject {
            role,
            name,
            user,
            standing,
            attributes,
            roles,
            applicable,
            digest,
            is_gated,
            ungated: gate::ungated(proof.clone()),
            proof,
        })
    }

    /// The policies that apply to this subject, in order of precedence.
    pub(crate) fn applicable<'a>(&self, catalog: &'a Catalog, firing: &Firing) -> Vec<Applicable<'a>> {
        self.applicable
            .iter()
            .enumerate()
            .map(|(place, (index, priority, scope_rank))| Applicable {
                policy: &catalog.policies[*index],
                priority: *priority,
                scope_rank: *scope_rank,
                fires: firing.fires(place),
            })
            .collect()
    }

    /// The policies that apply to this subject, in the same order.
    pub(crate) fn policies<'a>(&'a self, catalog: &'a Catalog) -> impl Iterator<Item = &'a Policy> {
        self.applicable.iter().map(|(index, ..)| &catalog.policies[*index])
    }

    /// The index into the catalog's policies of the `index`-th applicable policy.
    pub(crate) fn policy_index(&self, index: usize) -> usize {
        self.applicable[index].0
    }

    /// The value of `{user.<key>}`; `username` and `id` are built in.
    ///
    /// # Errors
    /// When there is no definition, or no value that fits it.
    pub(crate) fn attribute(&self, catalog: &Catalog, key: &str) -> Result<Value, AttributeError> {
        let definition = catalog.attributes.get(key).ok_or(AttributeError::Undefined)?;
        attribute::resolve(definition, self.attributes.get(key)).map_err(|error| match error {
            attribute::ResolveError::Required => AttributeError::Required,
            attribute::ResolveError::Invalid(_) => AttributeError::Invalid,
        })
    }
}
