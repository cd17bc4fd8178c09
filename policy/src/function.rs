//! Decision functions: what is stored of them, and what their answers mean for a policy.
//!
//! Invariant: where a function comes to no answer, the policy does what restricts, unless its author chose otherwise.

use crate::error::Issue;
use crate::json::{self, Issues, Object};
use crate::model::{Definition, FilterMode, Id, Policy, PolicyType};
use serde_json::{Value, json};

/// Longest source in bytes; a database may allow less.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;
/// Longest config in bytes, as JSON text; a database may allow less.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

/// What a function is told, which decides how often it is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EvaluateContext {
    /// The session: once for a subject, and again when the clock passes a minute.
    #[default]
    Session,
    /// The session and the statement: for every statement.
    Query,
}

/// What happens to the policy when a function comes to no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnError {
    /// What restricts.
    #[default]
    Deny,
    /// The policy does not take part.
    Skip,
}

/// Which messages of a function are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LogLevel {
    /// None.
    #[default]
    Off,
    /// Those of `console.error`.
    Error,
    /// All.
    Info,
}

/// A stored function, apart from its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionFunction {
    /// Its identity.
    pub id: Id,
    /// Its unique name.
    pub name: String,
    /// Counts its changes.
    pub version: i32,
    /// The second argument of `evaluate`.
    pub config: Value,
    /// What it is told.
    pub evaluate_context: EvaluateContext,
    /// What happens without an answer.
    pub on_error: OnError,
    /// Which messages are kept.
    pub log_level: LogLevel,
    /// Policies with a disabled function take part, as without one.
    pub is_enabled: bool,
}

/// What a function comes to for the policies that it gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ruling {
    /// They take part.
    Fires,
    /// They do not.
    Silent,
    /// They do what restricts.
    Restrict,
}

impl Ruling {
    /// The text form, as in audit rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Ruling::Fires => "fires",
            Ruling::Silent => "silent",
            Ruling::Restrict => "restrict",
        }
    }
}

impl DecisionFunction {
    /// What an evaluation means; `None` stands for an error.
    pub fn ruling(&self, fire: Option<bool>) -> Ruling {
        match (fire, self.on_error) {
            (Some(true), _) => Ruling::Fires,
            (Some(false), _) | (None, OnError::Skip) => Ruling::Silent,
            (None, OnError::Deny) => Ruling::Restrict,
        }
    }
}

impl Policy {
    /// Whether the policy takes part under this ruling on its function. Taking part restricts, but for the types that
    /// let something through: an allowlist, and a permissive filter.
    pub fn takes_part(&self, ruling: Ruling) -> bool {
        match ruling {
            Ruling::Fires => true,
            Ruling::Silent => false,
            Ruling::Restrict => !matches!(
                (self.policy_type, &self.definition),
                (PolicyType::ColumnAllow, _)
                    | (
                        _,
                        Definition::RowFilter {
                            mode: FilterMode::Permissive,
                            ..
                        }
                    )
            ),
        }
    }
}

macro_rules! text_forms {
    ($type:ident, $field:literal, $($variant:ident = $text:literal),+) => {
        impl $type {
            /// The text form, as in SQL and in documents.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $text),+
                }
            }

            /// From the text form.
            pub fn parse(text: &str) -> Result<Self, Issue> {
                match text {
                    $($text => Ok($type::$variant),)+
                    _ => Err(Issue::new($field, format!("must be one of {}", [$($text),+].join(", ")))),
                }
            }
        }
    };
}

text_forms!(
    EvaluateContext,
    "evaluate_context",
    Session = "session",
    Query = "query"
);
text_forms!(OnError, "on_error", Deny = "deny", Skip = "skip");
text_forms!(LogLevel, "log_level", Off = "off", Error = "error", Info = "info");

/// A function of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Its name.
    pub name: String,
    /// For people; `None` leaves it alone.
    pub description: Option<String>,
    /// JavaScript that defines `evaluate(ctx, config)`.
    pub source: String,
    /// The second argument, an object.
    pub config: Value,
    /// What it is told.
    pub evaluate_context: EvaluateContext,
    /// What happens without an answer.
    pub on_error: OnError,
    /// Which messages are kept.
    pub log_level: LogLevel,
    /// Policies with a disabled function take part, as without one.
    pub is_enabled: bool,
}

impl FunctionSpec {
    /// The JSON form.
    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({
            "name": self.name,
            "source": self.source,
            "config": self.config,
            "evaluate_context": self.evaluate_context.as_str(),
            "on_error": self.on_error.as_str(),
            "log_level": self.log_level.as_str(),
            "is_enabled": self.is_enabled,
        });
        if let Some(description) = &self.description {
            value["description"] = json!(description);
        }
        value
    }
}

/// Checks the source of a function as far as that goes without compiling it.
pub fn check_source(source: &str, most: usize) -> Result<(), Issue> {
    let mut issues = Issues::default();
    let checked = json::text(&json!(source), "source", most.min(MAX_SOURCE_BYTES), &mut issues).map(|_| ());
    issues.finish_first(checked)
}

