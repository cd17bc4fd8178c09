//! What the policies make of one relation for one subject, with the facts about the relation that this needs.
//!
//! Invariant: whoever asks for a column gets [`Reading::Raw`] only when the relation could be judged completely.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::rc::Rc;

use pgrx::pg_sys::{self, Oid};
use policy::access::Standing;
use policy::decide::{self, ColumnAccess, Decision, Effect, Relation, Selection, TableAccess};

use super::Session;
use crate::gate;
use crate::pg::{self, relation};

/// How a relation is to be treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// As without the extension.
    Open,
    /// By the decision.
    Governed,
    /// PostgreSQL's statistics and TOAST, and the extension's own tables: not to be read by a subject itself.
    Reserved,
    /// The subject may not use the database.
    ShutOut,
    /// A policy cannot be applied.
    Broken,
}

/// What a subject gets for a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    /// The stored value.
    Raw,
    /// The expression of the policy with this index in the catalog.
    Mask(usize),
    /// NULL, for a column that exists and is computed from masked ones.
    Blank,
    /// Nothing: the column does not exist, or reads NULL where it cannot be left out.
    Hidden,
}

/// A column with what was decided for it.
pub(crate) struct Column {
    /// The stored facts.
    pub(crate) facts: relation::Column,
    access: ColumnAccess,
    /// Computed from columns of which one is masked or hidden.
    derived: bool,
}

/// Row filters, as indices into the catalog's policies.
#[derive(Default, Clone, PartialEq, Eq)]
pub(crate) struct Filters {
    /// All have to hold.
    pub(crate) restrictive: Vec<usize>,
    /// One has to hold, if there is a list.
    pub(crate) permissive: Option<Vec<usize>>,
}

impl Filters {
    /// Whether every row passes.
    pub(crate) fn is_empty(&self) -> bool {
        self.restrictive.is_empty() && self.permissive.is_none()
    }
}

impl Filters {
    /// Whether every row that passes here passes there as well.
    fn are_within(&self, other: &Filters) -> bool {
        let restrictive = other.restrictive.iter().all(|policy| self.restrictive.contains(policy));
        let permissive = other.permissive.as_ref().is_none_or(|theirs| {
            let own = self.permissive.as_ref();
            own.is_some_and(|own| own.iter().all(|policy| theirs.contains(policy)))
        });
        restrictive && permissive
    }
}

/// A policy's effect.
#[derive(Clone, Copy)]
pub(crate) struct Applied {
    /// Index into the catalog's policies.
    pub(crate) policy: usize,
    /// What it does.
    pub(crate) effect: Effect,
    /// The number of the column that it does it to.
    pub(crate) attno: Option<i16>,
}

/// What the policies make of one relation for one subject.
pub(crate) struct Governance {
    /// The relation.
    pub(crate) relid: Oid,
    /// How it is to be treated; the rest counts only for [`State::Governed`].
    pub(crate) state: State,
    /// Whether the table exists.
    pub(crate) table: TableAccess,
    /// Row filters.
    pub(crate) filters: Filters,
    /// All columns by attribute number, dropped ones included.
    pub(crate) columns: Vec<Column>,
    /// Ancestors and descendants, whose definition this depends on too.
    pub(crate) related: Vec<Oid>,
    /// Whether policies are about this relation or one of its descendants though nothing has to be done for it: they allow
    /// everything, or their decision functions keep them from firing. The audit tells of its statements all the same.
    pub(crate) noted: bool,
    /// Whether a decision function that asks for the statement has a say about this relation or one of its descendants.
    pub(crate) asks_query: bool,
    /// Inheritance children for which more or other policies hold than for this relation.
    pub(crate) exceptions: Vec<Rc<Governance>>,
    /// What took effect, for the audit.
    effects: Vec<Applied>,
    /// The same where being hidden by default is waived.
    waived_effects: Vec<Applied>,
    /// Whether expressions of the policies may fail on raw values, when it was asked for.
    pub(crate) fallible: OnceCell<bool>,
}

