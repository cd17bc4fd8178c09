//! Decision functions: kept here, compiled here and there, with the same results.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Api, database, execute, query_as, superuser, unique};

/// Fires for everyone but the users that the config names.
const NOT_FOR: &str = "function evaluate(ctx, config) {
  return { fire: !(config.users ?? []).includes(ctx.session.user.username) };
}";

fn office_hours() -> Value {
    json!({"name": "office hours", "description": "d", "language": "javascript",
           "decision_fn": "function evaluate(ctx, config) { return { fire: ctx.session.time.hour < config.open }; }",
           "decision_config": {"open": 8}, "evaluate_context": "session", "on_error": "skip", "log_level": "info",
           "is_enabled": true})
}

#[tokio::test]
async fn a_function_is_created_read_changed_and_deleted() {
    let api = Api::new().await;
    let answer = api.post("/decision-functions", office_hours()).await;
    let function = answer.expect(201);
    for (field, value) in office_hours().as_object().unwrap() {
        assert_eq!(&function[field], value, "{field}");
    }
    let others = [
        "id",
        "version",
        "policy_count",
        "created_by",
        "updated_by",
        "created_at",
        "updated_at",
    ];
    for field in others {
        assert!(function.get(field).is_some(), "{field} in {function}");
    }
    assert_eq!(
        (&function["version"], &function["policy_count"]),
        (&json!(1), &json!(0))
    );
    let path = format!("/decision-functions/{}", answer.id());
    assert_eq!(api.get(&path).await.expect(200), function);
    let listed = api.get("/decision-functions?search=OFFICE").await.expect(200);
    assert_eq!((&listed["total"], &listed["data"][0]), (&json!(1), &function));
    assert_eq!(
        api.get("/decision-functions?search=other").await.expect(200)["total"],
        0
    );

    let change = json!({"version": 1, "description": null, "decision_config": null, "on_error": "deny"});
    let changed = api.put(&path, change).await.expect(200);
    assert_eq!(
        (
            &changed["version"],
            &changed["description"],
            &changed["decision_config"],
            &changed["on_error"]
        ),
        (&json!(2), &Value::Null, &json!({}), &json!("deny"))
    );
    assert_eq!(changed["decision_fn"], function["decision_fn"]);
    let same = api
        .put(&path, json!({"version": 2, "on_error": "deny"}))
        .await
        .expect(200);
    assert_eq!(same["version"], 2, "nothing changed");
    let stale = api.put(&path, json!({"version": 1, "name": "x"})).await.error(409);
    assert!(stale.contains("version is 2"), "{stale}");
    api.put(&path, json!({"name": "x"})).await.error(422);

    api.post("/decision-functions", office_hours()).await.error(409);
    let other = api.function("other", NOT_FOR).await;
    let taken = api
        .put(
            &format!("/decision-functions/{other}"),
            json!({"version": 1, "name": "office hours"}),
        )
        .await;
    taken.error(409);
    api.delete(&path).await.expect(204);
    api.get(&path).await.error(404);
    api.put(&path, json!({"version": 1})).await.error(404);
    api.delete(&path).await.error(404);

    let audit = api
        .get("/audit/admin?resource_type=decision_function")
        .await
        .expect(200);
    let entries = audit["data"].as_array().unwrap();
    let actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["delete", "create", "update", "create"]);
    assert_eq!(entries[2]["changes"]["before"]["decision_config"], json!({"open": 8}));
    assert_eq!(entries[2]["changes"]["after"]["decision_config"], json!({}));
}

