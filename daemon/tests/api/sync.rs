//! What is wanted gets into the databases, and stays there.

use serde_json::{Value, json};

use crate::harness::{Api, database, execute, query_as, superuser, unique};

const CUSTOMERS: &str = "select name || ' ' || coalesce(ssn, '-') from customers order by id";

/// Grants a data source to a user.
async fn grant(api: &Api, source: &str, users: &[&str]) {
    api.put(&format!("/datasources/{source}/users"), json!({"user_ids": users}))
        .await
        .expect(200);
}

#[tokio::test]
async fn policies_come_into_force_and_go_again() {
    let api = Api::new().await;
    let shop = database().await;
    let source = api.data_source(&shop).await;
    let alice = unique("alice");
    let id = api.user(&alice).await;
    grant(&api, &source, &[&id]).await;
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

#[tokio::test]
async fn whoever_has_no_grant_can_neither_log_in_nor_run_a_statement() {
    let api = Api::new().await;
    let (shop, other) = (database().await, database().await);
    let (source, second) = (api.data_source(&shop).await, api.data_source(&other).await);
    let (alice, bob) = (unique("alice"), unique("bob"));
    let (alice_id, bob_id) = (api.user(&alice).await, api.user(&bob).await);
    grant(&api, &source, &[&alice_id]).await;
    api.sync_well(&source).await;
    api.sync_well(&second).await;
    query_as(&shop, &alice, CUSTOMERS).await.unwrap();
    let refused = query_as(&shop, &bob, CUSTOMERS).await.unwrap_err();
    assert!(refused.starts_with("28000"), "there is no such role: {refused}");
    let refused = query_as(&other, &alice, CUSTOMERS).await.unwrap_err();
    assert!(
        refused.starts_with("42501"),
        "the role is for the other database: {refused}"
    );

    // A role gives access, too, and only while it is active.
    let role = api.role("support").await;
    api.post(&format!("/roles/{role}/members"), json!({"user_ids": [bob_id]}))
        .await
        .expect(200);
    api.put(
        &format!("/datasources/{source}/access/roles"),
        json!({"role_ids": [role]}),
    )
    .await
    .expect(200);
    api.sync_well(&source).await;
    query_as(&shop, &bob, CUSTOMERS).await.unwrap();
    api.put(&format!("/roles/{role}"), json!({"is_active": false}))
        .await
        .expect(200);
    api.sync_well(&source).await;
    assert!(query_as(&shop, &bob, CUSTOMERS).await.unwrap_err().starts_with("28000"));

    // An open session notices at its next statement.
    let mut session = <sqlx::PgConnection as sqlx::Connection>::connect_with(&crate::harness::options(&shop, &alice))
        .await
        .unwrap();
    sqlx::query(CUSTOMERS).fetch_all(&mut session).await.unwrap();
    api.put(&format!("/users/{alice_id}"), json!({"is_active": false}))
        .await
        .expect(200);
    api.sync_well(&source).await;
    let refused = sqlx::query(CUSTOMERS).fetch_all(&mut session).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501");
    assert!(
        query_as(&shop, &alice, CUSTOMERS)
            .await
            .unwrap_err()
            .starts_with("28000")
    );
    api.delete(&format!("/users/{alice_id}")).await.expect(204);
    api.sync_well(&source).await;
    assert!(
        query_as(&shop, &alice, CUSTOMERS)
            .await
            .unwrap_err()
            .starts_with("28000"),
        "the role stays closed"
    );
}

/// What is not selected does not exist, and before anything is selected nothing does.
#[tokio::test]
async fn the_catalog_bounds_what_exists() {
    let api = Api::new().await;
    let shop = database().await;
    let source = api.data_source(&shop).await;
    let path = format!("/datasources/{source}");
    let alice = unique("alice");
    let id = api.user(&alice).await;
    grant(&api, &source, &[&id]).await;
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

#[tokio::test]
async fn only_those_with_a_grant_may_connect() {
    let api = Api::new().await;
    let shop = database().await;
    let (etl, pipe, stranger) = (unique("etl"), unique("pipe"), unique("stranger"));
    let group = unique("support");
    let member = unique("member");
    execute(
        &shop,
        &format!(
            "create role {etl} login; select betweenrows.exempt_role('{etl}'); create role {pipe} login replication;
             create role {stranger} login; create role {group}; create role {member} login in role {group}"
        ),
    )
    .await;
    let source = api.data_source(&shop).await;
    let (alice, bob) = (unique("alice"), unique("bob"));
    let (alice_id, _) = (api.user(&alice).await, api.user(&bob).await);
    grant(&api, &source, &[&alice_id]).await;
    let role = api.role(&group).await;
    let roles = format!("/datasources/{source}/access/roles");
    api.put(&roles, json!({"role_ids": [role]})).await.expect(200);
    let state = api.sync_well(&source).await;
    assert_eq!(state["warnings"], json!([]));
    let connects = async |role: &str| query_as(&shop, role, "select 1::text").await.is_ok();
    for role in [&alice, &etl, &pipe, &member] {
        assert!(connects(role).await, "{role}");
    }
    for role in [&stranger, &bob] {
        assert!(!connects(role).await, "{role}");
    }
    assert_eq!(
        query_as(&shop, &member, CUSTOMERS).await.unwrap().len(),
        3,
        "by a role of the server"
    );
    // What somebody gives everybody is taken again; grants that end close the door.
    execute(&shop, &format!("grant connect on database {shop} to public")).await;
    api.sync_well(&source).await;
    assert!(!connects(&stranger).await);
    api.put(&roles, json!({"role_ids": []})).await.expect(200);
    grant(&api, &source, &[]).await;
    api.sync_well(&source).await;
    for role in [&alice, &member] {
        assert!(!connects(role).await, "{role}");
    }
    assert!(connects(&etl).await);
}

/// Only the owner of a database can take from everybody what everybody has.
#[tokio::test]
async fn the_command_for_the_owner_of_the_database_is_told() {
    let api = Api::new().await;
    let shop = database().await;
    let daemon = unique("daemon");
    execute(
        &shop,
        &format!(
            "create role {daemon} login createrole; grant betweenrows_admin to {daemon};
             grant execute on function pg_control_system() to {daemon}"
        ),
    )
    .await;
    let source = api.data_source(&shop).await;
    let path = format!("/datasources/{source}");
    api.put(&path, json!({"config": {"username": daemon}}))
        .await
        .expect(200);
    let (alice, stranger) = (unique("alice"), unique("stranger"));
    execute(&shop, &format!("create role {stranger} login")).await;
    let id = api.user(&alice).await;
    grant(&api, &source, &[&id]).await;
    let state = api.sync_well(&source).await;
    let warning = state["warnings"][0].as_str().expect("a warning");
    assert!(query_as(&shop, &stranger, "select 1::text").await.is_ok());
    let refused = query_as(&shop, &stranger, CUSTOMERS).await.unwrap_err();
    assert!(refused.starts_with("42501"), "no statement of theirs runs: {refused}");
    let (_, command) = warning.split_once("has to run: ").expect("a command");
    execute(&shop, command).await;
    let state = api.sync_well(&source).await;
    assert_eq!(state["warnings"], json!([]), "{state:#}");
    assert!(query_as(&shop, &stranger, "select 1::text").await.is_err());
    assert_eq!(query_as(&shop, &alice, CUSTOMERS).await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_others_made_is_left_alone() {
    let api = Api::new().await;
    let shop = database().await;
    let theirs = unique("theirs");
    // By the very role that the daemon uses.
    execute(
        &shop,
        &format!(
            "create role {theirs} login; select betweenrows.create_user('{theirs}'), betweenrows.create_role('by hand');
             select betweenrows.add_member('by hand', '{theirs}');
             select betweenrows.filter_rows('customers', 'id = 1', 'by hand', to_role => 'by hand')"
        ),
    )
    .await;
    let source = api.data_source(&shop).await;
    let policy = api.filter("p", "id < 3").await;
    api.post(&format!("/datasources/{source}/policies"), json!({"policy_id": policy}))
        .await
        .expect(201);
    api.sync_well(&source).await;
    api.delete(&format!("/policies/{policy}")).await.expect(204);
    api.sync_well(&source).await;
    let left = "select name from betweenrows.policies";
    assert_eq!(query_as(&shop, "postgres", left).await.unwrap(), ["by hand"]);

    // Nobody gets in without a grant, a login role without a user neither.
    let refused = query_as(&shop, &theirs, "select 1::text").await.unwrap_err();
    assert!(refused.contains("permission denied for database"), "{refused}");

    // A login role that the store did not create keeps its password, its rights and its login.
    let user = api.user(&theirs).await;
    api.sync_well(&source).await;
    let role =
        format!("select rolcanlogin::text || coalesce(rolpassword, '-') from pg_authid where rolname = '{theirs}'");
    assert_eq!(query_as(&shop, "postgres", &role).await.unwrap(), ["true-"]);
    grant(&api, &source, &[&user]).await;
    api.sync_well(&source).await;
    assert_eq!(query_as(&shop, &theirs, CUSTOMERS).await.unwrap(), ["Ada 900-00-0001"]);
}

#[tokio::test]
async fn a_role_of_ours_that_became_special_is_not_touched_any_more() {
    let api = Api::new().await;
    let shop = database().await;
    let source = api.data_source(&shop).await;
    let alice = unique("alice");
    let id = api.user(&alice).await;
    grant(&api, &source, &[&id]).await;
    api.sync_well(&source).await;
    let password = format!("select rolpassword from pg_authid where rolname = '{alice}'");
    let before = query_as(&shop, "postgres", &password).await.unwrap();
    execute(&shop, &format!("alter role {alice} createdb")).await;
    api.put(&format!("/users/{id}/password"), json!({"password": "Another-1"}))
        .await
        .expect(204);
    api.sync_well(&source).await;
    assert_eq!(query_as(&shop, "postgres", &password).await.unwrap(), before);
    execute(&shop, &format!("alter role {alice} nocreatedb")).await;
    api.put(&format!("/users/{id}"), json!({"display_name": "x"}))
        .await
        .expect(200);
    api.put(&format!("/users/{id}/password"), json!({"password": "Another-2"}))
        .await
        .expect(204);
    api.sync_well(&source).await;
    assert_ne!(query_as(&shop, "postgres", &password).await.unwrap(), before);
}

/// Users who are in force as they should be are not applied again; everything about the others is.
#[tokio::test]
async fn one_user_of_many_changes_or_is_changed_by_somebody() {
    let api = Api::new().await;
    let shop = database().await;
    let source = api.data_source(&shop).await;
    let (alice, bob) = (unique("alice"), unique("bob"));
    let (alice_id, bob_id) = (api.user(&alice).await, api.user(&bob).await);
    grant(&api, &source, &[&alice_id, &bob_id]).await;
    let role = api.role("support").await;
    api.post(&format!("/roles/{role}/members"), json!({"user_ids": [bob_id]}))
        .await
        .expect(200);
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
    let api = Api::new().await;
    let shop = database().await;
    let source = api.data_source(&shop).await;
    let policy = api.filter("p", "id < 3").await;
    api.post(&format!("/datasources/{source}/policies"), json!({"policy_id": policy}))
        .await
        .expect(201);
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
    let api = Api::new().await;
    let shop = database().await;
    let source = api.data_source(&shop).await;
    let alice = unique("alice");
    let id = api.user(&alice).await;
    grant(&api, &source, &[&id]).await;
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
    let api = Api::new().await;
    let shop = database().await;
    let daemon = unique("daemon");
    execute(
        &shop,
        &format!(
            "create role {daemon} login; grant betweenrows_admin to {daemon};
             grant execute on function pg_control_system() to {daemon}"
        ),
    )
    .await;
    let source = api.data_source(&shop).await;
    let path = format!("/datasources/{source}");
    api.put(&path, json!({"config": {"username": daemon}}))
        .await
        .expect(200);
    let user = api.user(&unique("alice")).await;
    grant(&api, &source, &[&user]).await;
    let policy = api.filter("p", "id < 3").await;
    api.post(&format!("{path}/policies"), json!({"policy_id": policy}))
        .await
        .expect(201);
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
    let api = Api::new().await;
    let shop = database().await;
    let source = api.data_source(&shop).await;
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
    api.put(
        &format!("/datasources/{source}"),
        json!({"config": {"username": daemon}}),
    )
    .await
    .expect(200);
    let state = api.sync(&source).await;
    assert!(
        state["error"]
            .as_str()
            .unwrap()
            .contains("create extension betweenrows;"),
        "{state}"
    );
    api.put(
        &format!("/datasources/{source}"),
        json!({"config": {"username": "postgres"}}),
    )
    .await
    .expect(200);
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
    let path = format!("/datasources/{source}");
    api.put(&path, json!({"config": {"username": daemon}}))
        .await
        .expect(200);
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
    let api = Api::new().await;
    let shop = database().await;
    let source = api.data_source(&shop).await;
    api.sync_well(&source).await;
    api.role("first").await;
    let mut holder = superuser(&shop).await;
    sqlx::query("select pg_advisory_lock(x'62726f777302'::bigint)")
        .execute(&mut holder)
        .await
        .unwrap();
    let syncing = tokio::spawn({
        let (store, id) = (api.store.clone(), source.parse().unwrap());
        async move { betweenrowsd::sync::sync(&store, id).await }
    });
    let waiting = "select count(*)::text from pg_locks where locktype = 'advisory' and not granted \
                   and database = (select oid from pg_database where datname = current_database())";
    while query_as(&shop, "postgres", waiting).await.unwrap() != ["1"] {
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
