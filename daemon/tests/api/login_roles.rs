//! Who gets into a database, and whose login roles the daemon touches.

use serde_json::json;

use crate::harness::{Api, daemon_role, database, execute, query_as, unique};

const CUSTOMERS: &str = "select name || ' ' || coalesce(ssn, '-') from customers order by id";

#[tokio::test]
async fn whoever_has_no_grant_can_neither_log_in_nor_run_a_statement() {
    let api = Api::new().await;
    let (shop, other) = (database().await, database().await);
    let (source, second) = (api.data_source(&shop).await, api.data_source(&other).await);
    let ((alice, alice_id), (bob, bob_id)) = (api.person("alice").await, api.person("bob").await);
    api.grant(&source, &[&alice_id]).await;
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
    api.join(&role, &[&bob_id]).await;
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
    let ((alice, alice_id), (bob, _)) = (api.person("alice").await, api.person("bob").await);
    api.grant(&source, &[&alice_id]).await;
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
    api.grant(&source, &[]).await;
    api.sync_well(&source).await;
    for role in [&alice, &member] {
        assert!(!connects(role).await, "{role}");
    }
    assert!(connects(&etl).await);
}

/// Only the owner of a database can take from everybody what everybody has.
#[tokio::test]
async fn the_command_for_the_owner_of_the_database_is_told() {
    let (api, shop, source) = Api::with_shop().await;
    let daemon = daemon_role(&shop, "createrole").await;
    api.use_as(&source, &daemon).await;
    let (alice, stranger) = (unique("alice"), unique("stranger"));
    execute(&shop, &format!("create role {stranger} login")).await;
    let id = api.user(&alice).await;
    api.grant(&source, &[&id]).await;
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
    api.assign(&source, &policy).await;
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
    api.grant(&source, &[&user]).await;
    api.sync_well(&source).await;
    assert_eq!(query_as(&shop, &theirs, CUSTOMERS).await.unwrap(), ["Ada 900-00-0001"]);
}

#[tokio::test]
async fn a_role_of_ours_that_became_special_is_not_touched_any_more() {
    let (api, shop, source) = Api::with_shop().await;
    let (alice, id) = api.person("alice").await;
    api.grant(&source, &[&id]).await;
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
