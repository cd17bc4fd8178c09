//! Reading the spool: frames become rows, events that have not ended yet wait.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use pgrx::pg_sys;

use super::row::{About, Key, Row};
use crate::audit::event::{
    Description, Finish, PlanDescription, SessionDescription, Start, StatementDescription, Touch,
};
use crate::audit::shared::{self, Place};
use crate::audit::spool::directory::{self, Name};
use crate::audit::spool::frame::{self, Found, Frame, HEADER, Header, Kind};

/// How many bytes are moved in one transaction.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How many rows are.
const BATCH_ROWS: usize = 5000;

/// An event that has begun and not ended.
pub(crate) struct Waiting {
    /// Its row.
    pub(crate) row: Row,
    /// Whether `query_audit_running` has it.
    pub(crate) stored: bool,
    /// Whether it changed since.
    pub(crate) changed: bool,
}

/// What is to be moved in one transaction.
#[derive(Default)]
pub(crate) struct Batch {
    /// Events that have ended.
    pub(crate) rows: Vec<(Key, Row)>,
    /// Those of them that `query_audit_running` has.
    pub(crate) unstore: Vec<Key>,
    /// How far files have been read.
    pub(crate) positions: Vec<(Name, usize)>,
    /// Files that were read to their end.
    pub(crate) done: Vec<Name>,
    /// Files to be set aside, with the reason.
    pub(crate) aside: Vec<(Name, &'static str)>,
    /// Problems for the log.
    pub(crate) remarks: Vec<String>,
    /// Bytes read of files of this epoch.
    pub(crate) bytes: u64,
    /// Whether there is more.
    pub(crate) more: bool,
}

/// A file that is being read.
struct Open {
    name: Name,
    file: File,
    bytes: Vec<u8>,
    at: usize,
    damaged: bool,
    described: Described,
}

/// The descriptions in a file.
#[derive(Default)]
struct Described {
    /// By the number of the session and their own.
    descriptions: HashMap<(u64, u64), Description>,
    /// What events are about that begin with the same session, statement and plan.
    abouts: HashMap<[u64; 4], Rc<About>>,
}

/// The spool of one database, as far as it has been read.
pub(crate) struct Reader {
    database: u32,
    place: &'static Place,
    system: u64,
    /// How far files have been read, as the table knows.
    pub(crate) positions: HashMap<Name, usize>,
    /// Files that are in the table as a whole, and were not removed since the process that read them died.
    pub(crate) removable: HashSet<Name>,
    /// Events that have begun and not ended.
    pub(crate) waiting: HashMap<Key, Waiting>,
    /// Files that were read to their end, whether they are gone yet or not.
    finished: HashSet<Name>,
    open: Option<Open>,
}

impl Reader {
    /// A reader that goes on where the table says.
    pub(crate) fn new(database: u32, place: &'static Place) -> Reader {
        Reader {
            database,
            place,
            // SAFETY: reads the control file's copy in shared memory.
            system: unsafe { pg_sys::GetSystemIdentifier() },
            positions: HashMap::new(),
            removable: HashSet::new(),
            waiting: HashMap::new(),
            finished: HashSet::new(),
            open: None,
        }
    }

    /// Where the written part of a file ends; `None` when that is where its zeros begin, as nobody writes to it any more.
    fn limit(&self, name: Name) -> Option<usize> {
        let segment = self.place.segment.load(Acquire);
        if name.epoch != shared::epoch() || name.segment < segment {
            return None;
        }
        // A file that is just being made has a number that is not published yet.
        Some(if name.segment == segment {
            self.place.tail.load(Acquire) as usize
        } else {
            0
        })
    }

    /// Reads what there is, up to the size of a batch.
    pub(crate) fn next(&mut self) -> Batch {
        let mut batch = Batch::default();
        for name in directory::files(self.database) {
            if batch.bytes as usize >= BATCH_BYTES || batch.rows.len() >= BATCH_ROWS {
                batch.more = true;
                break;
            }
            if let Err(error) = self.file(name, &mut batch) {
                batch
                    .remarks
                    .push(format!("could not read audit spool file \"{name}\": {error}"));
            }
        }
        if !batch.more {
            self.end_dead(&mut batch);
        }
        batch
    }

