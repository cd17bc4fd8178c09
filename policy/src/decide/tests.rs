use super::*;
use crate::model::{Assignment, Check, Id, Scope};
use crate::pattern::Pattern;
use std::collections::BTreeSet;

const COLUMNS: &[&str] = &["id", "name", "ssn"];

fn orders() -> Relation<'static> {
    Relation {
        columns: COLUMNS,
        ..Relation::named("public", "orders")
    }
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

fn policy(id: Id, policy_type: PolicyType, table: &str, columns: &[&str]) -> Policy {
    let definition = match policy_type {
        PolicyType::RowFilter => filter(FilterMode::Restrictive),
        PolicyType::ColumnMask => Definition::ColumnMask {
            mask_expression: "NULL".into(),
            writable: false,
        },
        _ => Definition::None,
    };
    let columns = policy_type.needs_columns().then(|| patterns(columns));
    let target = Target {
        schemas: patterns(&["public"]),
        tables: patterns(&[table]),
        columns,
    };
    Policy {
        id,
        name: format!("p{id}"),
        version: 1,
        policy_type,
        targets: Targets::Valid(vec![target]),
        definition,
        is_enabled: true,
        owner: "postgres".into(),
        decision_function: None,
    }
}

fn filter(mode: FilterMode) -> Definition {
    Definition::RowFilter {
        filter_expression: "true".into(),
        mode,
        check: Check::Filter,
    }
}

fn permissive(id: Id) -> Policy {
    Policy {
        definition: filter(FilterMode::Permissive),
        ..policy(id, PolicyType::RowFilter, "orders", &[])
    }
}

/// Everything assigned to everyone, with the id as priority.
fn for_everyone(policies: &[Policy]) -> Vec<Applicable<'_>> {
    policies
        .iter()
        .map(|policy| Applicable {
            policy,
            priority: policy.id as i32,
            scope_rank: 2,
            fires: true,
        })
        .collect()
}

fn open(policies: &[Policy]) -> Decision {
    decide(AccessMode::Open, &for_everyone(policies), &orders())
}

fn visible(mask: Option<usize>) -> ColumnAccess {
    ColumnAccess::Visible { mask }
}

#[test]
fn without_policies_the_mode_decides() {
    let decision = open(&[]);
    assert!(decision.is_unrestricted() && !decision.hides_something());
    let decision = decide(AccessMode::PolicyRequired, &[], &orders());
    assert_eq!(decision.table, TableAccess::NotAllowed);
    assert_eq!(decision.columns, [ColumnAccess::NotAllowed { mask: None }; 3]);
    assert!(!decision.is_unrestricted() && decision.hides_something());
    assert!(decision.waived().is_unrestricted());
}

#[test]
fn a_policy_about_another_relation_does_nothing() {
    assert!(open(&[policy(1, PolicyType::TableDeny, "customers", &[])]).is_unrestricted());
}

#[test]
fn filters_are_collected_by_mode() {
    let decision = open(&[policy(1, PolicyType::RowFilter, "*", &[]), permissive(2), permissive(3)]);
    assert_eq!(decision.restrictive, [0]);
    assert_eq!(decision.permissive, Some(vec![1, 2]));
    assert!(!decision.is_unrestricted() && !decision.hides_something());
}

#[test]
fn the_first_mask_wins_and_a_deny_beats_it() {
    let policies = [
        policy(1, PolicyType::ColumnMask, "orders", &["s*"]),
        policy(2, PolicyType::ColumnMask, "orders", &["ssn", "name"]),
        policy(3, PolicyType::ColumnDeny, "orders", &["name"]),
    ];
    let decision = open(&policies);
    assert_eq!(
        decision.columns,
        [visible(None), ColumnAccess::Denied { by: 2 }, visible(Some(0))]
    );
    let effects: Vec<_> = decision
        .effects()
        .iter()
        .map(|e| (e.policy, e.effect, e.column))
        .collect();
    assert_eq!(
        effects,
        [(0, Effect::ColumnMasked, Some(2)), (2, Effect::ColumnDenied, Some(1))]
    );
}

#[test]
fn an_allowlist_bounds_the_columns_in_either_mode_and_a_deny_beats_it() {
    let policies = [
        policy(1, PolicyType::ColumnAllow, "orders", &["id"]),
        policy(2, PolicyType::ColumnAllow, "orders", &["name"]),
        policy(3, PolicyType::ColumnDeny, "orders", &["name"]),
        policy(4, PolicyType::ColumnMask, "orders", &["*"]),
    ];
    for mode in [AccessMode::Open, AccessMode::PolicyRequired] {
        let decision = decide(mode, &for_everyone(&policies), &orders());
        assert_eq!(decision.table, TableAccess::Visible);
        let hidden = ColumnAccess::NotAllowed { mask: Some(3) };
        assert_eq!(
            decision.columns,
            [visible(Some(3)), ColumnAccess::Denied { by: 2 }, hidden]
        );
        let waived = [visible(Some(3)), ColumnAccess::Denied { by: 2 }, visible(Some(3))];
        assert_eq!(decision.waived().columns, waived);
    }
}