#[tokio::test]
async fn what_cannot_be_a_function_is_refused() {
    let api = Api::new().await;
    let bad: [(&str, Value, &str); 13] = [
        ("name", json!(""), "name"),
        ("name", json!("x".repeat(101)), "name"),
        ("language", json!("python"), "language: must be javascript"),
        ("description", json!("a\0b"), "description"),
        (
            "decision_config",
            json!({"a": "\0"}),
            "decision_config: must not contain",
        ),
        (
            "decision_config",
            json!({"a": "x".repeat(20_000)}),
            "decision_config: must not be longer",
        ),
        (
            "evaluate_context",
            json!("row"),
            "evaluate_context: must be one of session, query",
        ),
        ("on_error", json!("allow"), "on_error: must be one of deny, skip"),
        (
            "log_level",
            json!("debug"),
            "log_level: must be one of off, error, info",
        ),
        ("decision_fn", json!(" "), "decision_fn: "),
        (
            "decision_fn",
            json!(format!("//{}", "x".repeat(70_000))),
            "decision_fn: must not be longer",
        ),
        (
            "decision_fn",
            json!("function evaluate(ctx, config) {\n  return {fire: tr ue};\n}"),
            "decision_fn: line 2, column ",
        ),
        (
            "decision_fn",
            json!("function decide() {}"),
            "defines no function \"evaluate\"",
        ),
    ];
    for (field, value, expected) in bad {
        let mut function = office_hours();
        function[field] = value.clone();
        let refused = api.post("/decision-functions", function).await.error(422);
        assert!(refused.contains(expected), "{field}: {refused}");
    }
    let mut list = office_hours();
    list["decision_config"] = json!([]);
    api.post("/decision-functions", list).await.error(422);
    assert_eq!(api.get("/decision-functions").await.expect(200)["total"], 0);

    let id = api.function("good", NOT_FOR).await;
    let change = json!({"version": 1, "decision_fn": "function evaluate("});
    let refused = api.put(&format!("/decision-functions/{id}"), change).await.error(422);
    assert!(refused.contains("line 1, column 19"), "{refused}");
    let kept = api.get(&format!("/decision-functions/{id}")).await.expect(200);
    assert_eq!((&kept["version"], &kept["decision_fn"]), (&json!(1), &json!(NOT_FOR)));
}

#[tokio::test]
async fn policies_have_a_function_and_keep_it_from_going() {
    let api = Api::new().await;
    let function = api.function("not for", NOT_FOR).await;
    let mut policy = json!({"name": "p", "policy_type": "table_deny",
                            "targets": [{"schemas": ["public"], "tables": ["secrets"]}],
                            "decision_function_id": function});
    let answer = api.post("/policies", policy.clone()).await;
    let created = answer.expect(201);
    assert_eq!(created["decision_function_id"], json!(function));
    assert_eq!(
        created["decision_function"],
        json!({"id": function, "name": "not for", "is_enabled": true, "evaluate_context": "session"})
    );
    let path = format!("/decision-functions/{function}");
    assert_eq!(api.get(&path).await.expect(200)["policy_count"], 1);
    let refused = api.delete(&path).await.error(409);
    assert!(refused.contains("in use by policy \"p\""), "{refused}");

    let policy_path = format!("/policies/{}", answer.id());
    let renamed = api
        .put(&policy_path, json!({"version": 1, "name": "q"}))
        .await
        .expect(200);
    assert_eq!(renamed["decision_function_id"], json!(function), "absent leaves alone");
    let without = json!({"version": 2, "decision_function_id": null});
    let without = api.put(&policy_path, without).await.expect(200);
    assert_eq!(
        (&without["decision_function_id"], &without["decision_function"]),
        (&Value::Null, &Value::Null)
    );
    let diff = api.get(&format!("{policy_path}/diff?from=2&to=3")).await.expect(200);
    assert_eq!(
        diff,
        json!([{"field": "decision_function_id", "before": function, "after": null}])
    );
    let back = api
        .post(&format!("{policy_path}/versions/1/rollback"), json!({"version": 3}))
        .await;
    assert_eq!(back.expect(200)["decision_function_id"], json!(function));

    api.put(&policy_path, json!({"version": 4, "decision_function_id": null}))
        .await
        .expect(200);
    api.delete(&path).await.expect(204);
    let gone = api
        .post(&format!("{policy_path}/versions/1/rollback"), json!({"version": 5}))
        .await;
    assert!(gone.error(409).contains("is gone"));
    let unknown = json!({"version": 5, "decision_function_id": Uuid::new_v4()});
    api.put(&policy_path, unknown).await.error(404);
    policy["name"] = json!("another");
    api.post("/policies", policy).await.error(404);
}

