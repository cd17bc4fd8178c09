//! The reviewed functions: built-ins that reveal nothing about the values they are called with.
//!
//! A statement made of these only, and of parts that call no function, gets its filters as ordinary conditions: PostgreSQL
//! may then evaluate the statement's own conditions first, on rows that a filter excludes, and its estimators may call them
//! with common values of such rows. So a function belongs here only when, for every value that a column can hold,
//!
//! * it raises no error and no message, or only ones that its constant arguments decide, which a condition rules out;
//! * it has no effect but its result, which is dropped together with the row;
//! * it calls no code of a user: functions on polymorphic types call those of the element type, which a condition checks;
//! * its result is hardly longer than its arguments, so that results of results cannot grow until a size limit tells a
//!   length.
//!
//! Not here for these reasons, among others: arithmetic (overflow, division by zero), casts that can fail, `||`, `repeat`,
//! `replace` and `lpad` (growth), `to_char` and `json` operators (errors), `to_tsvector` and `to_tsquery` (messages),
//! `nextval` and its like. They may still be used where they are only called for rows that passed; see [`super`].
//!
//! How long a function takes is not considered, nor that a deeply nested value needs stack.

use std::sync::OnceLock;

use pgrx::pg_sys::*;

use super::condition::Condition;

/// Functions that share a reason to be here.
struct Group {
    condition: Condition,
    functions: &'static [u32],
}

const fn always(functions: &'static [u32]) -> Group {
    when(Condition::Always, functions)
}

const fn when(condition: Condition, functions: &'static [u32]) -> Group {
    Group { condition, functions }
}

/// The condition under which a function reveals nothing, `None` for one that was not reviewed.
pub(super) fn condition(function: Oid) -> Option<Condition> {
    static SORTED: OnceLock<Vec<(u32, Condition)>> = OnceLock::new();
    let sorted = SORTED.get_or_init(|| {
        let mut all: Vec<_> = GROUPS
            .iter()
            .flat_map(|group| group.functions.iter().map(|function| (*function, group.condition)))
            .collect();
        all.sort_unstable_by_key(|(function, _)| *function);
        all
    });
    let found = sorted.binary_search_by_key(&function.to_u32(), |(function, _)| *function);
    found.ok().map(|index| sorted[index].1)
}

/// All reviewed functions with their conditions.
pub(super) fn all() -> impl Iterator<Item = (Oid, Condition)> {
    GROUPS.iter().flat_map(|group| {
        group
            .functions
            .iter()
            .map(|function| (Oid::from(*function), group.condition))
    })
}

/// Whether an aggregate or window function fails for no rows at all, whatever the values are: no overflow, no result that grows
/// with the rows, no argument that can be wrong.
pub(super) fn aggregates_safely(function: Oid) -> bool {
    AGGREGATES.contains(&function.to_u32())
}

#[rustfmt::skip] // see below
static AGGREGATES: &[u32] = &[
    F_COUNT_, F_COUNT_ANY, F_BOOL_AND, F_BOOL_OR, F_EVERY, F_ROW_NUMBER, F_RANK_, F_DENSE_RANK_,
    // Into bigint and numeric, which hold the sum of as many rows as there can be.
    F_SUM_INT2, F_SUM_INT4, F_SUM_INT8, F_AVG_INT2, F_AVG_INT4, F_AVG_INT8,
    F_MIN_INT2, F_MIN_INT4, F_MIN_INT8, F_MIN_NUMERIC, F_MIN_FLOAT4, F_MIN_FLOAT8, F_MIN_TEXT, F_MIN_BPCHAR, F_MIN_DATE,
    F_MIN_TIME, F_MIN_TIMETZ, F_MIN_TIMESTAMP, F_MIN_TIMESTAMPTZ, F_MIN_INTERVAL, F_MIN_ANYENUM,
    F_MAX_INT2, F_MAX_INT4, F_MAX_INT8, F_MAX_NUMERIC, F_MAX_FLOAT4, F_MAX_FLOAT8, F_MAX_TEXT, F_MAX_BPCHAR, F_MAX_DATE,
    F_MAX_TIME, F_MAX_TIMETZ, F_MAX_TIMESTAMP, F_MAX_TIMESTAMPTZ, F_MAX_INTERVAL, F_MAX_ANYENUM,
];

