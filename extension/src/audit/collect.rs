//! What a statement comes to: collected while it is rewritten, and carried by its plan.
//!
//! Invariant: a plan's description says exactly what the rewriting did, since the rewriting itself reports it, and it stays
//! true for as long as the plan runs, since the guard runs no plan that was made under other policies.
//!
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use pgrx::PgSqlErrorCode::ERRCODE_QUERY_CANCELED;
use pgrx::pg_sys::{self, CmdType, Oid, PlannedStmt, Query};
use pgrx::prelude::*;
use policy::decide::Effect;
use policy::model::{Check, Definition};
use serde_json::Value;

use super::carried::{self, Carried, Told};
use super::event::{Applied, Description, PlanDescription, Touched};
use super::overrides::Wanted;
use super::recurring::{self, Recognised};
use super::settings::{self, Level};
use super::used::{InViews, Used, column_name};
use super::{display, literals, who};
use crate::catalog::Session;
use crate::catalog::governance::Governance;
use crate::pg::{self, leaf, nodes};

/// What was collected of one statement.
#[derive(Default)]
struct Collected {
    relations: Vec<Touched>,
    policies: BTreeSet<Applied>,
    masked: bool,
}

/// A statement that is being rewritten.
struct Rewriting {
    session: Session,
    nest_level: i32,
    /// What is used of relations, where there are views.
    views: InViews,
    collected: Collected,
    /// What is known of it from another time.
    recognised: Recognised,
}

/// A statement that is being planned.
struct Planning {
    /// The place of the planner's frame.
    place: usize,
    nest_level: i32,
    /// What its plan is to carry.
    text: String,
    /// The values of its parameters, where these are recorded.
    parameters: Option<Value>,
}

thread_local! {
    static REWRITING: RefCell<Option<Rewriting>> = const { RefCell::new(None) };
    /// Statements that are being planned, innermost last.
    static PLANNING: RefCell<Vec<Planning>> = const { RefCell::new(Vec::new()) };
    static NUMBERS: Cell<u64> = const { Cell::new(0) };
    /// The relation that was judged last, for an error that says that it may not be used.
    static CONCERN: RefCell<Option<(Session, Rc<Governance>, bool)>> = const { RefCell::new(None) };
}

/// A number for a description of this session.
pub(super) fn next_number() -> u64 {
    NUMBERS.set(NUMBERS.get() + 1);
    NUMBERS.get()
}

/// A relation is about to be judged.
pub(crate) fn consider(session: &Session, governance: &Rc<Governance>, waived: bool) {
    CONCERN.set(Some((session.clone(), governance.clone(), waived)));
}

/// A statement begins: nothing was judged yet.
pub(super) fn forget_concern() {
    CONCERN.with_borrow_mut(|concern| {
        if concern.is_some() {
            *concern = None;
        }
    });
}

/// What is known of an attempt that is being refused.
pub(super) fn attempt() -> Option<PlanDescription> {
    let (session, governance, waived) = CONCERN.with_borrow(Clone::clone)?;
    let mut collected = REWRITING
        .take()
        .map(|rewriting| rewriting.collected)
        .unwrap_or_default();
    let name = name_of(governance.relid);
    collected.policies(&session, &name, &governance, waived, |_| true);
    if collected.relations.iter().all(|touched| touched.relation != name) {
        collected.relations.push(Touched {
            relation: name,
            access: "refused".to_owned(),
            columns: Vec::new(),
            written: Vec::new(),
        });
    }
    Some(collected.describe(&session, None))
}

/// What is known of an attempt to name something hidden.
pub(super) fn attempt_at(session: &Session, tables: &[Oid], columns: &[(Oid, Vec<i16>)]) -> PlanDescription {
    let mut collected = Collected::default();
    for (relid, hidden) in tables
        .iter()
        .map(|table| (*table, None))
        .chain(columns.iter().map(|(relid, hidden)| (*relid, Some(hidden))))
    {
        let governance = session.governance(relid);
        let name = name_of(relid);
        collected.policies(session, &name, &governance, false, |effect| match hidden {
            None => true,
            Some(_) => matches!(
                effect,
                Effect::ColumnDenied | Effect::ColumnsAllowed | Effect::ColumnsWithheld
            ),
        });
        collected.relations.push(Touched {
            relation: name,
            access: "named".to_owned(),
            columns: hidden.map_or_else(Vec::new, |hidden| {
                hidden
                    .iter()
                    .filter_map(|attno| column_name(&governance, *attno))
                    .collect()
            }),
            written: Vec::new(),
        });
    }
    collected.describe(session, None)
}

