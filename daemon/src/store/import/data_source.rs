//! What a document says of one data source: its access mode, who may use it, and what of it exists.
//!
//! Invariant: nothing is opened further than the document says. What the store cannot keep as it is written, like all
//! future columns of a table, is refused instead of being taken for something similar.

use std::collections::BTreeMap;

use policy::allowlist::Allowlist;
use policy::document::{Assignee, Document, Switch};
use uuid::Uuid;

use super::Import;
use crate::error::{Error, Result};
use crate::store::catalog::{self, Catalog, NewColumn, NewSchema, NewTable};
use crate::store::{data_sources, desired, grants, users};

impl Import<'_, '_> {
    /// Users and roles of the document have to be there.
    pub(super) async fn data_source(&mut self, document: &Document) -> Result<()> {
        let Some(id) = self.options.data_source else {
            return Ok(());
        };
        if let Some(mode) = document.access_mode {
            let before = data_sources::find(&mut self.change.tx, id).await?;
            let altered = before.access_mode != mode.as_str();
            if altered {
                let set = |content: &mut data_sources::Content| content.access_mode = mode.as_str().to_owned();
                data_sources::update(self.change, id, None, set).await?;
            }
            self.altered(altered, "access_mode", mode.as_str());
        }
        match &document.access {
            Switch::Keep => {}
            Switch::Off => {
                return Err(Error::invalid(
                    "access: the daemon always requires grants, null is not possible",
                ));
            }
            Switch::On(wanted) => self.access(id, wanted).await?,
        }
        match &document.catalog {
            Switch::Keep => Ok(()),
            Switch::Off => self.without_catalog(id).await,
            Switch::On(wanted) => self.catalog(id, wanted).await,
        }
    }

    async fn access(&mut self, data_source: Uuid, wanted: &[Assignee]) -> Result<()> {
        let (mut user_ids, mut role_ids) = (BTreeMap::new(), BTreeMap::new());
        for (index, assignee) in wanted.iter().enumerate() {
            match assignee {
                Assignee::Everyone => {
                    return Err(Error::invalid(format!(
                        "access[{index}]: the daemon grants access to users and roles, not to everyone"
                    )));
                }
                Assignee::User(user) => {
                    let id = users::id_of(&mut self.change.tx, user).await?;
                    let missing = || Error::invalid(format!("access[{index}]: there is no user \"{user}\""));
                    user_ids.insert(id.ok_or_else(missing)?, user.clone());
                }
                Assignee::Role(role) => {
                    role_ids.insert(self.role_id(role).await?, role.clone());
                }
            }
        }
        let users = grants::users(&mut self.change.tx, data_source).await?;
        let users = users.into_iter().map(|user| (user.id, user.username)).collect();
        if let Some(ids) = self.grants("user", &users, user_ids) {
            grants::set_users(self.change, data_source, &ids).await?;
        }
        let roles = grants::roles(&mut self.change.tx, data_source).await?;
        let roles = roles.into_iter().map(|role| (role.id, role.name)).collect();
        if let Some(ids) = self.grants("role", &roles, role_ids) {
            grants::set_roles(self.change, data_source, &ids).await?;
        }
        Ok(())
    }

    /// Who shall have a grant, unless that stays as it is.
    fn grants(
        &mut self,
        kind: &str,
        before: &BTreeMap<Uuid, String>,
        mut wanted: BTreeMap<Uuid, String>,
    ) -> Option<Vec<Uuid>> {
        let added = wanted.iter().filter(|(id, _)| !before.contains_key(*id));
        let mut steps: Vec<(&str, String)> = added.map(|(_, name)| ("grant", name.clone())).collect();
        for (id, name) in before
            .iter()
            .filter(|(id, _)| !wanted.contains_key(*id))
            .collect::<Vec<_>>()
        {
            if self.options.prune {
                steps.push(("revoke", name.clone()));
            } else {
                wanted.insert(*id, name.clone());
            }
        }
        let is_same = steps.is_empty();
        for (action, name) in steps {
            self.step(action, "access", &name, kind);
        }
        (!is_same).then(|| wanted.into_keys().collect())
    }

