//! Generators of policies over a small world: few names, so that policies meet.

use policy::decide::{Applicable, Decision, Relation, Selection};
use policy::model::{
    AccessMode, Assignment, Check, Definition, FilterMode, Id, Policy, PolicyType, Scope, Target, Targets,
};
use policy::pattern::Pattern;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeSet;

/// All the columns there are.
pub const COLUMNS: [&str; 4] = ["c0", "c1", "d0", "d1"];

/// A relation that owns its names.
#[derive(Debug, Clone)]
pub struct OwnedRelation {
    pub schema: &'static str,
    pub name: &'static str,
    pub ancestors: Vec<(String, String)>,
    pub columns: Vec<&'static str>,
    /// What a catalog allowlist selects: `None` for everything, no columns for nothing.
    pub selected: Option<BTreeSet<String>>,
}

impl OwnedRelation {
    pub fn borrowed(&self) -> Relation<'_> {
        Relation {
            schema: self.schema,
            name: self.name,
            ancestors: &self.ancestors,
            columns: &self.columns,
            selection: match &self.selected {
                None => Selection::Everything,
                Some(columns) if columns.is_empty() => Selection::Nothing,
                Some(columns) => Selection::Columns(columns),
            },
        }
    }
}

/// A subject's situation: the policies that apply, with whether they fire, and the relation it asks for.
#[derive(Debug, Clone)]
pub struct Situation {
    pub mode: AccessMode,
    pub policies: Vec<(Policy, bool)>,
    pub relation: OwnedRelation,
}

impl Situation {
    pub fn applicable(&self) -> Vec<Applicable<'_>> {
        self.policies
            .iter()
            .map(|(policy, fires)| Applicable {
                policy,
                priority: 0,
                scope_rank: 2,
                fires: *fires,
            })
            .collect()
    }

    pub fn decide(&self) -> Decision {
        policy::decide::decide(self.mode, &self.applicable(), &self.relation.borrowed())
    }
}

pub fn mode() -> impl Strategy<Value = AccessMode> {
    select(vec![AccessMode::Open, AccessMode::PolicyRequired])
}