impl Governance {
    fn plain(relid: Oid, state: State) -> Self {
        Governance {
            relid,
            state,
            table: TableAccess::Visible,
            filters: Filters::default(),
            columns: Vec::new(),
            related: Vec::new(),
            noted: false,
            asks_query: false,
            exceptions: Vec::new(),
            effects: Vec::new(),
            waived_effects: Vec::new(),
            fallible: OnceCell::new(),
        }
    }

    /// Decides about a relation. One that has gone away is open: PostgreSQL says so itself.
    pub(super) fn decide(session: &Session, relid: Oid) -> Self {
        let state = state_without_policies(session, relid);
        if state != State::Open || pg::is_builtin(relid) || is_own(session, relid) {
            return Self::plain(relid, state);
        }
        if session.catalog.is_empty() || !relation::is_target_kind(relid) || relation::is_temporary(relid) {
            return Self::plain(relid, State::Open);
        }
        let Some((schema, name)) = pg::relation_name(relid) else {
            return Self::plain(relid, State::Open);
        };
        if matches!(schema.as_str(), "pg_catalog" | "information_schema") && pg::is_builtin(relid) {
            return Self::plain(relid, State::Open);
        }
        let has_children = relation::has_children(relid);
        let mut related = relation::ancestors(relid);
        let ancestors: Vec<(String, String)> = related.iter().filter_map(|parent| pg::relation_name(*parent)).collect();
        let selected = session.catalog.selected(&schema, &name);
        let mut target = Relation {
            schema: &schema,
            name: &name,
            ancestors: &ancestors,
            columns: &[],
            selection: Selection::of(selected.as_ref()),
        };
        let applicable = session.subject.applicable(&session.catalog, &session.firing);
        // Columns do not matter where no policy is about the relation or its kin: a database has many such tables, and all
        // are asked for when a client lists them.
        let alone = related.is_empty() && !has_children;
        let by_columns = matches!(target.selection, Selection::Columns(_));
        let concerned = applicable.iter().any(|entry| target.is_governed_by(entry.policy));
        let facts = if alone && !by_columns && !concerned {
            Vec::new()
        } else {
            relation::columns(relid)
        };
        let names: Vec<&str> = facts.iter().filter(|c| !c.dropped).map(|c| c.name.as_str()).collect();
        target.columns = &names;
        let asks_query = session.firing.asks_query
            && applicable
                .iter()
                .any(|entry| gate::asks_query(&session.catalog, entry.policy) && target.is_governed_by(entry.policy));
        let decision = decide::decide(session.catalog.access_mode, &applicable, &target);
        let mut governance = Self::from_decision(session, relid, facts, &decision);
        governance.asks_query = asks_query;
        governance.noted = concerned;
        let mut children_open = true;
        if has_children {
            let descendants = relation::descendants(relid);
            let children: Vec<_> = descendants.iter().map(|child| session.governance(*child)).collect();
            governance.asks_query |= children.iter().any(|child| child.asks_query);
            governance.noted |= children.iter().any(|child| child.noted);
            children_open = children.iter().all(|child| child.state == State::Open);
            governance.exceptions = children.into_iter().filter(|child| governance.differs(child)).collect();
            related.extend(descendants);
        }
        governance.related = related;
        // The planner puts children in the place of their parent, with the parent's proof: a parent of governed children
        // needs one even where nothing differs through it (a policy on a column of the child's own).
        if governance.state == State::Governed && governance.is_unrestricted(false) && children_open {
            governance.state = State::Open;
        }
        governance
    }

