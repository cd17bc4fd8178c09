//! Analysing an expression against a relation, once per policy version and relation.
//!
//! Invariant: an expression can only name the columns of its relation, tables by the rights of the policy's owner, built-in
//! functions and functions of exempt roles. The schemas searched for unqualified names are pg_catalog and the relation's
//! own, and its constants mean the same in every session: no setting of the session's has a say in what an expression is.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_void};

use pgrx::pg_sys::{self, ErrorContextCallback, Node, NodeTag, Oid, ParamRef, ParseState};
use pgrx::prelude::*;
use policy::placeholder;

use super::{Kind, attribute_type, code, raw};
use crate::catalog::{Catalog, epoch};
use crate::errors;
use crate::pg::pinned::{self, Pinned};
use crate::pg::walk::{self, Walk};
use crate::pg::{self, nodes};

/// An analysed expression with parameters for attributes; Vars have varno 1.
#[derive(Clone)]
pub(crate) struct Compiled {
    /// The tree, in a memory context of its own that lives as long as the cache.
    tree: *mut Node,
    /// Attribute keys by parameter number, from 1.
    pub(crate) keys: std::rc::Rc<[String]>,
}

impl Compiled {
    /// A copy of the tree in the current memory context.
    ///
    /// # Safety
    /// No compilation happened since this was looked up, so that its context is alive.
    pub(crate) unsafe fn tree(&self) -> *mut Node {
        nodes::copy(self.tree)
    }
}

/// What to compile.
pub(crate) struct Source<'a> {
    /// The relation whose row the expression is about.
    pub(crate) relid: Oid,
    /// Its text.
    pub(crate) text: &'a str,
    /// What it is used for.
    pub(crate) kind: Kind,
    /// The role with whose rights tables in subqueries are read.
    pub(crate) owner: Oid,
}

/// Why an expression cannot be used, apart from what PostgreSQL itself reports.
pub(crate) struct Refusal {
    /// Message in PostgreSQL's style.
    pub(crate) message: String,
    /// Byte offset into the text, from 0, if there is a place.
    pub(crate) offset: Option<usize>,
    /// SQLSTATE.
    pub(crate) code: PgSqlErrorCode,
}

impl Refusal {
    fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Refusal {
            message: message.into(),
            offset: None,
            code,
        }
    }
}

type CacheKey = (Oid, Oid, Kind, String);

#[derive(Default)]
struct Cache {
    compiled: HashMap<CacheKey, Compiled>,
    /// What the expressions are about and read: a change of one of them discards all.
    relations: HashSet<Oid>,
    context: Option<pg_sys::MemoryContext>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
    static ERROR_POSITION: Cell<i32> = const { Cell::new(0) };
}

/// The compiled form of an expression, from the cache if nothing changed since.
///
/// # Errors
/// When the expression must not be used. What PostgreSQL objects to is PostgreSQL's error.
pub(crate) fn compiled(catalog: &Catalog, source: &Source) -> Result<Compiled, Refusal> {
    let changed = epoch::take_changed_for_expressions();
    let concerned = CACHE.with_borrow(|cache| changed.iter().any(|relid| cache.relations.contains(relid)));
    if epoch::take_compiled_stale() || concerned {
        let old = CACHE.with_borrow_mut(std::mem::take);
        if let Some(context) = old.context {
            // SAFETY: all trees of the context were dropped from the cache with it; users hold copies.
            unsafe { pg_sys::MemoryContextDelete(context) };
        }
    }
    let key = (source.relid, source.owner, source.kind, source.text.to_owned());
    if let Some(found) = CACHE.with_borrow(|cache| cache.compiled.get(&key).cloned()) {
        return Ok(found);
    }
    // SAFETY: the tree is built in the current context and copied into the cache's own.
    let (tree, keys) = unsafe { analyse(catalog, source) }?;
    let context = CACHE.with_borrow(|cache| cache.context).unwrap_or_else(|| {
        // SAFETY: a child of a context that is never deleted.
        unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CacheMemoryContext,
                c"betweenrows expressions".as_ptr(),
                0,
                8 * 1024,
                8 * 1024 * 1024,
            )
        }
    });
    // SAFETY: copies the tree with the cache's context as the current one.
    let tree = unsafe {
        let old = pg_sys::MemoryContextSwitchTo(context);
        let tree = nodes::copy(tree);
        pg_sys::MemoryContextSwitchTo(old);
        tree
    };
    let compiled = Compiled {
        tree,
        keys: keys.into(),
    };
    CACHE.with_borrow_mut(|cache| {
        cache.context = Some(context);
        cache.relations.insert(source.relid);
        cache.relations.extend(used_relations(&compiled));
        cache.compiled.insert(key, compiled.clone());
    });
    Ok(compiled)
}