    fn file(&mut self, name: Name, batch: &mut Batch) -> io::Result<()> {
        if self.finished.contains(&name) {
            return Ok(());
        }
        if self.removable.contains(&name) {
            self.finished.insert(name);
            batch.done.push(name);
            return Ok(());
        }
        let limit = self.limit(name);
        let from = self.positions.get(&name).copied().unwrap_or(HEADER);
        if limit.is_some_and(|limit| limit <= from) {
            return Ok(());
        }
        if self.open.as_ref().is_none_or(|open| open.name != name) {
            self.open = None;
            match directory::header(name, self.database)? {
                None => {
                    self.finished.insert(name);
                    batch.aside.push((name, "damaged"));
                    return Ok(());
                }
                Some(header) if !self.is_ours(&header) => {
                    self.finished.insert(name);
                    batch.aside.push((name, "foreign"));
                    return Ok(());
                }
                Some(_) => self.open(name, from)?,
            }
        }
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        open.load(limit)?;
        let end = limit.unwrap_or(open.bytes.len()).min(open.bytes.len());
        let begin = open.at;
        let mut finished = false;
        loop {
            if (open.at - begin) + batch.bytes as usize >= BATCH_BYTES || batch.rows.len() >= BATCH_ROWS {
                batch.more = true;
                break;
            }
            match frame::read(&open.bytes[..end], open.at) {
                Found::Frame(frame, next) => {
                    take(name.epoch, &mut self.waiting, &mut open.described, frame, batch);
                    open.at = next;
                }
                Found::End => {
                    finished = limit.is_none();
                    break;
                }
                Found::Torn => match frame::salvage(&open.bytes[..end], open.at) {
                    Some(next) => {
                        batch.remarks.push(format!(
                            "audit spool file \"{name}\" is damaged between {} and {next}",
                            open.at
                        ));
                        open.damaged = true;
                        open.at = next;
                    }
                    None => {
                        // The last frame of a file that nobody writes to any more: its writer died.
                        batch.remarks.push(format!(
                            "audit spool file \"{name}\" ends with an incomplete event at {}",
                            open.at
                        ));
                        open.at = end;
                        finished = true;
                        break;
                    }
                },
            }
        }
        if name.epoch == shared::epoch() {
            batch.bytes += (open.at - begin) as u64;
        }
        self.positions.insert(name, open.at);
        if finished {
            self.finished.insert(name);
        }
        if finished && open.damaged {
            // Should it not get aside, what was read is not read again.
            batch.positions.push((name, open.at));
            batch.aside.push((name, "damaged"));
        } else if finished {
            batch.done.push(name);
        } else {
            batch.positions.push((name, open.at));
            self.open = Some(open);
        }
        Ok(())
    }

    /// Base backups copy the spool. What it holds happened before the copy, and so belongs into the copy's table, whatever the
    /// timeline; most of it got there already, which the ids of events tell.
    fn is_ours(&self, header: &Header) -> bool {
        header.system == self.system && header.database == self.database
    }

    fn open(&mut self, name: Name, from: usize) -> io::Result<()> {
        let mut open = Open {
            name,
            file: File::open(name.path(self.database))?,
            bytes: Vec::new(),
            at: HEADER,
            damaged: false,
            described: Described::default(),
        };
        open.load(Some(from))?;
        // What was moved already may have descriptions that the rest refers to.
        while open.at < from {
            match frame::read(&open.bytes, open.at) {
                Found::Frame(frame, next) => {
                    if frame.kind == Kind::Description {
                        open.described.take(frame);
                    }
                    open.at = next;
                }
                Found::Torn | Found::End => match frame::salvage(&open.bytes, open.at) {
                    Some(next) => {
                        open.damaged = true;
                        open.at = next;
                    }
                    None => open.at = from,
                },
            }
        }
        self.open = Some(open);
        Ok(())
    }

    /// Events of earlier epochs whose files have all been read: nobody is left who could end them.
    fn end_dead(&mut self, batch: &mut Batch) {
        let left: Vec<i64> = directory::files(self.database)
            .into_iter()
            .filter(|name| !self.finished.contains(name))
            .map(|name| name.epoch)
            .collect();
        let dead: Vec<Key> = self
            .waiting
            .keys()
            .filter(|key| key.epoch != shared::epoch() && !left.contains(&key.epoch))
            .copied()
            .collect();
        for key in dead {
            if let Some(waiting) = self.waiting.remove(&key) {
                if waiting.stored {
                    batch.unstore.push(key);
                }
                batch.rows.push((key, waiting.row));
            }
        }
    }