    fn from_decision(session: &Session, relid: Oid, facts: Vec<relation::Column>, decision: &Decision) -> Self {
        let policy_of = |index: usize| session.subject.policy_index(index);
        let mut accesses = decision.columns.iter().map(|access| match *access {
            ColumnAccess::Visible { mask } => ColumnAccess::Visible {
                mask: mask.map(policy_of),
            },
            ColumnAccess::Denied { by } => ColumnAccess::Denied { by: policy_of(by) },
            ColumnAccess::NotAllowed { mask } => ColumnAccess::NotAllowed {
                mask: mask.map(policy_of),
            },
        });
        let numbers: Vec<i16> = facts.iter().filter(|c| !c.dropped).map(|c| c.attno).collect();
        let effects_of = |decision: &Decision| -> Vec<Applied> {
            let effects = decision.effects().into_iter();
            effects
                .map(|applied| Applied {
                    policy: policy_of(applied.policy),
                    effect: applied.effect,
                    attno: applied.column.and_then(|column| numbers.get(column).copied()),
                })
                .collect()
        };
        let (effects, waived_effects) = (effects_of(decision), effects_of(&decision.waived()));
        let mut columns: Vec<Column> = facts
            .into_iter()
            .map(|facts| {
                let access = if facts.dropped { None } else { accesses.next() };
                Column {
                    facts,
                    access: access.unwrap_or(ColumnAccess::Visible { mask: None }),
                    derived: false,
                }
            })
            .collect();
        mark_derived(relid, &mut columns);
        let all = |list: &Vec<usize>| list.iter().map(|index| policy_of(*index)).collect::<Vec<_>>();
        Governance {
            relid,
            state: if decision.broken.is_empty() {
                State::Governed
            } else {
                State::Broken
            },
            table: decision.table,
            filters: Filters {
                restrictive: all(&decision.restrictive),
                permissive: decision.permissive.as_ref().map(all),
            },
            columns,
            related: Vec::new(),
            noted: false,
            asks_query: false,
            exceptions: Vec::new(),
            effects,
            waived_effects,
            fallible: OnceCell::new(),
        }
    }

    /// The policies that take effect. `waived` says that the relation is read with an exempt role's rights.
    pub(crate) fn effects(&self, waived: bool) -> &[Applied] {
        if waived { &self.waived_effects } else { &self.effects }
    }

    /// Whether a child needs treatment of its own when it is read through this relation. Being hidden by default is no
    /// reason: what is visible here was allowed here.
    fn differs(&self, child: &Governance) -> bool {
        match child.state {
            // Policies on this relation govern the child too, so an open child adds nothing.
            State::Open => return false,
            State::Governed => {}
            _ => return true,
        }
        matches!(child.table, TableAccess::Denied { .. })
            || self.filters != child.filters
            || self
                .columns
                .iter()
                .filter(|column| !column.facts.dropped)
                .any(|column| {
                    let same = child.columns.iter().find(|other| other.facts.name == column.facts.name);
                    same.is_none_or(|other| other.reading(true) != column.reading(true))
                })
    }

    /// Whether the relation exists for the subject. `waived` says that it is read with an exempt role's rights.
    pub(crate) fn exists(&self, waived: bool) -> bool {
        match self.table {
            TableAccess::Visible => true,
            TableAccess::Denied { .. } => false,
            TableAccess::NotAllowed => waived,
        }
    }

    /// Whether rows come from another server, be it those of a child.
    pub(crate) fn reaches_foreign(&self) -> bool {
        relation::is_foreign(self.relid) || self.related.iter().any(|related| relation::is_foreign(*related))
    }

    /// What the subject gets for the column with this attribute number.
    pub(crate) fn reading(&self, attno: i16, waived: bool) -> Reading {
        match usize::try_from(attno - 1)
            .ok()
            .and_then(|index| self.columns.get(index))
        {
            Some(column) => column.reading(waived),
            None => Reading::Raw,
        }
    }

    /// Whether nothing has to be done for this relation.
    pub(crate) fn is_unrestricted(&self, waived: bool) -> bool {
        self.exists(waived) && self.filters.is_empty() && !self.alters_columns(waived) && self.exceptions.is_empty()
    }

    /// Whether a column is masked, blank or hidden.
    pub(crate) fn alters_columns(&self, waived: bool) -> bool {
        self.columns.iter().any(|column| column.reading(waived) != Reading::Raw)
            || self
                .exceptions
                .iter()
                .any(|child| child.columns.iter().any(|c| c.reading(true) != Reading::Raw))
    }

    /// Whether filters, masks and denies keep all from the subject that they keep from another role, as far as being hidden by
    /// default is waived for the subject.
    pub(crate) fn keeps_what_is_kept_from(&self, other: &Governance) -> bool {
        let columns = self.columns.iter().zip(&other.columns);
        self.filters.are_within(&other.filters)
            && self.columns.len() == other.columns.len()
            && columns.into_iter().all(|(own, theirs)| {
                let (own, theirs) = (own.reading(true), theirs.reading(false));
                theirs == Reading::Raw || own == theirs || own == Reading::Hidden
            })
            && other.exceptions.iter().all(|child| {
                let own = self.exceptions.iter().find(|own| own.relid == child.relid);
                own.is_some_and(|own| own.keeps_what_is_kept_from(child))
            })
    }

