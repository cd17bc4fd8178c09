//! Policy documents as files: YAML, of which JSON is a part.

use policy::document::Document;
use serde_json::Value;

use crate::error::{Error, Result};

/// Reads a document. Every problem is told with its path.
pub fn parse(bytes: &[u8]) -> Result<Document> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid("the document is not UTF-8 text"))?;
    let value: Value =
        serde_saphyr::from_str(text).map_err(|error| Error::invalid(format!("the document is not YAML: {error}")))?;
    Document::parse(&value).map_err(|issues| Error::Invalid(issues.iter().map(ToString::to_string).collect()))
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
        let document = parse(DOCUMENT.as_bytes()).unwrap();
        let yaml = to_yaml(&document).unwrap();
        assert_eq!(parse(yaml.as_bytes()).unwrap(), document, "{yaml}");
        let json = document.to_json().to_string();
        assert_eq!(parse(json.as_bytes()).unwrap(), document);
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
        assert!(parse(b"\xff").is_err());
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