/// What a utility statement does to a relation without a plan.
pub(super) fn direct(
    session: &Session,
    governance: &Governance,
    access: &str,
    columns: Vec<String>,
    written: Vec<String>,
) -> (PlanDescription, Wanted) {
    let mut collected = Collected::default();
    let name = name_of(governance.relid);
    collected.policies(session, &name, governance, false, |effect| {
        !matches!(
            effect,
            Effect::ColumnMasked | Effect::RowsFiltered | Effect::RowsPermitted
        )
    });
    collected.relations.push(Touched {
        relation: name,
        access: access.to_owned(),
        columns,
        written,
    });
    let wanted = collected.wanted(session);
    (collected.describe(session, None), wanted)
}

/// The rewriting of a statement begins.
///
pub(crate) fn begin(session: &Session) {
    // Should it fail, it is too late to look up what the session is.
    who::session();
    REWRITING.set(Some(Rewriting {
        session: session.clone(),
        nest_level: leaf::GetCurrentTransactionNestLevel(),
        views: InViews::default(),
        collected: Collected::default(),
        recognised: Recognised::Unknown,
    }));
}

/// It is known how the statement will be rewritten; `unlike_others` says that what was told of another one cannot hold for it.
///
/// # Safety
/// `query` is not rewritten yet.
pub(crate) unsafe fn look(session: &Session, query: *mut Query, unlike_others: bool) {
    let recognised = if unlike_others {
        Recognised::Unknown
    } else {
        recurring::recognise(session, query)
    };
    let views = match &recognised {
        Recognised::Told(_) => InViews::default(),
        _ => InViews::of(query),
    };
    REWRITING.with_borrow_mut(|rewriting| {
        if let Some(rewriting) = rewriting {
            rewriting.recognised = recognised;
            rewriting.views = views;
        }
    });
}

/// Whether a governed statement is being rewritten or planned.
pub(super) fn is_preparing() -> bool {
    PLANNING.with_borrow(|planning| !planning.is_empty()) || REWRITING.with_borrow(Option::is_some)
}

/// A statement that came to nothing: it failed while it was rewritten or planned.
pub(super) struct Failed {
    text: String,
    /// The values of its parameters, where these are recorded.
    pub(super) parameters: Option<Value>,
}

impl Failed {
    /// What it was about.
    pub(super) fn carried(&self) -> Option<Carried<'_>> {
        Carried::parse(self.text.as_bytes())
    }
}

/// The statements that were rewritten or planned when an error ended everything at this level of subtransactions and deeper.
/// Looks no catalog up.
pub(super) fn failed(nest_level: i32) -> Vec<Failed> {
    let mut failed = Vec::new();
    PLANNING.with_borrow_mut(|planning| {
        while let Some(last) = planning.pop_if(|planning| planning.nest_level >= nest_level) {
            failed.push(Failed {
                text: last.text,
                parameters: last.parameters,
            });
        }
    });
    // The statement around the others is the first that counts.
    failed.reverse();
    let rewriting = REWRITING
        .with_borrow_mut(|rewriting| rewriting.take_if(|rewriting| rewriting.nest_level >= nest_level))
        .filter(Rewriting::is_concerned);
    if let Some(Rewriting {
        session,
        collected,
        recognised,
        ..
    }) = rewriting
    {
        let told = match recognised {
            Recognised::Told(told) => Some(told),
            _ => collected.tell(&session, || None).map(|(told, _)| told),
        };
        failed.extend(told.map(|told| Failed {
            text: told.text(),
            parameters: None,
        }));
    }
    failed
}

