//! What users see in a data source, told as it is there, and what changes would do.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Api, daemon_role, execute, query_as, unique};

/// A data source with a user who may use it, synced.
struct Scene {
    api: Api,
    shop: String,
    source: String,
    alice: String,
    alice_id: String,
    bob: String,
    bob_id: String,
}

impl Scene {
    async fn new() -> Scene {
        let (api, shop, source) = Api::with_shop().await;
        let ((alice, alice_id), (bob, bob_id)) = (api.person("alice").await, api.person("bob").await);
        api.grant(&source, &[&alice_id, &bob_id]).await;
        Scene {
            api,
            shop,
            source,
            alice,
            alice_id,
            bob,
            bob_id,
        }
    }

    async fn policy(&self, policy: Value, mut to: Value) -> String {
        let answer = self.api.post("/policies", policy).await;
        answer.expect(201);
        to["policy_id"] = json!(answer.id());
        let path = format!("/datasources/{}/policies", self.source);
        self.api.post(&path, to).await.expect(201);
        answer.id()
    }

    async fn access(&self, user: &str, query: &str) -> Value {
        let path = format!("/users/{user}/effective-access?datasource_id={}{query}", self.source);
        self.api.get(&path).await.expect(200)
    }

    async fn preview(&self, body: Value) -> Value {
        let answer = self.api.post("/policies/preview", body).await;
        assert!(!answer.headers.contains_key("betweenrows-sync"), "it is no change");
        let sources = answer.expect(200)["data_sources"].clone();
        assert_eq!(sources.as_array().unwrap().len(), 1, "{sources:#}");
        assert_eq!(
            (&sources[0]["data_source_id"], &sources[0]["error"]),
            (&json!(self.source), &Value::Null)
        );
        sources[0].clone()
    }
}

fn on(table: &str) -> Value {
    json!([{"schemas": ["public"], "tables": [table]}])
}

fn columns(table: &str, columns: &[&str]) -> Value {
    json!([{"schemas": ["public"], "tables": [table], "columns": columns}])
}

fn accesses(table: &Value) -> Vec<String> {
    let columns = table["columns"].as_array().unwrap().iter();
    let text = |column: &Value, field: &str| column[field].as_str().unwrap().to_owned();
    columns
        .map(|column| format!("{} {}", text(column, "column"), text(column, "access")))
        .collect()
}

