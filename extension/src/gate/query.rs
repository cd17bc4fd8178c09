//! What functions are told about a statement.
//!
//! The same is told of a statement when it was just analysed and when it is about to be planned, with its views expanded:
//! a view that is not expanded yet is looked up.

use std::collections::BTreeMap;

use ::decision::context::{Query as Facts, Table};
use pgrx::pg_sys::{self, Bitmapset, CmdType, FromExpr, JoinExpr, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry};

use crate::pg::{self, compat, list, nodes, relation, walk};

/// Everything about a statement.
///
/// # Safety
/// `query` is an analysed or rewritten query.
pub(crate) unsafe fn facts(query: *mut Query) -> Facts {
    let mut found = Found::default();
    found.add(query);
    let mut tables: Vec<Table> = found
        .columns
        .into_iter()
        .filter_map(|(relid, numbers)| {
            let (schema, name) = pg::relation_name(Oid::from(relid))?;
            let columns = relation::columns(Oid::from(relid))
                .into_iter()
                .filter(|column| !column.dropped && numbers.contains(column.attno))
                .map(|column| column.name)
                .collect();
            Some(Table { schema, name, columns })
        })
        .collect();
    tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    Facts {
        tables,
        statement_type: match (*query).commandType {
            CmdType::CMD_INSERT => "INSERT",
            CmdType::CMD_UPDATE => "UPDATE",
            CmdType::CMD_DELETE => "DELETE",
            CmdType::CMD_MERGE => "MERGE",
            _ => "SELECT",
        },
        ..found.facts
    }
}

/// Columns of a relation by number.
#[derive(Default)]
struct Numbers {
    all: bool,
    some: Vec<i16>,
}

impl Numbers {
    fn contains(&self, attno: i16) -> bool {
        self.all || self.some.contains(&attno)
    }

    /// Adds the members of a set as PostgreSQL's privilege checks keep them: shifted, and with 0 for the whole row.
    unsafe fn add(&mut self, set: *mut Bitmapset) {
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(set, member);
            if member < 0 {
                return;
            }
            match member + pg_sys::FirstLowInvalidHeapAttributeNumber {
                0 => self.all = true,
                attno if attno > 0 => self.some.push(attno as i16),
                _ => {}
            }
        }
    }
}

#[derive(Default)]
struct Found {
    facts: Facts,
    /// By the relation's OID.
    columns: BTreeMap<u32, Numbers>,
}

impl Found {
    unsafe fn add(&mut self, query: *mut Query) {
        pg_sys::check_stack_depth();
        walk::any_query(query, &mut |query| {
            self.add_level(query);
            false
        });
    }

    unsafe fn add_level(&mut self, query: *mut Query) {
        let facts = &mut self.facts;
        facts.has_aggregation |= (*query).hasAggs
            || !(*query).groupClause.is_null()
            || !(*query).groupingSets.is_null()
            || !(*query).havingQual.is_null();
        facts.has_subquery |= (*query).hasSubLinks || !(*query).cteList.is_null();
        let from = (*query).jointree;
        // MERGE has no WHERE, and joins its target, which is no part of the tree.
        let merges = (*query).commandType == CmdType::CMD_MERGE;
        facts.has_where |= !merges && !from.is_null() && !(*from).quals.is_null();
        let mut leaves = Vec::new();
        leaves_of(from.cast(), &mut leaves);
        facts.join_count += leaves.len().saturating_sub(usize::from(!merges));
        for (index, rte) in list::iter::<RangeTblEntry>((*query).rtable).enumerate() {
            match (*rte).rtekind {
                RTEKind::RTE_RELATION => self.add_relation(query, rte),
                RTEKind::RTE_SUBQUERY => match compat::view_of_subquery(rte) {
                    // Up to 15 the columns are noted in an entry of the view's own query.
                    Some(view) => self.add_columns(view, query, rte),
                    // What INSERT inserts is no subquery, nor are the parts of a UNION.
                    None => {
                        self.facts.has_subquery |=
                            leaves.contains(&(index + 1)) && (*query).commandType != CmdType::CMD_INSERT;
                    }
                },
                _ => {}
            }
        }
    }

    unsafe fn add_relation(&mut self, query: *mut Query, rte: *mut RangeTblEntry) {
        let relid = (*rte).relid;
        self.add_columns(relid, query, rte);
        // The entry that an expanded view leaves in its own query is there for its privileges only.
        if relation::is_view(relid) && !compat::is_old_entry(rte) {
            let view = pg_sys::relation_open(relid, pg_sys::AccessShareLock as _);
            let definition = nodes::copy(pg_sys::get_view_query(view));
            pg_sys::relation_close(view, pg_sys::AccessShareLock as _);
            self.add(definition);
        }
    }

    unsafe fn add_columns(&mut self, relid: Oid, query: *mut Query, rte: *mut RangeTblEntry) {
        let numbers = self.columns.entry(relid.to_u32()).or_default();
        if let Some(permissions) = compat::permissions(query, rte) {
            numbers.add(permissions.selected);
            numbers.add(permissions.inserted);
            numbers.add(permissions.updated);
        }
    }
}

/// The range table indexes of what a join tree joins.
unsafe fn leaves_of(node: *mut Node, found: &mut Vec<usize>) {
    if node.is_null() {
        return;
    }
    match nodes::tag(node) {
        NodeTag::T_FromExpr => {
            for item in list::iter::<Node>((*node.cast::<FromExpr>()).fromlist) {
                leaves_of(item, found);
            }
        }
        NodeTag::T_JoinExpr => {
            let join = node.cast::<JoinExpr>();
            leaves_of((*join).larg, found);
            leaves_of((*join).rarg, found);
        }
        NodeTag::T_RangeTblRef => found.push((*node.cast::<pg_sys::RangeTblRef>()).rtindex as usize),
        _ => {}
    }
}
