//! What an administrator types: the commands, their settings, and what they say of wrong set-ups.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{PASSWORD, database, execute, query_as, socket, unique, url};
use crate::process::{Setup, add_shop};

#[tokio::test]
async fn commands_work_on_the_store() {
    let setup = Setup::new();
    setup.print(&["migrate"], 0);
    assert!(
        setup.print(&["doctor"], 1).contains("user create"),
        "there is no administrator yet"
    );
    setup.print(
        &[
            "user",
            "create",
            "--username",
            "carol",
            "--password",
            PASSWORD,
            "--admin",
        ],
        0,
    );
    assert!(
        setup
            .print(&["user", "create", "--username", "carol", "--password", PASSWORD], 2)
            .contains("already")
    );
    assert!(
        setup
            .print(&["user", "create", "--username", "dave", "--password", "weak"], 2)
            .contains("password:")
    );
    setup.print(
        &["user", "password", "--username", "carol", "--password", "Another-1"],
        0,
    );
    assert!(
        setup
            .print(&["user", "password", "--username", "dave", "--password", PASSWORD], 2)
            .contains("dave")
    );
    assert!(setup.print(&["doctor"], 0).contains("active administrator"));
    let shop = database().await;
    add_shop(&setup, &shop);
    assert!(setup.print(&["datasource", "list"], 0).contains(&shop));
    setup.print(
        &["datasource", "set", "shop", "--drift", "keep", "--active", "false"],
        0,
    );
    let stored = "select drift || ' ' || is_active || ' ' || host from data_sources";
    let expected = [format!("keep false {}", socket())];
    assert_eq!(query_as(&setup.database, "postgres", stored).await.unwrap(), expected);
    setup.print(
        &["datasource", "set", "shop", "--drift", "repair", "--active", "true"],
        0,
    );
    assert!(
        setup
            .print(&["datasource", "set", "other", "--port", "1"], 2)
            .contains("no data source")
    );
    assert!(
        setup
            .print(&["datasource", "set", "shop", "--sslmode", "on"], 2)
            .contains("verify-full")
    );
    assert!(setup.print(&["datasource", "test", "shop"], 0).contains("is installed"));
    assert!(
        setup
            .print(&["datasource", "test", "other"], 2)
            .contains("no data source")
    );
    assert!(setup.print(&["status"], 1).contains("pending"), "no daemon runs");
    assert!(setup.print(&["doctor"], 1).contains("its sync is pending"));

    let file = setup.directory.join("policies.yaml");
    let document = "version: 1\nattributes: []\nroles: [{name: support}]\npolicies:\n  - name: p\n    policy_type: table_deny\n\
                    \x20   targets: [{schemas: [public], tables: [secrets]}]\n    assignments: [{role: support}]\n";
    std::fs::write(&file, document).unwrap();
    let file = file.to_str().unwrap();
    setup.print(&["check", file], 0);
    assert!(
        setup
            .print(&["diff", file, "--datasource", "shop"], 1)
            .contains("create policy p")
    );
    assert!(setup.print(&["apply", file], 2).contains("for which data source"));
    assert!(
        setup
            .print(&["apply", file, "--datasource", "shop", "--dry-run"], 0)
            .contains("create role support")
    );
    assert!(
        setup
            .print(&["apply", file, "--datasource", "shop"], 0)
            .contains("assign assignment p")
    );
    assert_eq!(setup.print(&["diff", file, "--datasource", "shop"], 0), "");
    let exported = setup.print(&["export", "--datasource", "shop"], 0);
    assert!(
        exported.contains("table_deny") && exported.contains("carol"),
        "{exported}"
    );
    std::fs::write(file, document.replace("role: support", "role: nobody")).unwrap();
    let report: Value = serde_json::from_str(&setup.print(&["check", "--json", file], 1)).unwrap();
    let expected = json!([{"path": "policies[0].assignments[0]", "message": "there is no role \"nobody\""}]);
    assert_eq!(report["problems"], expected);
    let sourced = setup.directory.join("completions");
    std::fs::write(&sourced, setup.print(&["completions", "bash"], 0)).unwrap();
    let ask = format!(
        "source {}; COMP_WORDS=(betweenrowsd datasource s); COMP_CWORD=2; _betweenrowsd betweenrowsd s datasource; \
         echo \"${{COMPREPLY[@]}}\"",
        sourced.display()
    );
    let completed = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert_eq!(String::from_utf8(completed.stdout).unwrap(), "set\n");
    setup.print(&["migrate", "--revert-all"], 0);
    assert!(setup.print(&["doctor"], 1).contains("betweenrowsd migrate"));
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let setup = Setup::new();
    std::fs::create_dir_all(&setup.directory).unwrap();
    let file = setup.directory.join("config.toml");
    std::fs::write(&file, "bind_addr = '127.0.0.1:0'\nbind_address = 'typo'").unwrap();
    let output = setup.print(&["serve", "--config", file.to_str().unwrap()], 2);
    assert!(output.contains("bind_address"), "{output}");
    let refused = |name: &str, value: &str| {
        let output = setup.command(&["serve"]).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}={value}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        text
    };
    assert!(refused("BR_ENCRYPTION_KEY", "hunter2").contains("64 hexadecimal digits"));
    assert!(refused("BR_ADMIN_JWT_SECRET", "hunter2").contains("32 bytes"));
    assert!(refused("BR_ADMIN_DATABASE_URL", "sqlite://x").contains("postgres://"));
    refused("BR_ADMIN_BIND_ADDR", "nowhere");
    assert!(refused("BR_ADMIN_PASSWORD", "hunter2").contains("BR_ADMIN_PASSWORD: password: must have"));
    assert!(refused("BR_ADMIN_USER", "x").contains("BR_ADMIN_USER: username: must have"));
}