/// The rewriting has come to a governed relation that exists.
///
/// # Safety
/// Entry `index` of `query` is not rewritten yet.
pub(crate) unsafe fn relation(
    session: &Session,
    query: *mut Query,
    index: usize,
    governance: &Governance,
    waived: bool,
) {
    let mut taken = REWRITING.take();
    if let Some(Rewriting {
        collected,
        views,
        recognised: Recognised::Candidate(_) | Recognised::Unknown,
        ..
    }) = &mut taken
    {
        let rte = nodes::rte(query, index);
        let target = index == (*query).resultRelation as usize;
        let used = Used::of(query, rte, governance, views);
        let inserts_only = target && (*query).commandType == CmdType::CMD_INSERT && (*query).onConflict.is_null();
        let name = name_of(governance.relid);
        let took_effect = |effect: Effect, policy: &Definition, attno: Option<i16>| match effect {
            Effect::ColumnMasked => attno.is_none_or(|attno| used.reads(attno)),
            Effect::RowsFiltered | Effect::RowsPermitted if inserts_only => {
                !matches!(policy, Definition::RowFilter { check: Check::None, .. })
            }
            _ => true,
        };
        collected.applied(session, &name, governance, waived, &took_effect);
        for child in &governance.exceptions {
            let child_name = name_of(child.relid);
            // A child's columns have numbers of their own; what is used is known by name.
            let by_name = |effect: Effect, policy: &Definition, attno: Option<i16>| {
                let own = attno
                    .and_then(|attno| column_name(child, attno))
                    .and_then(|column| used_number(governance, &column));
                match (effect, attno, own) {
                    (Effect::ColumnMasked, Some(_), None) => false,
                    _ => took_effect(effect, policy, own),
                }
            };
            collected.applied(session, &child_name, child, true, &by_name);
        }
        collected.relations.push(Touched {
            relation: name,
            access: access(query, target).to_owned(),
            columns: used.names(governance, &used.read),
            written: used.names(governance, &used.written),
        });
    }
    REWRITING.set(taken);
}

/// The rewriting has ended. What was collected waits for the plan that is made now, at this place on the stack.
///
/// # Safety
/// `query` has been rewritten; `params` are the parameters that the plan is for.
pub(crate) unsafe fn end(session: &Session, query: *mut Query, place: usize, params: pg_sys::ParamListInfo) {
    let Some(rewriting) = REWRITING.take().filter(Rewriting::is_concerned) else {
        return;
    };
    let Some(told) = rewriting.tell(session, query) else {
        return;
    };
    let (level, text) = (told.wanted.level(), told.text());
    let parameters = if level != Level::Off && settings::PARAMETERS.get() {
        who::parameters(params)
    } else {
        None
    };
    PLANNING.with_borrow_mut(|planning| {
        planning.retain(|other| other.place < place);
        planning.push(Planning {
            place,
            nest_level: leaf::GetCurrentTransactionNestLevel(),
            text,
            parameters,
        });
    });
}

impl Rewriting {
    /// Whether it has come to something governed.
    fn is_concerned(&self) -> bool {
        matches!(self.recognised, Recognised::Told(_)) || !self.collected.relations.is_empty()
    }

    /// What is told of the statement, which has been rewritten.
    unsafe fn tell(self, session: &Session, query: *mut Query) -> Option<Told> {
        if let Recognised::Told(told) = self.recognised {
            return Some(told);
        }
        let (told, description) = self.collected.tell(session, || text_of(query))?;
        if let Recognised::Candidate(candidate) = self.recognised {
            candidate.keep(query, &told, description, || text_of(query));
        }
        Some(told)
    }
}

/// The statement of this place on the stack has been planned: its plan gets the description.
///
/// # Safety
/// `plan` was just made.
pub(crate) unsafe fn planned(plan: *mut PlannedStmt, place: usize) {
    let text = PLANNING.with_borrow_mut(|planning| {
        let found = planning.iter().position(|other| other.place == place)?;
        let text = planning.swap_remove(found).text;
        planning.truncate(found);
        Some(text)
    });
    let Some(text) = text.filter(|text| !text.contains('\0')) else {
        return;
    };
    carried::attach(plan, &text);
}

impl Collected {
    /// Adds the policies with an effect that counts.
    fn policies(
        &mut self,
        session: &Session,
        relation: &str,
        governance: &Governance,
        waived: bool,
        counts: impl Fn(Effect) -> bool,
    ) {
        self.applied(session, relation, governance, waived, &|effect, _, _| counts(effect));
    }

