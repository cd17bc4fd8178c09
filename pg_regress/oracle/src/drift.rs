//! Changes under open sessions: of policies, attributes, memberships and tables. Whatever was prepared before must follow.

use crate::compare::{Verdict, compare_stale};
use crate::dice::Dice;
use crate::mirror;
use crate::oracle::{Identity, Oracle, Question};
use crate::policy::{Assignee, Kind, Policy, attribute, definitions};
use crate::schema::{Column, Shape};
use crate::session::{Mode, Outcome, simple};
use crate::types::{Ty, quote};
use crate::world::{Level, Reading, World};

/// A statement that a session prepared and ran before a change.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The question it came from.
    pub question: Question,
    /// The statement's name.
    name: String,
}

impl Oracle {
    /// Prepares a few of the questions in the sessions of their subjects, and runs each often enough for a generic plan.
    pub fn prepare_some(&mut self, dice: &mut Dice, world: &World, questions: &[Question]) -> Vec<Kept> {
        let fits = |question: &&Question| {
            let traits = &question.query.traits;
            question.write.is_none()
                && traits.hidden == 0
                && !traits.refused
                && !traits.simple_only
                && question.mode == Mode::Simple
        };
        let questions: Vec<&Question> = questions.iter().filter(fits).collect();
        let mut kept = Vec::new();
        for (number, question) in dice.shuffled(&questions).into_iter().take(12).enumerate() {
            // The session has those of earlier changes, too.
            let name = format!("kept{}_{number}", self.stats.changes);
            let Ok(client) = self.login(question.subject, &world.users[question.subject].name) else {
                continue;
            };
            let mut runs = vec![format!("PREPARE {name} AS {}", question.query.sql)];
            runs.extend((0..dice.pick(&[1, 7]).to_owned()).map(|_| format!("EXECUTE {name}")));
            if runs
                .iter()
                .all(|run| matches!(simple(client, run), Outcome::Rows { .. }))
            {
                let question = Question {
                    identity: Identity::Login,
                    mode: Mode::Prepared,
                    ..question.clone()
                };
                kept.push(Kept { question, name });
            }
        }
        kept
    }

    /// Runs what was kept against the world as it is now.
    pub fn ask_kept(&mut self, world: &World, kept: &Kept) -> (Verdict, Outcome, Outcome) {
        let question = &kept.question;
        let governed = match self.login(question.subject, &world.users[question.subject].name) {
            Ok(client) => simple(client, &format!("EXECUTE {}", kept.name)),
            Err(error) => Outcome::Lost(error),
        };
        simple(
            &mut self.reference,
            &format!("SET search_path = {}, public", mirror::schema(question.subject)),
        );
        let copy = simple(&mut self.reference, &question.query.sql.to_string());
        let traits = &question.query.traits;
        let reads: Vec<String> = traits.reads.iter().cloned().collect();
        // A function that the change made refuse when it is called is not among the copies.
        let verdict = match world.reading(question.subject, Level::top(question.subject), &reads) {
            Reading::Unclear => Verdict::Skipped,
            _ => compare_stale(&governed, &copy, question.query.ordered, traits),
        };
        (verdict, governed, copy)
    }

    /// Changes the world, here and in the database, and builds the copies anew.
    pub fn change(&mut self, dice: &mut Dice, world: &mut World) -> Result<(), String> {
        for _ in 0..dice.between(1, 3) {
            let statements = change(dice, world);
            self.execute(&statements)?;
        }
        self.stats.changes += 1;
        self.refresh(world)
    }
}

/// One change of the world, and the statements that make it.
fn change(dice: &mut Dice, world: &mut World) -> Vec<String> {
    match dice.below(10) {
        0 | 1 => toggle_policy(dice, world),
        2 => set_attribute(dice, world),
        3 => toggle_role(dice, world),
        4 => change_member(dice, world),
        5 => change_group(dice, world),
        6 | 7 => change_assignment(dice, world),
        8 => change_expression(dice, world),
        _ => add_column(dice, world),
    }
}

fn toggle_policy(dice: &mut Dice, world: &mut World) -> Vec<String> {
    if world.policies.is_empty() {
        return Vec::new();
    }
    let index = dice.below(world.policies.len());
    if dice.chance(25) {
        let policy = world.policies.remove(index);
        return vec![format!("SELECT betweenrows.drop_policy({})", quote(&policy.name))];
    }
    let policy = &mut world.policies[index];
    policy.enabled = !policy.enabled;
    vec![format!(
        "SELECT betweenrows.alter_policy({}, is_enabled => {})",
        quote(&policy.name),
        policy.enabled
    )]
}

fn set_attribute(dice: &mut Dice, world: &mut World) -> Vec<String> {
    let mut known: Vec<_> = world.users.iter_mut().filter(|user| user.registered).collect();
    let index = dice.below(known.len());
    let (key, _, _) = *dice.pick(&definitions());
    let value = attribute(dice, key);
    let json = quote(value.json());
    known[index].attributes.insert(key, value);
    vec![format!(
        "SELECT betweenrows.set_attribute({}, '{key}', {json}::jsonb)",
        quote(&known[index].name)
    )]
}

fn toggle_role(dice: &mut Dice, world: &mut World) -> Vec<String> {
    if world.roles.is_empty() {
        return Vec::new();
    }
    let index = dice.below(world.roles.len());
    let role = &mut world.roles[index];
    role.active = !role.active;
    vec![format!(
        "SELECT betweenrows.alter_role({}, is_active => {})",
        quote(&role.name),
        role.active
    )]
}

