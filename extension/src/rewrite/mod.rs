//! The security rewriting of a statement, before it is planned.
//!
//! Invariant: when [`secure`] returns, no expression that the subject wrote can reach a row that the filters exclude or a
//! value that a mask replaces, at any level of the query, and every governed relation in it carries the proof that the
//! executor guard asks for. It relies on nothing that the naming layer did.

mod delay;
pub(crate) mod inline;
pub(crate) mod missing;
pub(crate) mod naming;
mod read;
pub(crate) mod safety;
mod trusted;
mod whole_row;
mod write;

use std::ffi::c_char;
use std::rc::Rc;

use pgrx::pg_sys::{self, Node, NodeTag, Oid, ParamListInfo, Query, RTEKind, RangeTblEntry};
use policy::access::Standing;
use policy::model::{Check, Definition};

use self::trusted::Mark;
use crate::audit;
use crate::catalog::governance::{Filters, Governance, Reading, State};
use crate::catalog::{self, Session, known};
use crate::errors;
use crate::expression::{Kind, compile, instantiate, ready};
use crate::gate;
use crate::guard::{attached, frames, integrity};
use crate::pg::walk::{self, Walk};
use crate::pg::{compat, leaf, list, nodes, relation};

/// The rewriting of one statement for one subject.
pub(crate) struct Rewriter {
    session: Session,
    /// The session as the guard knows it, to which no statement is known.
    guarded: Session,
    /// Whether filters have to be security barriers.
    barrier: bool,
    /// The count of changes that all of this was decided at, 0 when it is not known.
    changes: u64,
}

/// What [`secure`] found.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Outcome {
    /// The statement reads or writes something governed.
    pub(crate) concerned: bool,
    /// What became of it was decided for this statement alone.
    pub(crate) depends_on_statement: bool,
}

/// Rewrites a statement for whoever asks.
///
/// # Safety
/// `query` is a rewritten query that may be modified, `query_string` is the text that it comes from, `params` are the
/// parameters that the plan is for.
pub(crate) unsafe fn secure(query: *mut Query, query_string: *const c_char, params: ParamListInfo) -> Outcome {
    if !catalog::epoch::is_installed() {
        return Outcome::default();
    }
    let Some(session) = catalog::current() else {
        return Outcome::default();
    };
    if !touches(query, |relid| !session.is_open(relid)) {
        return Outcome::default();
    }
    attached::note(&session, query);
    let outcome = Outcome {
        concerned: true,
        depends_on_statement: gate::concerns(&session, query),
    };
    if frames::in_trusted_function() {
        refuse_shut_out(&session, query);
        let rewriter = Rewriter::new(session, query, true);
        if rewriter.is_own_statement(query) {
            rewriter.trusted(query, Mark::Nothing);
        } else {
            rewriter.query(query);
        }
        return outcome;
    }
    if integrity::is_referential(query, query_string) {
        instantiate::mark_proven(query, session.proof());
        return Outcome::default();
    }
    audit::collect::begin(&session);
    let barrier = touches(query, |relid| !session.is_unrestricted(relid))
        && (crate::settings::BARRIER.get() == crate::settings::Barrier::Always
            || !safety::is_transparent(query, params));
    audit::collect::look(&session, query, barrier || outcome.depends_on_statement);
    let rewriter = Rewriter::new(session, query, barrier);
    rewriter.query(query);
    (*query).hasRowSecurity = true;
    audit::collect::end(&rewriter.session, query, frames::depth(), params);
    outcome
}

/// Rewrites a statement so that it can be shown: the filters stand in WHERE, where a deparser prints them.
///
/// # Safety
/// As for [`secure`].
pub(crate) unsafe fn secure_for_display(session: Session, query: *mut Query) {
    if touches(query, |relid| !session.is_unrestricted(relid)) {
        Rewriter::new(session, query, false).query(query);
    }
}