/// As [`compiled`], for use in a statement: whatever is wrong with the expression closes the relation, and the subject
/// does not learn the reason.
pub(crate) fn compiled_or_closed(catalog: &Catalog, source: &Source) -> Compiled {
    PgTryBuilder::new(std::panic::AssertUnwindSafe(|| compiled(catalog, source).ok()))
        .catch_others(|_| None)
        .execute()
        .unwrap_or_else(|| errors::policy_unusable())
}

/// The position of the last error that PostgreSQL reported while analysing, as a byte or character position from 1; 0 when
/// it had none.
pub(super) fn last_error_position() -> i32 {
    ERROR_POSITION.get()
}

/// Remembers the error's position in the expression and takes it off the error, since the client would look for it in
/// its own statement.
#[pg_guard]
unsafe extern "C-unwind" fn note_position(_arg: *mut c_void) {
    // SAFETY: called by errfinish with the error on top of the stack.
    unsafe {
        ERROR_POSITION.set(pg_sys::geterrposition());
        pg_sys::errposition(0);
    }
}

struct Parameters {
    types: Vec<Oid>,
}

#[pg_guard]
unsafe extern "C-unwind" fn parameter(pstate: *mut ParseState, reference: *mut ParamRef) -> *mut Node {
    // SAFETY: the hook state is the Parameters of the analysis that is running.
    unsafe {
        let parameters = &*(*pstate).p_ref_hook_state.cast::<Parameters>();
        let number = (*reference).number;
        let Some(type_oid) = usize::try_from(number - 1)
            .ok()
            .and_then(|index| parameters.types.get(index))
        else {
            return std::ptr::null_mut();
        };
        let param = nodes::make::<pg_sys::Param>(NodeTag::T_Param);
        (*param).paramkind = pg_sys::ParamKind::PARAM_EXTERN;
        (*param).paramid = number;
        (*param).paramtype = *type_oid;
        (*param).paramtypmod = -1;
        (*param).paramcollid = pg_sys::get_typcollation(*type_oid);
        (*param).location = (*reference).location;
        param.cast()
    }
}

/// Parses and analyses; returns the tree and the attribute keys by parameter number.
///
/// # Safety
/// Runs PostgreSQL's parser: needs a transaction.
unsafe fn analyse(catalog: &Catalog, source: &Source) -> Result<(*mut Node, Vec<String>), Refusal> {
    use PgSqlErrorCode::*;
    let scanned = placeholder::scan(source.text).map_err(|issue| Refusal {
        message: issue.message,
        offset: Some(issue.offset),
        code: ERRCODE_SYNTAX_ERROR,
    })?;
    let mut keys = Vec::new();
    let mut parameters = Parameters { types: Vec::new() };
    for found in &scanned.placeholders {
        if found.param <= keys.len() {
            continue;
        }
        let type_oid = match found.key.as_str() {
            "username" => pg_sys::TEXTOID,
            "id" => pg_sys::UUIDOID,
            key => match catalog.attributes.get(key) {
                Some(definition) => attribute_type(&definition.value_type),
                None => {
                    return Err(Refusal {
                        message: format!("attribute \"{key}\" is not defined"),
                        offset: Some(found.offset),
                        code: ERRCODE_UNDEFINED_OBJECT,
                    });
                }
            },
        };
        keys.push(found.key.clone());
        parameters.types.push(type_oid);
    }
    let text = nodes::pstr(&scanned.text);

    ERROR_POSITION.set(0);
    let _scope = PositionScope::enter();
    // The names are looked up with the rights of the role that wrote the expression.
    let tree = pg::with_rights_of(source.owner, || {
        code::without_foreign_code(|| analyse_text(source, text, &mut parameters))
    })?;
    Ok((tree, keys))
}