#[test]
fn an_allowlist_that_lists_no_column_of_the_table_hides_it() {
    let decision = open(&[policy(1, PolicyType::ColumnAllow, "orders", &["other"])]);
    assert_eq!(decision.table, TableAccess::NotAllowed);
}

#[test]
fn a_table_without_columns_is_let_through_by_any_allowlist() {
    let policies = [policy(1, PolicyType::ColumnAllow, "orders", &["*"])];
    let relation = Relation {
        columns: &[],
        ..orders()
    };
    let mut applicable = for_everyone(&policies);
    assert_eq!(
        decide(AccessMode::PolicyRequired, &applicable, &relation).table,
        TableAccess::Visible
    );
    applicable[0].fires = false;
    assert_eq!(
        decide(AccessMode::PolicyRequired, &applicable, &relation).table,
        TableAccess::NotAllowed
    );
    assert_eq!(
        decide(AccessMode::PolicyRequired, &[], &relation).table,
        TableAccess::NotAllowed
    );
}

#[test]
fn what_does_not_fire_still_restricts_but_contributes_nothing() {
    let policies = [permissive(1), policy(2, PolicyType::ColumnAllow, "orders", &["*"])];
    let mut applicable = for_everyone(&policies);
    applicable.iter_mut().for_each(|entry| entry.fires = false);
    let decision = decide(AccessMode::Open, &applicable, &orders());
    assert_eq!(decision.permissive, Some(vec![]));
    assert_eq!(decision.table, TableAccess::NotAllowed);
    let effects: Vec<_> = decision.effects().iter().map(|e| (e.policy, e.effect)).collect();
    assert_eq!(effects, [(1, Effect::ColumnsWithheld)]);
    let effects: Vec<_> = decision
        .waived()
        .effects()
        .iter()
        .map(|e| (e.policy, e.effect))
        .collect();
    assert_eq!(effects, [(0, Effect::RowsWithheld)]);
}

#[test]
fn a_restrictive_filter_a_mask_or_a_deny_that_does_not_fire_takes_no_part() {
    let policies = [
        policy(1, PolicyType::RowFilter, "orders", &[]),
        policy(2, PolicyType::ColumnMask, "orders", &["*"]),
        policy(3, PolicyType::ColumnDeny, "orders", &["*"]),
        policy(4, PolicyType::TableDeny, "orders", &[]),
    ];
    let mut applicable = for_everyone(&policies);
    applicable.iter_mut().for_each(|entry| entry.fires = false);
    assert!(decide(AccessMode::Open, &applicable, &orders()).is_unrestricted());
}

#[test]
fn a_table_deny_is_all_there_is_to_say() {
    let policies = [
        policy(1, PolicyType::RowFilter, "orders", &[]),
        policy(2, PolicyType::TableDeny, "orders", &[]),
    ];
    let decision = open(&policies);
    assert_eq!(decision.table, TableAccess::Denied { by: 1 });
    assert_eq!(decision.waived().table, TableAccess::Denied { by: 1 });
    assert_eq!(
        decision.effects(),
        [Applied {
            policy: 1,
            effect: Effect::TableDenied,
            column: None
        }]
    );
}

#[test]
fn what_is_not_selected_is_hidden_whatever_policies_allow() {
    let policies = [
        policy(1, PolicyType::ColumnAllow, "orders", &["id", "ssn"]),
        policy(2, PolicyType::ColumnMask, "orders", &["ssn"]),
    ];
    let selected = BTreeSet::from(["id".to_owned(), "name".to_owned(), "gone".to_owned()]);
    let relation = Relation {
        selection: Selection::Columns(&selected),
        ..orders()
    };
    let hidden = |mask| ColumnAccess::NotAllowed { mask };
    let decision = decide(AccessMode::Open, &[], &relation);
    assert_eq!(decision.table, TableAccess::Visible);
    assert_eq!(decision.columns, [visible(None), visible(None), hidden(None)]);
    assert!(!decision.is_unrestricted() && decision.hides_something() && decision.waived().is_unrestricted());
    // Both have to let a column through.
    let decision = decide(AccessMode::Open, &for_everyone(&policies), &relation);
    assert_eq!(decision.columns, [visible(None), hidden(None), hidden(Some(1))]);
    let decision = decide(
        AccessMode::Open,
        &for_everyone(&policies),
        &Relation {
            selection: Selection::Nothing,
            ..relation
        },
    );
    assert_eq!(decision.table, TableAccess::NotAllowed);
    assert_eq!(decision.columns, [hidden(None), hidden(None), hidden(Some(1))]);
    assert_eq!(
        decision.waived().columns,
        [visible(None), visible(None), visible(Some(1))]
    );
}

#[test]
fn a_selected_table_of_which_no_column_is_shown_is_hidden() {
    let decide_about = |selected: &[&str], columns: &[&str]| {
        let selected = selected.iter().map(|name| name.to_string()).collect();
        let relation = Relation {
            columns,
            selection: Selection::Columns(&selected),
            ..orders()
        };
        decide(AccessMode::Open, &[], &relation).table
    };
    assert_eq!(decide_about(&["gone"], COLUMNS), TableAccess::NotAllowed);
    assert_eq!(decide_about(&[], COLUMNS), TableAccess::NotAllowed);
    assert_eq!(decide_about(&["ssn"], COLUMNS), TableAccess::Visible);
    assert_eq!(decide_about(&[], &[]), TableAccess::Visible);
}

