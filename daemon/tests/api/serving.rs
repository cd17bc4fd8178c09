//! How the daemon is reached: TLS, proxies, browsers of other sites, and the end of requests that are under way.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::superuser;
use crate::process::{Daemon, Setup, request};

/// Makes a certificate for localhost, which is its own authority.
fn certificate(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Asks for `/live` as `https://localhost`; curl's exit code, where 60 is a certificate that is not trusted.
fn ask(daemon: &Daemon, trusted: &Path) -> Option<i32> {
    let port = daemon.address.rsplit_once(':').unwrap().1;
    let output = Command::new("curl")
        .args([
            "--silent",
            "--fail",
            "--max-time",
            "30",
            "--noproxy",
            "*",
            "--resolve",
            &format!("localhost:{port}:127.0.0.1"),
        ])
        .arg("--cacert")
        .arg(trusted)
        .arg(format!("https://localhost:{port}/live"))
        .output()
        .unwrap();
    assert!(!output.status.success() || output.stdout.starts_with(b"{\"status\":\"ok\""));
    output.status.code()
}

#[tokio::test]
async fn tls_is_served_and_its_certificate_renewed() {
    let setup = Setup::new();
    certificate(&setup.directory);
    let file = |name: &str| setup.directory.join(name);
    let (cert, key, first) = (file("cert.pem"), file("key.pem"), file("first.pem"));
    std::fs::copy(&cert, &first).unwrap();
    let mut daemon = setup.serve_with(&[
        ("BR_TLS_CERT", cert.to_str().unwrap()),
        ("BR_TLS_KEY", key.to_str().unwrap()),
    ]);
    // A client that says nothing keeps nobody waiting.
    let _silent = TcpStream::connect(&daemon.address).unwrap();
    assert_eq!(ask(&daemon, &first), Some(0));
    let plain = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "30",
            "--noproxy",
            "*",
            &format!("http://{}/live", daemon.address),
        ])
        .output()
        .unwrap();
    assert!(plain.stdout.is_empty(), "nothing is answered in the clear");

    certificate(&setup.directory);
    assert_eq!(ask(&daemon, &first), Some(0), "until it is told");
    daemon.signal("HUP");
    daemon.wait_for("read the certificate again");
    assert_eq!(ask(&daemon, &first), Some(60));
    assert_eq!(ask(&daemon, &cert), Some(0));

    std::fs::copy(&cert, &first).unwrap();
    std::fs::write(&cert, "broken").unwrap();
    daemon.signal("HUP");
    daemon.wait_for("the one before it stays");
    assert_eq!(ask(&daemon, &first), Some(0));
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused() {
    let setup = Setup::new();
    certificate(&setup.directory);
    let file = |name: &str| setup.directory.join(name).to_str().unwrap().to_owned();
    let start = |cert: Option<&str>, key: Option<&str>| {
        let mut command = setup.command(&["serve"]);
        for (name, value) in [("BR_TLS_CERT", cert), ("BR_TLS_KEY", key)] {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    assert!(start(Some(&cert), None).contains("tls_cert and tls_key"));
    assert!(start(Some("/nowhere/cert.pem"), Some(&key)).contains("/nowhere/cert.pem"));
    assert!(start(Some(&key), Some(&key)).contains("no certificate"));
    assert!(start(Some(&cert), Some(&cert)).contains("cert.pem"));
    certificate(&setup.directory.join("other"));
    assert!(
        start(Some(&cert), Some(&file("other/key.pem"))).contains("cert.pem"),
        "of another certificate"
    );
}

#[tokio::test]
async fn behind_a_proxy_each_client_has_its_own_limit() {
    let setup = Setup::new();
    let daemon = setup.serve_with(&[("BR_TRUSTED_PROXIES", "127.0.0.1")]);
    let login = |name: &str, forwarded: &str| {
        let body = json!({"username": name, "password": "Wrong-1x"});
        let header = format!("X-Forwarded-For: {forwarded}\r\n");
        daemon.request_with("POST", "/api/v1/auth/login", "", &body, &header).0
    };
    // As often as it takes until one address has to wait; what a client puts before it is not believed.
    let refused = (0..200).find(|index| login(&format!("nobody{index}"), "198.51.100.9, 203.0.113.7") == 429);
    assert!(refused.is_some_and(|index| index >= 20), "{refused:?}");
    assert_eq!(login("somebody", "203.0.113.8"), 401);
    assert_eq!(login("somebody", "203.0.113.7, 198.51.100.9"), 401);

    let token = daemon.login();
    let (status, _) = daemon.request_with(
        "POST",
        "/api/v1/roles",
        &token,
        &json!({"name": "r"}),
        "X-Forwarded-For: 203.0.113.8\r\n",
    );
    assert_eq!(status, 201);
    let address = "select client_address from admin_audit where resource_type = 'role'";
    let mut store = superuser(&setup.database).await;
    let noted: Vec<String> = sqlx::query_scalar(address).fetch_all(&mut store).await.unwrap();
    assert_eq!(noted, ["203.0.113.8"]);
}

#[tokio::test]
async fn only_sites_that_are_named_may_call_from_browsers() {
    let setup = Setup::new();
    let preflight = |daemon: &Daemon, origin: &str| {
        let headers = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization\r\n"
        );
        let (_, answer) = daemon.request_with("OPTIONS", "/api/v1/users", "", &Value::Null, &headers);
        answer.to_lowercase()
    };
    let daemon = setup.serve_with(&[("BR_CORS_ALLOWED_ORIGINS", "https://console.example")]);
    let allowed = preflight(&daemon, "https://console.example");
    assert!(
        allowed.contains("access-control-allow-origin: https://console.example"),
        "{allowed}"
    );
    assert!(
        allowed.contains("authorization") && !allowed.contains("allow-credentials"),
        "{allowed}"
    );
    for origin in [
        "https://evil.example",
        "http://console.example",
        "https://console.example.evil",
        "null",
    ] {
        assert!(
            !preflight(&daemon, origin).contains("access-control-allow-origin"),
            "{origin}"
        );
    }
    let closed = setup.serve();
    assert!(!preflight(&closed, "https://console.example").contains("access-control-allow-origin"));
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_end() {
    let setup = Setup::new();
    let mut daemon = setup.serve();
    let token = daemon.login();
    // Changes run one after the other: this one has to wait.
    let mut holder = superuser(&setup.database).await;
    let lock = "select pg_advisory_lock(x'62726f777301'::bigint)";
    sqlx::query(lock).execute(&mut holder).await.unwrap();
    let address = daemon.address.clone();
    let under_way = std::thread::spawn({
        let address = address.clone();
        move || request(&address, "POST", "/api/v1/roles", &token, &json!({"name": "late"}), "")
    });
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted \
                   and database = (select oid from pg_database where datname = current_database())";
    let mut store = superuser(&setup.database).await;
    while sqlx::query_scalar::<_, i64>(waiting)
        .fetch_one(&mut store)
        .await
        .unwrap()
        == 0
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    daemon.signal("TERM");
    daemon.wait_for("stopping");
    while TcpStream::connect(&address).is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(holder);
    let (status, answer) = under_way.join().unwrap();
    assert_eq!(status, 201, "{answer}");
    daemon.wait_for("stopped");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}

/// Clients that hold connections and say nothing, or as little as they can, must not keep others out for good.
#[test]
fn whoever_sends_too_little_loses_the_connection() {
    let setup = Setup::new();
    let daemon = setup.serve();
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let begun = ["", head, &format!("{head}Content-Length: 100\r\n\r\n{{\"username\": ")].map(|beginning| {
        let mut stream = TcpStream::connect(&daemon.address).unwrap();
        std::io::Write::write_all(&mut stream, beginning.as_bytes()).unwrap();
        stream
    });
    let answers = begun.map(|mut stream| {
        let mut answer = String::new();
        // Ends when the daemon closes the connection.
        std::io::Read::read_to_string(&mut stream, &mut answer)
            .map(|_| answer)
            .unwrap()
    });
    assert_eq!(&answers[..2], ["", ""]);
    assert!(
        answers[2].starts_with("HTTP/1.1 400") && answers[2].contains("in time"),
        "{}",
        answers[2]
    );
    assert_eq!(daemon.request("GET", "/live", "", &Value::Null).0, 200);
}
