//! Partitions of `query_audit`: made ahead, exported and dropped when they are old.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pgrx::pg_sys::{self, Oid};
use pgrx::spi::SpiClient;

use super::WorkerResult;
use crate::audit::settings::{self, ExportFormat};
use crate::audit::who;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Makes the partition of a day, counted from 1970 in UTC, unless it is there.
pub(super) fn ensure_partition(client: &mut SpiClient, day: i64) -> WorkerResult<()> {
    let Some(name) = name(client, day)? else { return Ok(()) };
    let exists = "select pg_catalog.to_regclass('betweenrows.' || $1) is not null";
    if client
        .select(exists, Some(1), &[name.clone().into()])?
        .first()
        .get_one::<bool>()?
        == Some(true)
    {
        return Ok(());
    }
    let bounds =
        "select pg_catalog.format('%L, %L', (date 'epoch' + $1)::timestamptz, (date 'epoch' + $1 + 1)::timestamptz)";
    let bounds = client
        .select(bounds, Some(1), &[(day as i32).into()])?
        .first()
        .get_one::<String>()?;
    let Some((from, to)) = bounds.as_deref().and_then(|bounds| bounds.split_once(", ")) else {
        return Ok(());
    };
    // Attached afterwards: making it a partition at once would wait for everybody who reads the table.
    client.update(
        &format!(
            "create table betweenrows.{name} (like betweenrows.query_audit including defaults including constraints)"
        ),
        None,
        &[],
    )?;
    client.update(
        &format!("grant select on betweenrows.{name} to betweenrows_auditor, betweenrows_admin"),
        None,
        &[],
    )?;
    for index in [
        "using brin (started_at)",
        "(username, started_at)",
        "(started_at) where status <> 'success'",
    ] {
        client.update(&format!("create index on betweenrows.{name} {index}"), None, &[])?;
    }
    client.update(
        &format!(
            "alter table betweenrows.query_audit attach partition betweenrows.{name} for values from ({from}) to ({to})"
        ),
        None,
        &[],
    )?;
    Ok(())
}

/// The name of a day's partition.
fn name(client: &SpiClient, day: i64) -> WorkerResult<Option<String>> {
    let query = "select 'query_audit_' || pg_catalog.to_char(date 'epoch' + $1, 'YYYYMMDD')";
    Ok(client
        .select(query, Some(1), &[(day as i32).into()])?
        .first()
        .get_one::<String>()?)
}

/// Makes the partitions of today and tomorrow.
pub(super) fn make_ahead(client: &mut SpiClient) -> WorkerResult<()> {
    let today = who::now().div_euclid(DAY);
    ensure_partition(client, today)?;
    ensure_partition(client, today + 1)
}

/// The partitions that are older than the setting wants, oldest first.
pub(super) fn expired(client: &SpiClient) -> WorkerResult<Vec<String>> {
    let days = settings::RETENTION.get();
    if days == 0 {
        return Ok(Vec::new());
    }
    let query = "select c.relname::text from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
                 where i.inhparent = 'betweenrows.query_audit'::regclass
                   and c.relname ~ '^query_audit_[0-9]{8}$'
                   and pg_catalog.to_date(pg_catalog.right(c.relname, 8), 'YYYYMMDD') < current_date - $1
                 order by c.relname";
    let mut names = Vec::new();
    for found in client.select(query, None, &[days.into()])? {
        names.extend(found.get::<String>(1)?);
    }
    Ok(names)
}

/// Drops a partition, after its export if there is to be one; false when somebody is reading. Waiting for them would keep
/// events from being moved, and everybody else from reading. The inner error says why the export failed, and nothing was
/// dropped.
pub(super) fn drop_partition(
    client: &mut SpiClient,
    name: &str,
    database: &str,
) -> WorkerResult<Result<bool, Box<dyn Error>>> {
    let mut exported = None;
    let directory = settings::EXPORT_DIRECTORY.get();
    let directory = directory
        .as_deref()
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default();
    if !directory.is_empty() {
        // Nobody adds rows between the export and the drop.
        client.update(&format!("lock table betweenrows.{name} in share mode"), None, &[])?;
        match export(client, name, database, Path::new(&directory)) {
            Ok(path) => exported = Some(path),
            Err(error) => return Ok(Err(error)),
        }
    }
    for table in ["query_audit", name] {
        let oid = "select pg_catalog.to_regclass('betweenrows.' || $1)::oid";
        let oid = client.select(oid, Some(1), &[table.into()])?.first().get_one::<Oid>()?;
        let mode = pg_sys::AccessExclusiveLock as i32;
        // SAFETY: inside a transaction, which keeps the lock.
        if !oid.is_some_and(|oid| unsafe { pg_sys::ConditionalLockRelationOid(oid, mode) }) {
            // It is made anew with whatever is in the partition then.
            exported.map(fs::remove_file).transpose()?;
            return Ok(Ok(false));
        }
    }
    client.update(&format!("drop table betweenrows.{name}"), None, &[])?;
    client.update(
        "delete from betweenrows.query_audit_chain where day = pg_catalog.to_date(pg_catalog.right($1, 8), 'YYYYMMDD')",
        None,
        &[name.into()],
    )?;
    Ok(Ok(true))
}

/// Writes a partition to a file, which gets its name when it is complete and on disk. A day can be exported more than once,
/// when the clock was set back: no file takes another one's place.
fn export(client: &mut SpiClient, name: &str, database: &str, directory: &Path) -> WorkerResult<PathBuf> {
    let (extension, head, line) = match settings::EXPORT_FORMAT.get() {
        ExportFormat::JsonLines => ("jsonl", String::new(), "pg_catalog.row_to_json(q)::text".to_owned()),
        ExportFormat::Csv => {
            let columns = "select pg_catalog.string_agg(a.attname::text, ',' order by a.attnum),
                pg_catalog.string_agg(pg_catalog.format(
                    'coalesce(''\"'' || replace(q.%I::text, ''\"'', ''\"\"'') || ''\"'', '''')', a.attname),
                    ' || '','' || ' order by a.attnum)
                from pg_catalog.pg_attribute a
                where a.attrelid = ('betweenrows.' || $1)::regclass and a.attnum > 0 and not a.attisdropped";
            let found = client.select(columns, Some(1), &[name.into()])?.first();
            let head = found.get::<String>(1)?.unwrap_or_default() + "\n";
            ("csv", head, found.get::<String>(2)?.unwrap_or_default())
        }
    };
    let database = file_name(database);
    let names = (2..).map(|number| format!("{database}_{name}.{number}.{extension}"));
    let mut paths = std::iter::once(format!("{database}_{name}.{extension}"))
        .chain(names)
        .map(|name| directory.join(name));
    let path = paths
        .find(|path| !path.exists())
        .ok_or("there are too many exports of this day")?;
    let unfinished = path.with_extension(format!("{extension}.part"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(head.as_bytes())?;
    let query = format!("select {line} from betweenrows.{name} q order by q.started_at, q.id");
    let mut cursor = client.open_cursor(query.as_str(), &[]);
    loop {
        let rows = cursor.fetch(1000)?;
        if rows.is_empty() {
            break;
        }
        for found in rows {
            let line: Option<String> = found.get(1)?;
            file.write_all(line.unwrap_or_default().as_bytes())?;
            file.write_all(b"\n")?;
        }
    }
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    fs::File::open(directory)?.sync_all()?;
    Ok(path)
}

/// The name of a database as a part of a file's. Different ones stay different: their workers may export at the same time.
fn file_name(database: &str) -> String {
    let mut name = String::new();
    for byte in database.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name += &format!("%{byte:02X}"),
        }
    }
    name
}
