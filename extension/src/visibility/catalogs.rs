//! The system catalogs that are filtered, and the conditions on their rows.
//!
//! A catalog that is not listed names no relation and no column. Shared catalogs name none either, pg_shdepend excepted,
//! which has OIDs only.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Node, Oid};

use crate::catalog::Session;
use crate::errors;
use crate::pg::{list, nodes};

/// What a catalog's rows give away.
pub(super) enum Reach {
    /// That something exists: of interest when something can be hidden.
    Names,
    /// Values and numbers of rows: of interest when anything is restricted.
    Values,
}

/// Where a rule finds an argument.
pub(super) enum Arg {
    /// In the row's column of that number, with this type.
    Column(u32, Oid),
    /// The same for every row: the catalog that the row's object is in.
    Class(Oid),
    /// No part of the object.
    Whole,
}

/// A function of the schema `betweenrows` and the arguments to call it with for each row.
pub(super) struct Rule {
    function: &'static CStr,
    args: &'static [Arg],
}

/// A filtered catalog; a row is seen when all rules say so.
pub(super) struct Catalog {
    relid: Oid,
    pub(super) reach: Reach,
    pub(super) rules: &'static [Rule],
}

/// The catalog with this OID, if it is filtered.
pub(super) fn find(relid: Oid) -> Option<&'static Catalog> {
    CATALOGS.iter().find(|catalog| catalog.relid == relid)
}

const fn oid(attno: u32) -> Arg {
    Arg::Column(attno, pg_sys::OIDOID)
}

const fn number(attno: u32) -> Arg {
    Arg::Column(attno, pg_sys::INT2OID)
}

const fn part(attno: u32) -> Arg {
    Arg::Column(attno, pg_sys::INT4OID)
}

const fn numbers(attno: u32) -> Arg {
    Arg::Column(attno, pg_sys::INT2ARRAYOID)
}

const fn vector(attno: u32) -> Arg {
    Arg::Column(attno, pg_sys::INT2VECTOROID)
}

const fn rule(function: &'static CStr, args: &'static [Arg]) -> Rule {
    Rule { function, args }
}

const fn names(relid: Oid, rules: &'static [Rule]) -> Catalog {
    Catalog {
        relid,
        reach: Reach::Names,
        rules,
    }
}

const fn values(relid: Oid, rules: &'static [Rule]) -> Catalog {
    Catalog {
        relid,
        reach: Reach::Values,
        rules,
    }
}

const RELATION: &CStr = c"relation_visible";
const COLUMN: &CStr = c"column_visible";
const COLUMNS: &CStr = c"columns_visible";
const TYPE: &CStr = c"type_visible";
const OBJECT: &CStr = c"object_visible";
const STATISTICS: &CStr = c"statistics_visible";
const EXTENDED_STATISTICS: &CStr = c"extended_statistics_visible";

use pg_sys::*;

