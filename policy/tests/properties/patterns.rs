//! Patterns against a matcher that is too simple to be wrong.

use policy::pattern::Pattern;
use proptest::prelude::*;

/// A star takes nothing, or one character and goes on.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], _) => name.is_empty(),
        (['*', rest @ ..], _) => matches(rest, name) || (!name.is_empty() && matches(pattern, &name[1..])),
        ([first, rest @ ..], [next, others @ ..]) => first == next && matches(rest, others),
        (_, []) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_pattern_matches_what_the_simple_matcher_does(pattern in "[ab*é]{1,8}", name in "[abé]{0,8}") {
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = matches(&characters(&pattern), &characters(&name));
        prop_assert_eq!(Pattern::new(&pattern).unwrap().matches(&name), expected);
    }

    #[test]
    fn an_exact_pattern_matches_itself_only(pattern in "\\PC{1,20}", name in "\\PC{0,20}") {
        let parsed = Pattern::new(&pattern).unwrap();
        prop_assert!(parsed.matches(&pattern));
        if parsed.is_exact() {
            prop_assert_eq!(parsed.matches(&name), pattern == name);
        }
        prop_assert_eq!(parsed.as_str(), pattern);
    }
}
