//! The copy of a world that one subject may see: the same names in another schema, filtered and masked beforehand by plain
//! SQL over the raw tables. What stands below level 0 (views, functions) sees denied columns as NULL, so its tables are
//! copied once more with all their columns.

use std::collections::BTreeSet;

use crate::decide::{Decision, Rights};
use crate::schema::{Column, Shape, Table};
use crate::types::{ident, idents};
use crate::view::Object;
use crate::world::{Level, Reading, World, unquoted};

/// The schema of the copy for a subject.
pub fn schema(subject: usize) -> String {
    format!("copy_u{}", subject + 1)
}

/// The schema of what bodies read for a subject at a level.
fn inner_schema(subject: usize, level: Level) -> String {
    let name = |rights: Rights| match rights {
        Rights::Exempt => "exempt".to_string(),
        Rights::Of(owner) => format!("u{}", owner + 1),
    };
    format!("inner_u{}_{}_{}", subject + 1, name(level.reader), name(level.current))
}

/// What is wrong on purpose, to see whether anybody notices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// Copies lack one filter of each relation.
    Filter,
    /// Copies lack one mask of each relation.
    Mask,
    /// Copies have one of the columns that are denied.
    Column,
    /// The copies are right, but the subjects are exempt: nothing is enforced.
    Exempt,
}

/// Every flaw.
pub const FLAWS: [Flaw; 4] = [Flaw::Filter, Flaw::Mask, Flaw::Column, Flaw::Exempt];

/// The statements that make the copy for a subject.
pub fn build(world: &World, subject: usize, flaw: Flaw) -> Vec<String> {
    let (top, level) = (schema(subject), Level::top(subject));
    let objects = world.objects();
    let mut inner = BTreeSet::new();
    let mut open = vec![level];
    while let Some(level) = open.pop() {
        let inside = objects.iter().map(|object| world.inside(*object, level));
        open.extend(inside.filter(|inside| inner.insert(*inside)));
    }
    let mut all = vec![format!("CREATE SCHEMA {top}")];
    copy_tables(world, subject, level.reader, &top, false, flaw, &mut all);
    for level in &inner {
        let name = inner_schema(subject, *level);
        all.push(format!("CREATE SCHEMA {name}"));
        copy_tables(world, subject, level.reader, &name, true, flaw, &mut all);
    }
    for object in objects {
        // What stands inside is the same for several users of the object.
        let bodies: BTreeSet<Level> = inner
            .iter()
            .chain([&level])
            .map(|level| world.inside(object, *level))
            .collect();
        for body in bodies {
            if let (Object::View(view), Reading::Works) = (object, world.reading(subject, body, object.reads())) {
                let name = inner_schema(subject, body);
                all.push(view.ddl(&name, &name, "__body"));
            }
        }
        for level in &inner {
            copy_object(
                world,
                subject,
                *level,
                object,
                &inner_schema(subject, *level),
                true,
                &mut all,
            );
        }
        copy_object(world, subject, level, object, &top, false, &mut all);
    }
    all
}

/// A view or a function as it looks at a level.
fn copy_object(
    world: &World,
    subject: usize,
    level: Level,
    object: Object<'_>,
    schema: &str,
    inner: bool,
    all: &mut Vec<String>,
) {
    let inside = world.inside(object, level);
    if world.reading(subject, inside, object.reads()) != Reading::Works {
        return;
    }
    let inside = inner_schema(subject, inside);
    let view = match object {
        Object::Function(function) => return all.push(function.ddl(schema, &inside)),
        Object::View(view) => view,
    };
    let decision = world.view_decision(subject, level.reader, view);
    if decision.hidden {
        return;
    }
    if !inner && updatable(world, subject, &view.name) {
        return all.push(view.ddl(schema, schema, ""));
    }
    let list: Vec<String> = view
        .columns
        .iter()
        .map(|(name, ty)| (name, unquoted(name), ty))
        .filter(|(_, plain, _)| inner || !decision.denied.contains(plain))
        .map(|(name, plain, ty)| match decision.masks.get(&plain) {
            _ if decision.denied.contains(&plain) => format!("NULL::{} AS {name}", ty.name()),
            Some(mask) => format!("({mask})::{} AS {name}", ty.name()),
            None => name.clone(),
        })
        .collect();
    let (name, filter) = (&view.name, conjunction(&decision));
    all.push(format!(
        "CREATE VIEW {schema}.{name} AS SELECT {} FROM {inside}.{name}__body AS {name}{filter}",
        list.join(", ")
    ));
}

/// The schemas that the copies of a subject may take.
pub fn schemas(world: &World, subject: usize) -> Vec<String> {
    let readers = (0..world.users.len()).map(Rights::Of).chain([Rights::Exempt]);
    let levels = readers.flat_map(|reader| {
        [Rights::Exempt, Rights::Of(subject)].map(|current| inner_schema(subject, Level { reader, current }))
    });
    levels.chain([schema(subject)]).collect()
}

/// The statement that removes the copies of a subject.
pub fn remove(world: &World, subject: usize) -> String {
    format!("DROP SCHEMA IF EXISTS {} CASCADE", schemas(world, subject).join(", "))
}