#[tokio::test]
async fn variables_that_are_set_to_nothing_are_not_set() {
    let setup = Setup::new();
    let mut command = setup.command(&["migrate"]);
    for name in [
        "BR_ADMIN_BIND_ADDR",
        "BR_ADMIN_JWT_EXPIRY_HOURS",
        "BR_ADMIN_JWT_SECRET",
        "BR_ADMIN_USER",
        "BR_CONFIG_FILE",
        "BR_CORS_ALLOWED_ORIGINS",
        "BR_ENCRYPTION_KEY",
        "BR_ENGINE_FILE",
        "BR_LOG_JSON",
        "BR_SYNC_INTERVAL",
        "BR_TLS_CERT",
        "BR_TLS_KEY",
        "BR_TRUSTED_PROXIES",
    ] {
        command.env(name, "");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Two keys in one store would mean secrets that nobody but their writer can open.
#[tokio::test]
async fn another_key_is_turned_away_until_the_store_is_sealed_with_it() {
    let setup = Setup::new();
    let [first, second, third] = ["1", "2", "3"].map(|digit| digit.repeat(64));
    let run = |key: &str, old: &str, arguments: &[&str]| {
        let mut command = setup.command(arguments);
        let output = command
            .env("BR_ENCRYPTION_KEY", key)
            .env("BR_OLD_ENCRYPTION_KEY", old)
            .output();
        let output = output.unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        for key in [&first, &second, &third] {
            assert!(!text.contains(key.as_str()), "{text}");
        }
        (output.status.code(), text)
    };
    let create = [
        "user",
        "create",
        "--username",
        "carol",
        "--password",
        PASSWORD,
        "--admin",
    ];
    let (code, text) = run(&first, "", &create);
    assert_eq!(code, Some(0), "{text}");
    for arguments in [
        &["serve"] as &[&str],
        &["status"],
        &["user", "create", "--username", "dave", "--password", PASSWORD],
    ] {
        let (code, text) = run(&second, "", arguments);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("sealed with another key"), "{text}");
    }
    assert!(run(&second, "", &["doctor"]).1.contains("BR_ENCRYPTION_KEY"));
    // A store of a version before this check is judged by what is in it.
    execute(&setup.database, "delete from settings where key = 'key_check'").await;
    assert_eq!(run(&second, "", &["status"]).0, Some(2));
    assert_eq!(run(&first, "", &["status"]).0, Some(0));
    let users = "select username from users where login_verifier is not null";
    assert_eq!(query_as(&setup.database, "postgres", users).await.unwrap(), ["carol"]);

    let (code, text) = run(&second, &third, &["reseal"]);
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = run(&second, &first, &["reseal"]);
    assert_eq!((code, text.trim()), (Some(0), "sealed 1 secrets, removed 0"));
    assert_eq!(run(&second, "", &["doctor"]).0, Some(0));
    assert_eq!(run(&first, "", &["status"]).0, Some(2));
    // The key is lost: accounts stay, login roles need new passwords.
    let (code, text) = run(&third, "", &["reseal", "--forget"]);
    assert_eq!((code, text.trim()), (Some(0), "sealed 0 secrets, removed 1"));
    assert_eq!(run(&third, "", &["doctor"]).0, Some(0));
    assert_eq!(query_as(&setup.database, "postgres", users).await.unwrap(), [""; 0]);
    let daemon = setup.serve_with(&[("BR_ENCRYPTION_KEY", &third)]);
    for command in [&["reseal"] as &[&str], &["migrate", "--revert-all"]] {
        let (code, text) = run(&third, "", command);
        assert!(code == Some(2) && text.contains("stop them first"), "{text}");
    }
    drop(daemon);
}

/// A server that answers requests for TLS so; its port.
fn answering(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            // Clients may be gone at any time.
            client.read_exact(&mut [0; 8]).ok();
            client.write_all(answer).ok();
        }
    });
    port
}

