//! Properties of decisions, judged by what a subject gets to see of a small table and not by how a decision is stored.

use crate::support::{Situation, catalog, relation, situation, sound_policy_of, sound_situation};
use policy::decide::{Applicable, ColumnAccess, Decision, Effect, TableAccess, applicable, decide};
use policy::model::{AccessMode, Definition, FilterMode, Id, Policy, PolicyType, Target, Targets};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;

/// How much a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shows {
    Nothing,
    /// The value of this policy's mask.
    Mask(Id),
    Value,
}

/// What a subject sees: whether the table exists, which of eight rows as bits, and the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    exists: bool,
    rows: u8,
    columns: Vec<Shows>,
}

impl View {
    fn nothing(columns: usize) -> View {
        View {
            exists: false,
            rows: 0,
            columns: vec![Shows::Nothing; columns],
        }
    }

    /// Whether it shows nothing that the other does not. One mask instead of another counts as the same.
    fn is_within(&self, other: &View) -> bool {
        let level = |shows: &Shows| match shows {
            Shows::Nothing => 0,
            Shows::Mask(_) => 1,
            Shows::Value => 2,
        };
        self.exists <= other.exists
            && self.rows & !other.rows == 0
            && self
                .columns
                .iter()
                .zip(&other.columns)
                .all(|(mine, theirs)| level(mine) <= level(theirs))
    }
}

/// The rows for which a filter's expression is true.
fn rows(policy: &Policy) -> u8 {
    match &policy.definition {
        Definition::RowFilter { filter_expression, .. } => filter_expression.parse().unwrap(),
        other => panic!("not a row filter: {other:?}"),
    }
}

/// What a caller that obeys the decision shows.
fn view(decision: &Decision, applicable: &[Applicable]) -> View {
    if decision.table != TableAccess::Visible || !decision.broken.is_empty() {
        return View::nothing(decision.columns.len());
    }
    let of = |index: &usize| rows(applicable[*index].policy);
    let restrictive = decision
        .restrictive
        .iter()
        .map(of)
        .fold(u8::MAX, |all, rows| all & rows);
    let permissive = decision
        .permissive
        .iter()
        .flatten()
        .map(of)
        .fold(0, |any, rows| any | rows);
    let permissive = if decision.permissive.is_some() {
        permissive
    } else {
        u8::MAX
    };
    let shows = |column: &ColumnAccess| match column {
        ColumnAccess::Visible { mask: None } => Shows::Value,
        ColumnAccess::Visible { mask: Some(index) } => Shows::Mask(applicable[*index].policy.id),
        ColumnAccess::Denied { .. } | ColumnAccess::NotAllowed { .. } => Shows::Nothing,
    };
    View {
        exists: true,
        rows: restrictive & permissive,
        columns: decision.columns.iter().map(shows).collect(),
    }
}

fn seen(situation: &Situation) -> View {
    view(&situation.decide(), &situation.applicable())
}

