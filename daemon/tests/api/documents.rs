//! The store as a document, and back.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, database, unique};

const DOCUMENT: &str = "
version: 1
access_mode: policy_required
attributes: [{key: tenant, value_type: string, allowed_values: [acme, globex], default_value: acme}]
roles: [{name: support, parents: [staff]}, {name: staff, description: everybody}]
users: [{username: ALICE, attributes: {tenant: globex}, roles: [support]}]
policies:
  - name: tenants
    policy_type: row_filter
    description: own rows
    targets: [{schemas: [public], tables: [customers]}]
    definition: {filter_expression: \"org = {user.tenant}\"}
    assignments: [{}, {role: staff, priority: 7}, {user: ALICE, priority: 1}]
";

async fn import(api: &Api, query: &str, document: &str) -> Answer {
    let token = format!("Bearer {}", api.token);
    api.raw(
        Method::POST,
        &format!("/api/v1/policies/import{query}"),
        Some(&token),
        document.to_owned(),
    )
    .await
}

fn actions(steps: &Value) -> Vec<String> {
    let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = steps["steps"].as_array().unwrap();
    let changing = steps.iter().filter(|step| step["action"] != "none");
    changing
        .map(|step| format!("{} {}", text(step, "action"), text(step, "kind")))
        .collect()
}

#[tokio::test]
async fn a_document_goes_in_and_comes_out_the_same() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let query = format!("?datasource_id={source}");
    let document = DOCUMENT.replace("ALICE", &unique("alice"));
    let plan = import(&api, &format!("{query}&dry_run=true"), &document).await;
    assert!(!plan.headers.contains_key("betweenrows-sync"), "it is no change");
    let plan = plan.expect(200);
    assert_eq!(plan["dry_run"], true);
    assert_eq!(
        api.get("/policies").await.expect(200)["total"],
        0,
        "a dry run changes nothing"
    );
    let done = import(&api, &query, &document).await.expect(200);
    assert_eq!(actions(&done), actions(&plan));
    assert_eq!(
        actions(&done),
        [
            "create attribute",
            "create role",
            "create role",
            "add parent",
            "create user",
            "add member",
            "alter access_mode",
            "create policy",
            "assign assignment",
            "assign assignment",
            "assign assignment"
        ]
    );
    assert_eq!(
        actions(&import(&api, &query, &document).await.expect(200)),
        [""; 0],
        "again changes nothing"
    );

    let exported = api.get(&format!("/policies/export{query}")).await;
    assert_eq!(exported.status.as_u16(), 200);
    assert_eq!(exported.headers["content-type"], "application/yaml");
    assert_eq!(
        actions(
            &import(&api, &format!("{query}&prune=true"), &exported.text)
                .await
                .expect(200)
        ),
        [""; 0]
    );
    assert!(
        exported.text.contains("policy_required") && exported.text.contains("priority: 7"),
        "{}",
        exported.text
    );
    let whole = api.get("/policies/export").await;
    assert!(
        !whole.text.contains("assignments") && !whole.text.contains("access_mode"),
        "{}",
        whole.text
    );
    import(&api, "", &whole.text).await.expect(200);
}

