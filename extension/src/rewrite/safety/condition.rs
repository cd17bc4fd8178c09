//! The conditions under which a reviewed function reveals nothing.
//!
//! They look at arguments that are the same for every row. What is not known while a statement is planned, such as the
//! parameters of a generic plan, fulfils none.

use pgrx::FromDatum;
use pgrx::pg_sys::{self, Const, Interval, Node, NodeTag, Oid, ParamListInfo};

use crate::pg::walk::{self, Walk};
use crate::pg::{list, nodes};

/// When a function may be called for rows that a filter excludes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    /// With any arguments.
    Always,
    /// With arrays of a type of PostgreSQL's own, or of enums.
    BuiltinElements,
    /// With ranges of PostgreSQL's own types.
    BuiltinRanges,
    /// With a known pattern that does not end in an escape character.
    LikePattern,
    /// With a known regular expression of characters, `.`, `.*`, `.+`, `^` in front and `$` at the end.
    PlainRegex,
    /// With a known third argument that is not negative.
    Length,
    /// With a known third argument that is not 0.
    FieldNumber,
    /// With a known unit that timestamps have.
    TimestampUnit,
    /// With a known unit that dates have.
    DateUnit,
    /// With the clock and a known amount of time of less than ten thousand years.
    NearClock,
    /// With known bounds and a known step that is not 0.
    ConstantSeries,
}

impl Condition {
    /// What documents and the list of functions call it; empty when there is none.
    pub(super) fn description(self) -> &'static str {
        match self {
            Condition::Always => "",
            Condition::BuiltinElements => "elements of built-in types or enums",
            Condition::BuiltinRanges => "built-in range types",
            Condition::LikePattern => "known pattern without trailing escape character",
            Condition::PlainRegex => "known pattern of plain characters, ., .*, .+, ^ and $",
            Condition::Length => "known length, not negative",
            Condition::FieldNumber => "known field number, not 0",
            Condition::TimestampUnit | Condition::DateUnit => "known and valid unit",
            Condition::NearClock => "the clock, and a known amount of time below 10000 years",
            Condition::ConstantSeries => "known bounds, and a known step that is not 0",
        }
    }
}

/// The arguments of a call, and what is known of the statement's parameters.
pub(super) struct Call {
    /// The arguments' expressions.
    pub(super) args: Vec<*mut Node>,
    /// The parameters, NULL while a generic plan is made.
    pub(super) params: ParamListInfo,
}

impl Call {
    /// Whether the call fulfils the condition.
    ///
    /// # Safety
    /// The arguments are valid expressions.
    pub(super) unsafe fn fulfils(&self, condition: Condition) -> bool {
        match condition {
            Condition::Always => true,
            Condition::BuiltinElements => self.all_types(has_builtin_elements),
            Condition::BuiltinRanges => self.all_types(crate::pg::is_builtin),
            Condition::LikePattern => self.bytes(1).is_some_and(|pattern| is_safe_like(&pattern)),
            Condition::PlainRegex => self.text(1).is_some_and(|pattern| is_plain_regex(&pattern)),
            Condition::Length => self.integer(2).is_some_and(|length| length >= 0),
            Condition::FieldNumber => self.integer(2).is_some_and(|number| number != 0),
            Condition::TimestampUnit => self.unit(&[DATE_UNITS, TIME_UNITS]),
            Condition::DateUnit => self.unit(&[DATE_UNITS]),
            Condition::NearClock => is_near_clock(&self.args, self.params),
            Condition::ConstantSeries => self.is_constant_series(),
        }
    }

    unsafe fn all_types(&self, test: fn(Oid) -> bool) -> bool {
        self.args.iter().all(|arg| test(pg_sys::exprType(*arg)))
    }

    /// The value of an argument, if it is known.
    unsafe fn known(&self, index: usize) -> Option<*mut Const> {
        known(*self.args.get(index)?, self.params)
    }

    /// The bytes of a known text or bytea argument; none for NULL, with which the functions here are never called.
    unsafe fn bytes(&self, index: usize) -> Option<Vec<u8>> {
        let value = self.known(index)?;
        match (*value).consttype {
            _ if (*value).constisnull => Some(Vec::new()),
            pg_sys::TEXTOID | pg_sys::BYTEAOID => Vec::from_datum((*value).constvalue, false),
            _ => None,
        }
    }

    unsafe fn text(&self, index: usize) -> Option<String> {
        String::from_utf8(self.bytes(index)?).ok()
    }

    unsafe fn integer(&self, index: usize) -> Option<i64> {
        integer(self.known(index)?)
    }

    unsafe fn unit(&self, units: &[&[&str]]) -> bool {
        self.text(0)
            .is_some_and(|unit| units.iter().any(|units| units.contains(&unit.to_lowercase().as_str())))
    }

