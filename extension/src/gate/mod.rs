//! Decision functions: which of a subject's policies take part.
//!
//! # What is decided when
//!
//! Invariants: a policy with a function takes part as the function says for this session, or for this statement; where
//! there is no answer it does what restricts, unless the function's author chose otherwise; and no plan that was made
//! under another answer runs.
//!
//! * **Session functions** are evaluated when a subject's session is put together, and again when anything they are told
//!   changed ([`session::Fingerprint`]): most of all when the clock passes the minute that they saw. When an answer is
//!   another one, saved plans are marked, and the proof changes with it.
//! * **Query functions** are evaluated for a statement that they have a say about, when it is named and again when it is
//!   planned ([`for_query`]).
//!   Wherever there is no statement to tell of (catalogs, TRUNCATE, DDL, the guard), policies with such a function do
//!   what restricts: what is open then is open under every answer. Plans that depend on an answer are marked as soon as
//!   they are used, so that they are made anew for the next statement, and carry its time: the guard takes none that is
//!   older than a minute.
//! * An evaluation depends on nothing but what the function is told, to the second. Answers are remembered for as long
//!   as that is the same, so that a statement asks each function once.

mod engine;
mod plans;
pub(crate) mod query;
pub(crate) mod session;

pub(crate) use engine::{compile, evaluate_source, init, problem};
pub(crate) use plans::{is_own_reset, mark_plan, used as plan_used};

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use ::decision::context::{Session as SessionFacts, context};
use ::decision::{Evaluation, Failure, Level, Log};
use pgrx::pg_sys::{self, Query, RTEKind, RangeTblEntry};
use policy::function::{DecisionFunction, EvaluateContext, LogLevel, Ruling};
use policy::model::{Id, Policy};
use serde_json::{Value, json};

use self::session::Fingerprint;
use crate::catalog::subject::Subject;
use crate::catalog::{Catalog, Session};
use crate::pg::{compat, leaf, list, walk};

/// A function as the catalog has it.
pub(crate) struct Function {
    /// What is stored of it, apart from its source.
    pub(crate) facts: DecisionFunction,
    /// Its config, as text.
    pub(crate) config: String,
    /// Its source.
    pub(crate) source: String,
    /// Its bytecode, and which engine made it.
    pub(crate) bytecode: Vec<u8>,
    pub(crate) engine: String,
}

/// What became of asking a function: what the audit tells.
#[derive(Debug)]
pub(crate) struct Decision {
    /// The function's name.
    pub(crate) function: String,
    /// Its version.
    pub(crate) version: i32,
    /// What it is told.
    pub(crate) evaluate_context: EvaluateContext,
    /// Its answer; none after an error, and none when it was not asked.
    pub(crate) fire: Option<bool>,
    /// What that means for its policies.
    pub(crate) ruling: Ruling,
    /// Fuel that it took.
    pub(crate) fuel: u64,
    /// Microseconds that it took.
    pub(crate) microseconds: u64,
    /// What it logged, as far as its level keeps it.
    pub(crate) logs: Vec<Log>,
    /// Why it came to no answer.
    pub(crate) error: Option<String>,
    id: Id,
}

impl Decision {
    /// As the audit keeps it.
    pub(crate) fn to_json(&self) -> Value {
        let log = |log: &Log| json!({"level": log.level.as_str(), "text": log.text});
        json!({
            "function": self.function,
            "version": self.version,
            "context": self.evaluate_context.as_str(),
            "fire": self.fire,
            "ruling": self.ruling.as_str(),
            "fuel": self.fuel,
            "microseconds": self.microseconds,
            "logs": self.logs.iter().map(log).collect::<Vec<_>>(),
            "error": self.error,
        })
    }
}

/// Which of a subject's policies take part.
pub(crate) struct Firing {
    /// By their place among the subject's applicable policies.
    fires: Vec<bool>,
    /// Equal for equal answers.
    pub(crate) digest: u64,
    /// Whether a statement has to be known before everything is decided.
    pub(crate) asks_query: bool,
    /// Whether it holds for one statement only.
    pub(crate) is_of_query: bool,
    /// The functions that were asked.
    pub(crate) decisions: Vec<Rc<Decision>>,
    /// What may change unheard and make another answer.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// What the functions were told about the session.
    told: Option<Rc<SessionFacts>>,
    /// The proof that a plan was made under these answers.
    proof: CString,
}

impl Firing {
    /// Whether the policy at this place among the subject's applicable ones takes part.
    pub(crate) fn fires(&self, place: usize) -> bool {
        self.fires.get(place).copied().unwrap_or(true)
    }

    /// What a function came to.
    pub(crate) fn ruling(&self, catalog: &Catalog, function: Id) -> Ruling {
        ruling(catalog, &self.decisions, function)
    }

    /// The proof that a plan was made under these answers.
    pub(crate) fn proof(&self) -> &CStr {
        &self.proof
    }