#[tokio::test]
async fn a_trial_tells_the_answer_and_what_went_wrong() {
    let api = Api::new().await;
    let test = async |source: &str, context: Value, config: Value| {
        let body = json!({"decision_fn": source, "context": context, "config": config});
        api.post("/decision-functions/test", body).await.expect(200)
    };
    let source = "function evaluate(ctx, config) {
        console.log('hour', ctx.session.time.hour); console.error('two');
        return { fire: ctx.session.time.hour < config.open }; }";
    let at = |hour: u32| json!({"session": {"time": {"hour": hour}}});
    let early = test(source, at(7), json!({"open": 8})).await;
    assert_eq!((&early["success"], &early["error"]), (&json!(true), &Value::Null));
    let result = &early["result"];
    assert_eq!((&result["fire"], &result["error"]), (&json!(true), &Value::Null));
    assert_eq!(result["logs"], json!(["hour 7", "two"]));
    assert!(
        result["fuel_consumed"].as_u64().unwrap() > 1_000 && result["time_us"].is_u64(),
        "{result}"
    );
    assert_eq!(test(source, at(9), json!({"open": 8})).await["result"]["fire"], false);
    let told = json!({"session": {"time": {"now": "2020-02-29T10:00:00Z"}}});
    let date = "function evaluate() { return { fire: new Date().toISOString() === '2020-02-29T10:00:00.000Z' }; }";
    assert_eq!(test(date, told, json!({})).await["result"]["fire"], true);

    let failed = |answer: Value, text: &str| {
        assert_eq!(
            (&answer["success"], &answer["result"]["fire"]),
            (&json!(false), &json!(false)),
            "{answer}"
        );
        for error in [&answer["error"], &answer["result"]["error"]] {
            assert!(error.as_str().unwrap().contains(text), "{answer}");
        }
    };
    failed(
        test("function evaluate(ctx) { return ctx.a.b; }", json!({}), json!({})).await,
        "TypeError",
    );
    failed(
        test("function evaluate() { return {fire: 1}; }", json!({}), json!({})).await,
        "fire",
    );
    failed(
        test("function evaluate() { for (;;); }", json!({}), json!({})).await,
        "limit on fuel",
    );
    let memory = "function evaluate() { return {fire: new Uint8Array(1 << 26).length > 0}; }";
    failed(test(memory, json!({}), json!({})).await, "limit on memory");
    let syntax = test("function evaluate() {\n return {fire: tr ue}; }", json!({}), json!({})).await;
    assert_eq!((&syntax["success"], &syntax["result"]), (&json!(false), &Value::Null));
    assert!(
        syntax["error"].as_str().unwrap().starts_with("line 2, column "),
        "{syntax}"
    );

    for body in [
        json!({"decision_fn": source}),
        json!({"decision_fn": source, "context": [], "config": {}}),
        json!({"decision_fn": source, "context": {}, "config": []}),
        json!({"decision_fn": "", "context": {}, "config": {}}),
    ] {
        api.post("/decision-functions/test", body).await.error(422);
    }
}

