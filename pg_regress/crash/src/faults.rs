//! What the audit needs goes missing: room in the spool, the worker, the extension, the database's name.

use std::error::Error;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use postgres::Client;

use crate::clients::flush;
use crate::server::{PATIENCE, Server};

type Outcome = Result<(), Box<dyn Error>>;
type Fault = (&'static str, fn(&Server) -> Outcome);

/// Every fault in turn.
pub fn all(server: &Server) -> Outcome {
    let faults: [Fault; 9] = [
        ("the spool is full and statements wait", full_and_blocked),
        ("the spool is full and events are dropped", full_and_dropped),
        ("the spool cannot be written", unwritable),
        ("the spool is removed", removed),
        ("a file of the spool is damaged", damaged),
        ("a file is none of ours", foreign),
        ("a file was moved and not removed", moved_and_left),
        ("the database is renamed", renamed),
        ("the extension is dropped and created again", recreated),
    ];
    for (name, fault) in faults {
        fault(server).map_err(|error| format!("{name}: {}", explain(error.as_ref())))?;
        println!("fault: {name}: ok");
    }
    Ok(())
}

/// The error with what it was caused by.
fn explain(error: &(dyn Error + 'static)) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn count(client: &mut Client, condition: &str) -> Result<i64, postgres::Error> {
    let query = format!("select count(*) from betweenrows.query_audit where {condition}");
    Ok(client.query_one(&query, &[])?.get(0))
}

fn status(client: &mut Client, key: &str) -> Result<i64, postgres::Error> {
    let query = "select (betweenrows.audit_status() ->> $1)::bigint";
    Ok(client.query_one(query, &[&key])?.get(0))
}

fn expect(what: &str, found: i64, expected: i64) -> Outcome {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: {found}, expected {expected}").into())
    }
}

/// The statement failed with that SQLSTATE.
fn expect_code(result: Result<(), postgres::Error>, expected: &str) -> Outcome {
    let code = match &result {
        Ok(()) => None,
        Err(error) => error.as_db_error().map(|error| error.code().code()),
    };
    if code == Some(expected) {
        Ok(())
    } else {
        Err(format!("the statement ended with {result:?}, expected {expected}").into())
    }
}

/// Sets settings of the whole server and waits until a session has them.
fn configure(client: &mut Client, settings: &[(&str, &str)]) -> Outcome {
    for (name, value) in settings {
        client.batch_execute(&format!("alter system set betweenrows.{name} = '{value}'"))?;
    }
    client.batch_execute("select pg_reload_conf()")?;
    let since = Instant::now();
    for (name, value) in settings {
        loop {
            let shown: String = client
                .query_one("select current_setting($1)", &[&format!("betweenrows.{name}")])?
                .get(0);
            if shown == *value {
                break;
            }
            if since.elapsed() > PATIENCE {
                return Err(format!("betweenrows.{name} stays {shown}").into());
            }
        }
    }
    Ok(())
}

/// No worker can connect, so that nothing is moved; sessions that are there go on.
fn without_worker(server: &Server, f: impl FnOnce(&mut Client, &mut Client) -> Outcome) -> Outcome {
    let mut admin = server.connect("postgres", "crash")?;
    let mut user = server.connect("crash_user", "crash")?;
    flush(&mut admin)?;
    let mut elsewhere = server.connect("postgres", "postgres")?;
    elsewhere.batch_execute("alter database crash allow_connections false")?;
    let since = Instant::now();
    while admin
        .query_one("select betweenrows.audit_status() ->> 'worker_pid'", &[])?
        .get::<_, Option<String>>(0)
        .is_some()
    {
        if since.elapsed() > PATIENCE {
            return Err("the worker does not leave".into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    f(&mut admin, &mut user)?;
    elsewhere.batch_execute("alter database crash allow_connections true")?;
    flush(&mut admin)
}

const LONG: &str = "select id from accounts where id = 2 and secret <> 'FILLER'";

fn full_and_blocked(server: &Server) -> Outcome {
    let mut admin = server.connect("postgres", "crash")?;
    configure(
        &mut admin,
        &[("audit_spool_size", "1MB"), ("audit_block_timeout", "200ms")],
    )?;
    without_worker(server, |admin, user| {
        let mut ran = 0;
        let refused = loop {
            let text = LONG.replace("FILLER", &format!("blocked {ran} {}", "x".repeat(50_000)));
            match user.batch_execute(&text) {
                Ok(()) => ran += 1,
                Err(error) => break error,
            }
            if ran > 1000 {
                return Err("the spool never is full".into());
            }
        };
        expect_code(Err(refused), "53400")?;
        // Whoever is not governed is not concerned.
        admin.batch_execute("select count(*) from accounts")?;
        expect("dropped", status(admin, "dropped")?, 0)?;
        let limit = status(admin, "spool_limit_bytes")?;
        if status(admin, "backlog_bytes")? > limit + 200_000 {
            return Err("the spool grows beyond its limit".into());
        }
        waiting_ends(server, admin)
    })?;
    let mut user = server.connect("crash_user", "crash")?;
    user.batch_execute(&LONG.replace("FILLER", "runs again"))?;
    flush(&mut admin)?;
    expect(
        "refused",
        count(&mut admin, "sqlstate = '53400' and status = 'error'")?,
        1,
    )?;
    expect(
        "again",
        count(&mut admin, "original_query like '%runs again%' and status = 'success'")?,
        1,
    )?;
    expect(
        "cancelled while they waited",
        count(
            &mut admin,
            "original_query like '%/* waits %' and sqlstate = '57014' and status = 'error'",
        )?,
        2,
    )?;
    expect(
        "refused while they waited",
        count(
            &mut admin,
            "original_query like '%/* waits although %' and status = 'denied'",
        )?,
        1,
    )
}

/// A statement that waits for room in the spool can be cancelled, and `statement_timeout` ends it.
fn waiting_ends(server: &Server, admin: &mut Client) -> Outcome {
    admin.batch_execute("set betweenrows.audit_block_timeout = '1h'; set session authorization crash_user")?;
    admin.batch_execute("set statement_timeout = '300ms'")?;
    let timed_out = admin.batch_execute("select id from accounts /* waits for its timeout */");
    expect_code(timed_out, "57014")?;
    admin.batch_execute("reset statement_timeout")?;
    let pid: i32 = admin.query_one("select pg_backend_pid()", &[])?.get(0);
    let mut elsewhere = server.connect("postgres", "postgres")?;
    // A refused one waits as well, or it could fill the disk. It stays refused.
    for (statement, code) in [
        ("select id from accounts /* waits to be cancelled */", "57014"),
        ("select nothing from vault /* waits although it is refused */", "42P01"),
    ] {
        std::thread::scope(|scope| {
            let cancelled = scope.spawn(|| admin.batch_execute(statement));
            let waits = "select pg_cancel_backend(pid) from pg_stat_activity
                         where pid = $1 and state = 'active' and wait_event_type = 'Extension'";
            let since = Instant::now();
            while elsewhere.query_opt(waits, &[&pid])?.is_none() {
                if since.elapsed() > PATIENCE {
                    return Err("the statement does not wait".into());
                }
            }
            expect_code(cancelled.join().expect("it does not panic"), code)
        })?;
    }
    admin.batch_execute("reset session authorization; reset betweenrows.audit_block_timeout")?;
    Ok(())
}

fn full_and_dropped(server: &Server) -> Outcome {
    let mut admin = server.connect("postgres", "crash")?;
    configure(&mut admin, &[("audit_spool_size", "1MB"), ("audit_overflow", "drop")])?;
    let before = status(&mut admin, "dropped")?;
    let mut dropped = 0;
    without_worker(server, |admin, user| {
        for number in 0..60 {
            user.batch_execute(&LONG.replace("FILLER", &format!("dropped {number} {}", "x".repeat(50_000))))?;
            let refused = format!(
                "select nothing from vault /* dropped {number} {} */",
                "x".repeat(50_000)
            );
            expect_code(user.batch_execute(&refused), "42P01")?;
        }
        dropped = status(admin, "dropped")? - before;
        if dropped == 0 {
            Err("nothing was dropped".into())
        } else {
            Ok(())
        }
    })?;
    let recorded = count(&mut admin, "original_query ~ '(secret <> ''|/\\* )dropped '")?;
    configure(
        &mut admin,
        &[("audit_spool_size", "256MB"), ("audit_overflow", "block")],
    )?;
    expect("recorded and dropped", recorded + dropped, 120)
}

/// No file can be made, as on a disk that is full.
fn unwritable(server: &Server) -> Outcome {
    let mut admin = server.connect("postgres", "crash")?;
    configure(&mut admin, &[("audit_block_timeout", "200ms")])?;
    flush(&mut admin)?;
    let folder = server.spool(&mut admin, "crash")?;
    let allow = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode));
    server.stop("fast")?;
    allow(0o500)?;
    server.start()?;
    let mut user = server.connect("crash_user", "crash")?;
    let refused = user.batch_execute("select id from accounts where id = 2 /* unwritable */");
    allow(0o700)?;
    expect_code(refused, "53100")?;
    user.batch_execute("select id from accounts where id = 2 /* writable */")?;
    let mut admin = server.wait_until_it_runs()?;
    flush(&mut admin)?;
    expect(
        "written",
        count(&mut admin, "original_query like '%/* writable */%'")?,
        1,
    )
}

/// Somebody removes the files while they are written: what was not moved is lost, which the log says, and what follows is not.
fn removed(server: &Server) -> Outcome {
    let mut admin = server.connect("postgres", "crash")?;
    let mut user = server.connect("crash_user", "crash")?;
    user.batch_execute("select id from accounts where id = 2 /* before the removal */")?;
    flush(&mut admin)?;
    std::fs::remove_dir_all(server.spool(&mut admin, "crash")?)?;
    // This session has the file open, so that its first event still goes there.
    user.batch_execute("select id from accounts where id = 2 /* into nothing */")?;
    flush(&mut admin)?;
    user.batch_execute("select id from accounts where id = 2 /* after the removal */")?;
    server
        .connect("crash_user", "crash")?
        .batch_execute("select id from accounts where id = 2 /* after the removal, by another */")?;
    flush(&mut admin)?;
    for (event, expected) in [("before", 1), ("after", 2)] {
        let condition = format!("original_query like '%/* {event} the removal%'");
        expect(event, count(&mut admin, &condition)?, expected)?;
    }
    let log = std::fs::read_to_string(server.log())?;
    if log.contains("was removed by somebody: what was not moved of it is lost") {
        Ok(())
    } else {
        Err("the log does not say that a file is missing".into())
    }
}

/// Some bytes in the middle of a file are not what was written.
fn damaged(server: &Server) -> Outcome {
    let mut admin = server.connect("postgres", "crash")?;
    let before = status(&mut admin, "files_set_aside")?;
    without_worker(server, |admin, one| {
        for number in 3..6 {
            one.batch_execute(&format!(
                "select id from accounts where id = 2 /* damage {number} {} */",
                "z".repeat(1000)
            ))?;
        }
        let folder = server.spool(admin, "crash")?;
        let mut files: Vec<_> = std::fs::read_dir(&folder)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        let newest = files.pop().ok_or("the spool has no file")?;
        let bytes = std::fs::read(&newest)?;
        let place = find(&bytes, b"/* damage 4 ").ok_or("the event is not in the spool")?;
        let mut file = std::fs::OpenOptions::new().write(true).open(&newest)?;
        file.seek(SeekFrom::Start(place as u64 + 20))?;
        file.write_all(b"ZZZZ")?;
        Ok(())
    })?;
    // What is damaged below is known once the file is not written any more.
    server.stop("fast")?;
    server.start()?;
    let mut admin = server.wait_until_it_runs()?;
    flush(&mut admin)?;
    for (number, expected) in [(3, 1), (4, 0), (5, 1)] {
        expect(
            &format!("event {number}"),
            count(&mut admin, &format!("original_query like '%damage {number} %'"))?,
            expected,
        )?;
    }
    expect("set aside", status(&mut admin, "files_set_aside")?, before + 1)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Somebody put it there.
fn foreign(server: &Server) -> Outcome {
    let mut admin = server.connect("postgres", "crash")?;
    let before = status(&mut admin, "files_set_aside")?;
    let folder = server.spool(&mut admin, "crash")?;
    std::fs::write(folder.join("0000000000000001-00000001"), b"not a file of this server")?;
    server.stop("fast")?;
    server.start()?;
    let mut admin = server.wait_until_it_runs()?;
    flush(&mut admin)?;
    expect("set aside", status(&mut admin, "files_set_aside")?, before + 1)
}

/// The worker died after it had moved a file and before it removed it; and a base backup has a file that was removed before
/// its end, so that the table knows the events and not the file.
fn moved_and_left(server: &Server) -> Outcome {
    let mut admin = server.connect("postgres", "crash")?;
    server
        .connect("crash_user", "crash")?
        .batch_execute("select id from accounts where id = 2 /* left */")?;
    flush(&mut admin)?;
    let folder = server.spool(&mut admin, "crash")?;
    let files = || -> Result<Vec<_>, std::io::Error> {
        let entries = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
        Ok(entries.filter(|path| path.is_file()).collect())
    };
    let kept: Vec<_> = files()?.into_iter().map(|path| (std::fs::read(&path), path)).collect();
    admin.batch_execute("update betweenrows.query_audit_spool set position = 9223372036854775807")?;
    server.stop("fast")?;
    server.start()?;
    flush(&mut server.wait_until_it_runs()?)?;
    for (_, path) in &kept {
        expect("left", path.exists().into(), 0)?;
    }
    server.stop("fast")?;
    for (bytes, path) in kept {
        std::fs::write(&path, bytes?)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    }
    server.start()?;
    let mut admin = server.wait_until_it_runs()?;
    flush(&mut admin)?;
    expect("recorded", count(&mut admin, "original_query like '%/* left */'")?, 1)
}

fn renamed(server: &Server) -> Outcome {
    let mut elsewhere = server.connect("postgres", "postgres")?;
    elsewhere.batch_execute("alter database crash rename to crash_renamed")?;
    server
        .connect("crash_user", "crash_renamed")?
        .batch_execute("select id from accounts where id = 2 /* renamed */")?;
    let mut admin = server.connect("postgres", "crash_renamed")?;
    flush(&mut admin)?;
    let found = count(
        &mut admin,
        "database = 'crash_renamed' and original_query like '%renamed%'",
    )?;
    drop(admin);
    elsewhere.batch_execute("alter database crash_renamed rename to crash")?;
    expect("recorded", found, 1)
}

/// Events that were not moved before the extension went get into the table of the next one.
fn recreated(server: &Server) -> Outcome {
    let mut admin = server.connect("postgres", "crash")?;
    without_worker(server, |_, user| {
        Ok(user.batch_execute("select id from accounts where id = 2 /* before the drop */")?)
    })?;
    admin.batch_execute("drop extension betweenrows cascade")?;
    server
        .connect("crash_user", "crash")?
        .batch_execute("select id from accounts where id = 2 /* without */")?;
    admin.batch_execute("create extension betweenrows")?;
    admin.batch_execute("select betweenrows.filter_rows('accounts', $$org = 'acme'$$, 'crash-rows')")?;
    server
        .connect("crash_user", "crash")?
        .batch_execute("select id from accounts where id = 2 /* after */")?;
    flush(&mut admin)?;
    expect(
        "before",
        count(&mut admin, "original_query like '%before the drop%'")?,
        1,
    )?;
    expect("without", count(&mut admin, "original_query like '%without%'")?, 0)?;
    expect("after", count(&mut admin, "original_query like '%after%'")?, 1)
}
