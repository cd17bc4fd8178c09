//! The format of spool files: a header, then frames with length and checksum. Without anything of PostgreSQL's, so that its unit
//! tests can run (`pg_regress/crash`).
//!
//! Invariant: a frame is either read back exactly as it was written, or recognised as torn or damaged.

/// The size of a file's header.
pub(crate) const HEADER: usize = 64;

const MAGIC: [u8; 8] = *b"BRAUDIT2";
/// Length and checksum.
const PREFIX: usize = 8;
/// Kind, session and number.
const KEY: usize = 17;
/// Written on a standby.
const IN_RECOVERY: u32 = 1;

/// Whose file it is. Base backups copy the spool, so that a file may be found where it does not belong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// The system identifier of the cluster.
    pub(crate) system: u64,
    /// The timeline that was written on.
    pub(crate) timeline: u32,
    /// The database.
    pub(crate) database: u32,
    /// When the shared memory was set up that was in use.
    pub(crate) epoch: i64,
    /// The file's number in its epoch.
    pub(crate) segment: u32,
    /// When the file was made, microseconds since 1970.
    pub(crate) made_at: i64,
    /// Whether the server was a standby.
    pub(crate) in_recovery: bool,
}

impl Header {
    /// The bytes at the beginning of the file.
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&u32::from(self.in_recovery).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.timeline.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.system.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.database.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.segment.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.made_at.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header of a file, `None` when it has none or a damaged one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER)?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..HEADER - 4]) != word(HEADER - 4) {
            return None;
        }
        Some(Header {
            in_recovery: word(8) & IN_RECOVERY != 0,
            timeline: word(12),
            system: long(16),
            database: word(24),
            segment: word(28),
            epoch: long(32) as i64,
            made_at: long(40) as i64,
        })
    }
}

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Something that frames of the same session refer to by number.
    Description = b'D',
    /// The beginning of a statement.
    Start = b'S',
    /// A plan that a running statement has come to.
    Touch = b'T',
    /// A policy refuses a running statement, or a part of it.
    Refusal = b'R',
    /// The end of a statement.
    Finish = b'F',
}

impl Kind {
    fn parse(byte: u8) -> Option<Kind> {
        [Kind::Description, Kind::Start, Kind::Touch, Kind::Refusal, Kind::Finish]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame<'a> {
    /// What it holds.
    pub(crate) kind: Kind,
    /// The number of the session, unique in its epoch.
    pub(crate) session: u64,
    /// The number of the description or the event, unique in its session.
    pub(crate) number: u64,
    /// What `event` makes of it.
    pub(crate) body: &'a [u8],
}

impl Frame<'_> {
    /// Appends it.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&((KEY + self.body.len()) as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.push(self.kind as u8);
        out.extend_from_slice(&self.session.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(self.body);
        let checksum = crc32fast::hash(&out[at + PREFIX..]);
        out[at + 4..at + PREFIX].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// What stands at a place of a file.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Found<'a> {
    /// A frame, and the place where it ends.
    Frame(Frame<'a>, usize),
    /// Nothing was written here.
    End,
    /// Something that is no frame.
    Torn,
}

/// Reads what stands at `at`.
pub(crate) fn read(bytes: &[u8], at: usize) -> Found<'_> {
    let Some(prefix) = bytes.get(at..at + PREFIX) else {
        return if bytes.get(at..).is_none_or(|rest| rest.iter().all(|byte| *byte == 0)) {
            Found::End
        } else {
            Found::Torn
        };
    };
    let length = u32::from_le_bytes(prefix[..4].try_into().expect("four bytes")) as usize;
    if length == 0 && prefix[4..] == [0; 4] {
        return Found::End;
    }
    let end = at + PREFIX + length;
    let Some(content) = bytes.get(at + PREFIX..end).filter(|content| content.len() >= KEY) else {
        return Found::Torn;
    };
    if prefix[4..] != crc32fast::hash(content).to_le_bytes() {
        return Found::Torn;
    }
    let Some(kind) = Kind::parse(content[0]) else {
        return Found::Torn;
    };
    let long = |at: usize| u64::from_le_bytes(content[at..at + 8].try_into().expect("eight bytes"));
    let frame = Frame {
        kind,
        session: long(1),
        number: long(9),
        body: &content[KEY..],
    };
    Found::Frame(frame, end)
}

/// The place of the next intact frame behind a damaged one.
pub(crate) fn salvage(bytes: &[u8], damaged: usize) -> Option<usize> {
    // A frame's kind tells nearly all other places apart before a checksum is computed.
    (damaged + 1..bytes.len().saturating_sub(PREFIX + KEY - 1))
        .filter(|at| Kind::parse(bytes[at + PREFIX]).is_some())
        .find(|at| matches!(read(bytes, *at), Found::Frame(..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64, body: &[u8]) -> Frame<'_> {
        Frame {
            kind: Kind::Start,
            session: 7,
            number,
            body,
        }
    }

    fn two() -> (Vec<u8>, usize) {
        let mut bytes = vec![0; HEADER];
        frame(1, b"{\"a\":1}").encode(&mut bytes);
        let second = bytes.len();
        frame(2, b"{\"b\":2}").encode(&mut bytes);
        (bytes, second)
    }

    #[test]
    fn frames_are_read_back() {
        let (mut bytes, second) = two();
        assert_eq!(read(&bytes, HEADER), Found::Frame(frame(1, b"{\"a\":1}"), second));
        let end = bytes.len();
        assert_eq!(read(&bytes, second), Found::Frame(frame(2, b"{\"b\":2}"), end));
        assert_eq!(read(&bytes, end), Found::End);
        bytes.resize(end + 100, 0);
        assert_eq!(read(&bytes, end), Found::End);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let (bytes, second) = two();
        for length in second + 1..bytes.len() {
            let cut = &bytes[..length];
            assert_eq!(read(cut, second), Found::Torn, "cut at {length}");
        }
        for bit in second * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped, second), Found::Torn, "bit {bit}");
            assert_eq!(salvage(&flipped, second), None);
        }
    }

    #[test]
    fn what_follows_a_damaged_frame_is_found() {
        let (mut bytes, second) = two();
        bytes[HEADER + PREFIX + KEY] ^= 1;
        assert_eq!(read(&bytes, HEADER), Found::Torn);
        assert_eq!(salvage(&bytes, HEADER), Some(second));
    }

    #[test]
    fn headers_are_read_back() {
        let header = Header {
            system: 7_000_000_000_000_000_001,
            timeline: 3,
            database: 16_384,
            epoch: -5,
            segment: 9,
            made_at: 1_700_000_000_000_000,
            in_recovery: true,
        };
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        bytes[20] ^= 1;
        assert_eq!(Header::decode(&bytes), None);
        assert_eq!(Header::decode(&bytes[..10]), None);
    }
}
