//! Putting rows into `query_audit`, with how far the spool has been read, in one transaction.
//!
//! Invariant: a row is in the table if and only if its position is: that is what makes it exactly once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use pgrx::spi::SpiClient;
use serde_json::Value;

use super::reader::{Batch, Reader};
use super::row::{self, Key, Row};
use super::{WorkerResult, insert, retention};
use crate::audit::settings;
use crate::audit::shared;
use crate::audit::spool::directory::Name;

/// Days, as a partition holds one.
const DAY: i64 = 86_400_000_000;

/// The position of a file that was read to its end and is to be removed.
const DONE: i64 = i64::MAX;

/// What the table knows about the spool.
pub(super) fn load(client: &SpiClient, reader: &mut Reader, files: &[Name]) -> WorkerResult<()> {
    let known: HashMap<String, Name> = files.iter().map(|name| (name.to_string(), *name)).collect();
    for found in client.select("select file, position from betweenrows.query_audit_spool", None, &[])? {
        let file: Option<String> = found.get(1)?;
        let position: Option<i64> = found.get(2)?;
        if let (Some(file), Some(position)) = (file, position)
            && let Some(name) = known.get(&file)
        {
            if position == DONE {
                reader.removable.insert(*name);
            }
            reader.positions.insert(*name, position as usize);
        }
    }
    let query = "select epoch, session, number, event from betweenrows.query_audit_running";
    for found in client.select(query, None, &[])? {
        let (Some(epoch), Some(session), Some(number), Some(event)) = (
            found.get::<i64>(1)?,
            found.get::<i64>(2)?,
            found.get::<i64>(3)?,
            found.get::<pgrx::JsonB>(4)?,
        ) else {
            continue;
        };
        let key = Key {
            epoch,
            session: session as u64,
            number: number as u64,
        };
        let waiting = super::reader::Waiting {
            row: serde_json::from_value(event.0)?,
            stored: true,
            changed: false,
        };
        reader.waiting.insert(key, waiting);
    }
    Ok(())
}

/// Stores a batch.
pub(super) fn store(client: &mut SpiClient, reader: &mut Reader, batch: &Batch) -> WorkerResult<()> {
    let known = known(client, &batch.rows)?;
    let mut days: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
    for (_, row) in batch.rows.iter().filter(|(_, row)| !known.contains(&row.id)) {
        days.entry(row.started_at.div_euclid(DAY)).or_default().push(row);
    }
    for (day, rows) in &days {
        retention::ensure_partition(client, *day)?;
        let links = chain(client, *day, rows)?;
        insert::rows(client, rows, &links)?;
    }
    let mut gone: BTreeSet<Key> = batch.unstore.iter().copied().collect();
    let mut kept: Vec<(Key, Value)> = Vec::new();
    for (key, waiting) in &mut reader.waiting {
        if !waiting.stored || waiting.changed {
            gone.extend(waiting.stored.then_some(*key));
            kept.push((*key, serde_json::to_value(&waiting.row)?));
            waiting.stored = true;
            waiting.changed = false;
        }
    }
    running(client, &gone.into_iter().collect::<Vec<_>>(), kept)?;
    let done = batch.done.iter().map(|name| (*name, DONE));
    let read = batch.positions.iter().map(|(name, at)| (*name, *at as i64));
    let (files, positions): (Vec<String>, Vec<i64>) = read.chain(done).map(|(name, at)| (name.to_string(), at)).unzip();
    if !files.is_empty() {
        client.update(
            "insert into betweenrows.query_audit_spool (file, position)
             select f, p from unnest($1::text[], $2::bigint[]) t (f, p)
             on conflict (file) do update set position = excluded.position",
            None,
            &[files.into(), positions.into()],
        )?;
    }
    Ok(())
}