/// Whether DML through the view means the same on both sides: no policy names it and the subject sees its columns.
pub fn updatable(world: &World, subject: usize, view: &str) -> bool {
    let Some(view) = world.views.iter().find(|other| other.name == view) else {
        return false;
    };
    let Some(table) = view.updatable.as_ref().and_then(|table| world.table(table)) else {
        return false;
    };
    let own = world.decision(subject, Rights::Of(subject), table);
    let shown = view
        .columns
        .iter()
        .all(|(name, _)| !own.denied.iter().any(|denied| ident(denied) == *name));
    world.view_decision(subject, Rights::Of(subject), view) == Decision::default() && !own.hidden && shown
}

#[allow(clippy::too_many_arguments)]
fn copy_tables(
    world: &World,
    subject: usize,
    rights: Rights,
    schema: &str,
    inner: bool,
    flaw: Flaw,
    all: &mut Vec<String>,
) {
    for table in &world.tables {
        let decision = flawed(world.decision(subject, rights, table), flaw);
        if decision.hidden {
            continue;
        }
        let shown: Vec<_> = table
            .live()
            .filter(|c| inner || !decision.denied.contains(&c.name))
            .collect();
        let sources: Vec<Decision> = leaves(world, table)
            .iter()
            .map(|leaf| world.decision(subject, rights, leaf))
            .collect();
        // Inheritance children would have to agree with their parent on what is computed.
        let inherits = matches!(table.shape, Shape::Parent | Shape::Child);
        let generated =
            |column: &&&Column| !inner && !inherits && sources.iter().all(|source| computed(column, source));
        let inherited: Vec<&String> = match (&table.shape, &table.parent) {
            (Shape::Child, Some(parent)) => world
                .table(parent)
                .into_iter()
                .flat_map(|parent| parent.live())
                .map(|column| &column.name)
                .collect(),
            _ => Vec::new(),
        };
        let definitions: Vec<String> = shown
            .iter()
            .filter(|column| !inherited.contains(&&column.name))
            .map(|column| {
                if generated(&column) {
                    column.declare()
                } else {
                    plain(column)
                }
            })
            .collect();
        let inherits = match (&table.shape, &table.parent) {
            (Shape::Child, Some(parent)) => format!(" INHERITS ({schema}.{})", ident(parent)),
            _ => String::new(),
        };
        let name = format!("{schema}.{}", ident(&table.name));
        all.push(format!("CREATE TABLE {name} ({}){inherits}", definitions.join(", ")));
        if !inner && table.primary_key && visible_key(world, subject, table) {
            all.push(format!("ALTER TABLE {name} ADD PRIMARY KEY (id)"));
        }
        let filled: Vec<_> = shown.iter().filter(|column| !generated(column)).collect();
        for leaf in leaves(world, table) {
            let decision = flawed(world.decision(subject, rights, leaf), flaw);
            let values: Vec<String> = filled
                .iter()
                .map(|column| match decision.masks.get(&column.name) {
                    _ if decision.denied.contains(&column.name) => format!("NULL::{}", column.decl),
                    Some(mask) => format!("({mask})::{}", column.decl),
                    None => ident(&column.name),
                })
                .collect();
            all.push(format!(
                "INSERT INTO {name} ({}) SELECT {} FROM ONLY {}{}",
                idents(filled.iter().map(|column| &column.name)),
                values.join(", "),
                leaf.qualified(),
                conjunction(&decision)
            ));
        }
    }
}

/// Whether a generated column is computed in the copy as well.
fn computed(column: &Column, decision: &Decision) -> bool {
    let plain = |name: &String| !decision.masks.contains_key(name) && !decision.denied.contains(name);
    column
        .generated
        .as_ref()
        .is_some_and(|(_, base)| plain(base) && plain(&column.name))
}

fn plain(column: &Column) -> String {
    Column {
        generated: None,
        ..column.clone()
    }
    .declare()
    .replace(" NOT NULL", "")
}

/// Whether a subject can tell the table's rows apart by their `id`.
pub fn visible_key(world: &World, subject: usize, table: &Table) -> bool {
    let own = world.decision(subject, Rights::Of(subject), table);
    let shown = !own.denied.contains("id") && !own.masks.contains_key("id");
    let children = world
        .tables
        .iter()
        .filter(|child| child.parent.as_ref() == Some(&table.name));
    shown && children.into_iter().all(|child| visible_key(world, subject, child))
}

/// The relations whose rows a copy of `table` holds itself.
pub fn leaves<'a>(world: &'a World, table: &'a Table) -> Vec<&'a Table> {
    match table.shape {
        Shape::Partitioned(_) => world
            .tables
            .iter()
            .filter(|other| other.parent.as_ref() == Some(&table.name))
            .collect(),
        _ => vec![table],
    }
}

/// ` WHERE` all filters, or nothing.
pub fn conjunction(decision: &Decision) -> String {
    if decision.filters.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", decision.filters.join(" AND "))
    }
}

fn flawed(mut decision: Decision, flaw: Flaw) -> Decision {
    match flaw {
        Flaw::None | Flaw::Exempt => {}
        Flaw::Filter => drop(decision.filters.pop()),
        Flaw::Mask => drop(decision.masks.pop_first()),
        Flaw::Column => drop(decision.denied.pop_first()),
    }
    decision
}
