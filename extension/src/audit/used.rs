//! Which columns a statement uses.
//!
//! PostgreSQL knows it for what the statement names itself. What a view reads it knows from the view's definition, be it that
//! the statement leaves most of the view's columns out: there the statement itself is looked at. Where in doubt a column
//! counts as used.

use std::collections::{BTreeSet, HashMap};

use pgrx::pg_sys::{self, NodeTag, Query, RTEKind, RangeTblEntry, TargetEntry, Var};

use crate::catalog::governance::Governance;
use crate::pg::walk::{self, Walk};
use crate::pg::{compat, list, nodes};

/// The attribute number that stands for all columns.
const WHOLE: i16 = 0;

/// The columns that a statement uses of a relation, by attribute number; [`WHOLE`] stands for the whole row.
pub(super) struct Used {
    /// Those that are read or compared.
    pub(super) read: BTreeSet<i16>,
    /// Those that are given values.
    pub(super) written: BTreeSet<i16>,
}

impl Used {
    /// Those of an entry that is not rewritten yet.
    ///
    /// # Safety
    /// `rte` is an entry of `query`.
    pub(super) unsafe fn of(
        query: *mut Query,
        rte: *mut RangeTblEntry,
        governance: &Governance,
        views: &InViews,
    ) -> Used {
        let mut used = Used {
            read: BTreeSet::new(),
            written: BTreeSet::new(),
        };
        if let Some(permissions) = compat::permissions_of(query, rte) {
            used.read = members(permissions.selected);
            used.written = members(pg_sys::bms_union(permissions.inserted, permissions.updated));
        }
        if let Some(really) = views.0.get(&rte).filter(|really| !really.contains(&WHOLE)) {
            used.read.retain(|attno| really.contains(attno));
        }
        // Columns that were dropped since, and system columns, are none that a policy could be about.
        let known = |attno: &i16| *attno == WHOLE || (*attno > 0 && *attno as usize <= governance.columns.len());
        used.read.retain(known);
        used.written.retain(known);
        used
    }

    /// Whether this column is read.
    pub(super) fn reads(&self, attno: i16) -> bool {
        self.read.contains(&WHOLE) || self.read.contains(&attno)
    }

    /// The names of some of its columns.
    pub(super) fn names(&self, governance: &Governance, columns: &BTreeSet<i16>) -> Vec<String> {
        if columns.contains(&WHOLE) {
            let visible = governance.columns.iter().filter(|column| !column.facts.dropped);
            return visible.map(|column| column.facts.name.clone()).collect();
        }
        columns
            .iter()
            .filter_map(|attno| column_name(governance, *attno))
            .collect()
    }
}

