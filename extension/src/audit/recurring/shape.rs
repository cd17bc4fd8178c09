//! What a statement consists of, apart from the constants in its places.

use std::ffi::CStr;

use pgrx::pg_sys::{self, CmdType, Const, List, Node, NodeTag, Param, Query, RTEKind, RangeTblEntry};

use crate::pg::{list, nodes, walk};

/// The number of the parameter that stands for the first constant: higher than a client's can be.
pub(super) const FIRST_MARK: i32 = 2_000_000_000;

/// What a statement consists of, apart from the values in its places.
pub(super) struct Shape {
    /// Equal for equal statements of the same subject.
    pub(super) hash: u64,
    /// The sum of the hashes of constants that are in no place.
    fixed: u64,
    /// What is printed of its nodes and not compared by `equal`.
    pub(super) printed: Vec<i32>,
    /// Where it has constants that may be others the next time: cells of lists of arguments.
    places: Vec<(*mut List, usize)>,
}

/// Marks in the places of constants, until it is dropped: parameters, which are printed as `$` and a number.
pub(super) struct Marked<'a> {
    query: *mut Query,
    length: i32,
    places: &'a [(*mut List, usize)],
    constants: Vec<*mut Const>,
}

impl<'a> Marked<'a> {
    /// # Safety
    /// The shape is that of `query`, which has no marks yet.
    pub(super) unsafe fn new(query: *mut Query, shape: &'a Shape) -> Self {
        let constants = shape.constants();
        let marks: Vec<*mut Param> = constants
            .iter()
            .zip(FIRST_MARK..)
            .map(|(constant, number)| {
                let mark = nodes::make::<Param>(NodeTag::T_Param);
                (*mark).paramkind = pg_sys::ParamKind::PARAM_EXTERN;
                (*mark).paramid = number;
                (*mark).paramtype = (**constant).consttype;
                (*mark).paramtypmod = (**constant).consttypmod;
                (*mark).paramcollid = (**constant).constcollid;
                (*mark).location = -1;
                mark
            })
            .collect();
        for ((cells, index), mark) in shape.places.iter().zip(marks) {
            list::set(*cells, *index, mark);
        }
        let length = std::mem::take(&mut (*query).stmt_len);
        Marked {
            query,
            length,
            places: &shape.places,
            constants,
        }
    }
}

impl Drop for Marked<'_> {
    fn drop(&mut self) {
        // SAFETY: the statement is the one that the marks were put into.
        unsafe {
            (*self.query).stmt_len = self.length;
            for ((cells, index), constant) in self.places.iter().zip(&self.constants) {
                list::set(*cells, *index, *constant);
            }
        }
    }
}

impl Shape {
    /// That of a statement, `None` for one that is never recognised. The hash begins with `seed`.
    ///
    /// # Safety
    /// `query` is a valid query.
    pub(super) unsafe fn of(query: *mut Query, seed: u64) -> Option<Shape> {
        let mut shape = Shape {
            hash: seed,
            fixed: 0,
            printed: Vec::with_capacity(32),
            places: Vec::new(),
        };
        let is_known = walk::every_node(query, &mut shape, Shape::note);
        shape.hash ^= shape.fixed;
        is_known.then_some(shape)
    }

    /// The constants in its places, while there are no marks.
    ///
    /// # Safety
    /// The statement is still there.
    pub(super) unsafe fn constants(&self) -> Vec<*mut Const> {
        let places = self.places.iter();
        places.map(|(cells, index)| list::nth(*cells, *index)).collect()
    }