/// The extension has a trial of its own: both have to come to the same, to the instruction.
#[tokio::test]
async fn a_trial_here_has_the_results_of_one_in_a_database() {
    let api = Api::new().await;
    let mut shop = superuser(&database().await).await;
    let context = json!({"session": {"user": {"username": "alice", "roles": ["a", "b"], "level": 3},
                                     "time": {"now": "2026-11-23T19:00:00Z", "hour": 19, "day_of_week": "Monday"}},
                         "query": {"tables": [{"table": "orders", "columns": ["id"]}], "join_count": 2}});
    let config = json!({"open": 8, "users": ["bob"], "deep": {"list": [1, 2.5, null, "ü"]}});
    // jsonb has keys in an order of its own, which a function could notice.
    let (context, config): (Value, Value) = sqlx::query_as("select $1::jsonb, $2::jsonb")
        .bind(context)
        .bind(config)
        .fetch_one(&mut shop)
        .await
        .unwrap();
    let sources = [
        NOT_FOR,
        "function evaluate(ctx, config) { console.log(config.deep, Math.random(), Date.now()); return {fire: ctx.query.join_count > 1}; }",
        "function evaluate(ctx) { return {fire: ctx.session.nothing.at.all}; }",
        "function evaluate() { while (true) {} }",
        "function evaluate() { return 'yes'; }",
        "function evaluate( { }",
        "const evaluate = (ctx) => ({fire: ctx.session.user.roles.map((r) => r + r).sort().join() === 'aa,bb'});",
    ];
    for source in sources {
        let body = json!({"decision_fn": source, "context": context, "config": config});
        let here = api.post("/decision-functions/test", body).await.expect(200);
        let (fire, logs, error, fuel): (Option<bool>, Value, Option<String>, i64) =
            sqlx::query_as("select fire, logs, error, fuel from betweenrows.test_decision_function($1, $2, $3)")
                .bind(source)
                .bind(&context)
                .bind(&config)
                .fetch_one(&mut shop)
                .await
                .unwrap();
        assert_eq!(here["success"], json!(error.is_none()), "{source}");
        assert_eq!(here["error"], json!(error), "{source}");
        if here["result"].is_null() {
            continue;
        }
        let texts: Vec<&Value> = logs.as_array().unwrap().iter().map(|log| &log["text"]).collect();
        assert_eq!(here["result"]["fire"], json!(fire.unwrap_or(false)), "{source}");
        assert_eq!(here["result"]["logs"], json!(texts), "{source}");
        assert_eq!(here["result"]["fuel_consumed"], json!(fuel), "{source}");
    }
}

#[tokio::test]
async fn functions_decide_in_the_databases() {
    let (api, shop, source) = Api::with_shop().await;
    let (alice, bob) = (unique("alice"), unique("bob"));
    let ids = [api.user(&alice).await, api.user(&bob).await];
    api.put(&format!("/datasources/{source}/users"), json!({"user_ids": ids}))
        .await
        .expect(200);
    let function = api.function("not for", NOT_FOR).await;
    api.function("unused", NOT_FOR).await;
    let policy = api.filter("acme", "org = 'acme'").await;
    let gate = json!({"version": 1, "decision_function_id": function});
    api.put(&format!("/policies/{policy}"), gate).await.expect(200);
    api.assign(&source, &policy).await;
    api.sync_well(&source).await;
    let count = async |user: &str| query_as(&shop, user, "select name from customers").await.unwrap().len();
    assert_eq!((count(&alice).await, count(&bob).await), (2, 2));
    let names = "select name from betweenrows.decision_functions order by name";
    assert_eq!(
        query_as(&shop, "postgres", names).await.unwrap(),
        ["not for"],
        "only what is used"
    );

    let path = format!("/decision-functions/{function}");
    let config = json!({"version": 1, "decision_config": {"users": [bob]}, "name": "but"});
    let answer = api.put(&path, config).await;
    assert_eq!(answer.headers["betweenrows-sync"], "pending");
    answer.expect(200);
    api.sync_well(&source).await;
    assert_eq!((count(&alice).await, count(&bob).await), (2, 3));
    assert_eq!(
        query_as(&shop, "postgres", names).await.unwrap(),
        ["but"],
        "it was renamed"
    );

    let never = json!({"version": 2, "is_enabled": false});
    api.put(&path, never).await.expect(200);
    api.sync_well(&source).await;
    assert_eq!(
        (count(&alice).await, count(&bob).await),
        (2, 2),
        "disabled is as without one"
    );

    api.put(
        &format!("/policies/{policy}"),
        json!({"version": 2, "decision_function_id": null}),
    )
    .await
    .expect(200);
    api.sync_well(&source).await;
    assert_eq!(query_as(&shop, "postgres", names).await.unwrap(), [""; 0]);
    api.delete(&path).await.expect(204);
}

