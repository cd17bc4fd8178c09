//! What is wanted gets into the databases, and stays there.

use serde_json::{Value, json};

use crate::harness::{Api, SYNC_WAITS, daemon_role, execute, hold_up_syncs, query_as, unique};

const CUSTOMERS: &str = "select name || ' ' || coalesce(ssn, '-') from customers order by id";

#[tokio::test]
async fn policies_come_into_force_and_go_again() {
    let (api, shop, source) = Api::with_shop().await;
    let (alice, id) = api.person("alice").await;
    api.grant(&source, &[&id]).await;
    api.sync_well(&source).await;
    assert_eq!(
        query_as(&shop, &alice, CUSTOMERS).await.unwrap().len(),
        3,
        "open mode, no policies"
    );

    let policy = api.filter("acme-only", "org = 'acme'").await;
    let path = format!("/datasources/{source}/policies");
    let assignment = api.post(&path, json!({"policy_id": policy, "user_id": id})).await;
    assert_eq!(
        assignment.headers["betweenrows-sync"], "pending",
        "an answer tells that it is not in force yet"
    );
    let state = api.sync_well(&source).await;
    assert_eq!(state["is_current"], true);
    assert_eq!(
        query_as(&shop, &alice, CUSTOMERS).await.unwrap(),
        ["Ada 900-00-0001", "Ben 900-00-0002"]
    );

    api.put(&format!("/policies/{policy}"), json!({"version": 1, "name": "renamed"}))
        .await
        .expect(200);
    api.sync_well(&source).await;
    let names = "select name from betweenrows.policies";
    assert_eq!(query_as(&shop, "postgres", names).await.unwrap(), ["renamed"]);
    assert_eq!(query_as(&shop, &alice, CUSTOMERS).await.unwrap().len(), 2);

    let answer = api.delete(&format!("{path}/{}", assignment.id())).await;
    answer.expect(204);
    api.sync_well(&source).await;
    assert_eq!(query_as(&shop, &alice, CUSTOMERS).await.unwrap().len(), 3);
    assert_eq!(
        query_as(&shop, "postgres", names).await.unwrap(),
        [""; 0],
        "it is assigned nowhere"
    );
}

/// What is not selected does not exist, and before anything is selected nothing does.
#[tokio::test]
async fn the_catalog_bounds_what_exists() {
    let (api, shop, source) = Api::with_shop().await;
    let path = format!("/datasources/{source}");
    let (alice, id) = api.person("alice").await;
    api.grant(&source, &[&id]).await;
    api.put(&path, json!({"catalog_mode": "selected"})).await.expect(200);
    api.sync_well(&source).await;
    let columns = "select string_agg(attname, ' ' order by attnum) from pg_attribute \
                   where attrelid = (select oid from pg_class where relname = 'customers') and attnum > 0";
    let hidden = query_as(&shop, &alice, CUSTOMERS).await.unwrap_err();
    assert_eq!(hidden, "42P01: relation \"customers\" does not exist");
    let request = json!({"action": "save_catalog", "schemas": [{"schema_name": "public", "is_selected": true, "tables": [
        {"table_name": "customers", "table_type": "TABLE", "is_selected": true,
         "columns": [{"column_name": "ssn", "is_selected": false}]}]}]});
    api.run_job(&source, request).await;
    api.sync_well(&source).await;
    assert_eq!(query_as(&shop, &alice, columns).await.unwrap(), ["id org name"]);
    let hidden = query_as(&shop, &alice, "select body from secrets").await.unwrap_err();
    assert_eq!(hidden, "42P01: relation \"secrets\" does not exist");
    execute(&shop, "alter table customers add salary int default 1").await;
    assert_eq!(
        query_as(&shop, &alice, columns).await.unwrap(),
        ["id org name"],
        "it is new"
    );
    let state = api.sync_well(&source).await;
    assert_eq!(
        state["catalog_drift"]["added_columns"],
        json!(["public.customers.salary"])
    );
    let request = json!({"action": "save_catalog", "schemas": [{"schema_name": "public", "is_selected": true, "tables": [
        {"table_name": "customers", "table_type": "TABLE", "is_selected": true,
         "columns": [{"column_name": "salary", "is_selected": true}]}]}]});
    api.run_job(&source, request).await;
    let state = api.sync_well(&source).await;
    assert_eq!(state["catalog_drift"]["changed_columns"], json!([]));
    assert_eq!(query_as(&shop, &alice, columns).await.unwrap(), ["id org name salary"]);
    // Somebody who lifts it there has it put back.
    execute(&shop, "select betweenrows.clear_catalog()").await;
    let state = api.sync_well(&source).await;
    assert_eq!(state["drift"][0]["kind"], "catalog", "{state}");
    assert_eq!(query_as(&shop, &alice, columns).await.unwrap(), ["id org name salary"]);
    api.put(&path, json!({"catalog_mode": "everything"})).await.expect(200);
    api.sync_well(&source).await;
    assert_eq!(
        query_as(&shop, &alice, columns).await.unwrap(),
        ["id org name ssn salary"]
    );
}