/// The same from the words of the design, cell by cell and without `decide`. Only for policies that can be applied.
fn expected(situation: &Situation) -> View {
    let relation = situation.relation.borrowed();
    let matches = |target: &&Target| {
        let mut names = vec![(relation.schema, relation.name)];
        names.extend(
            relation
                .ancestors
                .iter()
                .map(|(schema, name)| (schema.as_str(), name.as_str())),
        );
        names.iter().any(|(schema, name)| {
            target.schemas.iter().any(|pattern| pattern.matches(schema))
                && target.tables.iter().any(|pattern| pattern.matches(name))
        })
    };
    let targets = |policy: &Policy| -> Vec<Target> {
        let Targets::Valid(targets) = &policy.targets else {
            panic!("unusable targets")
        };
        targets.iter().filter(matches).cloned().collect()
    };
    let lists = |policy: &Policy, column: &str| {
        targets(policy)
            .iter()
            .flat_map(|target| target.columns.clone().unwrap())
            .any(|pattern| pattern.matches(column))
    };
    let of = |policy_type| {
        let of_type = situation
            .policies
            .iter()
            .filter(move |(policy, _)| policy.policy_type == policy_type);
        of_type
            .filter(|(policy, _)| !targets(policy).is_empty())
            .collect::<Vec<_>>()
    };
    let firing = |policy_type| {
        of(policy_type)
            .into_iter()
            .filter(|(_, fires)| *fires)
            .map(|(policy, _)| policy)
    };

    let allowlists = of(PolicyType::ColumnAllow);
    let bounded = situation.mode == AccessMode::PolicyRequired || !allowlists.is_empty();
    let selected = |column: &str| {
        let selected = &situation.relation.selected;
        selected.as_ref().is_none_or(|columns| columns.contains(column))
    };
    let allowed = |column: &str| {
        selected(column) && (!bounded || firing(PolicyType::ColumnAllow).any(|policy| lists(policy, column)))
    };
    let something_allowed = match relation.columns {
        [] => {
            let unselected = situation.relation.selected.as_ref().is_some_and(BTreeSet::is_empty);
            !unselected && (!bounded || firing(PolicyType::ColumnAllow).next().is_some())
        }
        columns => columns.iter().any(|column| allowed(column)),
    };
    if firing(PolicyType::TableDeny).next().is_some() || !something_allowed {
        return View::nothing(relation.columns.len());
    }
    let is_permissive = |policy: &Policy| {
        matches!(
            policy.definition,
            Definition::RowFilter {
                mode: FilterMode::Permissive,
                ..
            }
        )
    };
    let row_is_visible = |row: u8| {
        let holds = |policy: &Policy| rows(policy) & row != 0;
        let any_permissive = of(PolicyType::RowFilter)
            .iter()
            .any(|(policy, _)| is_permissive(policy));
        let mut filters = firing(PolicyType::RowFilter);
        firing(PolicyType::RowFilter)
            .filter(|policy| !is_permissive(policy))
            .all(holds)
            && (!any_permissive || filters.any(|policy| is_permissive(policy) && holds(policy)))
    };
    let shows = |column: &&str| {
        if !allowed(column) || firing(PolicyType::ColumnDeny).any(|policy| lists(policy, column)) {
            return Shows::Nothing;
        }
        let mask = firing(PolicyType::ColumnMask).find(|policy| lists(policy, column));
        mask.map_or(Shows::Value, |policy| Shows::Mask(policy.id))
    };
    View {
        exists: true,
        rows: (0..8).map(|bit| 1 << bit).filter(|row| row_is_visible(*row)).sum(),
        columns: relation.columns.iter().map(shows).collect(),
    }
}

/// The situation with one more policy that applies and fires, anywhere in the order of precedence.
fn with(situation: &Situation, place: Index, policy: Policy) -> Situation {
    let mut more = situation.clone();
    let policy = Policy {
        id: Id::MAX,
        name: "added".into(),
        ..policy
    };
    more.policies
        .insert(place.index(situation.policies.len() + 1), (policy, true));
    more
}

fn of_type(policy_types: &[PolicyType]) -> impl Strategy<Value = Policy> + use<> {
    proptest::sample::select(policy_types.to_vec()).prop_flat_map(sound_policy_of)
}