/// Refuses a statement that reads or writes any table, for a subject that may use none: what is trusted is so for others.
unsafe fn refuse_shut_out(session: &Session, query: *mut Query) {
    if session.subject.standing == Standing::Admitted {
        return;
    }
    let is_shut_out = |rte: *mut RangeTblEntry| {
        let governance = session.governance((*rte).relid);
        let is_shut_out = (*rte).rtekind == RTEKind::RTE_RELATION && governance.state == State::ShutOut;
        if is_shut_out {
            audit::collect::consider(session, &governance, false);
        }
        is_shut_out
    };
    let concerns = |query: *mut Query| list::iter::<RangeTblEntry>((*query).rtable).any(is_shut_out);
    if walk::any_query(query, &mut |query| concerns(query)) {
        errors::shut_out(session);
    }
}

/// Whether the statement contains such a relation, at any level.
///
/// # Safety
/// `query` is a valid query.
pub(crate) unsafe fn touches(query: *mut Query, such: impl Fn(Oid) -> bool) -> bool {
    let concerns = |query: *mut Query| {
        list::iter::<RangeTblEntry>((*query).rtable).any(|rte| {
            let relid = match (*rte).rtekind {
                RTEKind::RTE_RELATION => Some((*rte).relid),
                RTEKind::RTE_SUBQUERY => compat::view_of_subquery(rte),
                _ => None,
            };
            relid.is_some_and(&such)
        })
    };
    walk::any_query(query, &mut |query| concerns(query))
}

impl Rewriter {
    /// # Safety
    /// `query` is a rewritten query.
    unsafe fn new(session: Session, query: *mut Query, barrier: bool) -> Self {
        Rewriter {
            session: gate::for_query(&session, query),
            guarded: session,
            barrier,
            changes: known::settled().unwrap_or(0),
        }
    }

    /// Rewrites one level after the levels below it.
    ///
    /// # Safety
    /// `query` is a rewritten query that may be modified.
    unsafe fn query(&self, query: *mut Query) {
        pg_sys::check_stack_depth();
        self.refuse_masked_triggers(query);
        if self.barrier {
            self.delay_conditions(query);
        }
        for cte in list::iter::<pg_sys::CommonTableExpr>((*query).cteList) {
            self.query((*cte).ctequery.cast());
        }
        for rte in list::iter::<RangeTblEntry>((*query).rtable) {
            if (*rte).rtekind == RTEKind::RTE_SUBQUERY && !(*rte).subquery.is_null() {
                self.subquery(rte);
            }
        }
        if (*query).hasSubLinks {
            walk::walk_query(query, walk::SUBLINKS_ONLY, &mut |node, _| {
                if nodes::is_a(node, NodeTag::T_Query) {
                    self.query(node.cast());
                    return Walk::Over;
                }
                Walk::Into
            });
        }
        // Entries that are appended while we go are made here and need nothing.
        for index in 1..=list::len((*query).rtable) {
            self.entry(query, index);
        }
    }

    /// Keeps conditions behind the filters where their place alone does not.
    unsafe fn delay_conditions(&self, query: *mut Query) {
        delay::telling_conditions(query);
        if (*query).resultRelation > 0 && (*query).commandType != pg_sys::CmdType::CMD_INSERT {
            let target = nodes::rte(query, (*query).resultRelation as usize);
            if self.session.governance((*target).relid).reaches_foreign() {
                delay::leaky_conditions(query);
            }
        }
    }

    /// Rewrites what a subquery or an expanded view reads; a trusted view is left as it is.
    unsafe fn subquery(&self, rte: *mut RangeTblEntry) {
        if let Some(view) = compat::view_of_subquery(rte)
            && self
                .session
                .catalog
                .trusted
                .contains(&(pg_sys::RelationRelationId, view))
        {
            self.trusted((*rte).subquery, Mark::Proof);
            // The view decides which rows are shown: functions of the statement must not see the others.
            (*rte).security_barrier |= self.barrier;
            return;
        }
        self.query((*rte).subquery);
    }

