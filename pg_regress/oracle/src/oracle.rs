//! Builds a world in the database, asks every question twice and compares.

use std::collections::{HashMap, HashSet};

use postgres::Client;

use crate::compare::{Verdict, compare};
use crate::dice::Dice;
use crate::dml::Write;
use crate::mirror::{self, Flaw};
use crate::query::Query;
use crate::schema::SCHEMA;
use crate::scope::Gen;
use crate::session::{Mode, Outcome, Server, simple};
use crate::stats::Stats;
use crate::target::targets;
use crate::tell::{self, Told};
use crate::world::World;

/// SQLSTATE of a division by zero.
const DIVISION_BY_ZERO: &str = "22012";
/// What is different when a function of the subject saw what it must not.
const TOLD: &str = "a function of the subject was told of a hidden row or value";

/// How the subject's identity comes about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Identity {
    /// A connection of its own.
    Login,
    /// A superuser's SET SESSION AUTHORIZATION.
    Authorization,
    /// A superuser's SET ROLE.
    Role,
    /// A connection of its own that did SET ROLE to a group.
    Member,
}

/// One question: who asks what, and how.
#[derive(Debug, Clone)]
pub struct Question {
    /// Index of the subject.
    pub subject: usize,
    /// How it came to be the subject.
    pub identity: Identity,
    /// How the query is run.
    pub mode: Mode,
    /// Settings of the session.
    pub settings: Vec<&'static str>,
    /// The query, or the write.
    pub query: Query,
    /// What there is to know about a write.
    pub write: Option<Write>,
}

/// The connections of a run.
pub struct Oracle {
    server: Server,
    /// A superuser among the governed tables.
    pub admin: Client,
    /// A superuser among the copies.
    pub reference: Client,
    /// Open sessions of subjects.
    logins: HashMap<usize, Client>,
    /// Counts.
    pub stats: Stats,
    /// The server's major version.
    pub major: u32,
    /// What subjects' functions told.
    told: Told,
    /// By subject, the marks of rows that it may see.
    marks: Vec<HashSet<String>>,
    /// The only subject whose copies are built, where there is but one question to ask.
    pub only: Option<usize>,
    /// What is wrong with the copies.
    pub flaw: Flaw,
    /// Ask the copy twice instead of the governed tables: whether the generator's questions have one answer.
    pub copy_only: bool,
}

impl Oracle {
    /// Connects to the scratch database.
    pub fn new(server: Server, flaw: Flaw, copy_only: bool) -> Result<Oracle, String> {
        let told = Told::default();
        let text = |error: postgres::Error| error.to_string();
        let admin = server
            .connect_listening(&server.user, &server.dbname, SCHEMA, told.listener())
            .map_err(text)?;
        let mut reference = server
            .connect(&server.user, &server.dbname, "pg_catalog")
            .map_err(text)?;
        let major = major(&mut reference)?;
        Ok(Oracle {
            server,
            admin,
            reference,
            logins: HashMap::new(),
            stats: Stats::default(),
            major,
            told,
            marks: Vec::new(),
            only: None,
            flaw,
            copy_only,
        })
    }

    /// Builds the world, its policies and everybody's copy.
    pub fn build(&mut self, world: &World) -> Result<(), String> {
        self.clear(world)?;
        self.execute(&tell::functions())?;
        self.execute(&world.build())?;
        if self.copy_only {
            return self.refresh(world).map(|()| self.stats.worlds += 1);
        }
        let barrier = if world.barrier_always { "always" } else { "adaptive" };
        self.execute(&[format!(
            "ALTER DATABASE {} SET betweenrows.barrier = '{barrier}'",
            self.server.dbname
        )])?;
        self.execute(&world.govern())?;
        if self.flaw == Flaw::Exempt {
            let exempt = |user: &crate::policy::User| format!("SELECT betweenrows.exempt_role('{}')", user.name);
            self.execute(&world.users.iter().map(exempt).collect::<Vec<_>>())?;
        }
        self.stats.worlds += 1;
        self.refresh(world)
    }

