//! The store itself.

use betweenrowsd::error::Error;
use betweenrowsd::store::{self, MIGRATOR};
use serde_json::Value;
use sqlx::{Column, Executor, SqlSafeStr};

use crate::harness::{query_as, superuser, unique, url};

#[tokio::test]
async fn the_database_is_created_and_migrations_go_both_ways() {
    let name = unique("control");
    let options = store::connect_options(&url(&name)).unwrap();
    let (one, other) = tokio::join!(store::create_database(&options), store::create_database(&options));
    one.unwrap();
    other.unwrap();
    store::create_database(&options).await.unwrap();
    let pool = store::connect(options).await.unwrap();
    let tables = "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' \
                  and relname <> '_sqlx_migrations' order by 1";
    MIGRATOR.run(&pool).await.unwrap();
    MIGRATOR.run(&pool).await.unwrap();
    let up = query_as(&name, "postgres", tables).await.unwrap();
    assert!(up.len() > 10, "{up:?}");
    MIGRATOR.undo(&pool, 0).await.unwrap();
    assert_eq!(query_as(&name, "postgres", tables).await.unwrap(), [""; 0]);
    MIGRATOR.run(&pool).await.unwrap();
    assert_eq!(query_as(&name, "postgres", tables).await.unwrap(), up);
}

#[test]
fn only_postgres_urls_are_taken() {
    for bad in ["", "sqlite://x.db", "mysql://h/d", "h:5432/d"] {
        assert!(store::connect_options(bad).is_err(), "{bad}");
    }
}

/// What is kept of the queries, so that they compile without a database, is what a database says of them.
/// Regenerate with `make daemon-generated`.
#[tokio::test]
async fn the_queries_fit_the_schema() {
    let name = unique("control");
    let options = store::connect_options(&url(&name)).unwrap();
    store::create_database(&options).await.unwrap();
    let pool = store::connect(options).await.unwrap();
    MIGRATOR.run(&pool).await.unwrap();
    let mut checked = 0;
    for file in std::fs::read_dir(".sqlx").unwrap() {
        let path = file.unwrap().path();
        let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let query = kept["query"].as_str().unwrap();
        let described = (&pool)
            .describe(sqlx::AssertSqlSafe(query.to_owned()).into_sql_str())
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        let columns: Vec<(&str, Value)> = described
            .columns()
            .iter()
            .map(|column| (column.name(), serde_json::to_value(column.type_info()).unwrap()))
            .collect();
        let expected: Vec<(&str, Value)> = kept["describe"]["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| (column["name"].as_str().unwrap(), column["type_info"].clone()))
            .collect();
        assert_eq!(columns, expected, "{query}");
        checked += 1;
    }
    assert!(checked > 90, "{checked}");
}

/// Trouble that passes is told apart from our own defects.
#[tokio::test]
async fn a_store_that_cannot_serve_now_is_unavailable() {
    let mut conn = superuser("postgres").await;
    for code in ["53100", "53300", "57P01", "25006"] {
        let raise = format!("do $$ begin raise exception using errcode = '{code}', message = 'trouble'; end $$");
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(raise))
            .execute(&mut conn)
            .await
            .unwrap_err();
        assert!(matches!(Error::from(error), Error::Unavailable(_)), "{code}");
    }
}
