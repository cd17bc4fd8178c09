//! Policy documents as files: YAML, of which JSON is a part.

use std::collections::BTreeMap;

use policy::document::{AssignmentSpec, Document};
use policy::error::Issue;
use serde_json::Value;
use serde_saphyr::{SnippetMode, UserMessageFormatter};

use crate::error::{Error, Result};

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The document.
    pub document: Document,
    /// Assignments that name their data source, as files for many of them do.
    pub elsewhere: Vec<Elsewhere>,
}

/// Who a policy is for in a data source that is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Where in the file.
    pub path: String,
    /// The policy's name.
    pub policy: String,
    /// The data source's name.
    pub data_source: String,
    /// For whom the policy is there, completely.
    pub assignments: Vec<AssignmentSpec>,
}

impl From<Document> for File {
    fn from(document: Document) -> Self {
        File {
            document,
            elsewhere: Vec::new(),
        }
    }
}

/// Reads a file. Every problem is told with its path.
pub fn parse(bytes: &[u8]) -> Result<File> {
    read(bytes).map_err(|issues| Error::Invalid(issues.iter().map(ToString::to_string).collect()))
}

/// The same, with problems as they were found.
pub fn read(bytes: &[u8]) -> std::result::Result<File, Vec<Issue>> {
    let whole = |message: String| vec![Issue::new("", message)];
    let text = std::str::from_utf8(bytes).map_err(|_| whole("the document is not UTF-8 text".to_owned()))?;
    let mut value = from_yaml(text).map_err(|problem| whole(format!("the document is not YAML: {problem}")))?;
    let (elsewhere, mut issues) = take_elsewhere(&mut value);
    match Document::parse(&value) {
        Ok(document) if issues.is_empty() => Ok(File { document, elsewhere }),
        Ok(_) => Err(issues),
        Err(more) => {
            issues.extend(more);
            Err(issues)
        }
    }
}

/// YAML 1.2, in which `no` and `on` are texts. It may be as large as an export of many users.
fn from_yaml(text: &str) -> std::result::Result<Value, String> {
    let budget = serde_saphyr::budget! { max_nodes: 2_000_000, max_events: 4_000_000 };
    let options = serde_saphyr::options! { budget: budget, strict_booleans: true };
    let told = serde_saphyr::render_options! { formatter: &UserMessageFormatter, snippets: SnippetMode::Off };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.render_with_options(told))
}

/// Takes the assignments with the key `datasource` out of the policies. A policy that has no others says nothing of its
/// assignments in the data source that the document is for.
fn take_elsewhere(document: &mut Value) -> (Vec<Elsewhere>, Vec<Issue>) {
    let (mut found, mut issues) = (Vec::new(), Vec::new());
    let policies = document.get_mut("policies").and_then(Value::as_array_mut);
    for (index, policy) in policies.into_iter().flatten().enumerate() {
        let name = policy["name"].as_str().unwrap_or_default().to_owned();
        let Some(assignments) = policy.get_mut("assignments").and_then(Value::as_array_mut) else {
            continue;
        };
        let mut named: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        assignments.retain(|assignment| {
            let Some(Value::String(data_source)) = assignment.get("datasource") else {
                return true;
            };
            let mut assignment = assignment.clone();
            assignment.as_object_mut().map(|object| object.remove("datasource"));
            named.entry(data_source.clone()).or_default().push(assignment);
            false
        });
        if assignments.is_empty() && !named.is_empty() {
            policy["assignments"] = Value::Null;
        }
        for (data_source, assignments) in named {
            let path = format!("policies[{index}].assignments[datasource: {data_source}]");
            match AssignmentSpec::parse_list(&Value::Array(assignments), &path) {
                Ok(assignments) => found.push(Elsewhere {
                    path,
                    policy: name.clone(),
                    data_source,
                    assignments,
                }),
                Err(more) => issues.extend(more),
            }
        }
    }
    (found, issues)
}

