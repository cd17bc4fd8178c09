//! Attribute definitions, and the values that users may have.

use chrono::{DateTime, Utc};
use policy::attribute::{Definition, RESERVED_KEYS, is_key, parse_definition, parse_value_type};
use policy::placeholder;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Change, Window, check_version};
use crate::error::{Error, Result, taken};
use crate::time;

/// The definition of an attribute.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AttributeDefinition {
    /// Its id.
    pub id: Uuid,
    /// The name by which expressions use it.
    pub key: String,
    /// Whose attribute it is: `user`.
    pub entity_type: String,
    /// For people.
    pub display_name: String,
    /// `string`, `integer`, `boolean` or `list`.
    pub value_type: String,
    /// What a user without a value has.
    #[schema(required)]
    pub default_value: Option<Value>,
    /// If given, the only possible values.
    #[schema(required, value_type = Option<Vec<Value>>)]
    pub allowed_values: Option<Value>,
    /// Whether a statement is refused when a user has neither a value nor a default.
    pub required: bool,
    /// For people.
    #[schema(required)]
    pub description: Option<String>,
    /// Counts its changes.
    pub version: i32,
    /// Who created it.
    #[schema(required)]
    pub created_by: Option<Uuid>,
    /// Who changed it.
    #[schema(required)]
    pub updated_by: Option<Uuid>,
    /// When it was created (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub created_at: DateTime<Utc>,
    /// When it was changed (UTC).
    #[serde(serialize_with = "time::utc")]
    #[schema(value_type = time::UtcTime)]
    pub updated_at: DateTime<Utc>,
}

/// What a definition says.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// The name by which expressions use it.
    pub key: String,
    /// For people.
    pub display_name: String,
    /// See [`AttributeDefinition`].
    pub value_type: String,
    /// See [`AttributeDefinition`].
    pub default_value: Option<Value>,
    /// See [`AttributeDefinition`].
    pub allowed_values: Option<Value>,
    /// See [`AttributeDefinition`].
    pub required: bool,
    /// For people.
    pub description: Option<String>,
}

impl Content {
    /// The checked definition, as policies understand it.
    fn checked(&self) -> Result<Definition> {
        if !is_key(&self.key) {
            return Err(Error::invalid(
                "key: must have 1 to 64 letters, digits and \"_\", a letter first",
            ));
        }
        if RESERVED_KEYS.contains(&self.key.as_str()) {
            return Err(Error::invalid(format!("key: \"{}\" is reserved", self.key)));
        }
        parse_value_type(&self.value_type)?;
        if self.display_name.chars().count() > 255 {
            return Err(Error::invalid("display_name: must not be longer than 255 characters"));
        }
        let definition = json!({
            "key": self.key,
            "value_type": self.value_type,
            "default_value": self.default_value,
            "allowed_values": self.allowed_values,
            "required": self.required,
            "description": self.description,
        });
        Ok(parse_definition(&definition)?)
    }
}

impl AttributeDefinition {
    /// What it says.
    pub fn content(&self) -> Content {
        Content {
            key: self.key.clone(),
            display_name: self.display_name.clone(),
            value_type: self.value_type.clone(),
            default_value: self.default_value.clone(),
            allowed_values: self.allowed_values.clone(),
            required: self.required,
            description: self.description.clone(),
        }
    }
}

/// Definitions whose key or display name contains `search`, by key; with an id only that one.
async fn select(
    conn: &mut PgConnection,
    id: Option<Uuid>,
    search: &str,
    window: Window,
) -> Result<Vec<AttributeDefinition>> {
    Ok(sqlx::query_as!(
        AttributeDefinition,
        r#"select id, key, entity_type, display_name, value_type, default_value, allowed_values, required, description,
           version, created_by, updated_by, created_at, updated_at from attribute_definitions
           where ($1::uuid is null or id = $1) and (position(lower($2) in lower(key)) > 0
           or position(lower($2) in lower(display_name)) > 0)
           order by key offset $3 limit $4"#,
        id,
        search,
        window.offset,
        window.limit
    )
    .fetch_all(conn)
    .await?)
}

/// Definitions whose key or display name contains `search`, by key, and how many there are.
pub async fn list(conn: &mut PgConnection, search: &str, window: Window) -> Result<(Vec<AttributeDefinition>, i64)> {
    let rows = select(conn, None, search, window).await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from attribute_definitions where position(lower($1) in lower(key)) > 0
           or position(lower($1) in lower(display_name)) > 0"#,
        search
    )
    .fetch_one(conn)
    .await?;
    Ok((rows, total))
}

/// The definition of that id.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<AttributeDefinition> {
    let found = select(conn, Some(id), "", Window::ALL).await?.pop();
    found.ok_or(Error::NotFound("attribute definition"))
}

/// Creates a definition.
pub async fn create(change: &mut Change<'_>, new: &Content) -> Result<AttributeDefinition> {
    new.checked()?;
    let id = Uuid::new_v4();
    sqlx::query!(
        "insert into attribute_definitions (id, key, display_name, value_type, default_value, allowed_values, required, \
         description, created_by, updated_by) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        id,
        new.key,
        new.display_name,
        new.value_type,
        new.default_value,
        new.allowed_values,
        new.required,
        new.description,
        change.actor.id
    )
    .execute(&mut *change.tx)
    .await
    .map_err(taken(|| format!("there is an attribute \"{}\" already", new.key)))?;
    let after = find(&mut change.tx, id).await?;
    change
        .record("attribute_definition", id, "create", None::<&Value>, Some(&after))
        .await?;
    change.touch_all();
    Ok(after)
}