    /// Bytes of this epoch's files that have not been read. Called with the place locked.
    pub(crate) fn unread(&self) -> u64 {
        let files = directory::files(self.database).into_iter();
        let current = files.filter(|name| name.epoch == shared::epoch());
        current
            .map(|name| {
                let from = self.positions.get(&name).copied().unwrap_or(HEADER);
                let end = if name.segment == self.place.segment.load(Relaxed) {
                    self.place.tail.load(Relaxed)
                } else {
                    std::fs::metadata(name.path(self.database)).map_or(0, |facts| facts.len())
                };
                end.saturating_sub(from as u64)
            })
            .sum()
    }
}

impl Open {
    /// Reads on to the limit, or to the end of the file.
    fn load(&mut self, limit: Option<usize>) -> io::Result<()> {
        let end = match limit {
            Some(limit) => limit,
            None => self.file.metadata()?.len() as usize,
        };
        let have = self.bytes.len();
        if end > have {
            self.bytes.resize(end, 0);
            if let Err(error) = self.file.read_exact_at(&mut self.bytes[have..], have as u64) {
                self.bytes.truncate(have);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Described {
    fn take(&mut self, frame: Frame) {
        if let Ok(description) = serde_json::from_slice(frame.body) {
            self.descriptions.insert((frame.session, frame.number), description);
        }
    }

    fn session(&self, session: u64, number: u64) -> Option<&SessionDescription> {
        match self.descriptions.get(&(session, number))? {
            Description::Session(of) => Some(of),
            _ => None,
        }
    }

    fn statement(&self, session: u64, number: u64) -> Option<&StatementDescription> {
        match self.descriptions.get(&(session, number))? {
            Description::Statement(statement) => Some(statement),
            _ => None,
        }
    }

    fn plan(&self, session: u64, number: u64) -> Option<&PlanDescription> {
        match self.descriptions.get(&(session, number))? {
            Description::Plan(plan) => Some(plan),
            _ => None,
        }
    }

    /// What an event of this session is about that begins so.
    fn about(&mut self, session: u64, start: &Start) -> Option<Rc<About>> {
        let key = [session, start.session, start.statement, start.plan];
        if let Some(known) = self.abouts.get(&key) {
            return Some(known.clone());
        }
        let about = Rc::new(About::new(
            self.session(session, start.session)?,
            self.statement(session, start.statement)?,
            self.plan(session, start.plan)?,
        ));
        self.abouts.insert(key, about.clone());
        Some(about)
    }
}

/// Takes one frame in.
fn take(epoch: i64, waiting: &mut HashMap<Key, Waiting>, described: &mut Described, frame: Frame, batch: &mut Batch) {
    let key = Key {
        epoch,
        session: frame.session,
        number: frame.number,
    };
    let taken = match frame.kind {
        Kind::Description => {
            described.take(frame);
            Some(())
        }
        Kind::Start => begin(key, waiting, described, frame.body),
        Kind::Touch => Touch::decode(frame.body).and_then(|touch| {
            let found = waiting.get_mut(&key)?;
            found.row.add(described.plan(key.session, touch.plan)?);
            found.changed = true;
            if let Some(number) = touch.statement {
                found.row.redescribe(described.statement(key.session, number)?);
            }
            Some(())
        }),
        Kind::Refusal => Finish::decode(frame.body).and_then(|refusal| {
            let found = waiting.get_mut(&key)?;
            found.row.refuse(refusal);
            found.changed = true;
            Some(())
        }),
        Kind::Finish => Finish::decode(frame.body).and_then(|finish| {
            let mut found = waiting.remove(&key)?;
            found.row.end(finish);
            if found.stored {
                batch.unstore.push(key);
            }
            batch.rows.push((key, found.row));
            Some(())
        }),
    };
    if taken.is_none() {
        // What it refers to was in a part that is damaged.
        batch.remarks.push(format!(
            "audit event {}/{} of epoch {epoch} is incomplete: it has a {:?} that refers to what is not there",
            key.session, key.number, frame.kind
        ));
    }
}

fn begin(key: Key, waiting: &mut HashMap<Key, Waiting>, described: &mut Described, body: &[u8]) -> Option<()> {
    if waiting.contains_key(&key) {
        // Read before: a base backup may have the file and not that it was read.
        return Some(());
    }
    let start = Start::decode(body)?;
    let about = described.about(key.session, &start)?;
    let row = Row::begin(key, start, about);
    let event = Waiting {
        row,
        stored: false,
        changed: true,
    };
    waiting.insert(key, event);
    Some(())
}