    /// Treats one entry of the range table.
    unsafe fn entry(&self, query: *mut Query, index: usize) {
        let rte = nodes::rte(query, index);
        let relid = match (*rte).rtekind {
            RTEKind::RTE_RELATION => (*rte).relid,
            RTEKind::RTE_SUBQUERY => match compat::view_of_subquery(rte) {
                Some(view) => view,
                None => return,
            },
            _ => return,
        };
        let governance = self.session.governance(relid);
        let waived = self.is_waived(query, rte);
        audit::collect::consider(&self.session, &governance, waived);
        match governance.state {
            State::Open => {
                let is_relation = (*rte).rtekind == RTEKind::RTE_RELATION;
                // Not so for every statement: the guard asks for a proof, as for everything that the audit tells of.
                if governance.noted || (is_relation && self.guarded.governance(relid).state != State::Open) {
                    if !compat::is_old_entry(rte) && !self.is_excluded(query, index) {
                        audit::collect::relation(&self.session, query, index, &governance, waived);
                    }
                    if is_relation {
                        self.prove(rte);
                    }
                }
                return self.filter_catalog(query, index, relid);
            }
            State::Reserved if waived => {
                self.prove(rte);
                return self.filter_catalog(query, index, relid);
            }
            State::Reserved => {
                compat::refuse_unless_permitted(query);
                errors::reserved_relation()
            }
            State::ShutOut => errors::shut_out(&self.session),
            State::Broken => errors::policy_unusable(),
            State::Governed => {}
        }
        if !governance.exists(waived) {
            errors::denied();
        }
        if !compat::is_old_entry(rte) && !self.is_excluded(query, index) {
            audit::collect::relation(&self.session, query, index, &governance, waived);
        }
        if (*rte).rtekind == RTEKind::RTE_SUBQUERY {
            if !governance.is_unrestricted(waived) {
                self.wrap_view(query, index, &governance, waived);
            }
            return;
        }
        self.prove(rte);
        if governance.is_unrestricted(waived) || compat::is_old_entry(rte) {
            return;
        }
        if index == (*query).resultRelation as usize {
            self.target(query, index, &governance, waived);
        } else if relation::is_view(relid) {
            // The entry that an updatable view leaves behind when it is replaced by its base table.
            errors::unsupported(
                "cannot modify a view that policies restrict",
                "Modify the table that the view selects from.",
            );
        } else if !self.is_excluded(query, index) {
            self.wrap(query, index, &governance, waived);
        }
    }

    unsafe fn is_excluded(&self, query: *mut Query, index: usize) -> bool {
        !(*query).onConflict.is_null() && (*(*query).onConflict).exclRelIndex as usize == index
    }

    /// Whether being hidden by default does not count: the relation is read with the rights of a role that is not hidden
    /// from it.
    unsafe fn is_waived(&self, query: *mut Query, rte: *mut RangeTblEntry) -> bool {
        let reader = if (*rte).rtekind == RTEKind::RTE_RELATION {
            compat::permissions(query, rte).map_or(Oid::INVALID, |permissions| permissions.check_as_user)
        } else {
            compat::reader_of_view(query, rte)
        };
        is_waived_for(&self.session, reader, (*rte).relid)
    }

    /// Puts the proof on a relation's entry; setrefs and inheritance expansion keep it.
    unsafe fn prove(&self, rte: *mut RangeTblEntry) {
        (*rte).enrname = pg_sys::pstrdup(self.session.proof().as_ptr());
    }