static CATALOGS: &[Catalog] = &[
    names(RelationRelationId, &[rule(RELATION, &[oid(Anum_pg_class_oid)])]),
    names(
        AttributeRelationId,
        &[rule(
            COLUMN,
            &[oid(Anum_pg_attribute_attrelid), number(Anum_pg_attribute_attnum)],
        )],
    ),
    names(
        AttrDefaultRelationId,
        &[
            rule(COLUMN, &[oid(Anum_pg_attrdef_adrelid), number(Anum_pg_attrdef_adnum)]),
            // The expression may use other columns.
            rule(
                OBJECT,
                &[Arg::Class(AttrDefaultRelationId), oid(Anum_pg_attrdef_oid), Arg::Whole],
            ),
        ],
    ),
    // A foreign key is about two tables, and its name often names the other one.
    names(
        ConstraintRelationId,
        &[
            rule(RELATION, &[oid(Anum_pg_constraint_conrelid)]),
            rule(RELATION, &[oid(Anum_pg_constraint_confrelid)]),
            rule(RELATION, &[oid(Anum_pg_constraint_conindid)]),
            rule(
                COLUMNS,
                &[oid(Anum_pg_constraint_conrelid), numbers(Anum_pg_constraint_conkey)],
            ),
            rule(
                COLUMNS,
                &[oid(Anum_pg_constraint_confrelid), numbers(Anum_pg_constraint_confkey)],
            ),
        ],
    ),
    names(IndexRelationId, &[rule(RELATION, &[oid(Anum_pg_index_indexrelid)])]),
    // A table's row type has the table's name, and an array type has its element type's.
    names(
        TypeRelationId,
        &[
            rule(RELATION, &[oid(Anum_pg_type_typrelid)]),
            rule(TYPE, &[oid(Anum_pg_type_typelem)]),
        ],
    ),
    names(
        ProcedureRelationId,
        &[rule(
            OBJECT,
            &[Arg::Class(ProcedureRelationId), oid(Anum_pg_proc_oid), Arg::Whole],
        )],
    ),
    names(
        CastRelationId,
        &[
            rule(TYPE, &[oid(Anum_pg_cast_castsource)]),
            rule(TYPE, &[oid(Anum_pg_cast_casttarget)]),
        ],
    ),
    names(
        InheritsRelationId,
        &[
            rule(RELATION, &[oid(Anum_pg_inherits_inhrelid)]),
            rule(RELATION, &[oid(Anum_pg_inherits_inhparent)]),
        ],
    ),
    names(
        PartitionedRelationId,
        &[rule(
            COLUMNS,
            &[
                oid(Anum_pg_partitioned_table_partrelid),
                vector(Anum_pg_partitioned_table_partattrs),
            ],
        )],
    ),
    names(
        TriggerRelationId,
        &[
            rule(RELATION, &[oid(Anum_pg_trigger_tgrelid)]),
            rule(RELATION, &[oid(Anum_pg_trigger_tgconstrrelid)]),
            rule(
                OBJECT,
                &[Arg::Class(TriggerRelationId), oid(Anum_pg_trigger_oid), Arg::Whole],
            ),
        ],
    ),
    // Rules hold the definitions of views: one that names what is hidden is not shown, its view still is. A function is
    // hidden with the tables in its signature or its parsed body.
    names(
        RewriteRelationId,
        &[
            rule(RELATION, &[oid(Anum_pg_rewrite_ev_class)]),
            rule(
                OBJECT,
                &[Arg::Class(RewriteRelationId), oid(Anum_pg_rewrite_oid), Arg::Whole],
            ),
        ],
    ),
    names(
        PolicyRelationId,
        &[
            rule(RELATION, &[oid(Anum_pg_policy_polrelid)]),
            rule(
                OBJECT,
                &[Arg::Class(PolicyRelationId), oid(Anum_pg_policy_oid), Arg::Whole],
            ),
        ],
    ),
    names(
        StatisticExtRelationId,
        &[
            rule(
                COLUMNS,
                &[
                    oid(Anum_pg_statistic_ext_stxrelid),
                    vector(Anum_pg_statistic_ext_stxkeys),
                ],
            ),
            rule(
                OBJECT,
                &[
                    Arg::Class(StatisticExtRelationId),
                    oid(Anum_pg_statistic_ext_oid),
                    Arg::Whole,
                ],
            ),
        ],
    ),
    names(
        PublicationRelRelationId,
        &[
            rule(RELATION, &[oid(Anum_pg_publication_rel_prrelid)]),
            rule(
                OBJECT,
                &[
                    Arg::Class(PublicationRelRelationId),
                    oid(Anum_pg_publication_rel_oid),
                    Arg::Whole,
                ],
            ),
        ],
    ),
    names(
        SubscriptionRelRelationId,
        &[rule(RELATION, &[oid(Anum_pg_subscription_rel_srrelid)])],
    ),
    names(SequenceRelationId, &[rule(RELATION, &[oid(Anum_pg_sequence_seqrelid)])]),
    names(
        ForeignTableRelationId,
        &[rule(RELATION, &[oid(Anum_pg_foreign_table_ftrelid)])],
    ),
    names(
        DescriptionRelationId,
        &[rule(
            OBJECT,
            &[
                oid(Anum_pg_description_classoid),
                oid(Anum_pg_description_objoid),
                part(Anum_pg_description_objsubid),
            ],
        )],
    ),
    names(
        SecLabelRelationId,
        &[rule(
            OBJECT,
            &[
                oid(Anum_pg_seclabel_classoid),
                oid(Anum_pg_seclabel_objoid),
                part(Anum_pg_seclabel_objsubid),
            ],
        )],
    ),
    names(
        InitPrivsRelationId,
        &[rule(
            OBJECT,
            &[
                oid(Anum_pg_init_privs_classoid),
                oid(Anum_pg_init_privs_objoid),
                part(Anum_pg_init_privs_objsubid),
            ],
        )],
    ),
    names(
        DependRelationId,
        &[
            rule(
                OBJECT,
                &[
                    oid(Anum_pg_depend_classid),
                    oid(Anum_pg_depend_objid),
                    part(Anum_pg_depend_objsubid),
                ],
            ),
            rule(
                OBJECT,
                &[
                    oid(Anum_pg_depend_refclassid),
                    oid(Anum_pg_depend_refobjid),
                    part(Anum_pg_depend_refobjsubid),
                ],
            ),
        ],
    ),
    // Rows of other databases are judged as if they were of this one: they are OIDs that mean nothing here.
    names(
        SharedDependRelationId,
        &[rule(
            OBJECT,
            &[
                oid(Anum_pg_shdepend_classid),
                oid(Anum_pg_shdepend_objid),
                part(Anum_pg_shdepend_objsubid),
            ],
        )],
    ),
    // Reached through pg_stats, pg_stats_ext and pg_stats_ext_exprs only.
    values(
        StatisticRelationId,
        &[rule(
            STATISTICS,
            &[oid(Anum_pg_statistic_starelid), number(Anum_pg_statistic_staattnum)],
        )],
    ),
    values(
        StatisticExtDataRelationId,
        &[rule(EXTENDED_STATISTICS, &[oid(Anum_pg_statistic_ext_data_stxoid)])],
    ),
];