/// Writes a document.
pub fn to_yaml(document: &Document) -> Result<String> {
    serde_saphyr::to_string(&document.to_json()).map_err(|error| Error::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
version: 1
attributes: [{key: tenant, value_type: string, allowed_values: [acme, "no", "1"]}]
roles: [{name: support, description: "", parents: [staff]}, {name: staff}]
users: [{username: alice, attributes: {tenant: "no"}, roles: [support]}]
policies:
  - name: "it's: a #name"
    policy_type: row_filter
    targets: [{schemas: [public], tables: ["*"]}]
    definition:
      filter_expression: |
        org = {user.tenant}
        and note <> 'yes: "no"'
    assignments: [{priority: -1}, {role: support}]
"#;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let file = parse(DOCUMENT.as_bytes()).unwrap();
        let yaml = to_yaml(&file.document).unwrap();
        assert_eq!(parse(yaml.as_bytes()).unwrap(), file, "{yaml}");
        let json = file.document.to_json().to_string();
        assert_eq!(parse(json.as_bytes()).unwrap(), file);
    }

    #[test]
    fn problems_have_their_path() {
        let problem = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            problem("version: 1\npolicies: [{name: p}]\nrules: []")
                .split("; ")
                .count(),
            3
        );
        assert!(problem("version: 2").contains("version: must be 1"));
        assert!(problem("a: [").contains("not YAML"));
        for (bad, place) in [
            ("version: 1\nroles: []\nroles: []", "line 3, column 1"),
            ("version: 1\n---\nversion: 1", "line 3, column 1"),
            ("version: 1\nroles:\n\t- name: a", "line 3, column 2"),
        ] {
            let found = problem(bad);
            assert!(found.ends_with(place) && found.lines().count() == 1, "{found}");
        }
        assert!(parse(b"\xff").is_err());
    }

    #[test]
    fn assignments_may_name_their_data_source() {
        let text = |assignments: &str| {
            format!(
                "version: 1\npolicies:\n  - name: p\n    policy_type: table_deny\n    targets: [{{schemas: [a], tables: [t]}}]\n    \
                 assignments: [{assignments}]"
            )
        };
        let file =
            parse(text("{datasource: a, priority: 5}, {datasource: b}, {datasource: a, user: alice}").as_bytes())
                .unwrap();
        assert_eq!(file.document.policies.unwrap()[0].assignments, None);
        let found: Vec<_> = file
            .elsewhere
            .iter()
            .map(|other| (other.data_source.as_str(), other.assignments.len()))
            .collect();
        assert_eq!(found, [("a", 2), ("b", 1)]);
        assert_eq!(file.elsewhere[0].assignments[0].priority, 5);
        let file = parse(text("{datasource: a}, {role: staff}").as_bytes()).unwrap();
        assert_eq!(
            file.document.policies.unwrap()[0].assignments.as_ref().unwrap().len(),
            1
        );
        for (bad, problem) in [
            (
                "{datasource: a, usr: x}",
                "assignments[datasource: a][0].usr: unknown key",
            ),
            ("{datasource: a}, {datasource: a}", "assignments[datasource: a]"),
            ("{datasource: 1}", "datasource: unknown key"),
        ] {
            let found = parse(text(bad).as_bytes()).unwrap_err().to_string();
            assert!(found.contains(problem), "{bad}: {found}");
        }
    }

    #[test]
    fn files_of_other_systems_and_many_users_are_read() {
        let marked = b"\xef\xbb\xbfversion: 1\r\nroles:\r\n- {name: no, description: y}\r\n";
        let role = &parse(marked).unwrap().document.roles.unwrap()[0];
        assert_eq!((role.name.as_str(), role.description.as_deref()), ("no", Some("y")));
        let user = |index| format!("- {{username: user{index}, is_active: true, attributes: {{a: b}}, roles: [r]}}\n");
        let many: String = (0..30_000).map(user).collect();
        let file = parse(format!("version: 1\nusers:\n{many}").as_bytes()).unwrap();
        assert_eq!(file.document.users.unwrap().len(), 30_000);
    }

    /// Aliases that multiply: a small text must not become a large document.
    #[test]
    fn a_bomb_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            text += &format!("a{level}: &a{level} [{before}]\n");
        }
        assert!(parse(text.as_bytes()).is_err());
    }
}
