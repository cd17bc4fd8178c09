//! Clients that run governed statements and remember what they saw.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use postgres::Client;

use crate::server::{PATIENCE, Server};

/// The tables, policies and roles.
const SETUP: &str = "
    create extension betweenrows;
    create table accounts (id int primary key, org text, secret text);
    insert into accounts select i, case when i % 2 = 0 then 'acme' else 'globex' end, 'secret ' || i
        from generate_series(1, 1000) i;
    create table vault (id int);
    create role crash_user login;
    grant all on accounts, vault to crash_user;
    select betweenrows.filter_rows('accounts', $$org = 'acme'$$, 'crash-rows');
    select betweenrows.mask_column('accounts', 'secret', $$'***'$$, 'crash-mask');
    select betweenrows.deny_table('vault', 'crash-vault');";

/// Makes the database.
pub fn prepare(server: &Server) -> Result<(), Box<dyn Error>> {
    let mut client = server.connect("postgres", "postgres")?;
    client.batch_execute("alter system set betweenrows.audit_flush_interval = '50ms'")?;
    client.batch_execute("select pg_reload_conf()")?;
    client.batch_execute("create database crash")?;
    server.connect("postgres", "crash")?.batch_execute(SETUP)?;
    Ok(())
}

/// What a client saw of a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// It was sent.
    Sent,
    /// It succeeded.
    Success,
    /// A policy refused it.
    Denied,
    /// It failed.
    Error,
}

impl Seen {
    fn as_str(self) -> &'static str {
        match self {
            Seen::Sent => "sent",
            Seen::Success => "success",
            Seen::Denied => "denied",
            Seen::Error => "error",
        }
    }
}

/// All statements, by mark.
#[derive(Default)]
pub struct Ledger {
    seen: Mutex<BTreeMap<String, Seen>>,
    ended: AtomicUsize,
    next: AtomicUsize,
}

impl Ledger {
    /// How many statements ended before the eyes of their clients.
    pub fn len(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// Waits until so many more have.
    pub fn wait_for_more(&self, more: usize) {
        let target = self.len() + more;
        let since = Instant::now();
        while self.len() < target {
            assert!(since.elapsed() < PATIENCE, "the clients do not get on");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn mark(&self) -> String {
        let mark = format!("<{}>", self.next.fetch_add(1, Ordering::SeqCst));
        self.note(&mark, Seen::Sent);
        mark
    }

    fn note(&self, mark: &str, seen: Seen) {
        self.seen
            .lock()
            .expect("no client panics")
            .insert(mark.to_owned(), seen);
        if seen != Seen::Sent {
            self.ended.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Compares with the table.
    pub fn compare(&self, server: &Server) -> Result<(), Box<dyn Error>> {
        let mut client = server.wait_until_it_runs()?;
        flush(&mut client)?;
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let query = "select substring(original_query from '<[0-9]+>'), status from betweenrows.query_audit
                     where username = 'crash_user'";
        for row in client.query(query, &[])? {
            let mark: Option<String> = row.get(0);
            found
                .entry(mark.ok_or("a row is of no statement of ours")?)
                .or_default()
                .push(row.get(1));
        }
        let seen = self.seen.lock().expect("no client panics");
        let mut wrong = Vec::new();
        for (mark, seen) in seen.iter() {
            let rows = found.remove(mark).unwrap_or_default();
            let right = match seen {
                Seen::Sent => rows.len() <= 1,
                _ => rows == [seen.as_str()],
            };
            if !right {
                wrong.push(format!("{mark}: its client saw {seen:?}, its rows are {rows:?}"));
            }
        }
        wrong.extend(found.keys().map(|mark| format!("{mark}: no client sent it")));
        let started = client.query_one(
            "select count(*) from betweenrows.query_audit where status = 'started' and username = 'crash_user'",
            &[],
        )?;
        println!(
            "{} statements were running when their process died",
            started.get::<_, i64>(0)
        );
        if wrong.is_empty() {
            return Ok(());
        }
        wrong.truncate(20);
        Err(wrong.join("\n").into())
    }
}

/// Waits until everything is in the table.
pub fn flush(client: &mut Client) -> Result<(), Box<dyn Error>> {
    if client.query_one("select betweenrows.audit_flush()", &[])?.get(0) {
        Ok(())
    } else {
        let status: String = client.query_one("select betweenrows.audit_status()::text", &[])?.get(0);
        Err(format!("the events were not moved in time: {status}").into())
    }
}

/// Clients at work.
pub struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Lets some begin.
    pub fn start(server: &Arc<Server>, ledger: &Arc<Ledger>, number: usize) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..number).map(|_| {
            let (server, ledger, stop) = (server.clone(), ledger.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match server.connect("crash_user", "crash") {
                        Ok(mut client) => while !stop.load(Ordering::SeqCst) && step(&mut client, &ledger) {},
                        Err(_) => std::thread::sleep(Duration::from_millis(10)),
                    }
                }
            })
        });
        Clients {
            threads: threads.collect(),
            stop,
        }
    }

    /// Lets them end what they are at.
    pub fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("no client panics");
        }
    }
}

/// Runs one statement of each kind; false when the connection is lost.
fn step(client: &mut Client, ledger: &Ledger) -> bool {
    let simple = |client: &mut Client, text: &str, expected: Seen| {
        let mark = ledger.mark();
        let result = client.batch_execute(&text.replace("MARK", &mark));
        judge(result, &mark, expected, ledger)
    };
    simple(
        client,
        "select id, secret from accounts where id < 100 /* MARK */",
        Seen::Success,
    ) && simple(
        client,
        "select * from accounts, generate_series(1, 20) /* MARK */",
        Seen::Success,
    ) && simple(client, "select * from vault /* MARK */", Seen::Denied)
        && simple(client, "select 1 / (id - id) from accounts /* MARK */", Seen::Error)
        && simple(client, "update accounts set secret = 'x' /* MARK */", Seen::Denied)
        && extended(client, ledger)
        // Files of the spool hold 4 MB: some are ended and begun while processes are killed.
        && simple(
            client,
            &format!("select id from accounts where id < 100 /* MARK {} */", "x".repeat(100_000)),
            Seen::Success,
        )
        && client.batch_execute("begin").is_ok()
        && simple(
            client,
            "update accounts set org = 'acme' where id = 2 /* MARK */",
            Seen::Success,
        )
        && client.batch_execute("rollback").is_ok()
}

fn extended(client: &mut Client, ledger: &Ledger) -> bool {
    let mark = ledger.mark();
    let result = client
        .query(
            &format!("select secret from accounts where id = $1 /* {mark} */"),
            &[&2],
        )
        .map(|_| ());
    judge(result, &mark, Seen::Success, ledger)
}

/// Notes how a statement ended as soon as the client hears of it.
fn judge(result: Result<(), postgres::Error>, mark: &str, expected: Seen, ledger: &Ledger) -> bool {
    match result {
        Ok(()) => ledger.note(mark, Seen::Success),
        Err(error) => match error.as_db_error() {
            // The server goes down, or another process of it died.
            Some(error) if error.severity() == "ERROR" => {
                let seen = if expected == Seen::Success {
                    Seen::Error
                } else {
                    expected
                };
                ledger.note(mark, seen);
            }
            _ => return false,
        },
    }
    true
}