    /// Whether a plan with this proof may run now.
    pub(crate) fn accepts(&self, proof: &CStr) -> bool {
        if proof == self.proof.as_c_str() {
            return true;
        }
        let age = || {
            let time = proof
                .to_bytes()
                .strip_prefix(self.proof.to_bytes())?
                .strip_prefix(b" @")?;
            let time: i64 = std::str::from_utf8(time).ok()?.parse().ok()?;
            Some(leaf::GetCurrentStatementStartTimestamp() - time)
        };
        self.asks_query && age().is_some_and(|age| age < MAX_AGE)
    }
}

/// Microseconds after which an answer for a statement no longer counts.
const MAX_AGE: i64 = 60_000_000;

struct Known {
    role: pg_sys::Oid,
    subject: Rc<Subject>,
    firing: Rc<Firing>,
}

/// An answer, with what was told to get it.
struct Answer {
    /// The digest of the catalog that the function is of.
    catalog: u64,
    context: String,
    decision: Rc<Decision>,
}

thread_local! {
    /// What session functions said for the subjects of this session.
    static SESSIONS: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
    /// The latest answers of query functions.
    static ANSWERS: RefCell<Vec<Answer>> = const { RefCell::new(Vec::new()) };
}

/// How many answers are remembered: those of one statement's functions are.
const MAX_ANSWERS: usize = 64;

/// What holds for a subject while no statement is known.
pub(crate) fn for_session(catalog: &Catalog, subject: &Rc<Subject>) -> Rc<Firing> {
    if !subject.is_gated {
        return subject.ungated.clone();
    }
    let fingerprint = Fingerprint::now();
    let known = SESSIONS.with_borrow(|sessions| {
        let known = sessions.iter().find(|known| known.role == subject.role)?;
        let holds = Rc::ptr_eq(&known.subject, subject) && known.firing.fingerprint.as_ref() == Some(&fingerprint);
        Some((holds, known.firing.clone()))
    });
    if let Some((true, firing)) = known {
        return firing;
    }
    let told = Rc::new(session::facts(catalog, subject));
    let text = context(&told, None);
    let mut decisions: Vec<Rc<Decision>> = Vec::new();
    for function in functions(catalog, subject, EvaluateContext::Session) {
        decisions.push(Rc::new(ask(function, &text, &told)));
    }
    let asks_query = functions(catalog, subject, EvaluateContext::Query).next().is_some();
    let firing = Rc::new(Firing {
        asks_query,
        fingerprint: Some(fingerprint),
        told: Some(told),
        ..firing(catalog, subject, decisions, None)
    });
    if known.is_some_and(|(_, before)| before.digest != firing.digest) {
        plans::answers_changed();
    }
    SESSIONS.with_borrow_mut(|sessions| {
        sessions.retain(|known| known.role != subject.role);
        // A session has few subjects, unless somebody tries them all.
        sessions.truncate(15);
        sessions.push(Known {
            role: subject.role,
            subject: subject.clone(),
            firing: firing.clone(),
        });
    });
    firing
}

/// Whether a statement has to be known before it is decided whether the policy takes part.
pub(crate) fn asks_query(catalog: &Catalog, policy: &Policy) -> bool {
    policy.decision_function.is_some_and(|id| {
        catalog.functions.iter().any(|function| {
            let facts = &function.facts;
            facts.id == id && facts.is_enabled && facts.evaluate_context == EvaluateContext::Query
        })
    })
}

/// Whether query functions have a say about something that a statement reads or writes, at any level.
///
/// # Safety
/// `query` is an analysed or rewritten query.
pub(crate) unsafe fn concerns(session: &Session, query: *mut Query) -> bool {
    let asks = |rte: *mut RangeTblEntry| {
        let relid = match (*rte).rtekind {
            RTEKind::RTE_RELATION => Some((*rte).relid),
            RTEKind::RTE_SUBQUERY => compat::view_of_subquery(rte),
            _ => None,
        };
        relid.is_some_and(|relid| session.governance(relid).asks_query)
    };
    session.firing.asks_query
        && walk::any_query(query, &mut |query| {
            list::iter::<RangeTblEntry>((*query).rtable).any(asks)
        })
}

/// The same session with the query functions asked about a statement that concerns them.
///
/// # Safety
/// `query` is an analysed or rewritten query.
pub(crate) unsafe fn for_query(session: &Session, query: *mut Query) -> Session {
    let base = &session.firing;
    let told = match &base.told {
        Some(told) if concerns(session, query) => told,
        _ => return session.clone(),
    };
    let text = context(told, Some(&query::facts(query)));
    let mut decisions = base.decisions.clone();
    for function in functions(&session.catalog, &session.subject, EvaluateContext::Query) {
        decisions.push(answer(session.catalog.digest, function, &text, told));
    }
    let time = leaf::GetCurrentStatementStartTimestamp();
    let firing = firing(&session.catalog, &session.subject, decisions, Some((base, time)));
    Session {
        firing: Rc::new(firing),
        ..session.clone()
    }
}

