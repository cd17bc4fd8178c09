//! Properties of access grants.

use policy::access::{Standing, standing};
use policy::model::{Id, Scope};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::All),
        (1..=2u8).prop_map(|id| Scope::User(id.into())),
        (1..=3u8).prop_map(|id| Scope::Role(id.into())),
    ]
}

fn subject() -> impl Strategy<Value = (Option<Id>, BTreeSet<Id>)> {
    let roles = proptest::collection::btree_set((1..=3u8).prop_map(Id::from), 0..=3);
    (proptest::option::of((1..=2u8).prop_map(Id::from)), roles)
}

proptest! {
    #[test]
    fn a_subject_is_admitted_by_a_grant_that_names_it_and_by_nothing_else(
        grants in proptest::collection::vec(scope(), 0..=4), (user, roles) in subject(),
    ) {
        let names_it = grants.iter().any(|grant| match grant {
            Scope::All => true,
            Scope::User(id) => user == Some(*id),
            Scope::Role(id) => roles.contains(id),
        });
        let expected = if names_it { Standing::Admitted } else { Standing::WithoutGrant };
        prop_assert_eq!(standing(true, Some(&grants), user, &roles), expected);
        prop_assert_eq!(standing(true, None, user, &roles), Standing::Admitted);
    }

    #[test]
    fn no_grant_admits_who_is_switched_off(
        grants in proptest::option::of(proptest::collection::vec(scope(), 0..=4)), (user, roles) in subject(),
    ) {
        prop_assert_eq!(standing(false, grants.as_deref(), user, &roles), Standing::Inactive);
    }
}