fn patterns(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<Pattern>> {
    let texts = subsequence(texts, 1..=2);
    texts.prop_map(|texts| texts.into_iter().map(|text| Pattern::new(text).unwrap()).collect())
}

fn target(policy_type: PolicyType) -> impl Strategy<Value = Target> {
    let columns = patterns(&["*", "c*", "*0", "c1", "d0", "x"]);
    (patterns(&["*", "a", "b"]), patterns(&["*", "t", "u", "t*"]), columns).prop_map(
        move |(schemas, tables, columns)| Target {
            schemas,
            tables,
            columns: policy_type.needs_columns().then_some(columns),
        },
    )
}

/// A definition that suits the type. A filter's expression lists the rows for which it is true, as bits.
pub fn definition(policy_type: PolicyType) -> BoxedStrategy<Definition> {
    match policy_type {
        PolicyType::RowFilter => {
            let mode = select(vec![FilterMode::Restrictive, FilterMode::Permissive]);
            let check = select(vec![Check::Filter, Check::None, Check::Expression("true".into())]);
            (any::<u8>(), mode, check)
                .prop_map(|(rows, mode, check)| Definition::RowFilter {
                    filter_expression: rows.to_string(),
                    mode,
                    check,
                })
                .boxed()
        }
        PolicyType::ColumnMask => any::<bool>()
            .prop_map(|writable| Definition::ColumnMask {
                mask_expression: "'x'".into(),
                writable,
            })
            .boxed(),
        _ => Just(Definition::None).boxed(),
    }
}

/// A policy that can be applied.
pub fn sound_policy_of(policy_type: PolicyType) -> impl Strategy<Value = Policy> {
    let targets = proptest::collection::vec(target(policy_type), 1..=2);
    (targets, definition(policy_type)).prop_map(move |(targets, definition)| Policy {
        id: 0,
        name: String::new(),
        version: 1,
        policy_type,
        targets: Targets::Valid(targets),
        definition,
        is_enabled: true,
        owner: "owner".into(),
        decision_function: None,
    })
}

pub fn sound_policy() -> impl Strategy<Value = Policy> {
    select(PolicyType::ALL.to_vec()).prop_flat_map(sound_policy_of)
}

/// A policy that can be applied, or now and then one that cannot.
fn any_policy() -> impl Strategy<Value = Policy> {
    (sound_policy(), 0..60u8).prop_map(|(mut policy, luck)| {
        match luck {
            0 => policy.targets = Targets::Invalid("unusable".into()),
            1 => policy.definition = Definition::Invalid("unusable".into()),
            2 => policy.policy_type = PolicyType::ColumnMask,
            _ => {}
        }
        policy
    })
}

fn numbered(mut policies: Vec<Policy>) -> Vec<Policy> {
    for (index, policy) in policies.iter_mut().enumerate() {
        policy.id = index as Id;
        policy.name = format!("p{index}");
    }
    policies
}

pub fn relation() -> impl Strategy<Value = OwnedRelation> {
    let name = || (select(vec!["a", "b"]), select(vec!["t", "u", "t1"]));
    let owned = |(schema, name): (&str, &str)| (schema.to_owned(), name.to_owned());
    let ancestors = proptest::collection::vec(name().prop_map(owned), 0..=1);
    let columns = || subsequence(COLUMNS.to_vec(), 0..=4);
    (name(), ancestors, columns(), selected()).prop_map(|((schema, name), ancestors, columns, selected)| {
        OwnedRelation {
            schema,
            name,
            ancestors,
            columns,
            selected,
        }
    })
}

/// What a catalog allowlist may select; everything more often than not.
pub fn selected() -> impl Strategy<Value = Option<BTreeSet<String>>> {
    let columns = subsequence(COLUMNS.to_vec(), 0..=4);
    let columns = columns.prop_map(|columns| columns.into_iter().map(str::to_owned).collect());
    proptest::option::weighted(0.4, columns)
}

fn situation_of(policies: impl Strategy<Value = Vec<Policy>>) -> impl Strategy<Value = Situation> {
    let fires = proptest::collection::vec(proptest::bool::weighted(0.7), 8);
    (mode(), policies, fires, relation()).prop_map(|(mode, policies, fires, relation)| Situation {
        mode,
        policies: numbered(policies).into_iter().zip(fires).collect(),
        relation,
    })
}

/// Any situation, broken policies included.
pub fn situation() -> impl Strategy<Value = Situation> {
    situation_of(proptest::collection::vec(any_policy(), 0..=8))
}

/// A situation in which every policy can be applied.
pub fn sound_situation() -> impl Strategy<Value = Situation> {
    situation_of(proptest::collection::vec(sound_policy(), 0..=8))
}

/// A catalog: policies, some disabled, and assignments to everyone, users 1 and 2, and roles 1 to 3.
pub fn catalog() -> impl Strategy<Value = (Vec<Policy>, Vec<Assignment>)> {
    let enabled = proptest::collection::vec(proptest::bool::weighted(0.8), 6);
    let policies = (proptest::collection::vec(any_policy(), 0..=6), enabled).prop_map(|(policies, enabled)| {
        let mut policies = numbered(policies);
        policies
            .iter_mut()
            .zip(enabled)
            .for_each(|(policy, enabled)| policy.is_enabled = enabled);
        policies
    });
    let scope = prop_oneof![
        Just(Scope::All),
        (1..=2u8).prop_map(|id| Scope::User(id.into())),
        (1..=3u8).prop_map(|id| Scope::Role(id.into())),
    ];
    let assignment = (0..6u8, scope, 1..=3).prop_map(|(policy, scope, priority)| Assignment {
        id: 0,
        policy_id: policy.into(),
        scope,
        priority,
    });
    (policies, proptest::collection::vec(assignment, 0..=10))
}