    fn add(&mut self, value: u32) {
        // The multiplier of FNV-1a (Fowler, Noll and Vo), with the high bits brought down.
        self.hash = (self.hash ^ u64::from(value)).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    unsafe fn add_places(&mut self, cells: *mut List) {
        for index in 0..list::len(cells) {
            let cell: *mut Node = list::nth(cells, index);
            if nodes::is_a(cell, NodeTag::T_Const) {
                self.places.push((cells, index));
                // What will be added when the walk comes to it.
                self.fixed = self.fixed.wrapping_sub(hash(&*cell.cast()));
            }
        }
    }

    /// Takes a node in; false for one that is not known.
    unsafe fn note(&mut self, node: *mut Node) -> bool {
        use NodeTag::*;
        let tag = nodes::tag(node);
        self.add(tag as u32);
        match tag {
            T_Query => (*node.cast::<Query>()).commandType == CmdType::CMD_SELECT,
            T_RangeTblEntry => {
                let rte = node.cast::<RangeTblEntry>();
                self.add((*rte).relid.to_u32());
                is_known_entry((*rte).rtekind)
            }
            T_Var => {
                let var = &*node.cast::<pg_sys::Var>();
                self.add(var.varno as u32 ^ (var.varattno as u32) << 16);
                self.printed.extend([var.varnosyn as i32, i32::from(var.varattnosyn)]);
                true
            }
            T_Const => {
                let constant = &*node.cast::<Const>();
                self.add(constant.consttype.to_u32());
                let is_known = has_plain_text(constant);
                if is_known {
                    self.fixed = self.fixed.wrapping_add(hash(constant));
                }
                is_known
            }
            T_OpExpr => {
                let call = &*node.cast::<pg_sys::OpExpr>();
                self.add(call.opno.to_u32());
                self.add_places(call.args);
                true
            }
            T_ArrayExpr => {
                self.add_places((*node.cast::<pg_sys::ArrayExpr>()).elements);
                true
            }
            T_FuncExpr => {
                let call = &*node.cast::<pg_sys::FuncExpr>();
                self.add(call.funcid.to_u32());
                self.printed.push(call.funcformat as i32);
                true
            }
            T_Aggref => {
                self.add((*node.cast::<pg_sys::Aggref>()).aggfnoid.to_u32());
                true
            }
            T_RelabelType => {
                self.printed
                    .push((*node.cast::<pg_sys::RelabelType>()).relabelformat as i32);
                true
            }
            T_CoerceViaIO => {
                self.printed
                    .push((*node.cast::<pg_sys::CoerceViaIO>()).coerceformat as i32);
                true
            }
            T_RowExpr => {
                self.printed.push((*node.cast::<pg_sys::RowExpr>()).row_format as i32);
                true
            }
            T_List | T_FromExpr | T_JoinExpr | T_RangeTblRef | T_CommonTableExpr | T_TargetEntry
            | T_SetOperationStmt | T_Param | T_SubLink | T_BoolExpr | T_NullTest | T_BooleanTest | T_CaseExpr
            | T_CaseWhen | T_CaseTestExpr | T_CoalesceExpr | T_ScalarArrayOpExpr | T_DistinctExpr | T_NullIfExpr
            | T_SQLValueFunction => true,
            _ => false,
        }
    }
}

/// A hash of the value of a constant with a plain text.
unsafe fn hash(constant: &Const) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    if constant.constisnull {
        return PRIME;
    }
    let value = constant.constvalue;
    if constant.constbyval {
        return (value.value() as u64).wrapping_mul(PRIME).rotate_left(31);
    }
    let start: *const u8 = value.cast_mut_ptr();
    let length = match constant.constlen {
        -1 => pgrx::varsize_any(start.cast()),
        -2 => CStr::from_ptr(start.cast()).count_bytes(),
        length => length as usize,
    };
    let bytes = std::slice::from_raw_parts(start, length);
    bytes
        .iter()
        .fold(PRIME, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

fn is_known_entry(kind: RTEKind::Type) -> bool {
    #[cfg(feature = "pg18")]
    if kind == RTEKind::RTE_GROUP {
        return true;
    }
    matches!(
        kind,
        RTEKind::RTE_RELATION | RTEKind::RTE_SUBQUERY | RTEKind::RTE_JOIN | RTEKind::RTE_VALUES | RTEKind::RTE_CTE
    )
}

/// Whether the text of a constant depends on nothing but its value.
fn has_plain_text(constant: &Const) -> bool {
    use pg_sys::*;
    let collation = match constant.consttype {
        BOOLOID | INT2OID | INT4OID | INT8OID | NUMERICOID | OIDOID | UUIDOID | INT4ARRAYOID | INT8ARRAYOID => {
            Oid::INVALID
        }
        TEXTOID | VARCHAROID | BPCHAROID | TEXTARRAYOID => DEFAULT_COLLATION_OID,
        UNKNOWNOID => return true,
        _ => return false,
    };
    constant.constcollid == collation
}
