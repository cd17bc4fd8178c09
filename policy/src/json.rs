//! Strict reading of JSON: every value is checked, every problem is kept with its path, nothing unknown is skipped.
//!
//! Readers return `None` after they have reported an issue, so that a caller can go on and find the other ones. A key
//! whose value is `null` counts as absent.

use crate::error::Issue;
use serde_json::{Map, Value};

/// Most issues kept of one value: enough to be useful, and a hostile document costs no memory.
const MAX_ISSUES: usize = 200;

/// The problems found so far.
#[derive(Default)]
pub(crate) struct Issues {
    found: Vec<Issue>,
}

impl Issues {
    /// Adds one, up to [`MAX_ISSUES`].
    pub fn report(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.found.len() < MAX_ISSUES {
            self.found.push(Issue::new(path, message));
        }
    }

    /// The value, unless something was reported. The list of issues is never empty.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<Issue>> {
        match value {
            Some(value) if self.found.is_empty() => return Ok(value),
            None if self.found.is_empty() => self.report("", "is not valid"),
            _ => {}
        }
        Err(self.found)
    }

    /// The value, or the first problem.
    pub fn finish_first<T>(self, value: Option<T>) -> Result<T, Issue> {
        self.finish(value).map_err(|mut found| found.swap_remove(0))
    }
}

/// An object whose keys are all known.
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Object<'a> {
    /// Opens `value`, reporting every key that is not among `keys`.
    pub fn open(value: &'a Value, path: &str, keys: &[&str], issues: &mut Issues) -> Option<Self> {
        let Some(map) = value.as_object() else {
            issues.report(path, "must be an object");
            return None;
        };
        let object = Object {
            map,
            path: path.to_owned(),
        };
        for key in map.keys().filter(|key| !keys.contains(&key.as_str())) {
            issues.report(
                object.path(key),
                format!("unknown key, expected one of {}", keys.join(", ")),
            );
        }
        Some(object)
    }

    /// The path of one of its keys.
    pub fn path(&self, key: &str) -> String {
        child(&self.path, key)
    }

    /// The value of a key, unless it is absent or null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether a key is there with the value null.
    pub fn is_null(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// The value of a key that has to be there.
    pub fn required(&self, key: &str, issues: &mut Issues) -> Option<&'a Value> {
        let value = self.get(key);
        if value.is_none() {
            issues.report(self.path(key), "is required");
        }
        value
    }

    /// Reads a key that may be absent: `Some(None)` when it is, `None` when it is wrong.
    pub fn optional<T>(
        &self,
        key: &str,
        issues: &mut Issues,
        read: impl FnOnce(&'a Value, &str, &mut Issues) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.get(key) {
            None => Some(None),
            Some(value) => read(value, &self.path(key), issues).map(Some),
        }
    }
}

/// The path of `key` below `path`.
pub(crate) fn child(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A text that is not empty, has no NUL and at most `max_bytes` bytes.
pub(crate) fn text<'a>(value: &'a Value, path: &str, max_bytes: usize, issues: &mut Issues) -> Option<&'a str> {
    let Some(text) = value.as_str() else {
        issues.report(path, "must be a string");
        return None;
    };
    if text.trim().is_empty() {
        issues.report(path, "must not be empty");
    } else if text.len() > max_bytes {
        issues.report(path, format!("must not be longer than {max_bytes} bytes"));
    } else if text.contains('\0') {
        issues.report(path, "must not contain a NUL character");
    } else {
        return Some(text);
    }
    None
}

/// `true` or `false`.
pub(crate) fn boolean(value: &Value, path: &str, issues: &mut Issues) -> Option<bool> {
    let found = value.as_bool();
    if found.is_none() {
        issues.report(path, "must be true or false");
    }
    found
}

/// A list of at most `max` items, each read by `read` with its path; `None` when any of them is wrong.
pub(crate) fn list<'a, T>(
    value: &'a Value,
    path: &str,
    max: usize,
    issues: &mut Issues,
    mut read: impl FnMut(&'a Value, &str, &mut Issues) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(items) = value.as_array() else {
        issues.report(path, "must be a list");
        return None;
    };
    if items.len() > max {
        issues.report(path, format!("must not have more than {max} items"));
        return None;
    }
    let mut complete = true;
    let mut read_items = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match read(item, &format!("{path}[{index}]"), issues) {
            Some(item) => read_items.push(item),
            None => complete = false,
        }
    }
    complete.then_some(read_items)
}