#[tokio::test]
async fn the_doctor_says_what_mends_a_wrong_set_up() {
    let setup = Setup::new();
    let says = |expected: &str| {
        let text = setup.print(&["doctor"], 1);
        assert!(text.contains(expected), "{expected} in {text}");
    };
    says("there is no key");
    assert!(!setup.directory.exists(), "it changes nothing");
    setup.print(&["migrate"], 0);
    setup.print(
        &[
            "user",
            "create",
            "--username",
            "carol",
            "--password",
            PASSWORD,
            "--admin",
        ],
        0,
    );
    let key = setup.directory.join("encryption.key");
    let mode = |mode: &str| assert!(Command::new("chmod").arg(mode).arg(&key).status().unwrap().success());
    mode("644");
    says(&format!("→ chmod 600 {}", key.display()));
    mode("600");
    execute(
        &setup.database,
        "insert into _sqlx_migrations select 9999, description, installed_on, success, checksum, \
                              execution_time from _sqlx_migrations where version = 1",
    )
    .await;
    says("→ install the later version");
    execute(&setup.database, "delete from _sqlx_migrations where version = 9999").await;
    let elsewhere = |url: &str| {
        let output = setup
            .command(&["doctor"])
            .env("BR_ADMIN_DATABASE_URL", url)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(elsewhere(&url(&unique("nowhere"))).contains("→ betweenrowsd migrate"));
    let refused = elsewhere("postgres://daemon:hunter2@127.0.0.1:1/store");
    assert!(
        refused.contains("→ start that server") && !refused.contains("hunter2"),
        "{refused}"
    );

    // A role without any of the rights, in a database without the extension.
    let (shop, role) = (unique("bare"), unique("daemon_role"));
    execute("postgres", &format!("create database {shop}")).await;
    execute("postgres", &format!("create role {role} login")).await;
    add_shop(&setup, &shop);
    let set = |arguments: &[&str]| {
        setup.print(&[&["datasource", "set", "shop"], arguments].concat(), 0);
    };
    set(&["--username", &role]);
    says("→ as a superuser, in that database: create extension betweenrows;");
    execute(
        &shop,
        "create extension betweenrows; revoke execute on function pg_control_system() from public",
    )
    .await;
    says(&format!("→ grant betweenrows_admin to {role};"));
    says(&format!("→ alter role {role} createrole;"));
    says(&format!(
        "→ in that database: grant execute on function pg_control_system() to {role};"
    ));
    execute(
        &shop,
        "update pg_extension set extversion = '0.0.1' where extname = 'betweenrows'",
    )
    .await;
    says("→ as a superuser, in that database: alter extension betweenrows update;");
    execute("postgres", &format!("alter role {role} nologin")).await;
    says(&format!(
        "→ on that server: create (or alter) role \"{role}\" login createrole;"
    ));
    set(&["--username", "postgres", "--database", "no_such_database"]);
    says("→ betweenrowsd datasource set shop --database …");
    set(&["--host", "127.0.0.1", "--port", "1"]);
    says("→ start that server");
    // Without TLS, and with something else than a certificate.
    for answer in [b"N" as &[u8], b"Snonsense"] {
        let port = answering(answer).to_string();
        set(&["--port", &port, "--sslmode", "verify-full"]);
        says("--ssl-root-cert FILE");
    }
    set(&["--port", "1"]);
    let arguments = "datasource add --name again --host 127.0.0.1 --port 1 --database no_such_database --username x";
    setup.print(&arguments.split(' ').collect::<Vec<_>>(), 0);
    says("→ betweenrowsd datasource set shop --active false");
    set(&["--active", "false"]);
    setup.print(&["datasource", "set", "again", "--active", "false"], 0);
    setup.print(&["doctor"], 0);

    let file = setup.directory.join("config.toml");
    std::fs::write(
        &file,
        format!("jwt_secret = '{}'\nbind_addr = '0.0.0.0:5435'", "x".repeat(32)),
    )
    .unwrap();
    let output = setup
        .command(&["doctor", "--config", file.to_str().unwrap()])
        .env_remove("BR_ADMIN_BIND_ADDR")
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(text.contains(&format!("→ chmod 600 {}", file.display())), "{text}");
    assert!(text.contains("in the clear to 0.0.0.0:5435"), "{text}");
}

/// Names come from whoever writes the document, and are printed in the terminal of whoever looks at it.
#[test]
fn what_is_printed_commands_no_terminal_and_needs_no_reader() {
    let setup = Setup::new();
    setup.print(&["migrate"], 0);
    let file = setup.directory.join("hostile.yaml");
    let policy = r#"{"name": "p\u001b[2J\ndrop user all", "policy_type": "table_deny", "targets": [{"schemas": ["s"], "tables": ["t"]}]}"#;
    let document = |more: &str| format!(r#"{{"version": 1, "policies": [{policy}]{more}}}"#);
    let print = |command: &str, document: &str, code| {
        std::fs::write(&file, document).unwrap();
        setup.print(&[command, file.to_str().unwrap()], code)
    };
    let found = print("check", &document(r#", "\u001b]0;x\u0007": 1"#), 1);
    let planned = print("diff", &document(""), 1);
    for text in [&found, &planned] {
        assert!(text.contains("\\u{1b}"), "{text}");
        assert!(
            text.lines().count() == 1 && !text.trim_end().contains(char::is_control),
            "{text:?}"
        );
    }
    let mut child = setup
        .command(&["openapi"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