fn is_permissive_filter(policy: &Policy) -> bool {
    matches!(
        policy.definition,
        Definition::RowFilter {
            mode: FilterMode::Permissive,
            ..
        }
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_subject_sees_exactly_what_the_design_says(situation in sound_situation()) {
        prop_assert_eq!(seen(&situation), expected(&situation));
    }

    #[test]
    fn deny_always_wins(
        situation in situation(),
        place: Index,
        deny in of_type(&[PolicyType::TableDeny, PolicyType::ColumnDeny]),
    ) {
        let denied = with(&situation, place, deny.clone());
        let relation = denied.relation.borrowed();
        prop_assume!(relation.is_governed_by(&deny));
        let decision = denied.decide();
        for decision in [decision.waived(), decision] {
            if deny.policy_type == PolicyType::TableDeny {
                let is_denied = matches!(decision.table, TableAccess::Denied { .. });
                prop_assert!(is_denied, "{:?}", decision);
            }
            let Targets::Valid(targets) = &deny.targets else { unreachable!("generated valid") };
            let everywhere = targets.len() == 1 && deny.policy_type == PolicyType::ColumnDeny;
            for (column, access) in relation.columns.iter().zip(&decision.columns) {
                if everywhere && targets[0].matches_column(column) {
                    let is_denied = matches!(access, ColumnAccess::Denied { .. });
                    prop_assert!(is_denied, "{}: {:?}", column, decision);
                }
            }
        }
    }

    #[test]
    fn one_more_deny_restrictive_filter_or_mask_never_shows_more(
        situation in situation(),
        place: Index,
        added in of_type(&[
            PolicyType::TableDeny, PolicyType::ColumnDeny, PolicyType::RowFilter, PolicyType::ColumnMask,
        ]),
    ) {
        prop_assume!(!is_permissive_filter(&added));
        let more = with(&situation, place, added);
        prop_assert!(seen(&more).is_within(&seen(&situation)));
        let waived = |situation: &Situation| view(&situation.decide().waived(), &situation.applicable());
        prop_assert!(waived(&more).is_within(&waived(&situation)));
    }

    #[test]
    fn the_first_allowlist_of_an_open_database_and_the_first_permissive_filter_never_show_more(
        situation in situation(),
        place: Index,
        added in of_type(&[PolicyType::ColumnAllow, PolicyType::RowFilter]),
    ) {
        let mut situation = situation;
        situation.mode = AccessMode::Open;
        situation.policies.retain(|(policy, _)| match added.policy_type {
            PolicyType::RowFilter => !is_permissive_filter(policy),
            policy_type => policy.policy_type != policy_type,
        });
        prop_assert!(seen(&with(&situation, place, added)).is_within(&seen(&situation)));
    }

    #[test]
    fn what_stops_firing_never_opens_what_its_assignment_restricted(
        situation in situation(),
        stopped in proptest::collection::vec(any::<bool>(), 8),
    ) {
        let mut after = situation.clone();
        for ((policy, fires), stopped) in after.policies.iter_mut().zip(stopped) {
            let grants = policy.policy_type == PolicyType::ColumnAllow || is_permissive_filter(policy);
            *fires = *fires && !(grants && stopped);
        }
        prop_assert!(seen(&after).is_within(&seen(&situation)));
    }

    #[test]
    fn a_policy_that_cannot_be_applied_closes_its_relations(
        situation in sound_situation(), place: Index, policy in crate::support::sound_policy(), fires: bool, in_targets: bool,
    ) {
        let mut policy = policy;
        if in_targets {
            policy.targets = Targets::Invalid("unusable".into());
        } else {
            policy.definition = Definition::Invalid("unusable".into());
        }
        let mut more = with(&situation, place, policy.clone());
        let place = more.policies.iter().position(|(policy, _)| policy.id == Id::MAX).unwrap();
        more.policies[place].1 = fires;
        prop_assume!(more.relation.borrowed().is_governed_by(&policy));
        let decision = more.decide();
        let broken: Vec<usize> = decision.broken.iter().map(|(index, _)| *index).collect();
        prop_assert_eq!(broken, [place]);
        prop_assert_eq!(view(&decision.waived(), &more.applicable()), View::nothing(decision.columns.len()));
    }

    #[test]
    fn waiving_lifts_allowlists_and_nothing_else(situation in sound_situation()) {
        let mut without = situation.clone();
        without.mode = AccessMode::Open;
        without.relation.selected = None;
        without.policies.retain(|(policy, _)| policy.policy_type != PolicyType::ColumnAllow);
        let waived = view(&situation.decide().waived(), &situation.applicable());
        prop_assert_eq!(&waived, &seen(&without));
        prop_assert!(seen(&situation).is_within(&waived));
    }

    #[test]
    fn a_catalog_allowlist_never_shows_more(situation in situation(), selected in crate::support::selected()) {
        let mut everything = situation.clone();
        everything.relation.selected = None;
        prop_assert!(seen(&situation).is_within(&seen(&everything)));
        let mut fewer = situation.clone();
        if let (Some(one), Some(other)) = (&mut fewer.relation.selected, &selected) {
            one.retain(|column| other.contains(column));
        }
        prop_assert!(seen(&fewer).is_within(&seen(&situation)));
    }

    #[test]
    fn policies_without_effect_can_be_left_out(situation in situation()) {
        let listed: BTreeSet<usize> = situation.decide().effects().iter().map(|applied| applied.policy).collect();
        let mut rest = situation.clone();
        let mut index = 0..;
        rest.policies.retain(|_| listed.contains(&index.next().unwrap()));
        prop_assert_eq!(seen(&rest), seen(&situation));
    }

    #[test]
    fn summaries_agree_with_the_view(situation in situation()) {
        let decision = situation.decide();
        let view = seen(&situation);
        let everything = view.exists && view.rows == u8::MAX && view.columns.iter().all(|shows| *shows == Shows::Value);
        prop_assert!(!decision.is_unrestricted() || everything);
        // An allowlist may let everything through; what else has an effect restricts.
        let restricts = decision.effects().iter().any(|applied| applied.effect != Effect::ColumnsAllowed);
        prop_assert!(!decision.is_unrestricted() || !restricts || !decision.withheld_allows.is_empty());
        prop_assert!(decision.is_unrestricted() || restricts || decision.hides_something());
        if decision.broken.is_empty() {
            prop_assert_eq!(decision.hides_something(), !view.exists || view.columns.contains(&Shows::Nothing));
        }
    }

    #[test]
    fn the_order_of_storage_changes_nothing(
        ((policies, assignments), (mixed_policies, mixed_assignments)) in catalog().prop_flat_map(|(policies, assignments)| {
            let mixed = (Just(policies.clone()).prop_shuffle(), Just(assignments.clone()).prop_shuffle());
            (Just((policies, assignments)), mixed)
        }),
        user in proptest::option::of(1..=2u8),
        roles in proptest::collection::btree_set((1..=3u8).prop_map(Id::from), 0..=3),
        mode in crate::support::mode(),
        relation in relation(),
    ) {
        let user = user.map(Id::from);
        let stored = applicable(&policies, &assignments, user, &roles);
        let mixed = applicable(&mixed_policies, &mixed_assignments, user, &roles);
        prop_assert_eq!(&stored, &mixed);
        let relation = relation.borrowed();
        prop_assert_eq!(decide(mode, &stored, &relation), decide(mode, &mixed, &relation));
    }

    #[test]
    fn who_is_reached_and_in_which_order(
        (policies, assignments) in catalog(),
        user in proptest::option::of(1..=2u8),
        roles in proptest::collection::btree_set((1..=3u8).prop_map(Id::from), 0..=3),
    ) {
        use policy::model::Scope;
        let user = user.map(Id::from);
        let found = applicable(&policies, &assignments, user, &roles);
        for policy in &policies {
            let best = assignments.iter().filter(|assignment| assignment.policy_id == policy.id).filter_map(|assignment| {
                let rank = match assignment.scope {
                    Scope::All => 2,
                    Scope::Role(id) if roles.contains(&id) => 1,
                    Scope::User(id) if user == Some(id) => 0,
                    _ => return None,
                };
                Some((assignment.priority, rank))
            }).min();
            let entries: Vec<_> = found.iter().filter(|entry| entry.policy.id == policy.id).collect();
            let places: Vec<_> = entries.iter().map(|entry| (entry.priority, entry.scope_rank)).collect();
            prop_assert_eq!(places, Vec::from_iter(best.filter(|_| policy.is_enabled)));
        }
        let order: Vec<_> =
            found.iter().map(|entry| (entry.priority, entry.scope_rank, entry.policy.name.clone())).collect();
        prop_assert!(order.is_sorted());
        prop_assert!(found.iter().all(|entry| entry.fires));
    }
}