unsafe fn members(set: *mut pg_sys::Bitmapset) -> BTreeSet<i16> {
    let mut found = BTreeSet::new();
    let mut member = -1;
    loop {
        member = pg_sys::bms_next_member(set, member);
        if member < 0 {
            return found;
        }
        found.insert((member + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16);
    }
}

/// The name of a column.
pub(super) fn column_name(governance: &Governance, attno: i16) -> Option<String> {
    let index = usize::try_from(attno).ok()?.checked_sub(1)?;
    governance.columns.get(index).map(|column| column.facts.name.clone())
}

/// What is used of relations, by their entries, in a statement with views.
#[derive(Default)]
pub(super) struct InViews(HashMap<*mut RangeTblEntry, BTreeSet<i16>>);

impl InViews {
    /// # Safety
    /// `query` is valid, with its views expanded.
    pub(super) unsafe fn of(query: *mut Query) -> InViews {
        let mut found = InViews::default();
        let has_view = walk::any_query(query, &mut |query| {
            list::iter::<RangeTblEntry>((*query).rtable).any(|rte| is_view(rte))
        });
        if has_view {
            found.query(query, None);
        }
        found
    }

    /// Goes through a query, of which the level above uses these columns, or maybe all.
    unsafe fn query(&mut self, query: *mut Query, outputs: Option<&BTreeSet<i16>>) {
        pg_sys::check_stack_depth();
        let used = used_by_entry(query, outputs);
        for (index, rte) in list::iter::<RangeTblEntry>((*query).rtable).enumerate() {
            let columns = used.get(&(index as i32 + 1)).cloned().unwrap_or_default();
            match (*rte).rtekind {
                RTEKind::RTE_RELATION => {
                    self.0.insert(rte, columns);
                }
                RTEKind::RTE_SUBQUERY if !(*rte).subquery.is_null() => {
                    let outputs = (!columns.contains(&WHOLE)).then_some(&columns);
                    self.query((*rte).subquery, outputs);
                }
                _ => {}
            }
        }
        for cte in list::iter::<pg_sys::CommonTableExpr>((*query).cteList) {
            self.query((*cte).ctequery.cast(), None);
        }
        if (*query).hasSubLinks {
            walk::walk_query(query, walk::SUBLINKS_ONLY, &mut |node, _| {
                if nodes::is_a(node, NodeTag::T_Query) {
                    self.query(node.cast(), None);
                    return Walk::Over;
                }
                Walk::Into
            });
        }
    }
}

/// Whether an entry stands for a view, or for one that was replaced by its table.
unsafe fn is_view(rte: *mut RangeTblEntry) -> bool {
    match (*rte).rtekind {
        RTEKind::RTE_SUBQUERY => !(*rte).subquery.is_null() && compat::view_of_subquery(rte).is_some(),
        RTEKind::RTE_RELATION => (*rte).relkind as u8 == pg_sys::RELKIND_VIEW,
        _ => false,
    }
}

/// The columns of each entry of a query that it uses, when the level above uses these of its outputs.
unsafe fn used_by_entry(query: *mut Query, outputs: Option<&BTreeSet<i16>>) -> HashMap<i32, BTreeSet<i16>> {
    let mut used: HashMap<i32, BTreeSet<i16>> = HashMap::new();
    let left_out = left_out(query, outputs);
    let flags = pg_sys::QTW_IGNORE_JOINALIASES;
    walk::walk_query(query, flags, &mut |node, level| {
        if left_out.contains(&node.cast()) {
            return Walk::Over;
        }
        if nodes::is_a(node, NodeTag::T_Var) && (*node.cast::<Var>()).varlevelsup == level {
            add(query, node.cast(), &mut used);
        }
        Walk::Into
    });
    used
}

/// The outputs that nobody uses and that are not computed for another reason.
unsafe fn left_out(query: *mut Query, outputs: Option<&BTreeSet<i16>>) -> Vec<*mut TargetEntry> {
    let Some(outputs) = outputs else { return Vec::new() };
    if !(*query).setOperations.is_null()
        || !(*query).distinctClause.is_null()
        || (*query).commandType != pg_sys::CmdType::CMD_SELECT
    {
        return Vec::new();
    }
    let unused = |entry: *mut TargetEntry| {
        !(*entry).resjunk
            && (*entry).ressortgroupref == 0
            && !outputs.contains(&(*entry).resno)
            && !pg_sys::contain_volatile_functions((*entry).expr.cast())
            && !pg_sys::expression_returns_set((*entry).expr.cast())
    };
    list::iter::<TargetEntry>((*query).targetList)
        .filter(|entry| unused(*entry))
        .collect()
}

/// Adds what a column stands for; that of a join are columns of what is joined.
unsafe fn add(query: *mut Query, var: *mut Var, used: &mut HashMap<i32, BTreeSet<i16>>) {
    used.entry((*var).varno).or_default().insert((*var).varattno);
    let rte = nodes::rte(query, (*var).varno as usize);
    if (*rte).rtekind != RTEKind::RTE_JOIN {
        return;
    }
    for (index, joined) in list::iter::<pg_sys::Node>((*rte).joinaliasvars).enumerate() {
        if (*var).varattno == WHOLE || (*var).varattno as usize == index + 1 {
            walk::walk(joined, &mut |node, level| {
                if nodes::is_a(node, NodeTag::T_Var) && (*node.cast::<Var>()).varlevelsup == level {
                    add(query, node.cast(), used);
                }
                Walk::Into
            });
        }
    }
}