    /// The expression that a column of the relation stands for, with Vars of `varno`.
    unsafe fn column(&self, governance: &Governance, attno: i16, varno: i32, waived: bool) -> *mut Node {
        let facts = &governance.columns[attno as usize - 1].facts;
        let own = self.reading(governance, governance.reading(attno, waived), attno, varno);
        let mut expr = own;
        for child in &governance.exceptions {
            let Some(column) = child
                .columns
                .iter()
                .find(|c| !c.facts.dropped && c.facts.name == facts.name)
            else {
                continue;
            };
            let reading = column.reading(true);
            if reading == governance.reading(attno, waived) || reading == Reading::Raw {
                continue;
            }
            let case = nodes::make::<pg_sys::CaseExpr>(NodeTag::T_CaseExpr);
            let when = nodes::make::<pg_sys::CaseWhen>(NodeTag::T_CaseWhen);
            (*when).expr = is_relation(varno, child.relid, true).cast();
            (*when).result = self.reading(governance, reading, attno, varno).cast();
            (*when).location = -1;
            (*case).casetype = facts.type_oid;
            (*case).casecollid = facts.collation;
            (*case).args = list::of(when);
            (*case).defresult = expr.cast();
            (*case).location = -1;
            expr = case.cast();
        }
        expr
    }

    unsafe fn reading(&self, governance: &Governance, reading: Reading, attno: i16, varno: i32) -> *mut Node {
        let facts = &governance.columns[attno as usize - 1].facts;
        match reading {
            _ if facts.dropped => nodes::null(pg_sys::INT4OID, -1, Oid::INVALID),
            Reading::Raw => nodes::var(varno, attno, facts.type_oid, facts.typmod, facts.collation).cast(),
            Reading::Mask(policy) => self.expression(governance.relid, policy, Kind::Mask(attno), varno),
            Reading::Blank | Reading::Hidden => nodes::null(facts.type_oid, facts.typmod, facts.collation),
        }
    }

    /// The condition that visible rows fulfil, NULL when all are visible.
    unsafe fn filter(&self, governance: &Governance, varno: i32) -> *mut Node {
        self.conditions(governance, varno, Kind::Filter)
    }

    /// The condition that new rows fulfil, NULL when there is none.
    unsafe fn check(&self, governance: &Governance, varno: i32) -> *mut Node {
        self.conditions(governance, varno, Kind::Check)
    }

    unsafe fn conditions(&self, governance: &Governance, varno: i32, kind: Kind) -> *mut Node {
        let mut quals = self.filter_quals(governance.relid, &governance.filters, varno, kind);
        for child in &governance.exceptions {
            match child.state {
                State::Open => continue,
                State::Governed => {}
                _ => errors::policy_unusable(),
            }
            let elsewhere = is_relation(varno, child.relid, false);
            if !child.exists(true) {
                quals.push(elsewhere);
            } else if child.filters != governance.filters {
                let own = self.filter_quals(governance.relid, &child.filters, varno, kind);
                if !own.is_empty() {
                    quals.push(nodes::or(&[elsewhere, nodes::and(&own)]));
                }
            }
        }
        nodes::and(&quals)
    }

    unsafe fn filter_quals(&self, relid: Oid, filters: &Filters, varno: i32, kind: Kind) -> Vec<*mut Node> {
        let mut quals: Vec<_> = filters
            .restrictive
            .iter()
            .filter_map(|policy| self.condition(relid, *policy, kind, varno))
            .collect();
        if let Some(permissive) = &filters.permissive {
            let conditions: Vec<_> = permissive
                .iter()
                .map(|policy| self.condition(relid, *policy, kind, varno))
                .collect();
            // One permissive filter that demands nothing of new rows lets all of them in.
            if conditions.iter().all(Option::is_some) {
                let conditions: Vec<_> = conditions.into_iter().flatten().collect();
                quals.push(nodes::or(&conditions));
            }
        }
        quals
    }

    /// One filter policy's condition, `None` when it demands nothing.
    unsafe fn condition(&self, relid: Oid, policy: usize, kind: Kind, varno: i32) -> Option<*mut Node> {
        if let (Kind::Check, Definition::RowFilter { check: Check::None, .. }) =
            (kind, &self.session.catalog.policies[policy].definition)
        {
            return None;
        }
        Some(self.expression(relid, policy, kind, varno))
    }