fn change_member(dice: &mut Dice, world: &mut World) -> Vec<String> {
    let roles: Vec<String> = world.roles.iter().map(|role| role.name.clone()).collect();
    let mut known: Vec<_> = world.users.iter_mut().filter(|user| user.registered).collect();
    if roles.is_empty() || known.is_empty() {
        return Vec::new();
    }
    let (index, role) = (dice.below(known.len()), dice.pick(&roles).clone());
    let user = &mut known[index];
    let (verb, user) = match user.roles.iter().position(|other| *other == role) {
        Some(at) => {
            user.roles.remove(at);
            ("remove_member", &user.name)
        }
        None => {
            user.roles.push(role.clone());
            ("add_member", &user.name)
        }
    };
    vec![format!("SELECT betweenrows.{verb}({}, {})", quote(&role), quote(user))]
}

/// Membership in a PostgreSQL role counts as well.
fn change_group(dice: &mut Dice, world: &mut World) -> Vec<String> {
    let groups: Vec<String> = world
        .roles
        .iter()
        .filter(|role| role.group)
        .map(|role| role.name.clone())
        .collect();
    if groups.is_empty() {
        return Vec::new();
    }
    let (index, group) = (dice.below(world.users.len()), dice.pick(&groups).clone());
    let user = &mut world.users[index];
    match user.groups.iter().position(|other| *other == group) {
        Some(at) => {
            user.groups.remove(at);
            vec![format!("REVOKE {group} FROM {}", user.name)]
        }
        None => {
            user.groups.push(group.clone());
            vec![format!("GRANT {group} TO {}", user.name)]
        }
    }
}

fn change_assignment(dice: &mut Dice, world: &mut World) -> Vec<String> {
    if world.policies.is_empty() {
        return Vec::new();
    }
    let index = dice.below(world.policies.len());
    let roles: Vec<String> = world.roles.iter().map(|role| role.name.clone()).collect();
    let users: Vec<String> = world
        .users
        .iter()
        .filter(|user| user.registered)
        .map(|user| user.name.clone())
        .collect();
    let policy = &mut world.policies[index];
    let target = |to: &Assignee| match to {
        Assignee::All => String::new(),
        Assignee::User(user) => format!(", to_user => {}", quote(user)),
        Assignee::Role(role) => format!(", to_role => {}", quote(role)),
    };
    if !policy.assignments.is_empty() && dice.chance(50) {
        let (to, _) = policy.assignments.remove(dice.below(policy.assignments.len()));
        return vec![format!(
            "SELECT betweenrows.unassign_policy({}{})",
            quote(&policy.name),
            target(&to)
        )];
    }
    let to = match dice.below(3) {
        0 => Assignee::All,
        1 if !roles.is_empty() => Assignee::Role(dice.pick(&roles).clone()),
        _ if users.is_empty() => Assignee::All,
        _ => Assignee::User(dice.pick(&users).clone()),
    };
    if policy.assignments.iter().any(|(other, _)| *other == to) {
        return Vec::new();
    }
    let statement = format!(
        "SELECT betweenrows.assign_policy({}{}, priority => 30)",
        quote(&policy.name),
        target(&to)
    );
    policy.assignments.push((to, 30));
    vec![statement]
}

/// Another expression for a filter; the row's `id` is there in every table.
fn change_expression(dice: &mut Dice, world: &mut World) -> Vec<String> {
    let views: Vec<String> = world.views.iter().map(|view| view.name.clone()).collect();
    let of_tables = |policy: &&mut Policy| {
        let mut names = policy.targets.iter().flat_map(|target| &target.tables);
        matches!(policy.kind, Kind::Filter { .. }) && names.all(|name| !views.contains(name))
    };
    let mut filters: Vec<_> = world.policies.iter_mut().filter(of_tables).collect();
    if filters.is_empty() {
        return Vec::new();
    }
    let index = dice.below(filters.len());
    let (remainder, policy) = (dice.below(4), &mut filters[index]);
    if let Kind::Filter { expression, .. } = &mut policy.kind {
        *expression = format!("id % 4 <> {remainder} AND {{user.level}} IS NOT NULL");
    }
    let definition = quote(policy.filter_definition());
    vec![format!(
        "SELECT betweenrows.alter_policy({}, definition => {definition}::jsonb)",
        quote(&policy.name)
    )]
}

/// A new column, nullable and plain; `SELECT *` grows by it.
fn add_column(dice: &mut Dice, world: &mut World) -> Vec<String> {
    let plain: Vec<usize> = (0..world.tables.len())
        .filter(|index| world.tables[*index].shape == Shape::Plain)
        .collect();
    if plain.is_empty() {
        return Vec::new();
    }
    let table = &mut world.tables[*dice.pick(&plain)];
    if table.column("late").is_some() {
        return Vec::new();
    }
    table.columns.push(Column {
        name: "late".into(),
        ty: Ty::Int,
        decl: "integer",
        default: Some("7".into()),
        generated: None,
        dropped: false,
    });
    for row in &mut table.rows {
        row.push("7".into());
    }
    vec![format!(
        "ALTER TABLE {} ADD COLUMN late integer DEFAULT 7",
        table.qualified()
    )]
}