/// Users who are in force as they should be are not applied again; everything about the others is.
#[tokio::test]
async fn one_user_of_many_changes_or_is_changed_by_somebody() {
    let (api, shop, source) = Api::with_shop().await;
    let ((alice, alice_id), (bob, bob_id)) = (api.person("alice").await, api.person("bob").await);
    api.grant(&source, &[&alice_id, &bob_id]).await;
    let role = api.role("support").await;
    api.join(&role, &[&bob_id]).await;
    api.sync_well(&source).await;
    api.put(&format!("/users/{bob_id}"), json!({"is_active": false}))
        .await
        .expect(200);
    let state = api.sync_well(&source).await;
    let users: Vec<&str> = state["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["kind"] == "user")
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    assert_eq!(users, [bob.as_str()]);
    // Together with a change here, somebody changes a user there that did not change here.
    execute(
        &shop,
        &format!(
            "select betweenrows.alter_user('{alice}', is_active => false), betweenrows.remove_member('support', '{bob}')"
        ),
    )
    .await;
    api.put(&format!("/users/{bob_id}"), json!({"is_active": true}))
        .await
        .expect(200);
    api.sync_well(&source).await;
    let users = "select username || ' ' || is_active || ' ' || (select count(*) from betweenrows.role_members m \
                 where m.user_id = u.id) from betweenrows.users u where username like any (array['alice%', 'bob%']) \
                 order by username";
    let found = query_as(&shop, "postgres", users).await.unwrap();
    assert_eq!(found, [format!("{alice} true 0"), format!("{bob} true 1")]);
}

#[tokio::test]
async fn drift_is_reported_and_repaired_or_kept() {
    let (api, shop, source) = Api::with_shop().await;
    let policy = api.filter("p", "id < 3").await;
    api.assign(&source, &policy).await;
    api.sync_well(&source).await;
    let switch_off = "select betweenrows.alter_policy('p', is_enabled => false)";
    let enabled = "select is_enabled::text from betweenrows.policies";
    execute(&shop, switch_off).await;
    let state = api.sync_well(&source).await;
    assert_eq!(
        (&state["drift"][0]["action"], &state["drift"][0]["name"]),
        (&json!("alter"), &json!("p"))
    );
    assert_eq!(query_as(&shop, "postgres", enabled).await.unwrap(), ["true"]);

    api.put(&format!("/datasources/{source}"), json!({"drift": "keep"}))
        .await
        .expect(200);
    api.sync_well(&source).await;
    execute(&shop, switch_off).await;
    let state = api.sync(&source).await;
    assert_eq!(
        (&state["state"], &state["drift"][0]["name"]),
        (&json!("drifted"), &json!("p"))
    );
    assert_eq!(query_as(&shop, "postgres", enabled).await.unwrap(), ["false"]);
    // Somebody else's objects are no drift.
    execute(
        &shop,
        "select betweenrows.alter_policy('p', is_enabled => true), betweenrows.create_role('by hand')",
    )
    .await;
    api.sync_well(&source).await;
}

/// A policy that a database refuses must not keep anything else from it, least of all that somebody loses access.
#[tokio::test]
async fn a_refused_policy_holds_nothing_else_up() {
    let (api, shop, source) = Api::with_shop().await;
    let (alice, id) = api.person("alice").await;
    api.grant(&source, &[&id]).await;
    let path = format!("/datasources/{source}/policies");
    // Never synced, so nobody could ask the database beforehand.
    let bad = api.filter("a-bad-one", "no_such_column").await;
    let good = api.filter("z-good-one", "id < 3").await;
    for policy in [&bad, &good] {
        api.post(&path, json!({"policy_id": policy})).await.expect(201);
    }
    let state = api.sync(&source).await;
    assert_eq!(state["state"], "partial", "{state}");
    assert_eq!(state["problems"][0]["policy"], "a-bad-one");
    assert_eq!(state["problems"][0]["sqlstate"], "42703");
    assert_eq!(query_as(&shop, &alice, CUSTOMERS).await.unwrap().len(), 2);
    api.put(&format!("/users/{id}"), json!({"is_active": false}))
        .await
        .expect(200);
    assert_eq!(api.sync(&source).await["state"], "partial");
    assert!(query_as(&shop, &alice, CUSTOMERS).await.is_err());
    let mended = json!({"version": 1, "definition": {"filter_expression": "true"}});
    api.put(&format!("/policies/{bad}"), mended).await.expect(200);
    api.sync_well(&source).await;
}

/// Login roles come last: when they cannot be managed, nothing of the document may be in force.
#[tokio::test]
async fn a_sync_that_fails_half_way_leaves_nothing_behind() {
    let (api, shop, source) = Api::with_shop().await;
    let daemon = daemon_role(&shop, "").await;
    api.use_as(&source, &daemon).await;
    let user = api.user(&unique("alice")).await;
    api.grant(&source, &[&user]).await;
    let policy = api.filter("p", "id < 3").await;
    api.assign(&source, &policy).await;
    let state = api.sync(&source).await;
    assert_eq!(state["state"], "failed");
    assert!(state["error"].as_str().unwrap().contains("createrole"), "{state}");
    assert_eq!(state["failures"], 1);
    assert!(state["retry_at"].is_string());
    let counts =
        "select (select count(*) from betweenrows.users)::text || (select count(*) from betweenrows.policies)::text";
    assert_eq!(query_as(&shop, "postgres", counts).await.unwrap(), ["00"]);
    execute(&shop, &format!("alter role {daemon} createrole")).await;
    api.sync_well(&source).await;
    // The daemon's own role is a user, too: it needs a grant like anybody else.
    assert_eq!(query_as(&shop, "postgres", counts).await.unwrap(), ["31"]);
}

#[tokio::test]
async fn a_data_source_that_is_away_catches_up() {
    let (api, shop, source) = Api::with_shop().await;
    api.sync_well(&source).await;
    execute("postgres", &format!("alter database {shop} allow_connections false")).await;
    let policy = api.filter("p", "id < 3").await;
    let assigned = api
        .post(&format!("/datasources/{source}/policies"), json!({"policy_id": policy}))
        .await;
    assigned.expect(201);
    let state = api.sync(&source).await;
    assert_eq!(
        (&state["state"], &state["is_current"]),
        (&json!("failed"), &json!(false))
    );
    assert_eq!(
        api.post("/roles", json!({"name": "r"})).await.headers["betweenrows-sync"],
        "failed"
    );
    execute("postgres", &format!("alter database {shop} allow_connections true")).await;
    let state = api.sync_well(&source).await;
    assert_eq!((&state["failures"], &state["error"]), (&json!(0), &Value::Null));
    let names = "select name from betweenrows.policies";
    assert_eq!(query_as(&shop, "postgres", names).await.unwrap(), ["p"]);
}

#[tokio::test]
async fn the_extension_is_installed_or_the_command_is_told() {
    let api = Api::new().await;
    let shop = unique("bare");
    execute("postgres", &format!("create database {shop}")).await;
    let source = api.data_source(&shop).await;
    let daemon = unique("daemon");
    execute(&shop, &format!("create role {daemon} login createrole")).await;
    api.use_as(&source, &daemon).await;
    let state = api.sync(&source).await;
    assert!(
        state["error"]
            .as_str()
            .unwrap()
            .contains("create extension betweenrows;"),
        "{state}"
    );
    api.use_as(&source, "postgres").await;
    api.sync_well(&source).await;
    let installed = "select extname::text from pg_extension where extname = 'betweenrows'";
    assert_eq!(query_as(&shop, "postgres", installed).await.unwrap(), ["betweenrows"]);

    // As if an older version were there.
    execute(
        &shop,
        "update pg_extension set extversion = '0.0.9' where extname = 'betweenrows'",
    )
    .await;
    execute(
        &shop,
        &format!("grant betweenrows_admin to {daemon}; grant connect on database {shop} to {daemon}"),
    )
    .await;
    api.use_as(&source, &daemon).await;
    let state = api.sync(&source).await;
    let error = state["error"].as_str().unwrap();
    assert!(error.contains("alter extension betweenrows update;"), "{state}");
    execute(
        &shop,
        "update pg_extension set extversion = '0.1.0' where extname = 'betweenrows'",
    )
    .await;
    execute(
        &shop,
        &format!("grant execute on function pg_control_system() to {daemon}"),
    )
    .await;
    api.sync_well(&source).await;
}

/// A daemon that lost the store in the middle must not put an older document over a newer one: what is wanted is read
/// only once the database's lock is held.
#[tokio::test]
async fn what_is_wanted_is_read_under_the_lock() {
    let (api, shop, source) = Api::with_shop().await;
    api.sync_well(&source).await;
    api.role("first").await;
    let holder = hold_up_syncs(&shop).await;
    let syncing = tokio::spawn({
        let (store, id) = (api.store.clone(), source.parse().unwrap());
        async move { betweenrowsd::sync::sync(&store, id).await }
    });
    while query_as(&shop, "postgres", SYNC_WAITS).await.unwrap() != ["1"] {
        tokio::task::yield_now().await;
    }
    api.role("second").await;
    drop(holder);
    syncing.await.unwrap().unwrap();
    let names = "select name from betweenrows.roles order by 1";
    assert_eq!(query_as(&shop, "postgres", names).await.unwrap(), ["first", "second"]);
    assert_eq!(
        api.get(&format!("/datasources/{source}/sync")).await.expect(200)["is_current"],
        true
    );
}