/// Checks the config of a function: an object, not too long.
pub fn check_config(config: &Value, most: usize) -> Result<(), Issue> {
    let most = most.min(MAX_CONFIG_BYTES);
    match config {
        Value::Object(_) if config.to_string().len() <= most => Ok(()),
        Value::Object(_) => Err(Issue::new("config", format!("must not be longer than {most} bytes"))),
        _ => Err(Issue::new("config", "must be an object")),
    }
}

/// The keys of a function in a document, apart from `name` and `description`.
pub(crate) const KEYS: [&str; 8] = [
    "name",
    "description",
    "source",
    "config",
    "evaluate_context",
    "on_error",
    "log_level",
    "is_enabled",
];

/// What [`read`] finds beside the name and the description.
pub(crate) struct Settings {
    pub source: String,
    pub config: Value,
    pub evaluate_context: EvaluateContext,
    pub on_error: OnError,
    pub log_level: LogLevel,
    pub is_enabled: bool,
}

/// Reads what is particular to functions.
pub(crate) fn read(object: &Object, issues: &mut Issues) -> Option<Settings> {
    fn choice<T: Default>(
        object: &Object,
        key: &str,
        issues: &mut Issues,
        parse: fn(&str) -> Result<T, Issue>,
    ) -> Option<T> {
        let chosen = object.optional(key, issues, |value, path, issues| {
            parse(value.as_str().unwrap_or_default())
                .map_err(|issue| issues.report(path, issue.message))
                .ok()
        });
        chosen.map(Option::unwrap_or_default)
    }
    let source = object
        .required("source", issues)
        .and_then(|value| json::text(value, &object.path("source"), MAX_SOURCE_BYTES, issues));
    let config = object.optional("config", issues, |value, path, issues| {
        check_config(value, MAX_CONFIG_BYTES)
            .map_err(|issue| issues.report(path, issue.message))
            .ok()
            .map(|()| value.clone())
    });
    let evaluate_context = choice(object, "evaluate_context", issues, EvaluateContext::parse);
    let on_error = choice(object, "on_error", issues, OnError::parse);
    let log_level = choice(object, "log_level", issues, LogLevel::parse);
    let is_enabled = object.optional("is_enabled", issues, json::boolean);
    Some(Settings {
        source: source?.to_owned(),
        config: config?.unwrap_or_else(|| json!({})),
        evaluate_context: evaluate_context?,
        on_error: on_error?,
        log_level: log_level?,
        is_enabled: is_enabled?.unwrap_or(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Check, Targets};

    fn policy(policy_type: PolicyType, mode: FilterMode) -> Policy {
        let definition = match policy_type {
            PolicyType::RowFilter => Definition::RowFilter {
                filter_expression: "true".to_owned(),
                mode,
                check: Check::Filter,
            },
            _ => Definition::None,
        };
        Policy {
            id: 1,
            name: "p".to_owned(),
            version: 1,
            policy_type,
            targets: Targets::Valid(Vec::new()),
            definition,
            is_enabled: true,
            owner: "o".to_owned(),
            decision_function: Some(2),
        }
    }

    #[test]
    fn an_error_restricts_whatever_the_type() {
        let restricts = |policy_type, mode| policy(policy_type, mode).takes_part(Ruling::Restrict);
        for policy_type in PolicyType::ALL {
            let expected = policy_type != PolicyType::ColumnAllow;
            assert_eq!(
                restricts(policy_type, FilterMode::Restrictive),
                expected,
                "{policy_type:?}"
            );
        }
        assert!(!restricts(PolicyType::RowFilter, FilterMode::Permissive));
    }

    #[test]
    fn rulings_follow_answers_and_on_error() {
        let function = |on_error| DecisionFunction {
            id: 2,
            name: "f".to_owned(),
            version: 1,
            config: json!({}),
            evaluate_context: EvaluateContext::Session,
            on_error,
            log_level: LogLevel::Off,
            is_enabled: true,
        };
        for on_error in [OnError::Deny, OnError::Skip] {
            assert_eq!(function(on_error).ruling(Some(true)), Ruling::Fires);
            assert_eq!(function(on_error).ruling(Some(false)), Ruling::Silent);
        }
        assert_eq!(function(OnError::Deny).ruling(None), Ruling::Restrict);
        assert_eq!(function(OnError::Skip).ruling(None), Ruling::Silent);
    }

    #[test]
    fn sizes_and_shapes_are_checked() {
        assert!(check_source("function evaluate() {}", 100).is_ok());
        assert!(check_source(" ", 100).is_err());
        assert!(check_source("a\0b", 100).is_err());
        assert!(check_source(&"x".repeat(101), 100).is_err());
        assert!(check_config(&json!({"a": 1}), 100).is_ok());
        assert!(check_config(&json!([]), 100).is_err());
        assert!(check_config(&json!({"a": "x".repeat(100)}), 100).is_err());
    }
}