    unsafe fn is_constant_series(&self) -> bool {
        let bounds = self.args[..2]
            .iter()
            .all(|bound| known(*bound, self.params).is_some() || is_clock(*bound, self.params));
        bounds
            && match self.known(2) {
                None => self.args.len() == 2,
                Some(step) if (*step).consttype == pg_sys::INTERVALOID => {
                    interval(step).is_some_and(|(months, days, time)| (months, days, time) != (0, 0, 0))
                }
                Some(step) => integer(step).is_some_and(|step| step != 0),
            }
    }
}

/// Units that dates and timestamps have, in `extract` and in `date_trunc`.
const DATE_UNITS: &[&str] = &[
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "decade",
    "century",
    "millennium",
    "dow",
    "isodow",
    "doy",
    "isoyear",
    "epoch",
];

/// Units that only timestamps have.
const TIME_UNITS: &[&str] = &["hour", "minute", "second", "milliseconds", "microseconds"];

/// The constant that an expression is or will be folded to before the statement runs: it has no column and only calls
/// immutable functions of PostgreSQL's own. If one of them fails, it fails while the statement is planned, whatever the
/// rows are.
///
/// # Safety
/// `node` is a valid expression.
pub(super) unsafe fn known(node: *mut Node, params: ParamListInfo) -> Option<*mut Const> {
    if nodes::is_a(node, NodeTag::T_Const) {
        return Some(node.cast());
    }
    if !is_foldable(node, params) {
        return None;
    }
    // As the planner does it, with the parameters that it would know.
    let mut global: pg_sys::PlannerGlobal = std::mem::zeroed();
    global.type_ = NodeTag::T_PlannerGlobal;
    global.boundParams = params;
    let mut root: pg_sys::PlannerInfo = std::mem::zeroed();
    root.type_ = NodeTag::T_PlannerInfo;
    root.glob = &mut global;
    let folded = pg_sys::eval_const_expressions(&mut root, nodes::copy(node));
    nodes::is_a(folded, NodeTag::T_Const).then_some(folded.cast())
}

/// Whether the planner folds the expression to a constant.
///
/// # Safety
/// `node` is a valid expression.
pub(super) unsafe fn is_foldable(node: *mut Node, params: ParamListInfo) -> bool {
    let obstacle = walk::walk(node, &mut |node, _| match nodes::tag(node) {
        NodeTag::T_Const => Walk::Over,
        NodeTag::T_Param if is_bound(node.cast(), params) => Walk::Over,
        NodeTag::T_FuncExpr if !(*node.cast::<pg_sys::FuncExpr>()).funcretset => builtin(node),
        NodeTag::T_OpExpr | NodeTag::T_CoerceViaIO => builtin(node),
        NodeTag::T_List | NodeTag::T_RelabelType | NodeTag::T_CollateExpr => Walk::Into,
        NodeTag::T_ArrayExpr => Walk::Into,
        _ => Walk::Stop,
    });
    !obstacle && !pg_sys::contain_mutable_functions(node) && pg_sys::exprType(node) != pg_sys::RECORDOID
}

unsafe fn builtin(node: *mut Node) -> Walk {
    if super::calls_foreign_function(node) {
        Walk::Stop
    } else {
        Walk::Into
    }
}

/// Whether a parameter's value is the same for all executions of the plan that is being made.
unsafe fn is_bound(param: *mut pg_sys::Param, params: ParamListInfo) -> bool {
    if (*param).paramkind != pg_sys::ParamKind::PARAM_EXTERN
        || params.is_null()
        || (*param).paramid > (*params).numParams
    {
        return false;
    }
    let mut workspace = pg_sys::ParamExternData::default();
    let value = match (*params).paramFetch {
        Some(fetch) => fetch(params, (*param).paramid, true, &mut workspace),
        None => (*params).params.as_mut_ptr().add((*param).paramid as usize - 1),
    };
    !value.is_null() && (*value).ptype == (*param).paramtype && (*value).pflags & pg_sys::PARAM_FLAG_CONST as u16 != 0
}

/// The number of rows that LIMIT or OFFSET stand for, if it is known and not an error; NULL is as good as none.
///
/// # Safety
/// `bound` is a valid expression.
pub(super) unsafe fn count(bound: *mut Node, params: ParamListInfo) -> Option<i64> {
    let value = known(bound, params)?;
    if (*value).constisnull {
        Some(i64::MAX)
    } else {
        integer(value).filter(|count| *count >= 0)
    }
}

unsafe fn integer(value: *mut Const) -> Option<i64> {
    if (*value).constisnull {
        return None;
    }
    match (*value).consttype {
        pg_sys::INT4OID => i32::from_datum((*value).constvalue, false).map(i64::from),
        pg_sys::INT8OID => i64::from_datum((*value).constvalue, false),
        _ => None,
    }
}