    /// Builds everybody's copy anew, after policies changed.
    pub fn refresh(&mut self, world: &World) -> Result<(), String> {
        let only = self.only;
        for subject in (0..world.users.len()).filter(|subject| only.is_none_or(|only| only == *subject)) {
            let mut statements = vec![mirror::remove(world, subject)];
            statements.extend(mirror::build(world, subject, self.flaw));
            self.execute(&statements)?;
        }
        self.marks = (0..world.users.len())
            .map(|subject| self.visible_marks(world, subject))
            .collect();
        Ok(())
    }

    /// Removes what an earlier world left.
    pub fn clear(&mut self, world: &World) -> Result<(), String> {
        self.logins.clear();
        let mut all = Vec::new();
        // First, because what expressions of policies use is not dropped.
        if !self.copy_only {
            all.push("DROP EXTENSION IF EXISTS betweenrows CASCADE".to_string());
        }
        all.push(format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"));
        all.extend((0..world.users.len()).map(|subject| mirror::remove(world, subject)));
        if !self.copy_only {
            all.push("CREATE EXTENSION betweenrows".to_string());
        }
        let roles = world
            .users
            .iter()
            .map(|user| &user.name)
            .chain(world.roles.iter().map(|role| &role.name));
        for role in roles {
            all.push(format!(
                "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN \
                 EXECUTE 'DROP OWNED BY {role}; DROP ROLE {role}'; END IF; END $$"
            ));
        }
        self.execute(&all)
    }

    /// Runs statements as superuser, as one message.
    pub fn execute(&mut self, statements: &[String]) -> Result<(), String> {
        match simple(&mut self.admin, &statements.join(";\n")) {
            Outcome::Rows { .. } => Ok(()),
            failure => Err(format!("{failure}while building:\n{}", statements.join(";\n"))),
        }
    }

    /// A random question.
    pub fn question(dice: &mut Dice, world: &World, major: u32) -> Question {
        let subject = dice.below(world.users.len());
        let rels = world.relations(subject);
        let identities = [
            Identity::Login,
            Identity::Authorization,
            Identity::Role,
            Identity::Member,
        ];
        let identity = match identities[dice.weighted(&[12, 6, 2, 2])] {
            Identity::Member if world.users[subject].groups.is_empty() => Identity::Login,
            identity => identity,
        };
        let settings = planner_settings(dice);
        if dice.chance(18) {
            let targets = targets(world, subject);
            if let Some((query, write)) = Gen::new(dice, &rels).on(major).write(&targets) {
                let identity = if definer(world, &query) {
                    Identity::Authorization
                } else {
                    identity
                };
                return Question {
                    subject,
                    identity,
                    mode: Mode::Simple,
                    settings,
                    query,
                    write: Some(write),
                };
            }
        }
        let query = Gen::new(dice, &rels).statement();
        let identity = if definer(world, &query) && identity == Identity::Role {
            Identity::Authorization
        } else {
            identity
        };
        let mut mode = Mode::random(dice);
        let typeless = query.types.is_none();
        if mode.nested() && (typeless || query.traits.top_only || query.traits.locks) {
            mode = Mode::Simple;
        }
        if query.traits.simple_only {
            mode = Mode::Simple;
        }
        let calls = !world.functions(query.traits.reads.iter()).is_empty();
        // Of the rewritten text only the statement itself is governed, not what the functions in it do.
        // Nor has SQL text a way to say "the row, NULL if there is none" of a subquery in the place of a relation.
        let unspeakable = query.traits.hidden > 0 || query.traits.refused || query.traits.rows || calls;
        if mode == Mode::Rewritten && unspeakable {
            mode = Mode::Simple;
        }
        if query.traits.locks && matches!(mode, Mode::Hold | Mode::Copy | Mode::TempView) {
            mode = Mode::Simple;
        }
        Question {
            subject,
            identity,
            mode,
            settings,
            query,
            write: None,
        }
    }

    /// Asks both sides, and listens to what the subject's functions tell.
    pub fn ask(&mut self, world: &World, question: &Question) -> (Verdict, Outcome, Outcome) {
        self.told.marks();
        let (verdict, governed, copy) = self.ask_both(world, question);
        let told = self.told.marks();
        // A rewritten query's text has lost the barriers that the query itself has.
        let careful = question.mode != Mode::Rewritten && !self.copy_only;
        let secrets: Vec<&String> = told.difference(&self.marks[question.subject]).collect();
        if careful && !secrets.is_empty() && !matches!(verdict, Verdict::Different(_)) {
            return (Verdict::Different(TOLD.to_string()), governed, copy);
        }
        let verdict = self.excuse(question, verdict, &governed, &copy);
        (verdict, governed, copy)
    }

    /// A division by zero is no mismatch when some row that the subject may see can cause it: who evaluates what first
    /// is open. If only a hidden row can, it is.
    fn excuse(&mut self, question: &Question, verdict: Verdict, governed: &Outcome, copy: &Outcome) -> Verdict {
        let divisions = &question.query.traits.divisions;
        if !matches!(verdict, Verdict::Different(_)) || divisions.is_empty() {
            return verdict;
        }
        if copy.code() == Some(DIVISION_BY_ZERO) {
            return Verdict::Skipped;
        }
        if governed.code() != Some(DIVISION_BY_ZERO) {
            return verdict;
        }
        let visible = divisions.iter().any(|(relation, column, number)| {
            let query = format!("SELECT FROM {relation} WHERE {column} = {number} LIMIT 1");
            matches!(simple(&mut self.reference, &query), Outcome::Rows { rows, .. } if !rows.is_empty())
        });
        if visible { Verdict::Skipped } else { verdict }
    }

    fn ask_both(&mut self, world: &World, question: &Question) -> (Verdict, Outcome, Outcome) {
        if let Some(write) = &question.write {
            return self.ask_write(world, question, write);
        }
        let text = question.query.sql.to_string();
        let types = question.query.types.as_deref();
        let governed = self.governed(world, question, &text);
        let mode = match question.mode {
            Mode::Prepared | Mode::Explain | Mode::Rewritten => Mode::Simple,
            mode => mode,
        };
        simple(
            &mut self.reference,
            &format!("SET search_path = {}, public", mirror::schema(question.subject)),
        );
        let copy = mode.run(&mut self.reference, &text, types, "");
        let verdict = compare(
            &governed,
            &copy,
            question.query.ordered,
            &question.query.traits,
            question.mode,
        );
        (verdict, governed, copy)
    }

    fn governed(&mut self, world: &World, question: &Question, text: &str) -> Outcome {
        let user = &world.users[question.subject].name;
        let types = question.query.types.as_deref();
        if self.copy_only {
            let path = mirror::schema(question.subject);
            simple(
                &mut self.admin,
                &format!("{} SET search_path = {path}, public", settings(&question.settings)),
            );
            let mode = if question.mode == Mode::Rewritten {
                Mode::Simple
            } else {
                question.mode
            };
            let outcome = mode.run(&mut self.admin, text, types, "");
            simple(&mut self.admin, "RESET ALL");
            return outcome;
        }
        if question.mode == Mode::Rewritten {
            return self.rewritten(user, text);
        }
        let login = matches!(question.identity, Identity::Login | Identity::Member);
        let client = match login {
            true => match self.login(question.subject, user) {
                Ok(client) => client,
                Err(error) => return Outcome::Lost(error),
            },
            false => &mut self.admin,
        };
        let before = settings(&question.settings) + &become_subject(world, question);
        if !before.is_empty()
            && let failed @ (Outcome::Lost(_) | Outcome::Failure { .. }) = simple(client, &before)
        {
            return failed;
        }
        let outcome = question.mode.run(client, text, types, user);
        let after = if login {
            "RESET ROLE; RESET ALL"
        } else {
            "RESET ROLE; RESET SESSION AUTHORIZATION; RESET ALL"
        };
        let reset = simple(client, after);
        if matches!(outcome, Outcome::Lost(_)) || matches!(reset, Outcome::Lost(_)) {
            self.logins.remove(&question.subject);
            if let Ok(admin) = self.reconnect() {
                self.admin = admin;
            }
        }
        outcome
    }

    fn rewritten(&mut self, user: &str, text: &str) -> Outcome {
        let statement = Mode::Rewritten.statements(text, None, user).remove(0);
        match simple(&mut self.admin, &statement) {
            Outcome::Rows { rows, .. } => match rows.first().and_then(|row| row.first()) {
                Some(Some(rewritten)) => simple(&mut self.admin, rewritten),
                _ => Outcome::Lost("rewritten_query gave nothing".into()),
            },
            other => other,
        }
    }

    /// The subject's own session.
    pub fn login(&mut self, subject: usize, user: &str) -> Result<&mut Client, String> {
        if !self.logins.contains_key(&subject) {
            let client = self
                .server
                .connect_listening(user, &self.server.dbname, SCHEMA, self.told.listener())
                .map_err(|error| error.to_string())?;
            self.logins.insert(subject, client);
        }
        self.logins.get_mut(&subject).ok_or_else(|| "no session".to_string())
    }

    /// A new connection of the superuser; a crashed server takes its time to come back.
    fn reconnect(&mut self) -> Result<Client, String> {
        let mut last = String::new();
        for _ in 0..200 {
            let listener = self.told.listener();
            match self
                .server
                .connect_listening(&self.server.user, &self.server.dbname, SCHEMA, listener)
            {
                Ok(client) => return Ok(client),
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Err(last)
    }
}

/// The server's major version.
fn major(client: &mut Client) -> Result<u32, String> {
    let row = client
        .query_one("SELECT current_setting('server_version_num')::int / 10000", &[])
        .map_err(|error| error.to_string())?;
    Ok(row.get::<_, i32>(0).unsigned_abs())
}

/// The statements that make a session the subject's.
pub fn become_subject(world: &World, question: &Question) -> String {
    let user = &world.users[question.subject];
    let barrier = if world.barrier_always { "always" } else { "adaptive" };
    match question.identity {
        Identity::Login => String::new(),
        Identity::Member => user
            .groups
            .first()
            .map(|group| format!("SET ROLE {group};"))
            .unwrap_or_default(),
        Identity::Authorization => {
            format!(
                "SET betweenrows.barrier = '{barrier}'; SET SESSION AUTHORIZATION {};",
                user.name
            )
        }
        Identity::Role => format!("SET betweenrows.barrier = '{barrier}'; SET ROLE {};", user.name),
    }
}

/// Whether the query calls a superuser's SECURITY DEFINER function. Under a superuser's SET ROLE both the session user and
/// the function's owner are exempt, so that nobody is left to be the subject inside; only a real session user stays one.
fn definer(world: &World, query: &Query) -> bool {
    world
        .functions(query.traits.reads.iter())
        .iter()
        .any(|function| function.definer)
}

/// Planner switches to turn off, now and then.
fn planner_settings(dice: &mut Dice) -> Vec<&'static str> {
    let all = [
        "enable_hashjoin",
        "enable_mergejoin",
        "enable_nestloop",
        "enable_seqscan",
        "enable_hashagg",
        "enable_sort",
    ];
    let mut settings: Vec<&'static str> = all.into_iter().filter(|_| dice.chance(8)).collect();
    if dice.chance(4) {
        settings.push("parallel");
    }
    settings
}

/// The statements for planner settings.
pub fn settings(names: &[&'static str]) -> String {
    let one = |name: &&str| match *name {
        "parallel" => {
            "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; \
                       SET max_parallel_workers_per_gather = 2;"
                .to_string()
        }
        name => format!("SET {name} = off;"),
    };
    names.iter().map(one).collect()
}