#[tokio::test]
async fn a_function_that_a_database_refuses_holds_nothing_else_up() {
    let (api, shop, source) = Api::with_shop().await;
    let (alice, id) = api.person("alice").await;
    api.grant(&source, &[&id]).await;
    let function = api.function("long", &format!("{NOT_FOR}//{}", "x".repeat(300))).await;
    let gated = api.filter("gated", "org = 'acme'").await;
    api.put(
        &format!("/policies/{gated}"),
        json!({"version": 1, "decision_function_id": function}),
    )
    .await
    .expect(200);
    let free = api.filter("free", "id < 3").await;
    for policy in [&gated, &free] {
        api.assign(&source, policy).await;
    }
    execute(
        &shop,
        &format!("alter database {shop} set betweenrows.decision_source_limit = 200"),
    )
    .await;
    let state = api.sync(&source).await;
    assert_eq!(state["state"], "partial", "{state:#}");
    let problems = state["problems"].as_array().unwrap();
    let objects: Vec<&str> = problems
        .iter()
        .map(|problem| problem["object"].as_str().unwrap())
        .collect();
    assert_eq!(objects, ["decision function \"long\"", "policy \"gated\""]);
    let ids = query_as(&shop, &alice, "select id::text from customers order by id").await;
    assert_eq!(ids.unwrap(), ["1", "2"], "the other policy is in force");

    // It is asked first when the change is made: nothing that it refuses is kept.
    let path = format!("/decision-functions/{function}");
    let change = json!({"version": 1, "decision_fn": format!("{NOT_FOR}//{}", "y".repeat(300))});
    let refused = api.put(&path, change).await.error(422);
    assert!(refused.contains(&shop) && refused.contains("source"), "{refused}");
    api.put(&path, json!({"version": 1, "decision_fn": NOT_FOR}))
        .await
        .expect(200);
    api.sync_well(&source).await;
    let names = "select name from betweenrows.policies order by name";
    assert_eq!(query_as(&shop, "postgres", names).await.unwrap(), ["free", "gated"]);
}

#[tokio::test]
async fn a_missing_engine_is_told_with_what_mends_it() {
    let api = Api::new().await;
    let decisions = betweenrowsd::decisions::Decisions::new(Some("/nowhere/betweenrows_engine.cwasm".into()));
    let error = decisions.check(NOT_FOR).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, betweenrowsd::error::Error::Unavailable(_)), "{text}");
    for part in ["/nowhere/betweenrows_engine.cwasm", "BR_ENGINE_FILE"] {
        assert!(text.contains(part), "{text}");
    }
    let foreign = std::env::temp_dir().join(format!("{}.cwasm", unique("foreign")));
    std::fs::write(&foreign, "not an engine").unwrap();
    let decisions = betweenrowsd::decisions::Decisions::new(Some(foreign.clone()));
    let text = decisions.check(NOT_FOR).await.unwrap_err().to_string();
    assert!(text.contains("does not fit this program"), "{text}");
    // Once the file is right, it works without a restart.
    std::fs::copy(crate::harness::engine(), &foreign).unwrap();
    assert!(decisions.check(NOT_FOR).await.unwrap().is_ok());
    std::fs::remove_file(&foreign).ok();
    api.get("/decision-functions").await.expect(200);
}
