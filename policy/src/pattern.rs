//! Case-sensitive globs over names: `*` stands for any characters, everything else for itself.

use std::fmt;

/// Longest pattern in bytes. A PostgreSQL name has at most 63; the rest is room for stars.
pub const MAX_PATTERN_BYTES: usize = 256;

/// A glob for the name of a schema, a relation or a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(String);

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternError {
    /// It has no characters, so it would match nothing.
    Empty,
    /// It is longer than [`MAX_PATTERN_BYTES`].
    TooLong,
    /// It contains a NUL, which no PostgreSQL name can.
    Nul,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Empty => f.write_str("pattern must not be empty"),
            PatternError::TooLong => write!(f, "pattern must not be longer than {MAX_PATTERN_BYTES} bytes"),
            PatternError::Nul => f.write_str("pattern must not contain a NUL character"),
        }
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// A pattern from its text, which is kept as it is (no trimming, no case folding).
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong);
        }
        if text.contains('\0') {
            return Err(PatternError::Nul);
        }
        Ok(Pattern(text.to_owned()))
    }

    /// The text it was made from.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can match one name only, that is, whether it has no star.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether `name` as a whole matches.
    ///
    /// Only the last star is ever reconsidered: giving an earlier star more characters cannot help once a later one was
    /// reached. So the time is bounded by the product of the lengths, whatever the pattern.
    pub fn matches(&self, name: &str) -> bool {
        // Bytes are enough: in UTF-8 no character's encoding occurs inside another's.
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        let mut last_star: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    last_star = Some((p, n));
                    p += 1;
                }
                Some(&byte) if byte == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match &mut last_star {
                    Some((star, taken)) => {
                        *taken += 1;
                        p = *star + 1;
                        n = *taken;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&byte| byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_star_stands_anywhere_and_for_nothing() {
        for (pattern, name, expected) in [
            ("orders", "orders", true),
            ("orders", "order", false),
            ("orders", "orders2", false),
            ("*", "", true),
            ("*", "orders", true),
            ("ord*", "orders", true),
            ("*ers", "orders", true),
            ("o*s", "os", true),
            ("o*d*s", "orders", true),
            ("o*d*x", "orders", false),
            ("*a*ab", "aaab", true),
            ("**", "x", true),
            ("a*", "ba", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn nothing_but_the_star_is_special() {
        assert!(!matches("Orders", "orders"));
        assert!(!matches("order?", "orders"));
        assert!(!matches("[o]rders", "orders"));
        assert!(!matches("a\\*", "a*"));
        assert!(matches("100%_x", "100%_x"));
        assert!(matches("é*", "été"));
        assert!(!matches("é*", "e"));
    }

    #[test]
    fn only_usable_texts_are_patterns() {
        assert_eq!(Pattern::new(""), Err(PatternError::Empty));
        assert_eq!(Pattern::new("a\0"), Err(PatternError::Nul));
        assert_eq!(Pattern::new(&"a".repeat(257)), Err(PatternError::TooLong));
        assert!(Pattern::new(&"a".repeat(256)).is_ok());
        assert!(Pattern::new("a").unwrap().is_exact());
        assert!(!Pattern::new("a*").unwrap().is_exact());
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "a*".repeat(127) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }
}