#[tokio::test]
async fn what_a_user_sees_is_told_with_reasons() {
    let scene = Scene::new().await;
    let api = &scene.api;
    let staff = api.role("staff").await;
    api.post(
        &format!("/roles/{staff}/members"),
        json!({"user_ids": [scene.alice_id]}),
    )
    .await
    .expect(200);
    let function = api
        .function("always", "function evaluate() { return {fire: true}; }")
        .await;
    let own = json!({"name": "own", "policy_type": "row_filter", "targets": on("customers"),
                     "definition": {"filter_expression": "org = 'acme'"}, "decision_function_id": function});
    scene.policy(own, json!({"role_id": staff, "priority": 7})).await;
    let ssn = json!({"name": "ssn", "policy_type": "column_mask", "targets": columns("customers", &["ssn"]),
                     "definition": {"mask_expression": "left(ssn, 3)"}});
    scene.policy(ssn, json!({})).await;
    let name = json!({"name": "name", "policy_type": "column_deny", "targets": columns("customers", &["name"])});
    scene.policy(name, json!({"user_id": scene.alice_id})).await;
    let secrets = json!({"name": "no secrets", "policy_type": "table_deny", "targets": on("secrets")});
    scene.policy(secrets, json!({})).await;
    api.sync_well(&scene.source).await;

    let access = scene.access(&scene.alice_id, "").await;
    assert_eq!(
        (&access["username"], &access["standing"]),
        (&json!(scene.alice), &json!("governed"))
    );
    assert_eq!((&access["access_mode"], &access["total"]), (&json!("open"), &json!(2)));
    let customers = &access["data"][0];
    assert_eq!(
        (&customers["table"], &customers["is_visible"]),
        (&json!("customers"), &json!(true))
    );
    assert_eq!(
        accesses(customers),
        ["id visible", "org visible", "name hidden", "ssn masked"]
    );
    assert_eq!(
        (&customers["columns"][2]["policy"], &customers["columns"][3]["mask"]),
        (&json!("name"), &json!("left(ssn, 3)"))
    );
    assert_eq!(
        customers["filters"],
        json!([{"policy": "own", "expression": "org = 'acme'", "mode": "restrictive", "decision_function": "always"}])
    );
    let effects = customers["policies"].as_array().unwrap();
    let told: Vec<String> = effects
        .iter()
        .map(|effect| format!("{} {} {}", effect["policy"], effect["effect"], effect["assigned_to"]).replace('"', ""))
        .collect();
    let expected = [
        "own rows_filtered role staff".to_owned(),
        format!("name column_denied user {}", scene.alice),
        "ssn column_masked everyone".to_owned(),
    ];
    assert_eq!(told, expected);
    let secrets = &access["data"][1];
    assert_eq!(
        (&secrets["is_visible"], &secrets["filters"]),
        (&json!(false), &json!([]))
    );
    assert!(secrets["hidden_because"].as_str().unwrap().contains("\"no secrets\""));

    // The database says the same.
    let there = format!(
        "select on_relation || ' ' || policy || ' ' || effect from betweenrows.effective_policies('{}') order by 1",
        scene.alice
    );
    let there = query_as(&scene.shop, "postgres", &there).await.unwrap();
    assert_eq!(there.len(), 4, "{there:?}");
    for effect in effects {
        let line = format!("public.customers {} {}", effect["policy"], effect["effect"]).replace('"', "");
        assert!(there.contains(&line), "{line} in {there:?}");
    }

    let other = scene.access(&scene.bob_id, "&table=customers").await;
    assert_eq!((&other["total"], &other["data"][0]["filters"]), (&json!(1), &json!([])));
    assert_eq!(
        accesses(&other["data"][0]),
        ["id visible", "org visible", "name visible", "ssn masked"]
    );
    let second = scene.access(&scene.bob_id, "&page=2&page_size=1").await;
    assert_eq!(
        (&second["total"], &second["data"][0]["table"]),
        (&json!(2), &json!("secrets"))
    );
    assert_eq!(scene.access(&scene.bob_id, "&schema=other").await["total"], 0);
}

#[tokio::test]
async fn what_is_in_force_there_counts_whoever_made_it() {
    let scene = Scene::new().await;
    let api = &scene.api;
    api.put(
        &format!("/datasources/{}", scene.source),
        json!({"access_mode": "policy_required"}),
    )
    .await
    .expect(200);
    api.sync_well(&scene.source).await;
    let table = |access: &Value, index: usize| access["data"][index]["is_visible"].clone();
    let access = scene.access(&scene.alice_id, "").await;
    assert_eq!((table(&access, 0), table(&access, 1)), (json!(false), json!(false)));
    assert!(
        access["data"][0]["hidden_because"]
            .as_str()
            .unwrap()
            .contains("policy_required")
    );
    execute(
        &scene.shop,
        "select betweenrows.allow_columns('customers', array['id', 'name'], name => 'by hand');
         create table parted (id int, body text) partition by list (id); create table part partition of parted for values in (1);
         select betweenrows.allow_columns('parted', array['id'], name => 'of the parent')",
    )
    .await;
    let access = scene.access(&scene.alice_id, "&table=customers").await;
    assert_eq!(
        accesses(&access["data"][0]),
        ["id visible", "org hidden", "name visible", "ssn hidden"]
    );
    let part = scene.access(&scene.alice_id, "&table=part").await;
    assert_eq!(
        accesses(&part["data"][0]),
        ["id visible", "body hidden"],
        "policies on a parent govern its partitions"
    );

    // A role of PostgreSQL's own counts as the role of that name.
    let group = unique("group");
    let sql = format!(
        "select betweenrows.create_role('{group}'); create role {group}; grant {group} to {};
         select betweenrows.allow_columns('secrets', array['body'], name => 'for the group', to_role => '{group}')",
        scene.alice
    );
    execute(&scene.shop, &sql).await;
    assert_eq!(
        scene.access(&scene.alice_id, "&table=secrets").await["data"][0]["is_visible"],
        true
    );
    assert_eq!(
        scene.access(&scene.bob_id, "&table=secrets").await["data"][0]["is_visible"],
        false
    );

    execute(&scene.shop, &format!("select betweenrows.exempt_role('{}')", scene.bob)).await;
    let exempt = scene.access(&scene.bob_id, "&table=secrets").await;
    assert_eq!(
        (&exempt["standing"], &exempt["data"][0]["is_visible"]),
        (&json!("exempt"), &json!(true))
    );
    api.put(&format!("/datasources/{}/users", scene.source), json!({"user_ids": []}))
        .await
        .expect(200);
    api.sync_well(&scene.source).await;
    assert_eq!(scene.access(&scene.alice_id, "").await["standing"], "refused");
}