#[tokio::test]
async fn who_may_use_a_data_source_and_what_exists_there_is_part_of_its_document() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let query = format!("?datasource_id={source}");
    let (alice, bob) = (unique("alice"), unique("bob"));
    let document = format!(
        "version: 1\nusers: [{{username: {alice}}}, {{username: {bob}}}]\nroles: [{{name: staff}}]\n\
         access: [{{user: {alice}}}, {{role: staff}}]\n\
         catalog: {{schemas: [{{schema: public, tables: [{{table: customers, columns: [id, org]}}]}}]}}\n"
    );
    let done = import(&api, &query, &document).await.expect(200);
    let done = actions(&done);
    assert_eq!(
        done[3..],
        ["grant access", "grant access", "select catalog"],
        "{done:?}"
    );
    assert_eq!(
        actions(&import(&api, &query, &document).await.expect(200)),
        [""; 0],
        "again changes nothing"
    );
    let users = format!("/datasources/{source}/users");
    let has_grant = async |name: &str| {
        let granted = api.get(&users).await.expect(200);
        granted.as_array().unwrap().iter().any(|user| user["username"] == name)
    };
    assert!(has_grant(&alice).await && !has_grant(&bob).await);
    let catalog = api.get(&format!("/datasources/{source}/catalog")).await.expect(200);
    let table = &catalog["schemas"][0]["tables"][0];
    assert_eq!(table["table_name"], "customers");
    let selected = |column: &Value| column["is_selected"] == true;
    assert_eq!(
        table["columns"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|column| selected(column))
            .count(),
        2
    );

    let exported = api.get(&format!("/policies/export{query}")).await.text;
    assert!(
        exported.contains("catalog:") && exported.contains("access:"),
        "{exported}"
    );
    let again = import(&api, &format!("{query}&prune=true"), &exported)
        .await
        .expect(200);
    assert_eq!(actions(&again), [""; 0]);

    let only_bob = format!("version: 1\naccess: [{{user: {bob}}}]\n");
    let added = import(&api, &query, &only_bob).await.expect(200);
    assert_eq!(actions(&added), ["grant access"], "the others keep theirs");
    assert!(has_grant(&alice).await && has_grant(&bob).await);
    let replaced = import(&api, &format!("{query}&prune=true"), &only_bob)
        .await
        .expect(200);
    assert_eq!(actions(&replaced), ["revoke access", "revoke access"]);
    assert!(!has_grant(&alice).await && has_grant(&bob).await);

    let fewer = "version: 1\ncatalog: {schemas: [{schema: public, tables: [{table: customers, columns: [id]}]}]}\n";
    let done = import(&api, &query, fewer).await.expect(200);
    assert_eq!(actions(&done), ["alter catalog"], "without prune too: it is one list");
    let hidden = "version: 1\npolicies: [{name: p, policy_type: column_deny, targets: [{schemas: [public], tables: [customers], \
                  columns: [id, ssn]}]}]\n";
    let planned = import(&api, &format!("{query}&dry_run=true"), hidden).await.expect(200);
    let path = "policies[0].targets[0].columns[1]";
    assert_eq!(planned["warnings"].as_array().map(Vec::len), Some(1), "{planned}");
    assert_eq!(
        planned["warnings"][0]["path"], path,
        "what is not selected is hidden anyway"
    );
    let done = import(&api, &query, "version: 1\ncatalog: null\n").await.expect(200);
    assert_eq!(actions(&done), ["alter catalog"]);
    assert_eq!(
        api.get(&format!("/datasources/{source}")).await.expect(200)["catalog_mode"],
        "everything"
    );

    for bad in [
        "access: null",
        "access: [{}]",
        "access: [{user: nobody-of-that-name}]",
        "catalog: {schemas: [{schema: public}]}",
        "catalog: {schemas: [{schema: public, tables: [{table: customers}]}]}",
    ] {
        let document = format!("version: 1\n{bad}\n");
        import(&api, &query, &document).await.error(422);
        import(&api, "", &document).await.error(400);
    }
}