#[test]
fn a_policy_on_an_ancestor_governs_the_child() {
    let ancestors = [("public".to_owned(), "orders".to_owned())];
    let partition = Relation {
        ancestors: &ancestors,
        columns: COLUMNS,
        ..Relation::named("parts", "orders_2024")
    };
    let policies = [policy(1, PolicyType::ColumnDeny, "orders", &["ssn"])];
    let decision = decide(AccessMode::Open, &for_everyone(&policies), &partition);
    assert_eq!(
        decision.columns,
        [visible(None), visible(None), ColumnAccess::Denied { by: 0 }]
    );
}

#[test]
fn columns_of_one_target_do_not_leak_into_another() {
    let mut deny = policy(1, PolicyType::ColumnDeny, "customers", &["ssn"]);
    let Targets::Valid(targets) = &mut deny.targets else {
        unreachable!("made valid above")
    };
    targets.extend(match policy(1, PolicyType::ColumnDeny, "orders", &["name"]).targets {
        Targets::Valid(targets) => targets,
        Targets::Invalid(reason) => unreachable!("{reason}"),
    });
    assert_eq!(
        open(&[deny]).columns,
        [visible(None), ColumnAccess::Denied { by: 0 }, visible(None)]
    );
}

#[test]
fn a_policy_that_cannot_be_understood_closes_what_it_is_about() {
    let unusable = [
        Policy {
            targets: Targets::Invalid("bad".into()),
            ..policy(1, PolicyType::ColumnAllow, "x", &["*"])
        },
        Policy {
            definition: Definition::Invalid("bad".into()),
            ..policy(1, PolicyType::RowFilter, "orders", &[])
        },
        Policy {
            definition: Definition::None,
            ..policy(1, PolicyType::ColumnMask, "orders", &["*"])
        },
        Policy {
            policy_type: PolicyType::ColumnDeny,
            ..policy(1, PolicyType::TableDeny, "orders", &[])
        },
    ];
    for policy in unusable {
        let policies = [policy];
        let mut applicable = for_everyone(&policies);
        for fires in [true, false] {
            applicable[0].fires = fires;
            let decision = decide(AccessMode::Open, &applicable, &orders());
            assert_eq!(decision.broken.len(), 1, "{policies:?}");
            assert!(!decision.is_unrestricted());
            assert_eq!(
                decision.effects(),
                [Applied {
                    policy: 0,
                    effect: Effect::Broken,
                    column: None
                }]
            );
        }
    }
    let elsewhere = Policy {
        definition: Definition::Invalid("bad".into()),
        ..policy(1, PolicyType::RowFilter, "customers", &[])
    };
    assert!(open(&[elsewhere]).is_unrestricted());
}

#[test]
fn a_policy_applies_once_with_its_best_assignment() {
    let policies = [
        policy(1, PolicyType::TableDeny, "b", &[]),
        policy(2, PolicyType::TableDeny, "a", &[]),
        Policy {
            is_enabled: false,
            ..policy(3, PolicyType::TableDeny, "c", &[])
        },
        policy(4, PolicyType::TableDeny, "d", &[]),
    ];
    let assign = |policy_id, scope, priority| Assignment {
        id: 0,
        policy_id,
        scope,
        priority,
    };
    let assignments = [
        assign(1, Scope::All, 50),
        assign(1, Scope::Role(8), 50),
        assign(1, Scope::User(7), 100),
        assign(2, Scope::User(7), 50),
        assign(2, Scope::Role(9), 1),
        assign(3, Scope::All, 1),
        assign(4, Scope::User(6), 1),
        assign(99, Scope::All, 1),
    ];
    let found: Vec<_> = applicable(&policies, &assignments, Some(7), &BTreeSet::from([8]))
        .iter()
        .map(|entry| (entry.policy.id, entry.priority, entry.scope_rank, entry.fires))
        .collect();
    assert_eq!(found, [(2, 50, 0, true), (1, 50, 1, true)]);
    let found = applicable(&policies, &assignments, None, &BTreeSet::new());
    assert_eq!(found.iter().map(|entry| entry.policy.id).collect::<Vec<_>>(), [1]);
}

#[test]
fn ties_are_broken_by_name() {
    let policies = [
        Policy {
            name: "b".into(),
            ..policy(1, PolicyType::TableDeny, "t", &[])
        },
        Policy {
            name: "a".into(),
            ..policy(2, PolicyType::TableDeny, "t", &[])
        },
    ];
    let assign = |policy_id| Assignment {
        id: 0,
        policy_id,
        scope: Scope::All,
        priority: 1,
    };
    let found = applicable(&policies, &[assign(1), assign(2)], None, &BTreeSet::new());
    assert_eq!(
        found.iter().map(|entry| entry.policy.name.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
}