    /// Whether a column is hidden by default.
    pub(crate) fn hides_by_default(&self) -> bool {
        self.columns
            .iter()
            .any(|column| matches!(column.access, ColumnAccess::NotAllowed { .. }))
    }

    /// Attribute numbers of the columns that do not exist for the subject.
    pub(crate) fn hidden_columns(&self, waived: bool) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(move |column| column.reading(waived) == Reading::Hidden)
    }
}

impl Column {
    /// What the subject gets for this column.
    pub(crate) fn reading(&self, waived: bool) -> Reading {
        match self.access {
            _ if self.facts.dropped => Reading::Raw,
            ColumnAccess::Denied { .. } => Reading::Hidden,
            ColumnAccess::NotAllowed { .. } if !waived => Reading::Hidden,
            ColumnAccess::Visible { mask: Some(policy) } | ColumnAccess::NotAllowed { mask: Some(policy) } => {
                Reading::Mask(policy)
            }
            _ if self.derived => Reading::Blank,
            _ => Reading::Raw,
        }
    }
}

/// Generated columns repeat what they are computed from: they are no better known than the least known of those.
fn mark_derived(relid: Oid, columns: &mut [Column]) {
    if !columns.iter().any(|column| column.facts.generated) {
        return;
    }
    let secret: HashSet<i16> = columns
        .iter()
        .filter(|column| column.reading(true) != Reading::Raw)
        .map(|column| column.facts.attno)
        .collect();
    let denied: HashSet<i16> = columns
        .iter()
        .filter(|column| matches!(column.access, ColumnAccess::Denied { .. }))
        .map(|column| column.facts.attno)
        .collect();
    if secret.is_empty() {
        return;
    }
    for column in columns
        .iter_mut()
        .filter(|column| column.facts.generated && !column.facts.dropped)
    {
        let sources = relation::generated_from(relid, column.facts.attno);
        if let Some(by) = sources
            .iter()
            .find_map(|attno| denied.contains(attno).then_some(*attno))
        {
            // Which policy it was is not asked of a column that does not exist.
            column.access = ColumnAccess::Denied {
                by: usize::from(by.unsigned_abs()),
            };
        } else {
            column.derived = sources.iter().any(|attno| secret.contains(attno));
        }
    }
}

/// What holds for a relation whatever the policies say.
fn state_without_policies(session: &Session, relid: Oid) -> State {
    if pg::is_builtin(relid) {
        let reserved = [pg_sys::StatisticRelationId, pg_sys::StatisticExtDataRelationId].contains(&relid);
        return if reserved || relation::is_toast(relid) {
            State::Reserved
        } else {
            State::Open
        };
    }
    if relation::is_toast(relid) {
        return State::Reserved;
    }
    let standing = session.subject.standing;
    if is_own(session, relid) {
        // Those who manage and audit need no access to the data.
        return if standing != Standing::Inactive && session.is_auditor() && is_audit_table(relid) {
            State::Open
        } else {
            State::Reserved
        };
    }
    if standing != Standing::Admitted && (relation::is_target_kind(relid) || relation::kind(relid) == b'S') {
        return State::ShutOut;
    }
    State::Open
}

/// Whether a relation is one of the extension's own, which no policy is about.
fn is_own(session: &Session, relid: Oid) -> bool {
    // SAFETY: a syscache lookup.
    unsafe { pg_sys::get_rel_namespace(relid) == session.catalog.namespace }
}

/// The views over the audit.
const AUDIT_VIEWS: [&str; 4] = ["access_by_table", "access_by_user", "policy_effect", "recent_denials"];

/// The tables that auditors read directly.
fn is_audit_table(relid: Oid) -> bool {
    pg::relation_name(relid).is_some_and(|(_, name)| {
        matches!(name.as_str(), "admin_audit" | "policy_versions")
            || name.starts_with("query_audit")
            || AUDIT_VIEWS.contains(&name.as_str())
    })
}