/// Months, days and microseconds of an interval below ten thousand years.
unsafe fn interval(value: *mut Const) -> Option<(i32, i32, i64)> {
    if (*value).constisnull || (*value).consttype != pg_sys::INTERVALOID {
        return None;
    }
    let Interval { time, day, month } = *(*value).constvalue.cast_mut_ptr::<Interval>();
    let years = 10_000;
    let short = month.unsigned_abs() < 12 * years
        && day.unsigned_abs() < 365 * years
        && time.unsigned_abs() < 365 * u64::from(years) * 86_400_000_000;
    short.then_some((month, day, time))
}

/// Whether the first argument is the clock and the second, if any, an amount of time that leads to a valid time.
unsafe fn is_near_clock(args: &[*mut Node], params: ParamListInfo) -> bool {
    let Some((clock, amount)) = args.split_first() else {
        return false;
    };
    let short = |amount: &*mut Node| {
        known(*amount, params).is_some_and(|amount| {
            interval(amount).is_some() || integer(amount).is_some_and(|days| days.unsigned_abs() < 3_650_000)
        })
    };
    is_clock(*clock, params) && amount.iter().all(short)
}

/// Whether an expression is the time of the statement, or some time near it.
unsafe fn is_clock(node: *mut Node, params: ParamListInfo) -> bool {
    let (function, args) = match nodes::tag(node) {
        NodeTag::T_SQLValueFunction => return true,
        NodeTag::T_FuncExpr => {
            let call = node.cast::<pg_sys::FuncExpr>();
            ((*call).funcid, (*call).args)
        }
        NodeTag::T_OpExpr => {
            let call = node.cast::<pg_sys::OpExpr>();
            pg_sys::set_opfuncid(call);
            ((*call).opfuncid, (*call).args)
        }
        _ => return false,
    };
    let args: Vec<*mut Node> = list::iter(args).collect();
    let call = Call { args, params };
    match function.to_u32() {
        pg_sys::F_NOW | pg_sys::F_TRANSACTION_TIMESTAMP | pg_sys::F_STATEMENT_TIMESTAMP => true,
        pg_sys::F_DATE_TIMESTAMP | pg_sys::F_DATE_TIMESTAMPTZ => is_near_clock(&call.args, params),
        pg_sys::F_DATE_TRUNC_TEXT_TIMESTAMP | pg_sys::F_DATE_TRUNC_TEXT_TIMESTAMPTZ => {
            call.fulfils(Condition::TimestampUnit) && is_near_clock(&call.args[1..], params)
        }
        _ => super::list::condition(function) == Some(Condition::NearClock) && call.fulfils(Condition::NearClock),
    }
}

/// Whether `type_oid` is an array whose elements are compared by PostgreSQL's own code.
fn has_builtin_elements(type_oid: Oid) -> bool {
    // SAFETY: syscache lookups, which return 0 for what does not exist.
    unsafe {
        let element = pg_sys::get_element_type(type_oid);
        match pg_sys::get_typtype(element) as u8 {
            b'b' | b'r' => crate::pg::is_builtin(element),
            b'e' => true,
            _ => false,
        }
    }
}

/// Whether a LIKE pattern is valid for every value: a backslash at its end would be an error where a value matches the
/// rest.
fn is_safe_like(pattern: &[u8]) -> bool {
    pattern.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
}

/// Whether a regular expression is valid and cheap, judged without parsing more than its simplest forms.
fn is_plain_regex(pattern: &str) -> bool {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let mut after_dot = false;
    pattern.chars().all(|c| {
        let plain = match c {
            '*' | '+' => after_dot,
            '.' => true,
            '\\' | '^' | '$' | '?' | '|' | '(' | ')' | '[' | ']' | '{' | '}' => false,
            _ => !c.is_control(),
        };
        after_dot = c == '.';
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::{is_plain_regex, is_safe_like};

    #[test]
    fn like_patterns_that_end_in_an_escape_character_are_refused() {
        for safe in ["", "a%", "%\\%", "a\\\\", "\\%\\_"] {
            assert!(is_safe_like(safe.as_bytes()), "{safe}");
        }
        for unsafe_ in ["\\", "a%\\", "a\\\\\\"] {
            assert!(!is_safe_like(unsafe_.as_bytes()), "{unsafe_}");
        }
    }

    #[test]
    fn only_simple_regular_expressions_are_plain() {
        for plain in ["", "abc", "^abc", "abc$", "^a.*b.+c$", "x.y", "a b_c-d:ü"] {
            assert!(is_plain_regex(plain), "{plain}");
        }
        for other in [
            "a\\", "a(", "(a)", "[a]", "a|b", "a*", "*", "***=x", "a{2}", "a?", ".**", "a^b", "a$b", "^^", "$$", "+a",
            "\n",
        ] {
            assert!(!is_plain_regex(other), "{other}");
        }
    }
}
