//! What a subject can write to, and which columns of it, so that the outcome can be predicted.

use crate::decide::Rights;
use crate::mirror::{updatable, visible_key};
use crate::schema::{Shape, Table};
use crate::types::{Ty, ident};
use crate::world::World;

/// A relation that a subject can write to.
#[derive(Debug, Clone)]
pub struct Target {
    /// How a statement writes it.
    pub sql: String,
    /// The table behind it.
    pub table: String,
    /// Visible columns.
    pub columns: Vec<(String, Ty)>,
    /// Columns whose values can be set and predicted.
    pub settable: Vec<(String, Ty)>,
    /// Columns of new rows whose values can be predicted.
    pub predictable: Vec<(String, Ty)>,
    /// Visible columns that are masked.
    pub masked: Vec<(String, Ty)>,
    /// Columns that do not exist for the subject.
    pub denied: Vec<(String, Ty)>,
    /// Whether rows can be inserted.
    pub insertable: bool,
    /// Whether `id` can be a conflict arbiter.
    pub arbiter: bool,
    /// Whether MERGE can write it.
    pub mergeable: bool,
}

/// What a subject can write to so that the outcome can be predicted.
pub fn targets(world: &World, subject: usize) -> Vec<Target> {
    let mut all: Vec<Target> = world
        .tables
        .iter()
        .filter_map(|table| target(world, subject, table))
        .collect();
    for view in &world.views {
        if !updatable(world, subject, &view.name) {
            continue;
        }
        let Some(base) = view
            .updatable
            .as_ref()
            .and_then(|name| all.iter().find(|target| target.table == *name))
        else {
            continue;
        };
        let mut target = base.clone();
        target.sql = view.name.clone();
        for list in [
            &mut target.columns,
            &mut target.settable,
            &mut target.predictable,
            &mut target.masked,
        ] {
            list.retain(|column| view.columns.contains(column));
        }
        target.denied.clear();
        (target.arbiter, target.mergeable) = (false, false);
        all.push(target);
    }
    all
}

fn target(world: &World, subject: usize, table: &Table) -> Option<Target> {
    let decision = world.decision(subject, Rights::Of(subject), table);
    let uniform = |name: &str| {
        let children = world
            .tables
            .iter()
            .filter(|child| child.parent.as_deref() == Some(name));
        children.into_iter().all(|child| {
            let own = world.decision(subject, Rights::Of(subject), child);
            own.filters == decision.filters && own.checks == decision.checks && own.masks == decision.masks
        })
    };
    let inherits = matches!(table.shape, Shape::Parent | Shape::Child);
    let generated = table.live().find(|column| column.generated.is_some());
    if decision.hidden
        || matches!(table.shape, Shape::Materialized(_))
        || !visible_key(world, subject, table)
        || !uniform(&table.name)
        || (inherits && generated.is_some())
    {
        return None;
    }
    let child = table.parent.is_some();
    // Masks are computed from raw values: a column they read must keep its own, or the copy's masked values are stale.
    let mut read: String = decision.masks.values().cloned().collect::<Vec<_>>().join(" ");
    if let Some(column) = generated {
        let (expression, _) = column.generated.as_ref()?;
        if read.contains(&ident(&column.name)) || decision.masks.contains_key(&column.name) {
            read = format!("{read} {expression}");
        }
    }
    let shown = |c: &&crate::schema::Column| !decision.denied.contains(&c.name);
    let unmasked = |c: &&crate::schema::Column| !decision.masks.contains_key(&c.name);
    let pair = |c: &crate::schema::Column| (ident(&c.name), c.ty);
    let settable = |c: &&crate::schema::Column| {
        c.name != "id" && c.generated.is_none() && !read.contains(&ident(&c.name)) && !(child && c.name == "org")
    };
    Some(Target {
        sql: ident(&table.name),
        table: table.name.clone(),
        columns: table.live().filter(shown).map(pair).collect(),
        settable: table
            .live()
            .filter(shown)
            .filter(unmasked)
            .filter(settable)
            .map(pair)
            .collect(),
        predictable: table.live().filter(shown).filter(unmasked).map(pair).collect(),
        masked: table
            .stored()
            .filter(shown)
            .filter(|c| !unmasked(c))
            .map(pair)
            .collect(),
        denied: table.live().filter(|c| !shown(c)).map(pair).collect(),
        insertable: !child,
        arbiter: table.primary_key && !child && !inherits,
        mergeable: true,
    })
}
