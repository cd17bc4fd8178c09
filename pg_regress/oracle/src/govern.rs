//! Random policies: filters, masks, denials and allowlists over the tables of a world.

use crate::dice::Dice;
use crate::policy::{Assignee, Check, Kind, Policy, Role, Target, User};
use crate::schema::{Shape, Table};
use crate::types::{Ty, ident};
use crate::view::View;

/// The policies of one world.
pub fn policies(dice: &mut Dice, tables: &[Table], views: &[View], users: &[User], roles: &[Role]) -> Vec<Policy> {
    let mut all = Vec::new();
    for table in tables {
        // A child has policies of its own only now and then: mostly its parent's decide.
        let rarely = if table.parent.is_some() { 12 } else { 100 };
        // A filter on what only the child has cannot be judged through the parent, which is closed then.
        let mut shared = table.clone();
        shared.columns.retain(|column| !column.name.starts_with("own"));
        for _ in 0..dice.weighted(&[3, 5, 3, 1]) {
            if dice.chance(rarely) {
                all.push((filter(dice, &shared, tables), exact(&table.name, Vec::new())));
            }
        }
        for _ in 0..dice.weighted(&[4, 4, 3, 1]) {
            if dice.chance(rarely) {
                let columns: Vec<_> = table.live().filter(|c| c.name != "id" || dice.chance(20)).collect();
                if columns.is_empty() {
                    continue;
                }
                let column = *dice.pick(&columns);
                let kind = Kind::Mask(mask(dice, &shared, &column.name, column.ty, tables));
                all.push((kind, exact(&table.name, vec![column.name.clone()])));
            }
        }
        if table.parent.is_none() && dice.chance(30) {
            let names: Vec<String> = table
                .live()
                .map(|c| c.name.clone())
                .filter(|n| n != "id" || dice.chance(15))
                .collect();
            let mut columns = dice.shuffled(&names);
            columns.truncate(dice.between(1, 2));
            all.push((Kind::Deny, exact(&table.name, columns)));
        }
        if table.parent.is_none() && dice.chance(12) {
            let mut columns: Vec<String> = table
                .live()
                .map(|c| c.name.clone())
                .filter(|_| dice.chance(60))
                .collect();
            columns.push("id".to_string());
            all.push((Kind::Allow, exact(&table.name, columns)));
        }
        if table.parent.is_none() && dice.chance(6) {
            all.push((Kind::TableDeny, exact(&table.name, Vec::new())));
        }
    }
    for view in views {
        if !dice.chance(30) {
            continue;
        }
        let (name, ty) = dice.pick(&view.columns).clone();
        all.push(match dice.below(3) {
            0 => (
                Kind::Filter {
                    expression: format!("{name} IS NOT NULL"),
                    permissive: false,
                    check: Check::Filter,
                },
                exact(&view.name, vec![]),
            ),
            1 => (Kind::Mask(ty.null()), exact(&view.name, vec![name])),
            _ => (Kind::Deny, exact(&view.name, vec![name])),
        });
    }
    globs(dice, &mut all);
    let mut finished = Vec::new();
    for (index, (kind, targets)) in all.into_iter().enumerate() {
        let assignments = assignments(dice, users, roles);
        finished.push(Policy {
            name: format!("p{index:02}"),
            kind,
            targets,
            enabled: dice.chance(94),
            assignments,
        });
    }
    finished
}

/// Policies whose targets are patterns; their expressions have to suit every table they match.
fn globs(dice: &mut Dice, all: &mut Vec<(Kind, Vec<Target>)>) {
    let target = |table: &str, columns: &[&str]| Target {
        tables: vec![table.to_string()],
        columns: columns.iter().map(|column| column.to_string()).collect(),
    };
    if dice.chance(15) {
        all.push((Kind::Deny, vec![target("t*", &["s3"]), target("t1*", &["m*"])]));
    }
    if dice.chance(15) {
        all.push((
            Kind::Mask("NULL".into()),
            vec![target("*", &["d*"]), target("T*", &["*Q"])],
        ));
    }
    if dice.chance(15) {
        let expression = "id % 7 <> {user.level}".to_string();
        all.push((
            Kind::Filter {
                expression,
                permissive: dice.chance(30),
                check: Check::Filter,
            },
            vec![target("t*", &[]), target("T*", &[])],
        ));
    }
}

