//! Every change is recorded, and no secret with it.

use serde_json::{Value, json};

use crate::harness::{Api, PASSWORD, database, execute, query_as, unique};

#[tokio::test]
async fn every_change_says_who_what_and_from_where() {
    let api = Api::new().await;
    let name = unique("alice");
    let user = api.user(&name).await;
    let path = format!("/users/{user}");
    api.put(&path, json!({"display_name": "Alice"})).await.expect(200);
    api.put(&path, json!({"display_name": "Alice"})).await.expect(200);
    api.put(&format!("{path}/password"), json!({"password": "Another-1"}))
        .await
        .expect(204);
    let policy = api.filter("own", "org = 'acme'").await;
    api.delete(&path).await.expect(204);
    let of_user = api
        .get(&format!("/audit/admin?resource_type=user&resource_id={user}"))
        .await
        .expect(200);
    let entries = of_user["data"].as_array().unwrap();
    let actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        ["delete", "password", "update", "create"],
        "newest first, and nothing for no change"
    );
    for field in [
        "id",
        "resource_type",
        "resource_id",
        "action",
        "actor_id",
        "changes",
        "created_at",
    ] {
        assert!(entries[0].get(field).is_some(), "{field} in {}", entries[0]);
    }
    assert_eq!(entries[0]["actor_id"], json!(api.admin_id));
    assert!(entries[0]["request_id"].is_string());
    let update = &entries[2]["changes"];
    assert_eq!(
        (&update["before"]["display_name"], &update["after"]["display_name"]),
        (&Value::Null, &json!("Alice"))
    );
    let of_policy = api.get(&format!("/audit/admin?resource_id={policy}")).await.expect(200);
    let after = &of_policy["data"][0]["changes"]["after"];
    assert_eq!(
        after["definition"]["filter_expression"], "org = 'acme'",
        "expressions are in it"
    );
    assert_eq!(of_policy["page_size"], 50);
    let none = api.get("/audit/admin?from=2100-01-01T00:00:00").await.expect(200);
    assert_eq!(none["total"], 0);
    assert!(api.get("/audit/admin?to=2100-01-01T00:00:00%2B01:00").await.expect(200)["total"].as_i64() > Some(4));
    api.get("/audit/admin?from=yesterday").await.error(400);
}

#[tokio::test]
async fn a_refused_change_leaves_no_trace() {
    let api = Api::new().await;
    let before = api.get("/audit/admin").await.expect(200)["total"].clone();
    api.post("/roles", json!({"name": ""})).await.error(422);
    api.put(&format!("/users/{}", api.admin_id), json!({"is_admin": false}))
        .await
        .error(409);
    assert_eq!(api.get("/audit/admin").await.expect(200)["total"], before);
}

#[tokio::test]
async fn secrets_are_nowhere_in_the_audit_and_history_cannot_be_changed() {
    let api = Api::new().await;
    let shop = database().await;
    let user = api.user(&unique("alice")).await;
    api.put(&format!("/users/{user}/password"), json!({"password": "Another-1"}))
        .await
        .expect(204);
    let config = json!({"host": "h", "database": "d", "username": "u", "password": "Data-source-1"});
    let body = json!({"name": shop, "ds_type": "postgres", "config": config});
    api.post("/datasources", body).await.expect(201);
    let all = query_as(&api.database, "postgres", "select to_jsonb(a)::text from admin_audit a")
        .await
        .unwrap();
    let text = all.join("\n");
    for secret in [PASSWORD, "Another-1", "Data-source-1", "argon2", "SCRAM-SHA-256"] {
        assert!(!text.contains(secret), "{secret}");
    }
    for table in ["admin_audit", "policy_versions"] {
        for statement in [format!("delete from {table}"), format!("truncate {table}")] {
            let refused = query_as(&api.database, "postgres", &statement).await.unwrap_err();
            assert!(refused.starts_with("42501"), "{refused}");
        }
    }
    execute(&api.database, "select 1").await;
}

/// A data source with a user who has access to it; both ids.
async fn audited(api: &Api, shop: &str, username: &str) -> (String, String) {
    let user = match api.get(&format!("/users?search={username}")).await.expect(200)["data"][0]["id"].as_str() {
        Some(id) => id.to_owned(),
        None => api.user(username).await,
    };
    let source = api.data_source(shop).await;
    api.grant(&source, &[&user]).await;
    let policy = api.filter(&unique("own"), "org = 'acme'").await;
    api.assign(&source, &policy).await;
    api.sync_well(&source).await;
    (source, user)
}

