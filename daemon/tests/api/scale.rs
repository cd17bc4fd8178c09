//! A hundred data sources and ten thousand users: how long one change takes. Run by hand, it prints times and judges
//! nothing: `BR_TEST_PROFILE=release make daemon TESTS="--ignored --nocapture a_hundred_data_sources"`.

use std::time::Instant;

use serde_json::json;

use crate::harness::{Api, TABLES, execute, query_as, unique};

const USERS: usize = 10_000;
const SOURCES: usize = 100;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes"]
async fn a_hundred_data_sources_and_ten_thousand_users() {
    let api = Api::new().await;
    let prefix = unique("many");
    let attribute = json!({"key": "tenant", "value_type": "string"});
    api.post("/attribute-definitions", attribute).await.expect(201);
    let role = api.role("support").await;
    execute(
        &api.database,
        &format!(
            "insert into users (username, attributes) select '{prefix}_' || n, jsonb_build_object('tenant', 't' || n % 50)
             from generate_series(1, {USERS}) n;
             insert into role_members (role_id, user_id) select '{role}', id from users where not is_admin"
        ),
    )
    .await;
    let mut sources = Vec::new();
    for _ in 0..SOURCES {
        let name = unique("scale");
        execute("postgres", &format!("create database {name}")).await;
        execute(&name, TABLES).await;
        let id = api.data_source(&name).await;
        api.put(&format!("/datasources/{id}/access/roles"), json!({"role_ids": [role]}))
            .await
            .expect(200);
        sources.push(id);
    }
    let all = async |what: &str| {
        let began = Instant::now();
        for chunk in sources.chunks(4) {
            let syncs = chunk.iter().map(|id| {
                let (store, id) = (api.store.clone(), id.parse().unwrap());
                tokio::spawn(async move { betweenrowsd::sync::sync(&store, id).await })
            });
            for sync in syncs.collect::<Vec<_>>() {
                sync.await.unwrap().unwrap();
            }
        }
        println!("{what}: {:.1} s for all data sources", began.elapsed().as_secs_f64());
    };
    let began = Instant::now();
    api.sync_well(&sources[0]).await;
    println!("first sync of one data source: {:.1} s", began.elapsed().as_secs_f64());
    all("first sync").await;
    all("nothing changed").await;
    let policy = api.filter("own", "org = {user.tenant}").await;
    let path = format!("/datasources/{}/policies", sources[0]);
    api.post(&path, json!({"policy_id": policy})).await.expect(201);
    let began = Instant::now();
    api.sync_well(&sources[0]).await;
    println!(
        "one policy assigned in one data source: {:.2} s",
        began.elapsed().as_secs_f64()
    );
    api.put(&format!("/roles/{role}"), json!({"description": "x"}))
        .await
        .expect(200);
    all("one role changed").await;
    let memory = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{peak} (with the test itself)");
}

/// How long one search in the audits of a hundred data sources takes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes"]
async fn a_search_in_a_hundred_data_sources() {
    let api = Api::new().await;
    let user = unique("searched");
    let template = unique("template");
    execute("postgres", &format!("create role {user} login")).await;
    execute("postgres", &format!("create database {template}")).await;
    execute(&template, TABLES).await;
    execute(&template, "select betweenrows.filter_rows('customers', 'id < 3')").await;
    for _ in 0..SOURCES {
        let name = unique("searched");
        execute("postgres", &format!("create database {name} template {template}")).await;
        api.data_source(&name).await;
        for _ in 0..3 {
            query_as(&name, &user, "select name from customers").await.unwrap();
        }
        query_as(&name, "postgres", "select betweenrows.audit_flush()::text")
            .await
            .unwrap();
    }
    for query in ["", "?page=2&page_size=100", "?status=denied", "?page_size=200"] {
        let began = Instant::now();
        let page = api.get(&format!("/audit/queries{query}")).await.expect(200);
        let rows = page["data"].as_array().unwrap().len();
        println!(
            "{query:24} {rows} of {} rows in {:.2} s",
            page["total"],
            began.elapsed().as_secs_f64()
        );
    }
}