fn exact(table: &str, columns: Vec<String>) -> Vec<Target> {
    vec![Target {
        tables: vec![table.to_string()],
        columns,
    }]
}

fn assignments(dice: &mut Dice, users: &[User], roles: &[Role]) -> Vec<(Assignee, i32)> {
    let mut all: Vec<(Assignee, i32)> = Vec::new();
    for _ in 0..dice.weighted(&[1, 12, 3]) {
        let known: Vec<&User> = users.iter().filter(|user| user.registered).collect();
        let to = match dice.weighted(&[5, 3, 3]) {
            1 if !known.is_empty() => Assignee::User(dice.pick(&known).name.clone()),
            2 if !roles.is_empty() => Assignee::Role(dice.pick(roles).name.clone()),
            _ => Assignee::All,
        };
        if all.iter().all(|(other, _)| *other != to) {
            all.push((to, *dice.pick(&[10, 50, 100, 100, 100, 200])));
        }
    }
    all
}

/// A filter over `table`. Placeholders in it are replaced by the subject's attributes.
fn filter(dice: &mut Dice, table: &Table, tables: &[Table]) -> Kind {
    let mut expression = condition(dice, table, tables);
    if dice.chance(25) {
        let connective = *dice.pick(&["OR", "OR", "AND"]);
        expression = format!("({expression}) {connective} ({})", condition(dice, table, tables));
    }
    // A child's permissive filter would widen what its parent's let through only when the child is read directly.
    let permissive = table.parent.is_none() && dice.chance(30);
    let check = match dice.weighted(&[8, 1, 1]) {
        1 => Check::Expression(condition(dice, table, tables)),
        2 => Check::None,
        _ => Check::Filter,
    };
    Kind::Filter {
        expression,
        permissive,
        check,
    }
}

fn condition(dice: &mut Dice, table: &Table, tables: &[Table]) -> String {
    let live: Vec<_> = table.live().collect();
    let of = |ty: Ty| live.iter().filter(move |c| c.ty == ty).map(|c| ident(&c.name));
    let texts: Vec<String> = of(Ty::Text).collect();
    let org = live.iter().any(|column| column.name == "org");
    if dice.chance(30)
        && let Some(subquery) = subquery_condition(dice, table, tables)
    {
        return subquery;
    }
    if org && dice.chance(45) {
        return dice
            .pick(&[
                "org = {user.tenant}",
                "org = {{user.tenant}}",
                "org IN ({user.tenants})",
                "org = ANY ({user.tenants})",
                "org = {user.tenant} OR {user.vip}",
                "org IS NOT DISTINCT FROM {user.tenant} OR id % 3 = 0",
            ])
            .to_string();
    }
    let column = *dice.pick(&live);
    let name = ident(&column.name);
    match column.ty {
        Ty::Int => dice
            .pick(&[
                "{c} > 3",
                "{c} IS NOT NULL",
                "{c} % 3 <> 1",
                "{c} <= {user.level}",
                "{c} BETWEEN 2 AND 30",
                "{c} IN (1, 2, 3, {user.level}) OR id > 10",
            ])
            .replace("{c}", &name),
        Ty::Text if !texts.is_empty() => dice
            .pick(&[
                "{c} LIKE 'a%'",
                "{c} <> {user.word}",
                "length({c}) > 3",
                "{c} IS NOT NULL",
                "{c} || 'x' > {user.word}",
                "lower({c}) ~ '[abc]'",
            ])
            .replace("{c}", &name),
        Ty::Num => format!("{name} > 2.50"),
        Ty::Date => format!("{name} < DATE '2024-02-20'"),
        Ty::Bool => dice
            .pick(&["{c}", "{c} IS NOT TRUE", "{c} = {user.vip}"])
            .replace("{c}", &name),
        Ty::Json => format!("{name} ->> 't' <> {{user.word}}"),
        Ty::Ints => format!("{name} && (ARRAY[0, 1, {{user.level}}]::integer[])"),
        _ => format!("{name} IS NOT NULL"),
    }
}