async fn flushed(shop: &str) {
    let done = query_as(shop, "postgres", "select betweenrows.audit_flush(20000)::text").await;
    assert_eq!(done.unwrap(), ["true"]);
}

fn texts(page: &Value, field: &str) -> Vec<String> {
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| row[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn statements_of_all_data_sources_are_found_in_one_search() {
    let api = Api::new().await;
    let (alice, bob) = (unique("alice"), unique("bob"));
    let shops = [database().await, database().await];
    let (first, alice_id) = audited(&api, &shops[0], &alice).await;
    let (second, _) = audited(&api, &shops[1], &alice).await;
    // Bob has no account, and access as a member of a role of the server.
    let group = unique("group");
    let sql =
        format!("create role {group}; create role {bob} login in role {group}; grant truncate on customers to public");
    execute(&shops[0], &sql).await;
    let role = api.role(&group).await;
    let roles = format!("/datasources/{first}/access/roles");
    api.put(&roles, json!({"role_ids": [role]})).await.expect(200);
    api.sync_well(&first).await;
    for (shop, user, query) in [
        (&shops[0], &alice, "select 'one' from customers limit 1"),
        (&shops[1], &alice, "select 'two' from customers limit 1"),
        (&shops[0], &bob, "select 'three' from customers limit 1"),
        (&shops[1], &alice, "select 'four' from customers limit 1"),
    ] {
        query_as(shop, user, query).await.unwrap();
    }
    query_as(&shops[0], &alice, "truncate customers").await.unwrap_err();
    for shop in &shops {
        flushed(shop).await;
    }

    let page = api.get("/audit/queries").await.expect(200);
    assert_eq!(
        (&page["total"], &page["page_size"], &page["total_is_exact"]),
        (&json!(5), &json!(50), &json!(true))
    );
    assert_eq!((&page["unavailable"], &page["next_cursor"]), (&json!([]), &Value::Null));
    let queries = texts(&page, "original_query");
    let expected = ["truncate", "'four'", "'three'", "'two'", "'one'"];
    for (query, part) in queries.iter().zip(expected) {
        assert!(query.contains(part), "newest first: {queries:?}");
    }
    let row = &page["data"][4];
    let fields = [
        ("username", json!(alice)),
        ("user_id", json!(alice_id)),
        ("data_source_id", json!(first)),
        ("datasource_name", json!(shops[0])),
        ("status", json!("success")),
        ("error_message", Value::Null),
        ("statement_kind", json!("SELECT")),
        ("row_count", json!(1)),
        ("is_cut", json!(false)),
    ];
    for (field, value) in fields {
        assert_eq!(row[field], value, "{field} in {row:#}");
    }
    assert!(row["rewritten_query"].as_str().unwrap().contains("org"), "{row:#}");
    assert_eq!(row["policies_applied"][0]["effect"], "rows_filtered");
    assert!(
        row["execution_time_ms"].is_i64() && row["client_info"].is_string(),
        "{row:#}"
    );
    assert!(row["id"].is_string() && row["created_at"].is_string(), "{row:#}");
    assert_eq!(
        page["data"][2]["user_id"],
        Value::Null,
        "a login role that is no account"
    );

    let search = async |query: &str| api.get(&format!("/audit/queries?{query}")).await.expect(200);
    assert_eq!(search(&format!("datasource_id={second}")).await["total"], 2);
    assert_eq!(search(&format!("user_id={alice_id}")).await["total"], 4);
    assert_eq!(search(&format!("username={bob}")).await["total"], 1);
    assert_eq!(search(&format!("username={bob}&user_id={alice_id}")).await["total"], 0);
    assert_eq!(search(&format!("user_id={}", uuid::Uuid::new_v4())).await["total"], 0);
    let denied = search("status=denied").await;
    assert_eq!(denied["total"], 1);
    assert!(denied["data"][0]["error_message"].is_string() && denied["data"][0]["sqlstate"].is_string());
    let from = page["data"][1]["created_at"].as_str().unwrap();
    assert_eq!(search(&format!("from={from}")).await["total"], 2, "from is inclusive");
    assert_eq!(search(&format!("to={from}")).await["total"], 3, "to is not");
    assert_eq!(search(&format!("from={from}Z&to=2000-01-01")).await["total"], 0);

    // Pages and cursors come to the same rows, each once.
    let mut paged = Vec::new();
    for number in 1..=3 {
        let page = search(&format!("page={number}&page_size=2")).await;
        assert_eq!(page["total"], 5);
        paged.extend(texts(&page, "id"));
    }
    assert_eq!(paged, texts(&page, "id"));
    let (mut walked, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = search(&format!("page_size=2{cursor}")).await;
        walked.extend(texts(&page, "id"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, paged);

    // The statements of an account that is gone are still found by its id.
    api.delete(&format!("/users/{alice_id}")).await.expect(204);
    let gone = search(&format!("user_id={alice_id}")).await;
    assert_eq!((&gone["total"], &gone["data"][0]["user_id"]), (&json!(4), &Value::Null));
}

#[tokio::test]
async fn a_data_source_that_is_down_is_named_and_the_others_are_searched() {
    let api = Api::new().await;
    let alice = unique("alice");
    let shop = database().await;
    let (source, _) = audited(&api, &shop, &alice).await;
    query_as(&shop, &alice, "select name from customers").await.unwrap();
    flushed(&shop).await;
    let down = api.unreachable("down").await;
    let empty = unique("empty");
    execute("postgres", &format!("create database {empty}")).await;
    api.data_source(&empty).await;
    let page = api.get("/audit/queries").await.expect(200);
    assert_eq!(
        (&page["total"], &page["data"][0]["data_source_id"]),
        (&json!(1), &json!(source))
    );
    let missing = page["unavailable"].as_array().unwrap();
    assert_eq!(
        missing.len(),
        1,
        "one without the extension has nothing recorded: {missing:?}"
    );
    assert_eq!(
        (&missing[0]["data_source_id"], &missing[0]["datasource_name"]),
        (&json!(down), &json!("down"))
    );
    assert!(missing[0]["error"].as_str().is_some_and(|error| !error.is_empty()));
    let inactive = json!({"is_active": false});
    api.put(&format!("/datasources/{}", down), inactive).await.expect(200);
    assert_eq!(api.get("/audit/queries").await.expect(200)["unavailable"], json!([]));
    let named = api
        .get(&format!("/audit/queries?datasource_id={}", down))
        .await
        .expect(200);
    assert_eq!(
        (&named["total"], named["unavailable"].as_array().unwrap().len()),
        (&json!(0), 1)
    );
}

#[tokio::test]
async fn searches_that_cannot_be_are_refused() {
    let api = Api::new().await;
    for (query, status) in [
        ("status=ok", 422),
        ("cursor=x", 422),
        ("username=%00", 422),
        ("page=51&page_size=200", 422),
        ("page=9223372036854775807", 422),
        ("from=yesterday", 400),
        ("user_id=me", 400),
        ("datasource_id=00000000-0000-0000-0000-000000000000", 404),
    ] {
        api.get(&format!("/audit/queries?{query}")).await.error(status);
    }
    assert_eq!(
        api.get("/audit/queries?page=50&page_size=200").await.expect(200)["total"],
        0
    );
}

#[tokio::test]
async fn the_state_of_each_audit_is_read_back() {
    let api = Api::new().await;
    let alice = unique("alice");
    let shop = database().await;
    let (source, _) = audited(&api, &shop, &alice).await;
    query_as(&shop, &alice, "select name from customers").await.unwrap();
    flushed(&shop).await;
    api.post(&format!("/datasources/{source}/sync"), Value::Null)
        .await
        .expect(202);
    // Something to sync, so that the data source is asked.
    api.role("another").await;
    let state = api.sync_well(&source).await;
    let audit = &state["audit"];
    assert!(state["audit_at"].is_string(), "{state:#}");
    assert_eq!(
        (&audit["backlog_bytes"], &audit["dropped"]),
        (&json!(0), &json!(0)),
        "{audit:#}"
    );
    assert!(audit["last_moved"].is_string(), "{audit:#}");
    assert_eq!(api.get("/sync").await.expect(200)[0]["audit"], *audit);
    let metrics = api.raw(axum::http::Method::GET, "/metrics", None, "").await;
    for name in [
        "audit_backlog_bytes",
        "audit_dropped",
        "audit_files_set_aside",
        "audit_last_moved_seconds",
    ] {
        let line = format!("betweenrows_{name}{{data_source=\"{shop}\"}}");
        assert!(metrics.text.contains(&line), "{line} in {}", metrics.text);
    }
}