/// The ids of those rows that the table has. There can only be some among those of earlier epochs: a base backup has files of
/// which the log that it is recovered from says more, up to their having been moved and removed.
pub(super) fn known(client: &SpiClient, rows: &[(Key, Row)]) -> WorkerResult<HashSet<String>> {
    let earlier = rows.iter().filter(|(key, _)| key.epoch != shared::epoch());
    let rows: Vec<&Row> = earlier.map(|(_, row)| row).collect();
    let times = || rows.iter().map(|row| row.started_at);
    let (Some(from), Some(to)) = (times().min(), times().max()) else {
        return Ok(HashSet::new());
    };
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let mut known = HashSet::new();
    let query = "select id::text from betweenrows.query_audit
                 where started_at >= timestamptz 'epoch' + $1 * interval '1 microsecond'
                   and started_at <= timestamptz 'epoch' + $2 * interval '1 microsecond' and id = any ($3::uuid[])";
    for found in client.select(query, None, &[from.into(), to.into(), ids.into()])? {
        known.extend(found.get::<String>(1)?);
    }
    Ok(known)
}

/// Forgets files that are gone.
pub(super) fn forget(client: &mut SpiClient, left: &[Name]) -> WorkerResult<()> {
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    client.update(
        "delete from betweenrows.query_audit_spool where file <> all ($1)",
        None,
        &[left.into()],
    )?;
    Ok(())
}

fn running(client: &mut SpiClient, gone: &[Key], kept: Vec<(Key, Value)>) -> WorkerResult<()> {
    let split = |keys: &mut dyn Iterator<Item = Key>| {
        let keys: Vec<Key> = keys.collect();
        (
            keys.iter().map(|key| key.epoch).collect::<Vec<i64>>(),
            keys.iter().map(|key| key.session as i64).collect::<Vec<i64>>(),
            keys.iter().map(|key| key.number as i64).collect::<Vec<i64>>(),
        )
    };
    if !gone.is_empty() {
        let (epochs, sessions, numbers) = split(&mut gone.iter().copied());
        client.update(
            "delete from betweenrows.query_audit_running r
             using unnest($1::bigint[], $2::bigint[], $3::bigint[]) t (e, s, n)
             where (r.epoch, r.session, r.number) = (t.e, t.s, t.n)",
            None,
            &[epochs.into(), sessions.into(), numbers.into()],
        )?;
    }
    if !kept.is_empty() {
        let (epochs, sessions, numbers) = split(&mut kept.iter().map(|(key, _)| *key));
        let events: Vec<String> = kept.into_iter().map(|(_, event)| event.to_string()).collect();
        client.update(
            "insert into betweenrows.query_audit_running (epoch, session, number, event)
             select e, s, n, j::jsonb from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) t (e, s, n, j)",
            None,
            &[epochs.into(), sessions.into(), numbers.into(), events.into()],
        )?;
    }
    Ok(())
}

/// The positions and hashes of rows that are added to a day; none when there is no chain.
fn chain(client: &mut SpiClient, day: i64, rows: &[&Row]) -> WorkerResult<Vec<(i64, Vec<u8>)>> {
    if !settings::HASH_CHAIN.get() {
        // Where the day has a chain already, it is known how many rows are not in it.
        client.update(
            "update betweenrows.query_audit_chain set unchained = unchained + $2 where day = date 'epoch' + $1",
            None,
            &[(day as i32).into(), (rows.len() as i64).into()],
        )?;
        return Ok(Vec::new());
    }
    let mut head = (0, Vec::new());
    let query = "select position, hash from betweenrows.query_audit_chain where day = date 'epoch' + $1 for update";
    for found in client.update(query, None, &[(day as i32).into()])? {
        head = (
            found.get::<i64>(1)?.unwrap_or(0),
            found.get::<Vec<u8>>(2)?.unwrap_or_default(),
        );
    }
    let mut unchained = 0;
    if head.0 == 0 {
        let query = "select count(*) from betweenrows.query_audit
                     where started_at >= (date 'epoch' + $1)::timestamptz and started_at < (date 'epoch' + $1 + 1)::timestamptz";
        let before = client.update(query, None, &[(day as i32).into()])?.first();
        unchained = before.get_one::<i64>()?.unwrap_or(0);
    }
    let mut links = Vec::with_capacity(rows.len());
    for row in rows {
        head = (head.0 + 1, row::link(&head.1, head.0 + 1, &row.canonical()));
        links.push(head.clone());
    }
    client.update(
        "insert into betweenrows.query_audit_chain (day, position, hash, unchained) values (date 'epoch' + $1, $2, $3, $4)
         on conflict (day) do update set position = excluded.position, hash = excluded.hash",
        None,
        &[(day as i32).into(), head.0.into(), head.1.into(), unchained.into()],
    )?;
    Ok(links)
}