    async fn without_catalog(&mut self, data_source: Uuid) -> Result<()> {
        let before = data_sources::find(&mut self.change.tx, data_source).await?;
        let altered = before.catalog_mode != "everything";
        if altered {
            let set = |content: &mut data_sources::Content| content.catalog_mode = "everything".to_owned();
            data_sources::update(self.change, data_source, None, set).await?;
        }
        self.altered(altered, "catalog", "everything");
        Ok(())
    }

    async fn catalog(&mut self, data_source: Uuid, wanted: &Allowlist) -> Result<()> {
        let source = data_sources::find(&mut self.change.tx, data_source).await?;
        let known = catalog::find(&mut self.change.tx, data_source).await?;
        let before = desired::allowlist(&known);
        let altered = source.catalog_mode != "selected" || before != *wanted;
        if altered {
            let schemas = selected(&known, wanted)?;
            catalog::save(self.change, data_source, &schemas).await?;
        }
        for difference in wanted.differences(&before) {
            self.step(difference.action, "catalog", &difference.name, difference.detail);
        }
        if !altered {
            self.step("none", "catalog", "selected", "");
        }
        Ok(())
    }
}

/// The catalog with exactly that selected. What nobody has discovered yet is kept by its name; the next discovery adds what
/// else there is to know of it.
fn selected(known: &Catalog, wanted: &Allowlist) -> Result<Vec<NewSchema>> {
    let mut schemas: Vec<NewSchema> = known.schemas.iter().map(unselected).collect();
    for (schema, tables) in &wanted.schemas {
        let listed = |what: &str, name: &str| {
            Error::invalid(format!(
                "catalog: the {what} of \"{name}\" have to be listed: in the daemon what is new stays hidden until it is selected"
            ))
        };
        let tables = tables.as_ref().ok_or_else(|| listed("tables", schema))?;
        let new = || NewSchema {
            name: schema.clone(),
            is_selected: true,
            tables: Vec::new(),
        };
        let schema_entry = entry(&mut schemas, |entry| entry.name == *schema, new);
        schema_entry.is_selected = true;
        for (table, columns) in tables {
            let columns = columns
                .as_ref()
                .ok_or_else(|| listed("columns", &format!("{schema}.{table}")))?;
            let new = || NewTable {
                name: table.clone(),
                table_type: "TABLE".to_owned(),
                is_selected: true,
                columns: Vec::new(),
            };
            let table_entry = entry(&mut schema_entry.tables, |entry| entry.name == *table, new);
            table_entry.is_selected = true;
            for column in columns {
                let position = table_entry
                    .columns
                    .iter()
                    .map(|column| column.position)
                    .max()
                    .unwrap_or(0)
                    + 1;
                let new = || NewColumn {
                    name: column.clone(),
                    position,
                    data_type: "unknown".to_owned(),
                    is_nullable: true,
                    default: None,
                    arrow_type: None,
                    is_selected: true,
                };
                entry(&mut table_entry.columns, |entry| entry.name == *column, new).is_selected = true;
            }
        }
    }
    Ok(schemas)
}

fn unselected(schema: &catalog::Schema) -> NewSchema {
    let columns = |columns: &[catalog::Column]| {
        let columns = columns.iter().map(|column| NewColumn {
            name: column.column_name.clone(),
            position: column.ordinal_position,
            data_type: column.data_type.clone(),
            is_nullable: column.is_nullable,
            default: column.column_default.clone(),
            arrow_type: column.arrow_type.clone(),
            is_selected: false,
        });
        columns.collect()
    };
    let tables = schema.tables.iter().map(|table| NewTable {
        name: table.table_name.clone(),
        table_type: table.table_type.clone(),
        is_selected: false,
        columns: columns(&table.columns),
    });
    NewSchema {
        name: schema.schema_name.clone(),
        is_selected: false,
        tables: tables.collect(),
    }
}

/// The first that is meant, or a new one.
fn entry<T>(all: &mut Vec<T>, is_meant: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let index = all.iter().position(is_meant).unwrap_or_else(|| {
        all.push(new());
        all.len() - 1
    });
    &mut all[index]
}