/// [`note_position`] on the error context stack; taken off when dropped, also by an error that unwinds.
struct PositionScope {
    callback: Box<ErrorContextCallback>,
}

impl PositionScope {
    unsafe fn enter() -> Self {
        let mut callback = Box::new(ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(note_position),
            arg: std::ptr::null_mut(),
        });
        pg_sys::error_context_stack = &mut *callback;
        PositionScope { callback }
    }
}

impl Drop for PositionScope {
    fn drop(&mut self) {
        // SAFETY: this scope is the innermost one that is left.
        unsafe { pg_sys::error_context_stack = self.callback.previous };
    }
}

unsafe fn analyse_text(
    source: &Source,
    text: *mut std::ffi::c_char,
    parameters: &mut Parameters,
) -> Result<*mut Node, Refusal> {
    use PgSqlErrorCode::*;
    let pinned = pin_settings(source.relid);
    let tree = raw::parse(text).map_err(|message| Refusal::new(ERRCODE_SYNTAX_ERROR, message))?;
    let types = parameters.types.clone();
    let is_list = |number: i32| {
        usize::try_from(number - 1).ok().and_then(|index| types.get(index)) == Some(&pg_sys::TEXTARRAYOID)
    };
    raw::expand_lists(tree, &is_list).map_err(|message| Refusal::new(ERRCODE_SYNTAX_ERROR, message))?;

    let rel = pg_sys::relation_open(source.relid, pg_sys::AccessShareLock as _);
    let pstate = pg_sys::make_parsestate(std::ptr::null_mut());
    (*pstate).p_sourcetext = text;
    (*pstate).p_paramref_hook = Some(parameter);
    (*pstate).p_ref_hook_state = std::ptr::from_mut(parameters).cast();
    let item = pg_sys::addRangeTableEntryForRelation(
        pstate,
        rel,
        pg_sys::AccessShareLock as _,
        std::ptr::null_mut(),
        false,
        false,
    );
    pg_sys::addNSItemToQuery(pstate, item, false, true, true);
    let mut expr = pg_sys::transformExpr(pstate, tree, pg_sys::ParseExprKind::EXPR_KIND_POLICY);
    expr = match source.kind {
        Kind::Filter | Kind::Check => pg_sys::coerce_to_boolean(pstate, expr, c"row filter".as_ptr()),
        Kind::Mask(attno) => coerce_to_column(pstate, expr, pg::attribute((*rel).rd_att, attno as usize - 1))?,
    };
    pg_sys::assign_expr_collations(pstate, expr);
    pg_sys::free_parsestate(pstate);
    pg_sys::relation_close(rel, pg_sys::NoLock as _);
    drop(pinned);

    if matches!(source.kind, Kind::Mask(_)) && pg_sys::contain_volatile_functions(expr) {
        return Err(Refusal::new(
            ERRCODE_INVALID_OBJECT_DEFINITION,
            "mask expressions must not use volatile functions",
        ));
    }
    pg_sys::setRuleCheckAsUser(expr, source.owner);
    code::check(expr, source.owner)?;
    Ok(expr)
}

/// Gives settings that say what a text means as an expression one value for everybody: in which schemas names are looked
/// up, what a backslash is, what constants of types with several notations are.
unsafe fn pin_settings(relid: Oid) -> Pinned {
    let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relid));
    let path = if schema.is_null() || CStr::from_ptr(schema) == c"pg_catalog" {
        "pg_catalog, pg_temp".to_owned()
    } else {
        let schema = nodes::string(pg_sys::quote_identifier(schema));
        format!("pg_catalog, {schema}, pg_temp")
    };
    let path = nodes::pstr(&path);
    let mut settings = vec![(c"search_path", CStr::from_ptr(path))];
    settings.extend(pinned::ANALYSIS);
    Pinned::new(&settings)
}