/// What functions are told, for somebody who wants to see it.
///
/// # Safety
/// `query` is NULL or an analysed query.
pub(crate) unsafe fn shown_context(session: &Session, query: *mut Query) -> String {
    let told = session::facts(&session.catalog, &session.subject);
    let query = (!query.is_null()).then(|| query::facts(query));
    context(&told, query.as_ref())
}

/// The enabled functions that decide about one of the subject's policies, each once.
fn functions<'a>(
    catalog: &'a Catalog,
    subject: &'a Subject,
    wanted: EvaluateContext,
) -> impl Iterator<Item = &'a Function> {
    catalog.functions.iter().filter(move |function| {
        function.facts.is_enabled
            && function.facts.evaluate_context == wanted
            && subject
                .policies(catalog)
                .any(|policy| policy.decision_function == Some(function.facts.id))
    })
}

/// The remembered answer of a query function, or a new one.
fn answer(catalog: u64, function: &Function, text: &str, told: &SessionFacts) -> Rc<Decision> {
    let remembered = ANSWERS.with_borrow(|answers| {
        let found = answers.iter().find(|answer| {
            answer.decision.id == function.facts.id && answer.catalog == catalog && answer.context == text
        });
        found.map(|answer| answer.decision.clone())
    });
    if let Some(decision) = remembered {
        return decision;
    }
    let decision = Rc::new(ask(function, text, told));
    ANSWERS.with_borrow_mut(|answers| {
        if answers.len() >= MAX_ANSWERS {
            answers.clear();
        }
        answers.push(Answer {
            catalog,
            context: text.to_owned(),
            decision: decision.clone(),
        });
    });
    decision
}

/// Evaluates a function.
fn ask(function: &Function, text: &str, told: &SessionFacts) -> Decision {
    let facts = &function.facts;
    let level = match facts.log_level {
        LogLevel::Off => None,
        LogLevel::Error => Some(Level::Error),
        LogLevel::Info => Some(Level::Info),
    };
    let (evaluation, ruling) = match engine::evaluate(function, text, told.now, level) {
        Ok(evaluation) => {
            let ruling = facts.ruling(evaluation.outcome.as_ref().ok().copied());
            (evaluation, ruling)
        }
        // Without an engine nothing is known, whatever the author would have let errors mean.
        Err(reason) => (
            Evaluation {
                outcome: Err(Failure::Engine(reason)),
                fuel: 0,
                microseconds: 0,
                logs: Vec::new(),
            },
            Ruling::Restrict,
        ),
    };
    Decision {
        function: facts.name.clone(),
        version: facts.version,
        evaluate_context: facts.evaluate_context,
        fire: evaluation.outcome.as_ref().ok().copied(),
        ruling,
        fuel: evaluation.fuel,
        microseconds: evaluation.microseconds,
        logs: evaluation.logs,
        error: evaluation.outcome.err().map(|failure| failure.to_string()),
        id: facts.id,
    }
}

/// What a function came to. One that was not asked, for want of a statement, and one that cannot be read restrict.
fn ruling(catalog: &Catalog, decisions: &[Rc<Decision>], id: Id) -> Ruling {
    match catalog.functions.iter().find(|function| function.facts.id == id) {
        Some(function) if !function.facts.is_enabled => Ruling::Fires,
        _ => decisions
            .iter()
            .find(|decision| decision.id == id)
            .map_or(Ruling::Restrict, |decision| decision.ruling),
    }
}

/// Puts together what the answers mean. `statement` are the answers without the statement, and its time.
fn firing(
    catalog: &Catalog,
    subject: &Subject,
    decisions: Vec<Rc<Decision>>,
    statement: Option<(&Firing, i64)>,
) -> Firing {
    let fires: Vec<bool> = subject
        .policies(catalog)
        .map(|policy| {
            let function = policy.decision_function;
            function.is_none_or(|id| policy.takes_part(ruling(catalog, &decisions, id)))
        })
        .collect();
    let mut hasher = DefaultHasher::new();
    (subject.digest, &fires, statement.is_some()).hash(&mut hasher);
    let digest = hasher.finish();
    let proof = match statement {
        None => format!("{} {digest:x}", subject.proof.to_string_lossy()),
        Some((base, time)) => format!("{} @{time}", base.proof.to_string_lossy()),
    };
    Firing {
        fires,
        digest,
        asks_query: false,
        is_of_query: statement.is_some(),
        decisions,
        fingerprint: None,
        told: None,
        proof: CString::new(proof).expect("a proof has no NUL"),
    }
}

/// What holds for a subject without gated policies: all of them take part.
pub(crate) fn ungated(proof: CString) -> Rc<Firing> {
    Rc::new(Firing {
        fires: Vec::new(),
        digest: 0,
        asks_query: false,
        is_of_query: false,
        decisions: Vec::new(),
        fingerprint: None,
        told: None,
        proof,
    })
}