/// Changes a definition to what `edit` makes of it. Values that users have must suit it.
pub async fn update(
    change: &mut Change<'_>,
    id: Uuid,
    version: Option<i32>,
    edit: impl FnOnce(&mut Content),
) -> Result<AttributeDefinition> {
    let before = find(&mut change.tx, id).await?;
    check_version("attribute definition", version, before.version)?;
    let mut content = before.content();
    edit(&mut content);
    let definition = content.checked()?;
    if content.key != before.key {
        return Err(Error::invalid("key: cannot be changed"));
    }
    refuse_unsuitable_values(change, &definition).await?;
    sqlx::query!(
        "update attribute_definitions set display_name = $2, value_type = $3, default_value = $4, allowed_values = $5, \
         required = $6, description = $7, updated_by = $8, version = version + 1, updated_at = now() where id = $1",
        id,
        content.display_name,
        content.value_type,
        content.default_value,
        content.allowed_values,
        content.required,
        content.description,
        change.actor.id
    )
    .execute(&mut *change.tx)
    .await?;
    let after = find(&mut change.tx, id).await?;
    change
        .record("attribute_definition", id, "update", Some(&before), Some(&after))
        .await?;
    change.touch_all();
    Ok(after)
}

/// Deletes a definition. While users have values or policies use it, it takes `force`, which removes the values; the
/// policies then close the tables that they are about.
pub async fn delete(change: &mut Change<'_>, id: Uuid, force: bool) -> Result<()> {
    let before = find(&mut change.tx, id).await?;
    let users = sqlx::query_scalar!(
        r#"select count(*) as "count!" from users where attributes ? $1"#,
        before.key
    )
    .fetch_one(&mut *change.tx)
    .await?;
    let policies = policies_using(&mut change.tx, &before.key).await?;
    if !force && (users > 0 || !policies.is_empty()) {
        let mut uses = Vec::new();
        if users > 0 {
            uses.push(format!("{users} users"));
        }
        uses.extend(policies.iter().map(|name| format!("policy \"{name}\"")));
        return Err(Error::Conflict(format!(
            "attribute \"{}\" is in use by {}; force=true deletes it with the values, and these policies then close their \
             tables",
            before.key,
            uses.join(", ")
        )));
    }
    sqlx::query!(
        "update users set attributes = attributes - $1, version = version + 1, updated_at = now() where attributes ? $1",
        before.key
    )
    .execute(&mut *change.tx)
    .await?;
    sqlx::query!("delete from attribute_definitions where id = $1", id)
        .execute(&mut *change.tx)
        .await?;
    change
        .record("attribute_definition", id, "delete", Some(&before), None::<&Value>)
        .await?;
    change.touch_all();
    Ok(())
}

/// Names of the policies whose expressions use an attribute.
async fn policies_using(conn: &mut PgConnection, key: &str) -> Result<Vec<String>> {
    let policies = sqlx::query!("select name, definition from policies where definition is not null order by name")
        .fetch_all(conn)
        .await?;
    Ok(policies
        .into_iter()
        .filter(|policy| {
            let expressions = policy.definition.as_ref().and_then(Value::as_object);
            expressions
                .into_iter()
                .flatten()
                .filter(|(name, _)| name.ends_with("_expression"))
                .filter_map(|(_, text)| placeholder::scan(text.as_str()?).ok())
                .any(|scan| scan.keys().contains(&key))
        })
        .map(|policy| policy.name)
        .collect())
}

/// All definitions, as policies understand them.
pub async fn definitions(conn: &mut PgConnection) -> Result<Vec<Definition>> {
    let (all, _) = list(conn, "", Window::ALL).await?;
    all.iter().map(|row| row.content().checked()).collect()
}

/// A user's values as they are stored: known, of the right type and allowed. A number or truth value may come as text,
/// as existing clients send it. A null value is no value.
pub async fn checked_values(conn: &mut PgConnection, values: &Map<String, Value>) -> Result<Map<String, Value>> {
    let definitions = definitions(conn).await?;
    let mut checked = Map::new();
    let mut problems = Vec::new();
    for (key, value) in values.iter().filter(|(_, value)| !value.is_null()) {
        let Some(definition) = definitions.iter().find(|definition| definition.key == *key) else {
            problems.push(format!("attributes.{key}: there is no such attribute"));
            continue;
        };
        match definition.parse_value(&from_text(definition, value)) {
            Ok(value) => {
                checked.insert(key.clone(), value.to_json());
            }
            Err(issue) => problems.push(format!("attributes.{key}{}: {}", issue.path, issue.message)),
        }
    }
    if problems.is_empty() {
        Ok(checked)
    } else {
        Err(Error::Invalid(problems))
    }
}

fn from_text(definition: &Definition, value: &Value) -> Value {
    use policy::attribute::ValueType;
    let parsed = value.as_str().and_then(|text| match definition.value_type {
        ValueType::Integer => text.parse::<i64>().ok().map(Value::from),
        ValueType::Boolean => text.parse::<bool>().ok().map(Value::from),
        ValueType::String | ValueType::List => None,
    });
    parsed.unwrap_or_else(|| value.clone())
}

async fn refuse_unsuitable_values(change: &mut Change<'_>, definition: &Definition) -> Result<()> {
    let values = sqlx::query!(
        r#"select username, attributes -> $1 as "value!" from users where attributes ? $1 order by username"#,
        definition.key
    )
    .fetch_all(&mut *change.tx)
    .await?;
    let unsuitable: Vec<String> = values
        .iter()
        .filter(|row| definition.parse_value(&row.value).is_err())
        .map(|row| row.username.clone())
        .collect();
    if unsuitable.is_empty() {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "values of these users would not suit the definition: {}",
        unsuitable.join(", ")
    )))
}