/// A condition that looks into another table, raw and whoever asks.
fn subquery_condition(dice: &mut Dice, table: &Table, tables: &[Table]) -> Option<String> {
    let other = dice.pick(tables);
    if matches!(other.shape, Shape::Materialized(_)) {
        return None;
    }
    let from = other.qualified();
    let has = |name: &str| other.column(name).is_some();
    let mut choices = vec![
        format!("id IN (SELECT x.id + 1 FROM {from} x WHERE x.id % 3 <> 0)"),
        format!("id <> ALL (SELECT x.id FROM {from} x WHERE x.id % 4 = {{user.level}} % 4)"),
        format!(
            "(SELECT count(*) FROM {from} x WHERE x.id < {}.id) < 15",
            ident(&table.name)
        ),
    ];
    if has("org") {
        choices.push(format!(
            "id IN (SELECT x.id FROM {from} x WHERE x.org = {{user.tenant}}) OR id % 2 = 0"
        ));
        choices.push(format!(
            "EXISTS (SELECT 1 FROM {from} x WHERE x.org IN ({{user.tenants}}))"
        ));
        if table.column("ref").is_some() {
            choices.push(format!(
                "ref IN (SELECT x.id FROM {from} x WHERE x.org = {{user.tenant}})"
            ));
        }
    }
    if has("ref") {
        choices.push(format!("id IN (SELECT x.ref FROM {from} x)"));
        if table.column("n1").is_some() && !has("n1") {
            choices.push(format!("EXISTS (SELECT 1 FROM {from} x WHERE x.ref % 10 = n1)"));
        }
    }
    // Inside a policy on a parent, the table's own name is not what a child is called.
    let plain = matches!(table.shape, Shape::Plain);
    choices.retain(|choice| plain || !choice.contains(&format!("{}.id)", ident(&table.name))));
    Some(dice.pick(&choices).clone())
}

/// A mask for a column of `table`.
fn mask(dice: &mut Dice, table: &Table, column: &str, ty: Ty, tables: &[Table]) -> String {
    let own = ident(column);
    let same: Vec<String> = table.live().filter(|c| c.ty == ty).map(|c| ident(&c.name)).collect();
    let other = if same.is_empty() {
        own.clone()
    } else {
        dice.pick(&same).clone()
    };
    let hidden = match ty {
        Ty::Int => dice
            .pick(&[
                "0",
                "-1",
                "{c} % 3",
                "-{c}",
                "{user.level}",
                "length({c}::text)",
                "id % 4",
            ])
            .to_string(),
        Ty::Text => dice
            .pick(&[
                "'***'",
                "left({c}, 1) || '**'",
                "md5({c})",
                "upper({c})",
                "{user.tenant}",
                "''",
                "id",
                "{c} || {user.word}",
            ])
            .to_string(),
        Ty::Num => dice
            .pick(&["0", "round({c}, -1)", "{c} + 1.50", "id", "9.99"])
            .to_string(),
        Ty::Date => dice
            .pick(&[
                "date_trunc('year', {c}::timestamp)::date",
                "DATE '2000-01-01'",
                "{c} + 1",
            ])
            .to_string(),
        Ty::Bool => dice.pick(&["false", "NOT {c}", "{user.vip}", "id % 2 = 0"]).to_string(),
        Ty::Json => dice
            .pick(&["'{\"k\": 0}'", "{c} - 't'", "jsonb_build_object('k', id)"])
            .to_string(),
        Ty::Ints => dice.pick(&["'{}'", "{c}[1:1]", "ARRAY[id, 7]"]).to_string(),
        Ty::Texts => dice
            .pick(&["'{}'", "ARRAY['x', {user.word}]", "array_append({c}, 'z')"])
            .to_string(),
    };
    let hidden = hidden.replace("{c}", &own);
    match dice.weighted(&[6, 2, 2, 3, 1]) {
        1 => "NULL".to_string(),
        2 => other,
        3 => {
            let when = condition(dice, table, tables);
            format!("CASE WHEN {when} THEN {own} ELSE {} END", typed(&hidden, ty))
        }
        4 if matches!(ty, Ty::Int | Ty::Text) => {
            let from = dice.pick(tables);
            match from.shape {
                Shape::Materialized(_) => hidden,
                _ => format!("(SELECT {} FROM {} x)", typed("max(x.id)", ty), from.qualified()),
            }
        }
        _ => hidden,
    }
}

/// `expression` cast to `ty`, for places where a column's type is not assigned.
fn typed(expression: &str, ty: Ty) -> String {
    format!("({expression})::{}", ty.name())
}
