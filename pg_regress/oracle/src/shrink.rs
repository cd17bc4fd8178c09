//! Makes a mismatch small: less query, fewer policies, fewer tables, fewer rows, and prints what is left as a script.

use crate::compare::Verdict;
use crate::mirror;
use crate::oracle::{Identity, Oracle, Question, become_subject, settings};
use crate::session::{Mode, Outcome};
use crate::tell;
use crate::world::World;

/// A disagreement.
#[derive(Debug, Clone)]
pub struct Mismatch {
    /// What was asked.
    pub question: Question,
    /// What is different.
    pub reason: String,
    /// What the subject got.
    pub governed: Outcome,
    /// What the copy says.
    pub copy: Outcome,
}

impl Oracle {
    /// The mismatch as small as it gets, with the world that shows it; if a world built anew does not show it, as it is.
    pub fn shrink(&mut self, world: &World, found: Mismatch) -> (World, Mismatch, bool) {
        self.only = Some(found.question.subject);
        let shrunk = self.shrink_all(world, found);
        self.only = None;
        shrunk
    }

    fn shrink_all(&mut self, world: &World, found: Mismatch) -> (World, Mismatch, bool) {
        let mut world = world.clone();
        let Some(mut found) = self.again(&world, &found.question, &found) else {
            return (world, found, false);
        };
        self.shrink_question(&world, &mut found);
        loop {
            let smaller = smaller_worlds(&world, found.question.subject).into_iter();
            let shown = smaller.filter_map(|smaller| {
                self.again(&smaller, &found.question, &found)
                    .map(|mismatch| (smaller, mismatch))
            });
            let Some((smaller, mismatch)) = { shown }.next() else {
                break;
            };
            (world, found) = (smaller, mismatch);
        }
        if self.build(&world).is_ok() {
            self.shrink_question(&world, &mut found);
        }
        (world, found, true)
    }

    /// Builds the world and asks again; the same kind of mismatch counts.
    fn again(&mut self, world: &World, question: &Question, like: &Mismatch) -> Option<Mismatch> {
        self.build(world).ok()?;
        self.once(world, question, like)
    }

    fn once(&mut self, world: &World, question: &Question, like: &Mismatch) -> Option<Mismatch> {
        match self.ask(world, question) {
            (Verdict::Different(why), governed, copy)
                if why == like.reason && governed.code() == like.governed.code() && copy.code() == like.copy.code() =>
            {
                Some(Mismatch {
                    question: question.clone(),
                    reason: why,
                    governed,
                    copy,
                })
            }
            _ => None,
        }
    }

    /// Simplifies how the query is asked, then the query itself.
    fn shrink_question(&mut self, world: &World, found: &mut Mismatch) {
        for identity in [Identity::Authorization, Identity::Login] {
            self.keep(
                world,
                found,
                Question {
                    identity,
                    ..found.question.clone()
                },
            );
        }
        self.keep(
            world,
            found,
            Question {
                mode: Mode::Simple,
                ..found.question.clone()
            },
        );
        self.keep(
            world,
            found,
            Question {
                settings: Vec::new(),
                ..found.question.clone()
            },
        );
        let mut tries = 0;
        'smaller: while tries < 2000 {
            let mut candidates = found.question.query.sql.simpler();
            let length = found.question.query.sql.to_string().len();
            candidates.sort_by_cached_key(|sql| sql.to_string().len());
            for sql in candidates {
                if sql.to_string().len() >= length {
                    break;
                }
                tries += 1;
                let mut question = found.question.clone();
                question.query.sql = sql;
                if self.keep(world, found, question) {
                    continue 'smaller;
                }
            }
            break;
        }
    }

    fn keep(&mut self, world: &World, found: &mut Mismatch, question: Question) -> bool {
        match self.once(world, &question, found) {
            Some(mismatch) => {
                *found = mismatch;
                true
            }
            None => false,
        }
    }
}