    /// A policy's expression for this subject.
    unsafe fn expression(&self, relid: Oid, policy: usize, kind: Kind, varno: i32) -> *mut Node {
        let key = ready::Key::Expression {
            digest: self.session.subject.digest,
            relid,
            policy,
            kind,
        };
        let expr = ready::find(&key).unwrap_or_else(|| {
            let changes = known::changes();
            let expr = self.new_expression(relid, policy, kind);
            if !instantiate::has_sublinks(expr) {
                ready::keep(changes, key, expr);
            }
            expr
        });
        if varno != 1 {
            pg_sys::ChangeVarNodes(expr, 1, varno, 0);
        }
        expr
    }

    /// A policy's expression for this subject, with Vars of varno 1.
    unsafe fn new_expression(&self, relid: Oid, policy: usize, kind: Kind) -> *mut Node {
        let policy = &self.session.catalog.policies[policy];
        let text = match (&policy.definition, kind) {
            (
                Definition::RowFilter {
                    check: Check::Expression(text),
                    ..
                },
                Kind::Check,
            ) => text,
            (Definition::RowFilter { filter_expression, .. }, Kind::Filter | Kind::Check) => filter_expression,
            (Definition::ColumnMask { mask_expression, .. }, Kind::Mask(_)) => mask_expression,
            _ => errors::policy_unusable(),
        };
        let Some(owner) = compile::owner_role(policy) else {
            errors::policy_unusable()
        };
        let source = compile::Source {
            relid,
            text,
            kind,
            owner,
        };
        let compiled = compile::compiled_or_closed(&self.session.catalog, &source);
        instantiate::instantiate(&self.session, &compiled)
    }
}

/// Whether being hidden by default does not count for a relation that is read with the rights of `reader` (invalid: the
/// current user): exempt roles are waived, other roles when the relation exists for them and nothing is kept from them that the
/// subject would get, who may have no policies but that default. A role that the subject is a member of gives nothing: the subject
/// can SET ROLE to it and own views and functions as it.
pub(crate) fn is_waived_for(session: &Session, reader: Oid, relid: Oid) -> bool {
    let reader = if reader == Oid::INVALID {
        current_role(session)
    } else {
        reader
    };
    let own = session.subject.role;
    // SAFETY: reads the cache of memberships.
    if reader == own || (own != Oid::INVALID && unsafe { pg_sys::is_member_of_role_nosuper(own, reader) }) {
        return false;
    }
    if crate::identity::is_exempt(&session.catalog, reader) {
        return true;
    }
    let theirs: Rc<Governance> = session.of_role(reader).governance(relid);
    match theirs.state {
        State::Open => true,
        State::Governed => {
            theirs.exists(false)
                && !theirs.hides_by_default()
                && session.governance(relid).keeps_what_is_kept_from(&theirs)
        }
        // What is closed to a role as a whole is not for it to pass on.
        State::Reserved | State::ShutOut | State::Broken => false,
    }
}

/// The role with whose rights the statement runs, or would run when it is only shown for somebody.
fn current_role(session: &Session) -> Oid {
    if catalog::is_assumed() {
        return session.subject.role;
    }
    leaf::GetUserId()
}

/// `tableoid = relid`, or `<>`.
unsafe fn is_relation(varno: i32, relid: Oid, equal: bool) -> *mut Node {
    let tableoid = nodes::var(
        varno,
        pg_sys::TableOidAttributeNumber as i16,
        pg_sys::OIDOID,
        -1,
        Oid::INVALID,
    );
    let constant = pg_sys::makeConst(
        pg_sys::OIDOID,
        -1,
        Oid::INVALID,
        4,
        pg_sys::Datum::from(relid),
        false,
        true,
    );
    // The operators `=` and `<>` on oid: pg_operator.dat 607 and 608.
    let operator = if equal { 607 } else { 608 };
    let expr = pg_sys::make_opclause(
        Oid::from(operator),
        pg_sys::BOOLOID,
        false,
        tableoid.cast(),
        constant.cast(),
        Oid::INVALID,
        Oid::INVALID,
    );
    pg_sys::set_opfuncid(expr.cast());
    expr.cast()
}