#[rustfmt::skip] // a name a line would hide the groups
static GROUPS: &[Group] = &[
    // Comparisons that PostgreSQL marks as leakproof after its own review: only two stored values are looked at.
    always(&[
        // boolean
        F_BOOLEQ, F_BOOLGE, F_BOOLGT, F_BOOLLE, F_BOOLLT, F_BOOLNE,
        // bytea
        F_BYTEAEQ, F_BYTEAGE, F_BYTEAGT, F_BYTEALE, F_BYTEALT, F_BYTEANE,
        // "char"
        F_CHAREQ, F_CHARGE, F_CHARGT, F_CHARLE, F_CHARLT, F_CHARNE,
        // name
        F_NAMEEQ, F_NAMEGE, F_NAMEGT, F_NAMELE, F_NAMELT, F_NAMENE, F_NAMEEQTEXT, F_NAMEGETEXT,
        F_NAMEGTTEXT, F_NAMELETEXT, F_NAMELTTEXT, F_NAMENETEXT,
        // bigint
        F_INT8EQ, F_INT8GE, F_INT8GT, F_INT8LE, F_INT8LT, F_INT8NE, F_INT82EQ, F_INT82GE, F_INT82GT,
        F_INT82LE, F_INT82LT, F_INT82NE, F_INT84EQ, F_INT84GE, F_INT84GT, F_INT84LE, F_INT84LT, F_INT84NE,
        // smallint
        F_INT28EQ, F_INT28GE, F_INT28GT, F_INT28LE, F_INT28LT, F_INT28NE, F_INT2EQ, F_INT2GE, F_INT2GT,
        F_INT2LE, F_INT2LT, F_INT2NE, F_INT24EQ, F_INT24GE, F_INT24GT, F_INT24LE, F_INT24LT, F_INT24NE,
        // integer
        F_INT48EQ, F_INT48GE, F_INT48GT, F_INT48LE, F_INT48LT, F_INT48NE, F_INT42EQ, F_INT42GE, F_INT42GT,
        F_INT42LE, F_INT42LT, F_INT42NE, F_INT4EQ, F_INT4GE, F_INT4GT, F_INT4LE, F_INT4LT, F_INT4NE,
        // text
        F_TEXTEQNAME, F_TEXTGENAME, F_TEXTGTNAME, F_TEXTLENAME, F_TEXTLTNAME, F_TEXTNENAME, F_TEXT_GE,
        F_TEXT_GT, F_TEXT_LE, F_TEXT_LT, F_TEXT_PATTERN_GE, F_TEXT_PATTERN_GT, F_TEXT_PATTERN_LE,
        F_TEXT_PATTERN_LT, F_TEXTEQ, F_TEXTNE,
        // oid
        F_OIDEQ, F_OIDGE, F_OIDGT, F_OIDLE, F_OIDLT, F_OIDNE,
        // tid
        F_TIDEQ, F_TIDGE, F_TIDGT, F_TIDLE, F_TIDLT, F_TIDNE,
        // xid
        F_XIDEQ, F_XIDNEQ,
        // cid
        F_CIDEQ,
        // real
        F_FLOAT4EQ, F_FLOAT4GE, F_FLOAT4GT, F_FLOAT4LE, F_FLOAT4LT, F_FLOAT4NE, F_FLOAT48EQ, F_FLOAT48GE,
        F_FLOAT48GT, F_FLOAT48LE, F_FLOAT48LT, F_FLOAT48NE,
        // double precision
        F_FLOAT84EQ, F_FLOAT84GE, F_FLOAT84GT, F_FLOAT84LE, F_FLOAT84LT, F_FLOAT84NE, F_FLOAT8EQ,
        F_FLOAT8GE, F_FLOAT8GT, F_FLOAT8LE, F_FLOAT8LT, F_FLOAT8NE,
        // macaddr8
        F_MACADDR8_EQ, F_MACADDR8_GE, F_MACADDR8_GT, F_MACADDR8_LE, F_MACADDR8_LT, F_MACADDR8_NE,
        // money
        F_CASH_EQ, F_CASH_GE, F_CASH_GT, F_CASH_LE, F_CASH_LT, F_CASH_NE,
        // macaddr
        F_MACADDR_EQ, F_MACADDR_GE, F_MACADDR_GT, F_MACADDR_LE, F_MACADDR_LT, F_MACADDR_NE,
        // inet
        F_NETWORK_EQ, F_NETWORK_GE, F_NETWORK_GT, F_NETWORK_LE, F_NETWORK_LT, F_NETWORK_NE,
        // character
        F_BPCHAR_PATTERN_GE, F_BPCHAR_PATTERN_GT, F_BPCHAR_PATTERN_LE, F_BPCHAR_PATTERN_LT, F_BPCHAREQ,
        F_BPCHARGE, F_BPCHARGT, F_BPCHARLE, F_BPCHARLT, F_BPCHARNE,
        // date
        F_DATE_EQ, F_DATE_GE, F_DATE_GT, F_DATE_LE, F_DATE_LT, F_DATE_NE,
        // time without time zone
        F_TIME_EQ, F_TIME_GE, F_TIME_GT, F_TIME_LE, F_TIME_LT, F_TIME_NE,
        // timestamp without time zone
        F_TIMESTAMP_EQ, F_TIMESTAMP_GE, F_TIMESTAMP_GT, F_TIMESTAMP_LE, F_TIMESTAMP_LT, F_TIMESTAMP_NE,
        // timestamp with time zone
        F_TIMESTAMPTZ_EQ, F_TIMESTAMPTZ_GE, F_TIMESTAMPTZ_GT, F_TIMESTAMPTZ_LE, F_TIMESTAMPTZ_LT, F_TIMESTAMPTZ_NE,
        // interval
        F_INTERVAL_EQ, F_INTERVAL_GE, F_INTERVAL_GT, F_INTERVAL_LE, F_INTERVAL_LT, F_INTERVAL_NE,
        // time with time zone
        F_TIMETZ_EQ, F_TIMETZ_GE, F_TIMETZ_GT, F_TIMETZ_LE, F_TIMETZ_LT, F_TIMETZ_NE,
        // bit
        F_BITEQ, F_BITGE, F_BITGT, F_BITLE, F_BITLT, F_BITNE,
        // bit varying
        F_VARBITEQ, F_VARBITGE, F_VARBITGT, F_VARBITLE, F_VARBITLT, F_VARBITNE,
        // uuid
        F_UUID_EQ, F_UUID_GE, F_UUID_GT, F_UUID_LE, F_UUID_LT, F_UUID_NE,
        // pg_lsn
        F_PG_LSN_EQ, F_PG_LSN_GE, F_PG_LSN_GT, F_PG_LSN_LE, F_PG_LSN_LT, F_PG_LSN_NE,
        // xid8
        F_XID8EQ, F_XID8GE, F_XID8GT, F_XID8LE, F_XID8LT, F_XID8NE,
    ]),
    // Cross-type comparisons of dates and timestamps convert without overflow: a date out of a timestamp's range is
    // compared as an infinity.
    always(&[
        F_DATE_EQ_TIMESTAMP, F_DATE_GE_TIMESTAMP, F_DATE_GT_TIMESTAMP, F_DATE_LE_TIMESTAMP,
        F_DATE_LT_TIMESTAMP, F_DATE_NE_TIMESTAMP, F_DATE_EQ_TIMESTAMPTZ, F_DATE_GE_TIMESTAMPTZ,
        F_DATE_GT_TIMESTAMPTZ, F_DATE_LE_TIMESTAMPTZ, F_DATE_LT_TIMESTAMPTZ, F_DATE_NE_TIMESTAMPTZ,
        F_TIMESTAMP_EQ_DATE, F_TIMESTAMP_GE_DATE, F_TIMESTAMP_GT_DATE, F_TIMESTAMP_LE_DATE,
        F_TIMESTAMP_LT_DATE, F_TIMESTAMP_NE_DATE, F_TIMESTAMP_EQ_TIMESTAMPTZ, F_TIMESTAMP_GE_TIMESTAMPTZ,
        F_TIMESTAMP_GT_TIMESTAMPTZ, F_TIMESTAMP_LE_TIMESTAMPTZ, F_TIMESTAMP_LT_TIMESTAMPTZ,
        F_TIMESTAMP_NE_TIMESTAMPTZ,
        F_TIMESTAMPTZ_EQ_DATE, F_TIMESTAMPTZ_GE_DATE, F_TIMESTAMPTZ_GT_DATE, F_TIMESTAMPTZ_LE_DATE,
        F_TIMESTAMPTZ_LT_DATE, F_TIMESTAMPTZ_NE_DATE, F_TIMESTAMPTZ_EQ_TIMESTAMP,
        F_TIMESTAMPTZ_GE_TIMESTAMP, F_TIMESTAMPTZ_GT_TIMESTAMP, F_TIMESTAMPTZ_LE_TIMESTAMP,
        F_TIMESTAMPTZ_LT_TIMESTAMP, F_TIMESTAMPTZ_NE_TIMESTAMP,
    ]),
    // Comparisons that PostgreSQL does not mark as leakproof for want of a review. numeric and jsonb compare stored values
    // without making new ones, enums compare their order in the catalog.
    always(&[
        // numeric
        F_NUMERIC_EQ, F_NUMERIC_GE, F_NUMERIC_GT, F_NUMERIC_LE, F_NUMERIC_LT, F_NUMERIC_NE,
        // anyenum
        F_ENUM_EQ, F_ENUM_GE, F_ENUM_GT, F_ENUM_LE, F_ENUM_LT, F_ENUM_NE,
        // tsvector
        F_TSVECTOR_EQ, F_TSVECTOR_GE, F_TSVECTOR_GT, F_TSVECTOR_LE, F_TSVECTOR_LT, F_TSVECTOR_NE,
        // tsquery
        F_TSQUERY_EQ, F_TSQUERY_GE, F_TSQUERY_GT, F_TSQUERY_LE, F_TSQUERY_LT, F_TSQUERY_NE,
        // jsonb
        F_JSONB_EQ, F_JSONB_GE, F_JSONB_GT, F_JSONB_LE, F_JSONB_LT, F_JSONB_NE,
    ]),
    // Comparisons that call the comparison of the elements' type.
    when(
        Condition::BuiltinElements,
        &[
            F_ARRAY_EQ, F_ARRAY_NE, F_ARRAY_LT, F_ARRAY_LE, F_ARRAY_GT, F_ARRAY_GE, F_ARRAYCONTAINS,
            F_ARRAYCONTAINED,
            F_ARRAYOVERLAP,
        ],
    ),
    when(
        Condition::BuiltinRanges,
        &[
            F_RANGE_EQ, F_RANGE_NE, F_RANGE_LT, F_RANGE_LE, F_RANGE_GT, F_RANGE_GE, F_RANGE_CONTAINS_ELEM,
            F_ELEM_CONTAINED_BY_RANGE, F_RANGE_CONTAINS, F_RANGE_CONTAINED_BY, F_RANGE_OVERLAPS, F_RANGE_BEFORE,
            F_RANGE_AFTER, F_RANGE_OVERLEFT, F_RANGE_OVERRIGHT, F_MULTIRANGE_EQ, F_MULTIRANGE_NE, F_MULTIRANGE_LT,
            F_MULTIRANGE_LE, F_MULTIRANGE_GT, F_MULTIRANGE_GE, F_MULTIRANGE_CONTAINS_ELEM,
            F_ELEM_CONTAINED_BY_MULTIRANGE,
        ],
    ),
    // Patterns. A pattern that ends with its escape character is an error, but only for a value that matches that far.
    when(
        Condition::LikePattern,
        &[
            F_TEXTLIKE, F_TEXTNLIKE, F_BPCHARLIKE, F_BPCHARNLIKE, F_NAMELIKE, F_NAMENLIKE, F_BYTEALIKE,
            F_BYTEANLIKE,
            F_TEXTICLIKE, F_TEXTICNLIKE, F_BPCHARICLIKE, F_BPCHARICNLIKE, F_NAMEICLIKE, F_NAMEICNLIKE,
        ],
    ),
    // An invalid regular expression is an error when the first value arrives, a costly one when it is matched.
    when(
        Condition::PlainRegex,
        &[
            F_TEXTREGEXEQ, F_TEXTREGEXNE, F_BPCHARREGEXEQ, F_BPCHARREGEXNE, F_NAMEREGEXEQ, F_NAMEREGEXNE,
            F_TEXTICREGEXEQ, F_TEXTICREGEXNE, F_BPCHARICREGEXEQ, F_BPCHARICREGEXNE, F_NAMEICREGEXEQ,
            F_NAMEICREGEXNE,
        ],
    ),
    // Parts and lengths of strings; changes of case, which can lengthen a string but not again and again.
    always(&[
        F_STARTS_WITH, F_LENGTH_TEXT, F_LENGTH_BPCHAR, F_LENGTH_BYTEA, F_CHAR_LENGTH_TEXT, F_CHAR_LENGTH_BPCHAR,
        F_CHARACTER_LENGTH_TEXT, F_CHARACTER_LENGTH_BPCHAR, F_OCTET_LENGTH_TEXT, F_OCTET_LENGTH_BPCHAR,
        F_OCTET_LENGTH_BYTEA, F_LOWER_TEXT, F_UPPER_TEXT, F_INITCAP, F_BTRIM_TEXT, F_BTRIM_TEXT_TEXT, F_LTRIM_TEXT,
        F_LTRIM_TEXT_TEXT, F_RTRIM_TEXT, F_RTRIM_TEXT_TEXT, F_LEFT, F_RIGHT, F_SUBSTR_TEXT_INT4,
        F_SUBSTRING_TEXT_INT4,
        F_POSITION_TEXT_TEXT, F_STRPOS,
    ]),
    // A negative length and a field 0 are errors.
    when(Condition::Length, &[F_SUBSTR_TEXT_INT4_INT4, F_SUBSTRING_TEXT_INT4_INT4]),
    when(Condition::FieldNumber, &[F_SPLIT_PART]),
    // Casts to types that hold every value of the other.
    always(&[
        F_INT4_INT2, F_INT8_INT2, F_INT8_INT4, F_FLOAT4_INT2, F_FLOAT4_INT4, F_FLOAT4_INT8,
        F_FLOAT8_INT2,
        F_FLOAT8_INT4, F_FLOAT8_INT8, F_FLOAT8_FLOAT4, F_NUMERIC_INT2, F_NUMERIC_INT4, F_NUMERIC_INT8,
        F_NUMERIC_FLOAT4,
        F_NUMERIC_FLOAT8, F_BOOL_INT4, F_INT4_BOOL, F_TEXT_BOOL, F_TEXT_NAME, F_TEXT_BPCHAR, F_TEXT_CHAR,
        F_TEXT_INET,
        F_VARCHAR_NAME, F_NAME_TEXT, F_NAME_VARCHAR, F_NAME_BPCHAR, F_INTERVAL_TIME,
    ]),
    // Numbers: what only looks at the sign, and what stays within the range of double precision.
    always(&[
        F_ABS_NUMERIC, F_ABS_FLOAT4, F_ABS_FLOAT8, F_SIGN_NUMERIC, F_SIGN_FLOAT8, F_NUMERIC_UMINUS, F_NUMERIC_UPLUS,
        F_FLOAT4UM, F_FLOAT4UP, F_FLOAT8UM, F_FLOAT8UP, F_INT2UP, F_INT4UP, F_INT8UP, F_CEIL_FLOAT8,
        F_CEILING_FLOAT8,
        F_FLOOR_FLOAT8, F_ROUND_FLOAT8, F_TRUNC_FLOAT8,
    ]),
    // Dates out of timestamps. Stored values are in range; a time zone can push one out only within a day of the range's
    // ends, which nothing here can bring about.
    always(&[
        F_DATE_TIMESTAMP, F_DATE_TIMESTAMPTZ, F_TIME_TIMESTAMP, F_TIME_TIMESTAMPTZ, F_ISFINITE_DATE,
        F_ISFINITE_TIMESTAMP,
        F_ISFINITE_TIMESTAMPTZ, F_ISFINITE_INTERVAL,
    ]),
    // An unknown unit is an error, and units that dates do not have.
    when(
        Condition::TimestampUnit,
        &[
            F_DATE_TRUNC_TEXT_TIMESTAMP, F_DATE_TRUNC_TEXT_TIMESTAMPTZ, F_EXTRACT_TEXT_TIMESTAMP,
            F_EXTRACT_TEXT_TIMESTAMPTZ, F_DATE_PART_TEXT_TIMESTAMP, F_DATE_PART_TEXT_TIMESTAMPTZ,
        ],
    ),
    when(Condition::DateUnit, &[F_EXTRACT_TEXT_DATE]),
    // The clock, and what is some time before or after it: without a column, but called for each row where it is compared.
    always(&[F_NOW, F_TRANSACTION_TIMESTAMP, F_STATEMENT_TIMESTAMP, F_CURRENT_DATABASE]),
    when(
        Condition::NearClock,
        &[
            F_TIMESTAMPTZ_PL_INTERVAL, F_TIMESTAMPTZ_MI_INTERVAL, F_TIMESTAMP_PL_INTERVAL, F_TIMESTAMP_MI_INTERVAL,
            F_DATE_PL_INTERVAL, F_DATE_MI_INTERVAL, F_DATE_PLI, F_DATE_MII, F_TIMESTAMP_TIMESTAMPTZ,
        ],
    ),
    // jsonb: fields that are missing, or of another type, are NULL.
    always(&[
        F_JSONB_OBJECT_FIELD, F_JSONB_OBJECT_FIELD_TEXT, F_JSONB_ARRAY_ELEMENT, F_JSONB_ARRAY_ELEMENT_TEXT,
        F_JSONB_EXTRACT_PATH, F_JSONB_EXTRACT_PATH_TEXT, F_JSONB_CONTAINS, F_JSONB_CONTAINED, F_JSONB_EXISTS,
        F_JSONB_EXISTS_ANY, F_JSONB_EXISTS_ALL, F_JSONB_TYPEOF,
    ]),
    // Text search over stored vectors and queries.
    always(&[F_TS_MATCH_VQ, F_TS_MATCH_QV]),
    // Arrays and ranges: bounds and sizes, without looking at elements.
    always(&[
        F_ARRAY_LENGTH, F_ARRAY_LOWER, F_ARRAY_UPPER, F_ARRAY_NDIMS, F_CARDINALITY, F_LOWER_ANYRANGE,
        F_UPPER_ANYRANGE,
        F_ISEMPTY_ANYRANGE, F_LOWER_INC_ANYRANGE, F_UPPER_INC_ANYRANGE, F_LOWER_INF_ANYRANGE, F_UPPER_INF_ANYRANGE,
        F_UNNEST_ANYARRAY, F_GENERATE_SUBSCRIPTS_ANYARRAY_INT4,
    ]),
    // A step of 0 is an error.
    when(
        Condition::ConstantSeries,
        &[
            F_GENERATE_SERIES_INT4_INT4, F_GENERATE_SERIES_INT4_INT4_INT4, F_GENERATE_SERIES_INT8_INT8,
            F_GENERATE_SERIES_INT8_INT8_INT8, F_GENERATE_SERIES_TIMESTAMP_TIMESTAMP_INTERVAL,
            F_GENERATE_SERIES_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL,
        ],
    ),
    // Networks.
    always(&[
        F_NETWORK_SUB, F_NETWORK_SUBEQ, F_NETWORK_SUP, F_NETWORK_SUPEQ, F_NETWORK_OVERLAP, F_FAMILY, F_HOST,
        F_MASKLEN,
        F_NETWORK,
    ]),
    // Text forms of values, as casts to text use them, and taking them over as text.
    always(&[
        F_BOOLOUT, F_INT2OUT, F_INT4OUT, F_INT8OUT, F_OIDOUT, F_NUMERIC_OUT, F_FLOAT4OUT, F_FLOAT8OUT, F_CASH_OUT,
        F_UUID_OUT, F_DATE_OUT, F_TIME_OUT, F_TIMETZ_OUT, F_TIMESTAMP_OUT, F_TIMESTAMPTZ_OUT,
        F_INTERVAL_OUT, F_ENUM_OUT,
        F_NAMEOUT, F_TEXTOUT, F_VARCHAROUT, F_BPCHAROUT, F_CHAROUT, F_JSONB_OUT, F_JSON_OUT, F_INET_OUT, F_CIDR_OUT,
        F_MACADDR_OUT, F_MACADDR8_OUT, F_TEXTIN, F_VARCHARIN, F_BPCHARIN,
    ]),
];