/// Worlds with one thing less; the big things first. Some of them cannot be built, which the caller notices.
fn smaller_worlds(world: &World, subject: usize) -> Vec<World> {
    let mut all = Vec::new();
    let mut less = |change: &dyn Fn(&mut World)| {
        let mut smaller = world.clone();
        change(&mut smaller);
        all.push(smaller);
    };
    for half in halves(world.policies.len()) {
        less(&|world| drop(world.policies.drain(half.clone())));
    }
    (0..world.functions.len()).for_each(|index| less(&|world| drop(world.functions.remove(index))));
    (0..world.views.len()).for_each(|index| less(&|world| drop(world.views.remove(index))));
    for index in 0..world.tables.len() {
        let name = &world.tables[index].name;
        if world.tables.iter().all(|table| table.parent.as_ref() != Some(name)) {
            less(&|world| {
                world.tables.remove(index);
                world.owners.clear();
            });
        }
        for half in halves(world.tables[index].rows.len()) {
            less(&|world| drop(world.tables[index].rows.drain(half.clone())));
        }
        if !world.tables[index].extras.is_empty() {
            less(&|world| world.tables[index].extras.clear());
        }
    }
    (0..world.policies.len()).for_each(|index| less(&|world| drop(world.policies.remove(index))));
    for index in 0..world.policies.len() {
        for assignment in 0..world.policies[index].assignments.len() {
            less(&|world| drop(world.policies[index].assignments.remove(assignment)));
        }
    }
    if !world.owners.is_empty() {
        less(&|world| world.owners.clear());
    }
    if world.policy_required {
        less(&|world| world.policy_required = false);
    }
    if world.barrier_always {
        less(&|world| world.barrier_always = false);
    }
    if world.users[subject].registered && !world.users[subject].attributes.is_empty() {
        less(&|world| world.users[subject].attributes.clear());
    }
    if !world.roles.is_empty() {
        less(&|world| {
            world.roles.clear();
            world.users.iter_mut().for_each(|user| {
                user.roles.clear();
                user.groups.clear();
            });
        });
    }
    all
}

/// Ranges that cover `0..length`: two halves, then eighths of at least one.
fn halves(length: usize) -> Vec<std::ops::Range<usize>> {
    let pieces = |count: usize| (0..count).map(move |n| n * length / count..(n + 1) * length / count);
    pieces(2).chain(pieces(8)).filter(|range| !range.is_empty()).collect()
}

/// A script for psql that shows the mismatch.
pub fn script(world: &World, found: &Mismatch) -> String {
    let subject = found.question.subject;
    let user = &world.users[subject].name;
    let lines = |statements: Vec<String>| {
        statements
            .iter()
            .map(|statement| format!("{statement};\n"))
            .collect::<String>()
    };
    let text = found.question.query.sql.to_string();
    let types = found.question.query.types.as_deref();
    let mode = found.question.mode;
    let identity = match found.question.identity {
        _ if mode == Mode::Rewritten => String::new(),
        Identity::Login => format!("SET SESSION AUTHORIZATION {user};"),
        Identity::Member => format!(
            "SET SESSION AUTHORIZATION {user}; {}",
            become_subject(world, &found.question)
        ),
        _ => become_subject(world, &found.question),
    };
    format!(
        "-- ---- the world\nCREATE EXTENSION betweenrows;\n{}{}{}-- ---- what the subject may see\n{}\
         -- ---- the question ({mode:?})\n{identity}\nSET search_path = app, public;\n{}\n{}\
         -- ---- the same over the copy\nRESET ROLE; RESET SESSION AUTHORIZATION; SET search_path = {}, public;\n{text};\n",
        if found.question.query.traits.tells {
            lines(tell::functions())
        } else {
            String::new()
        },
        lines(world.build()),
        lines(world.govern()),
        lines(mirror::build(world, subject, mirror::Flaw::None)),
        settings(&found.question.settings),
        lines(mode.statements(&text, types, user)),
        mirror::schema(subject),
    )
}