/// The system catalogs hide from the daemon's role what they hide from any other; what users see is told all the same.
#[tokio::test]
async fn a_role_that_is_governed_tells_all_that_there_is() {
    let scene = Scene::new().await;
    let api = &scene.api;
    execute(
        &scene.shop,
        "create table parted (id int, body text) partition by list (id); create table part partition of parted for values in (1)",
    )
    .await;
    let deny = json!({"name": "no bodies", "policy_type": "column_deny", "targets": columns("parted", &["body"])});
    let deny = scene.policy(deny, json!({})).await;
    let path = format!("/datasources/{}", scene.source);
    let required = json!({"access_mode": "policy_required"});
    api.put(&path, required).await.expect(200);
    let allow = json!({"name": "all", "policy_type": "column_allow", "targets": columns("*", &["*"])});
    scene.policy(allow, json!({"user_id": scene.alice_id})).await;
    api.sync_well(&scene.source).await;
    query_as(&scene.shop, &scene.alice, "select name from customers")
        .await
        .unwrap();
    let preview = json!({"policy_id": deny, "delete": true});
    let before = (
        scene.access(&scene.alice_id, "").await,
        scene.access(&scene.bob_id, "&table=part").await,
        scene.preview(preview.clone()).await,
    );
    let of = |index: usize| &before.0["data"][index];
    assert_eq!((&before.0["total"], &of(0)["table"]), (&json!(4), &json!("customers")));
    assert_eq!(
        (&of(1)["table"], &of(1)["kind"], accesses(of(1))),
        (
            &json!("part"),
            &json!("table"),
            vec!["id visible".to_owned(), "body hidden".to_owned()]
        )
    );
    assert_eq!(
        (&of(2)["kind"], &of(3)["is_visible"]),
        (&json!("partitioned table"), &json!(true))
    );
    assert_eq!(before.1["data"][0]["is_visible"], false);
    assert_eq!(
        before.2["total_changes"], 2,
        "of the parent and the partition, for alice"
    );

    let daemon = daemon_role(&scene.shop, "createrole").await;
    let connect = format!("grant connect on database {} to {daemon}", scene.shop);
    execute(&scene.shop, &connect).await;
    api.use_as(&scene.source, &daemon).await;
    // It gets a grant like anybody else who uses the database.
    api.sync_well(&scene.source).await;
    let hidden = "select count(*)::text from pg_class where relname in ('customers', 'secrets', 'parted', 'part')";
    assert_eq!(query_as(&scene.shop, &daemon, hidden).await.unwrap(), ["0"]);
    let after = (
        scene.access(&scene.alice_id, "").await,
        scene.access(&scene.bob_id, "&table=part").await,
        scene.preview(preview).await,
    );
    assert_eq!(after, before);
    let search = api.get("/audit/queries").await.expect(200);
    assert_eq!(
        (&search["unavailable"], search["total"].as_i64() > Some(0)),
        (&json!([]), true),
        "members of betweenrows_admin read the audit"
    );
}