    fn applied(
        &mut self,
        session: &Session,
        relation: &str,
        governance: &Governance,
        waived: bool,
        counts: &dyn Fn(Effect, &Definition, Option<i16>) -> bool,
    ) {
        for applied in governance.effects(waived) {
            let Some(policy) = session.catalog.policies.get(applied.policy) else {
                continue;
            };
            if !counts(applied.effect, &policy.definition, applied.attno) {
                continue;
            }
            self.masked |= applied.effect == Effect::ColumnMasked;
            self.policies.insert(Applied {
                relation: relation.to_owned(),
                policy: policy.name.clone(),
                policy_id: uuid_text(policy.id),
                version: policy.version,
                effect: applied.effect.as_str().to_owned(),
                column: applied.attno.and_then(|attno| column_name(governance, attno)),
                decision: policy.decision_function.map(|_| decision(applied.effect).to_owned()),
            });
        }
    }

    /// What is recorded.
    fn wanted(&self, session: &Session) -> Wanted {
        let (user, roles) = (&session.subject.name, role_names(session));
        let overrides = &session.catalog.audit;
        overrides.wanted(user, &roles, &self.relations, self.policies.iter())
    }

    /// What is told of the statement, and what that is made of. `rewritten` gives the text of what runs.
    fn tell(self, session: &Session, rewritten: impl FnOnce() -> Option<String>) -> Option<(Told, Description)> {
        let (wanted, masked) = (self.wanted(session), self.masked);
        let rewritten = carried::wants_text(wanted).then(rewritten).flatten();
        let rewritten = rewritten.map(|text| literals::shorten(&text, masked));
        let description = Description::Plan(self.describe(session, rewritten));
        let json = serde_json::to_string(&description).ok()?;
        let told = Told { wanted, masked, json };
        Some((told, description))
    }

    fn describe(self, session: &Session, rewritten: Option<String>) -> PlanDescription {
        PlanDescription {
            user_id: session.subject.user.map(uuid_text),
            username: session.subject.name.clone(),
            roles: role_names(session),
            rewritten,
            decisions: session
                .firing
                .decisions
                .iter()
                .map(|decision| decision.to_json())
                .collect(),
            relations: self.relations,
            policies: self.policies.into_iter().collect(),
        }
    }
}

unsafe fn access(query: *mut Query, target: bool) -> &'static str {
    match (*query).commandType {
        _ if !target => "select",
        CmdType::CMD_INSERT => "insert",
        CmdType::CMD_UPDATE => "update",
        CmdType::CMD_DELETE => "delete",
        CmdType::CMD_MERGE => "merge",
        _ => "select",
    }
}

/// What a decision function said about a policy with that effect. One that it kept from firing has no effect, except to
/// restrict without letting anything through.
fn decision(effect: Effect) -> &'static str {
    match effect {
        Effect::RowsWithheld | Effect::ColumnsWithheld => "did not fire",
        _ => "fired",
    }
}

fn used_number(governance: &Governance, name: &str) -> Option<i16> {
    let mut columns = governance.columns.iter();
    columns
        .find(|column| !column.facts.dropped && column.facts.name == name)
        .map(|column| column.facts.attno)
}

fn name_of(relid: Oid) -> String {
    pg::relation_name(relid).map_or_else(
        || relid.to_u32().to_string(),
        |(schema, name)| pgrx::spi::quote_qualified_identifier(schema, name),
    )
}

fn role_names(session: &Session) -> Vec<String> {
    let roles = session.subject.roles.iter();
    let mut names: Vec<String> = roles
        .filter_map(|id| session.catalog.roles.name(*id).map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// An id in the usual form of a UUID.
fn uuid_text(id: u128) -> String {
    let hex = format!("{id:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

/// The text of what runs. The audit must not make a statement fail that would run otherwise: what cannot be printed is left
/// out.
unsafe fn text_of(query: *mut Query) -> Option<String> {
    // SAFETY: the query is valid; only a copy is changed.
    PgTryBuilder::new(AssertUnwindSafe(|| Some(unsafe { display::text(query) })))
        .catch_when(ERRCODE_QUERY_CANCELED, |error| error.rethrow())
        .catch_others(|_| None)
        .execute()
}