#[tokio::test]
async fn pruning_removes_what_is_not_listed_but_no_administrator() {
    let api = Api::new().await;
    let (source, other) = (
        api.data_source(&database().await).await,
        api.data_source(&database().await).await,
    );
    let query = format!("?datasource_id={source}");
    let alice = unique("alice");
    import(&api, &query, &DOCUMENT.replace("ALICE", &alice))
        .await
        .expect(200);
    let shared = api.filter("shared", "true").await;
    for id in [&source, &other] {
        api.post(&format!("/datasources/{id}/policies"), json!({"policy_id": shared}))
            .await
            .expect(201);
    }
    let empty = "version: 1\nattributes: []\nroles: []\nusers: []\npolicies: []";
    let done = import(&api, &format!("{query}&prune=true"), empty).await.expect(200);
    assert_eq!(
        actions(&done),
        [
            "unassign assignment",
            "drop policy",
            "drop user",
            "drop role",
            "drop role",
            "drop attribute"
        ]
    );
    assert_eq!(
        api.get("/users").await.expect(200)["data"][0]["username"],
        json!(api.admin)
    );
    assert_eq!(api.get("/policies").await.expect(200)["data"][0]["name"], "shared");
    assert_eq!(
        api.get(&format!("/datasources/{other}/policies"))
            .await
            .expect(200)
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_document_that_is_wrong_changes_nothing() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let query = format!("?datasource_id={source}");
    let good = DOCUMENT.replace("ALICE", &unique("alice"));
    for (bad, status) in [
        ("version: 1\nrules: []".to_owned(), 422),
        ("not: [yaml".to_owned(), 422),
        (good.replace("role: staff, priority", "role: nobody, priority"), 422),
        (good.replace("globex}", "other}"), 422),
        (good.replace("row_filter", "table_deny"), 422),
        (good.replace("org = {", "org = = {"), 422),
        (good.replace("user.tenant}", "user.team}"), 422),
        (format!("{good}    decision_function: office-hours\n"), 422),
        (
            format!("{good}decision_functions: [{{name: f, source: \"function evaluate() {{ return\"}}]\n"),
            422,
        ),
    ] {
        let answer = import(&api, &query, &bad).await;
        assert_eq!(answer.status.as_u16(), status, "{bad}: {}", answer.text);
    }
    import(&api, "", &good).await.error(400);
    import(&api, "?datasource_id=00000000-0000-4000-8000-000000000000", &good)
        .await
        .error(404);
    for list in ["/policies", "/roles", "/attribute-definitions"] {
        assert_eq!(api.get(list).await.expect(200)["total"], 0, "{list}");
    }
    assert_eq!(
        api.get(&format!("/datasources/{source}")).await.expect(200)["access_mode"],
        "open"
    );
}

#[tokio::test]
async fn decision_functions_go_in_and_come_out_the_same() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let query = format!("?datasource_id={source}");
    let functions = "
decision_functions:
  - name: office-hours
    description: d
    source: |
      function evaluate(ctx, config) {
        return { fire: ctx.session.time.hour < config.open };
      }
    config: {open: 8, nested: {list: [1, x]}}
    on_error: skip
    log_level: info
  - {name: other, source: \"function evaluate() { return {fire: true}; }\", evaluate_context: query, is_enabled: false}
";
    let document = DOCUMENT
        .replace("ALICE", &unique("alice"))
        .replace("policies:", &format!("{functions}policies:"))
        + "    decision_function: office-hours\n";
    let done = import(&api, &query, &document).await.expect(200);
    let created = actions(&done);
    let functions = created.iter().filter(|action| *action == "create decision_function");
    assert_eq!(functions.count(), 2, "{created:?}");
    assert_eq!(actions(&import(&api, &query, &document).await.expect(200)), [""; 0]);
    let kept = api.get("/decision-functions?search=office").await.expect(200)["data"][0].clone();
    assert_eq!(
        kept["decision_config"],
        json!({"open": 8, "nested": {"list": [1, "x"]}})
    );
    assert_eq!(
        (&kept["on_error"], &kept["log_level"], &kept["policy_count"]),
        (&json!("skip"), &json!("info"), &json!(1))
    );
    let policy = api.get("/policies").await.expect(200)["data"][0].clone();
    assert_eq!(policy["decision_function"]["name"], "office-hours");

    for query in [&query, ""] {
        let exported = api.get(&format!("/policies/export{query}")).await.text;
        let prune = format!("{query}{}prune=true", if query.is_empty() { "?" } else { "&" });
        let again = import(&api, &prune, &exported);
        assert_eq!(actions(&again.await.expect(200)), [""; 0], "{exported}");
    }
    let changed = document
        .replace("open: 8", "open: 9")
        .replace("    decision_function: office-hours\n", "");
    let steps = import(&api, &query, &changed).await.expect(200);
    assert_eq!(actions(&steps), ["alter decision_function", "alter policy"]);
    assert_eq!(
        api.get("/policies").await.expect(200)["data"][0]["decision_function"],
        Value::Null
    );

    // What the document does not list goes, unless a policy that stays needs it.
    import(&api, &query, &document).await.expect(200);
    let none = import(&api, "?prune=true", "version: 1\ndecision_functions: []")
        .await
        .expect(200);
    assert_eq!(actions(&none), ["drop decision_function"]);
    assert_eq!(
        api.get("/decision-functions").await.expect(200)["data"][0]["name"],
        "office-hours"
    );
    let bad = document.replace(
        "office-hours\n    description: d",
        "office-hours\n    description: d\n    is_enabled: 1",
    );
    import(&api, &query, &bad).await.error(422);
    let syntax = document.replace("return { fire: ctx", "retrun { fire: ctx");
    let refused = import(&api, &query, &syntax).await.error(422);
    assert!(
        refused.contains("decision function \"office-hours\": source: line 2, column "),
        "{refused}"
    );
}

/// As other tools of this kind write them: no sections but policies, and assignments that name their data source.
const FOREIGN: &str = "
version: 1
policies:
  # every table that has a tenant
  - name: tenants
    policy_type: row_filter
    description: Own tenant only
    is_enabled: true
    targets:
      - schemas: [public]
        tables: [customers]
    definition:
      filter_expression: \"org = {user.tenant}\"
    assignments:
      - datasource: FIRST
        priority: 100
      - datasource: SECOND
        user: ALICE
        priority: 50
  - name: short-ssn
    policy_type: column_mask
    targets:
      - schemas: [\"*\"]
        tables: [customers]
        columns: [ssn]
    definition:
      mask_expression: \"'***-**-' || RIGHT(ssn, 4)\"
  - name: everything
    policy_type: column_allow
    targets:
      - schemas: [\"*\"]
        tables: [\"*\"]
        columns: [\"*\"]
    assignments:
      - datasource: SECOND
        role: staff
";

#[tokio::test]
async fn files_for_several_data_sources_are_taken_as_they_are() {
    let api = Api::new().await;
    let (first, second) = (database().await, database().await);
    let (first_id, second_id) = (api.data_source(&first).await, api.data_source(&second).await);
    let alice = unique("alice");
    let document = FOREIGN
        .replace("FIRST", &first)
        .replace("SECOND", &second)
        .replace("ALICE", &alice);
    let refused = async |document: &str| import(&api, "", document).await.error(422);
    assert!(refused(&document).await.contains("there is no attribute \"tenant\""));
    let tenant = json!({"key": "tenant", "display_name": "Tenant", "value_type": "string"});
    api.post("/attribute-definitions", tenant).await.expect(201);
    assert!(
        refused(&document)
            .await
            .contains(&format!("there is no user \"{alice}\""))
    );
    api.user(&alice).await;
    assert!(refused(&document).await.contains("there is no role \"staff\""));
    api.role("staff").await;
    assert!(
        refused(&document.replace(&first, "nowhere"))
            .await
            .contains("there is no data source \"nowhere\"")
    );
    assert_eq!(api.get("/policies").await.expect(200)["total"], 0);

    let plan = import(&api, "?dry_run=true", &document).await.expect(200);
    let done = import(&api, "", &document).await.expect(200);
    assert_eq!(done["steps"], plan["steps"]);
    assert_eq!(
        actions(&import(&api, "?prune=true", &document).await.expect(200)),
        [""; 0]
    );
    let assigned = async |id: &str| {
        let list = api.get(&format!("/datasources/{id}/policies")).await.expect(200);
        let mut found: Vec<String> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("{} {} {}", one["policy_name"], one["assignment_scope"], one["priority"]))
            .collect();
        found.sort();
        found
    };
    assert_eq!(assigned(&first_id).await, [r#""tenants" "all" 100"#]);
    assert_eq!(
        assigned(&second_id).await,
        [r#""everything" "role" 100"#, r#""tenants" "user" 50"#]
    );
    for id in [&first_id, &second_id] {
        api.sync_well(id).await;
    }
    // With pruning, what the file says of a data source is all there is.
    let changed = document.replace(&format!("user: {alice}"), "role: staff");
    let steps = import(&api, "?prune=true", &changed).await.expect(200);
    assert_eq!(actions(&steps), ["assign assignment", "unassign assignment"]);
    let both = import(&api, &format!("?datasource_id={first_id}"), &document).await;
    assert!(both.error(422).contains("leave its name out"));
}

/// What is exported of a data source is all that is its document's: a draft that is assigned nowhere is none of it.
#[tokio::test]
async fn a_data_source_differs_in_nothing_from_its_own_export() {
    let api = Api::new().await;
    let source = api.data_source(&database().await).await;
    let query = format!("?datasource_id={source}");
    import(&api, &query, &DOCUMENT.replace("ALICE", &unique("alice")))
        .await
        .expect(200);
    api.filter("draft", "true").await;
    let exported = api.get(&format!("/policies/export{query}")).await.text;
    assert!(!exported.contains("draft"), "{exported}");
    let again = import(&api, &format!("{query}&prune=true"), &exported)
        .await
        .expect(200);
    assert_eq!(actions(&again), [""; 0]);
    let whole = api.get("/policies/export").await.text;
    let pruned = whole.replace("name: draft", "name: final");
    let done = import(&api, "?prune=true", &pruned).await.expect(200);
    assert_eq!(
        actions(&done),
        ["create policy", "drop policy"],
        "without a data source it is"
    );
}