impl Rule {
    /// The condition on the row of entry `varno`.
    ///
    /// # Safety
    /// As for [`super::quals`].
    pub(super) unsafe fn qual(&self, session: &Session, relid: Oid, varno: i32) -> *mut Node {
        let mut args = std::ptr::null_mut();
        let mut types = Vec::new();
        for arg in self.args {
            let (node, type_oid) = arg.node(relid, varno);
            args = list::push(args, node);
            types.push(type_oid);
        }
        // An installation without its functions: nothing can be shown.
        nodes::call(session.catalog.namespace, self.function, args, &types)
            .unwrap_or_else(|| errors::catalog_unreadable())
    }
}

impl Arg {
    /// The argument's expression and its type.
    unsafe fn node(&self, relid: Oid, varno: i32) -> (*mut Node, Oid) {
        let constant = |type_oid, length, value| {
            let node = pg_sys::makeConst(type_oid, -1, Oid::INVALID, length, value, false, true);
            (node.cast(), type_oid)
        };
        match *self {
            Arg::Class(class) => constant(OIDOID, 4, Datum::from(class)),
            Arg::Whole => constant(INT4OID, 4, Datum::from(0)),
            Arg::Column(attno, type_oid) => {
                debug_assert_eq!(type_oid, pg_sys::get_atttype(relid, attno as i16));
                let var: *mut Node = nodes::var(varno, attno as i16, type_oid, -1, Oid::INVALID).cast();
                if type_oid != INT2VECTOROID {
                    return (var, type_oid);
                }
                // Both are arrays of smallint.
                let relabeled = pg_sys::makeRelabelType(
                    var.cast(),
                    INT2ARRAYOID,
                    -1,
                    Oid::INVALID,
                    CoercionForm::COERCE_IMPLICIT_CAST,
                );
                (relabeled.cast(), INT2ARRAYOID)
            }
        }
    }
}