#[tokio::test]
async fn access_that_cannot_be_told_is_an_error() {
    let scene = Scene::new().await;
    let api = &scene.api;
    let path = |user: &str, query: &str| format!("/users/{user}/effective-access{query}");
    let here = format!("?datasource_id={}", scene.source);
    let nobody = Uuid::new_v4().to_string();
    api.get(&path(&nobody, &here)).await.error(404);
    api.get(&path(&scene.alice_id, "")).await.error(400);
    api.get(&path(&scene.alice_id, &format!("?datasource_id={nobody}")))
        .await
        .error(404);
    api.get(&path(&scene.alice_id, &format!("{here}&table=%00")))
        .await
        .error(422);
    let down = api.unreachable("down").await;
    api.get(&path(&scene.alice_id, &format!("?datasource_id={down}")))
        .await
        .error(503);
}

#[tokio::test]
async fn a_preview_tells_who_gains_and_loses_what() {
    let scene = Scene::new().await;
    let api = &scene.api;
    api.sync_well(&scene.source).await;
    let policy = json!({"name": "own", "policy_type": "row_filter", "targets": on("customers"),
                        "definition": {"filter_expression": "org = 'acme'"}});
    let here = |to: Value| {
        let mut to = to;
        to["data_source_id"] = json!(scene.source);
        json!([to])
    };
    // A new one, for one user.
    let impact = scene
        .preview(json!({"policy": policy, "assignments": here(json!({"user_id": scene.alice_id}))}))
        .await;
    assert_eq!(
        (&impact["affected_users"], &impact["total_changes"]),
        (&json!(1), &json!(1))
    );
    let change = &impact["changes"][0];
    assert_eq!(
        (&change["schema"], &change["table"], &change["others"]),
        (&json!("public"), &json!("customers"), &json!(false))
    );
    assert_eq!(
        (&change["users"], &change["user_count"]),
        (&json!([scene.alice]), &json!(1))
    );
    assert_eq!(
        (&change["gains"], &change["loses"]),
        (&json!([]), &json!(["rows but those with org = 'acme'"]))
    );
    assert_eq!(
        (&change["before"]["filters"], &change["after"]["filters"][0]["policy"]),
        (&json!([]), &json!("own"))
    );
    assert_eq!(api.get("/policies").await.expect(200)["total"], 0, "nothing is changed");
    assert_eq!(
        api.get("/audit/admin?resource_type=policy").await.expect(200)["total"],
        0
    );

    // It exists: other columns and rows, then off, elsewhere, and gone.
    let id = scene.policy(policy, json!({"user_id": scene.alice_id})).await;
    api.sync_well(&scene.source).await;
    let no_change = scene.preview(json!({"policy_id": id})).await;
    assert_eq!(
        (&no_change["affected_users"], &no_change["changes"]),
        (&json!(0), &json!([]))
    );
    let other = json!({"policy_id": id, "policy": {"definition": {"filter_expression": "id = 3"}, "name": "renamed"}});
    let other = &scene.preview(other).await["changes"][0];
    assert_eq!(other["gains"], json!(["rows other than those with org = 'acme'"]));
    assert_eq!(other["loses"], json!(["rows but those with id = 3"]));
    let off = &scene
        .preview(json!({"policy_id": id, "policy": {"is_enabled": false}}))
        .await["changes"][0];
    assert_eq!(
        (&off["gains"], &off["loses"]),
        (&json!(["rows other than those with org = 'acme'"]), &json!([]))
    );
    let moved = scene
        .preview(json!({"policy_id": id, "assignments": here(json!({"user_id": scene.bob_id}))}))
        .await;
    assert_eq!(
        (&moved["affected_users"], &moved["total_changes"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        (&moved["changes"][0]["users"], &moved["changes"][0]["loses"]),
        (&json!([scene.alice]), &json!([]))
    );
    assert_eq!(
        (&moved["changes"][1]["users"], &moved["changes"][1]["gains"]),
        (&json!([scene.bob]), &json!([]))
    );
    let everyone = scene
        .preview(json!({"policy_id": id, "assignments": here(json!({}))}))
        .await;
    let change = &everyone["changes"][0];
    assert_eq!(
        (&everyone["affected_users"], &change["users"], &change["others"]),
        // A login role that is no user has no grant, and sees nothing before and after.
        (&json!(1), &json!([scene.bob]), &json!(false))
    );
    let gone = scene.preview(json!({"policy_id": id, "delete": true})).await;
    assert_eq!(
        (&gone["affected_users"], &gone["changes"][0]["loses"]),
        (&json!(1), &json!([]))
    );

    let deny = json!({"policy": {"name": "deny", "policy_type": "table_deny", "targets": on("*")}, "assignments": here(json!({}))});
    let deny = scene.preview(deny).await;
    let told: Vec<String> = deny["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| format!("{} {} {}", change["table"], change["user_count"], change["loses"][0]).replace('"', ""))
        .collect();
    assert_eq!(told.len(), 4, "alice has another policy than bob: {told:?}");
    assert!(told.iter().all(|line| line.contains("the table: policy ")), "{told:?}");

    // None of it is in force.
    let seen = query_as(&scene.shop, &scene.alice, "select name from customers order by id")
        .await
        .unwrap();
    assert_eq!(seen, ["Ada", "Ben"]);
    assert_eq!(api.get(&format!("/policies/{id}")).await.expect(200)["version"], 1);
    assert_eq!(
        api.get(&format!("/datasources/{}/policies", scene.source))
            .await
            .expect(200)
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_preview_of_what_cannot_be_is_refused_like_the_change() {
    let scene = Scene::new().await;
    let api = &scene.api;
    api.sync_well(&scene.source).await;
    let id = api.filter("own", "org = 'acme'").await;
    let nobody = Uuid::new_v4();
    let new = json!({"name": "x", "policy_type": "table_deny", "targets": on("customers")});
    let filter = |expression: &str| {
        json!({"name": "x", "policy_type": "row_filter", "targets": on("customers"),
                                           "definition": {"filter_expression": expression}})
    };
    let here = json!([{"data_source_id": scene.source}]);
    for (body, status) in [
        (json!({}), 400),
        (json!({"delete": true}), 400),
        (json!({"policy_id": id, "delete": true, "policy": {}}), 400),
        (json!({"policy": {"name": "x"}}), 422),
        (json!({"policy_id": nobody}), 404),
        (json!({"policy": new, "datasource_id": nobody}), 404),
        (json!({"policy": new, "assignments": [{"data_source_id": nobody}]}), 404),
        (
            json!({"policy": new, "assignments": [{"data_source_id": scene.source, "scope": "user"}]}),
            400,
        ),
        (json!({"policy": filter("org ="), "assignments": here}), 422),
        (json!({"policy": filter("nowhere = 1"), "assignments": here}), 422),
        (
            json!({"policy_id": id, "policy": {"decision_function_id": nobody}}),
            404,
        ),
    ] {
        let answer = api.post("/policies/preview", body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
    }
    let taken = json!({"policy": {"name": "own", "policy_type": "table_deny", "targets": on("customers")}});
    api.post("/policies/preview", taken).await.error(409);
    let nowhere = api.post("/policies/preview", json!({"policy": new})).await.expect(200);
    assert_eq!(nowhere, json!({"data_sources": []}), "it would be assigned nowhere");

    let down = api.unreachable("down").await;
    let both = json!([{"data_source_id": scene.source}, {"data_source_id": down}]);
    let answer = api
        .post("/policies/preview", json!({"policy": new, "assignments": both}))
        .await
        .expect(200);
    let sources = answer["data_sources"].as_array().unwrap();
    assert_eq!(sources.len(), 2);
    assert!(
        sources[0]["error"].is_string() && sources[1]["error"].is_null(),
        "{answer:#}"
    );
    let only = json!({"policy": new, "assignments": both, "datasource_id": scene.source});
    let only = api.post("/policies/preview", only).await.expect(200);
    assert_eq!(only["data_sources"].as_array().unwrap().len(), 1);
}
