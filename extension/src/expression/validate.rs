//! Checking the expressions of a policy before it is saved, against every relation it is about.

use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use policy::decide::Relation;
use policy::model::{Check, Definition, Policy, Targets};

use super::Kind;
use super::compile::{self, Source};
use super::session::{self, Warning};
use crate::catalog::Catalog;
use crate::pg::relation;

/// What is wrong with an expression.
pub(crate) struct Diagnostic {
    /// SQLSTATE.
    pub(crate) code: PgSqlErrorCode,
    /// PostgreSQL's message, or ours in its style.
    pub(crate) message: String,
    /// PostgreSQL's hint.
    pub(crate) hint: Option<String>,
    /// Character position in the expression, from 1.
    pub(crate) position: Option<usize>,
}

/// A diagnostic with the place it belongs to.
pub(crate) struct Finding {
    /// Path of the expression in the policy's definition, such as `definition.filter_expression`.
    pub(crate) path: &'static str,
    /// Schema and name of the relation the expression does not suit.
    pub(crate) relation: (String, String),
    /// What is wrong.
    pub(crate) diagnostic: Diagnostic,
}

/// Checks one expression against one relation. The session is as before, whatever PostgreSQL objected to.
pub(crate) fn expression(catalog: &Catalog, source: &Source) -> Option<Diagnostic> {
    // SAFETY: the subtransaction is ended on both ways out, and context and resource owner are put back as PL/pgSQL's
    // exception blocks do.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = PgTryBuilder::new(std::panic::AssertUnwindSafe(|| {
            match compile::compiled(catalog, source) {
                Ok(_) => Ok(()),
                Err(refusal) => Err(Diagnostic {
                    code: refusal.code,
                    message: refusal.message,
                    hint: None,
                    position: refusal.offset.map(|offset| source.text[..offset].chars().count() + 1),
                }),
            }
        }))
        .catch_when(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, |error| error.rethrow())
        .catch_others(|error| {
            let report = match error {
                CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
                CaughtError::RustPanic { ereport, .. } => ereport,
            };
            Err(Diagnostic {
                code: report.sql_error_code(),
                message: report.message().to_owned(),
                hint: report.hint().map(str::to_owned),
                position: usize::try_from(compile::last_error_position())
                    .ok()
                    .filter(|position| *position > 0),
            })
        })
        .execute();
        match result {
            Ok(()) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result.err()
    }
}

/// Checks all expressions of a policy against each existing relation that it is about; stops at the first finding.
/// `owner` is the role whose rights count in subqueries.
pub(crate) fn policy(catalog: &Catalog, policy: &Policy, owner: Oid) -> Option<Finding> {
    each_expression(policy, owner, |path, source, (schema, name)| {
        expression(catalog, source).map(|diagnostic| Finding {
            path,
            relation: (schema.to_owned(), name.to_owned()),
            diagnostic,
        })
    })
}

/// The warnings about the expressions of a policy that has been checked, with the paths of the expressions.
pub(crate) fn warnings(catalog: &Catalog, policy: &Policy, owner: Oid) -> Vec<(&'static str, Warning)> {
    let mut found = Vec::new();
    each_expression(policy, owner, |path, source, _| {
        if let Ok(compiled) = compile::compiled(catalog, source) {
            for warning in session::warnings(&compiled) {
                let entry = (path, warning);
                if !found.contains(&entry) {
                    found.push(entry);
                }
            }
        }
        None::<()>
    });
    found
}

/// Visits each expression of a policy with each existing relation and column that it is about, until the visitor returns
/// something. It is given the expression's path, and schema and name of the relation.
fn each_expression<R>(
    policy: &Policy,
    owner: Oid,
    mut visit: impl FnMut(&'static str, &Source, (&str, &str)) -> Option<R>,
) -> Option<R> {
    let expressions: &[(&'static str, &str, bool)] = match &policy.definition {
        Definition::RowFilter {
            filter_expression,
            check: Check::Expression(check),
            ..
        } => &[
            ("definition.filter_expression", filter_expression, false),
            ("definition.check_expression", check, false),
        ],
        Definition::RowFilter { filter_expression, .. } => {
            &[("definition.filter_expression", filter_expression, false)]
        }
        Definition::ColumnMask { mask_expression, .. } => &[("definition.mask_expression", mask_expression, true)],
        Definition::None | Definition::Invalid(_) => &[],
    };
    if expressions.is_empty() {
        return None;
    }
    for (relid, schema, name) in relation::all_targets() {
        let target = Relation::named(&schema, &name);
        if !target.is_governed_by(policy) {
            continue;
        }
        for (path, text, mask) in expressions {
            let kinds: Vec<Kind> = if *mask {
                masked_columns(policy, relid, &schema, &name)
                    .into_iter()
                    .map(Kind::Mask)
                    .collect()
            } else {
                vec![Kind::Filter]
            };
            for kind in kinds {
                let source = Source {
                    relid,
                    text,
                    kind,
                    owner,
                };
                if let Some(result) = visit(path, &source, (&schema, &name)) {
                    return Some(result);
                }
            }
        }
    }
    None
}

/// The columns of a relation that a policy's targets name.
pub(crate) fn masked_columns(policy: &Policy, relid: Oid, schema: &str, name: &str) -> Vec<i16> {
    let Targets::Valid(targets) = &policy.targets else {
        return Vec::new();
    };
    relation::columns(relid)
        .into_iter()
        .filter(|column| !column.dropped)
        .filter(|column| {
            targets
                .iter()
                .filter(|target| target.matches_table(schema, name))
                .any(|target| {
                    target
                        .columns
                        .iter()
                        .flatten()
                        .any(|pattern| pattern.matches(&column.name))
                })
        })
        .map(|column| column.attno)
        .collect()
}