/// Coerces a mask to its column: the type as in an assignment, the length as in an explicit cast, which cuts instead of
/// failing for some rows.
unsafe fn coerce_to_column(
    pstate: *mut ParseState,
    expr: *mut Node,
    column: *mut pg_sys::FormData_pg_attribute,
) -> Result<*mut Node, Refusal> {
    let (type_oid, typmod) = ((*column).atttypid, (*column).atttypmod);
    let given = pg_sys::exprType(expr);
    let coerced = pg_sys::coerce_to_target_type(
        pstate,
        expr,
        given,
        type_oid,
        -1,
        pg_sys::CoercionContext::COERCION_ASSIGNMENT,
        pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
        -1,
    );
    if coerced.is_null() {
        return Err(Refusal::new(
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!(
                "column \"{}\" is of type {} but the mask is of type {}",
                nodes::string((*column).attname.data.as_ptr()),
                CStr::from_ptr(pg_sys::format_type_be(type_oid)).to_string_lossy(),
                CStr::from_ptr(pg_sys::format_type_be(given)).to_string_lossy(),
            ),
        ));
    }
    Ok(if typmod < 0 {
        coerced
    } else {
        pg_sys::coerce_to_target_type(
            pstate,
            coerced,
            type_oid,
            type_oid,
            typmod,
            pg_sys::CoercionContext::COERCION_EXPLICIT,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CAST,
            -1,
        )
    })
}

/// The attribute numbers of its relation's columns that a compiled expression uses; 0 stands for the whole row.
pub(crate) fn used_columns(compiled: &Compiled) -> Vec<i16> {
    let mut used = Vec::new();
    // SAFETY: walks the cached tree without modifying it.
    unsafe {
        walk::walk(compiled.tree, &mut |node, level| {
            if nodes::is_a(node, NodeTag::T_Var) {
                let var = node.cast::<pg_sys::Var>();
                if (*var).varlevelsup == level && (*var).varno == 1 {
                    used.push((*var).varattno);
                }
            }
            Walk::Into
        });
    }
    used
}

/// The relations that a compiled expression reads in subqueries.
pub(crate) fn used_relations(compiled: &Compiled) -> Vec<Oid> {
    let mut used = Vec::new();
    // SAFETY: walks the cached tree without modifying it.
    unsafe {
        walk::walk(compiled.tree, &mut |node, _| {
            if nodes::is_a(node, NodeTag::T_Query) {
                for rte in pg::list::iter::<pg_sys::RangeTblEntry>((*node.cast::<pg_sys::Query>()).rtable) {
                    if (*rte).rtekind == pg_sys::RTEKind::RTE_RELATION {
                        used.push((*rte).relid);
                    }
                }
            }
            Walk::Into
        });
    }
    used.sort_unstable_by_key(|relid| relid.to_u32());
    used.dedup();
    used
}

/// The attribute numbers of a relation's columns that the subqueries of a compiled expression read.
pub(crate) fn columns_in_subqueries(compiled: &Compiled, relid: Oid) -> Vec<i16> {
    let mut used = Vec::new();
    // SAFETY: walks the cached tree without modifying it; entries belong to the query that they are found in.
    unsafe {
        walk::walk(compiled.tree, &mut |node, _| {
            if nodes::is_a(node, NodeTag::T_Query) {
                let query = node.cast::<pg_sys::Query>();
                for rte in pg::list::iter::<pg_sys::RangeTblEntry>((*query).rtable) {
                    if (*rte).rtekind == pg_sys::RTEKind::RTE_RELATION
                        && (*rte).relid == relid
                        && let Some(permissions) = pg::compat::permissions(query, rte)
                    {
                        used.extend(pg::nodes::attributes(permissions.selected));
                    }
                }
            }
            Walk::Into
        });
    }
    used
}

/// The role that a policy's subqueries read with.
pub(crate) fn owner_role(policy: &policy::model::Policy) -> Option<Oid> {
    pg::role_oid(&policy.owner)
}
