//! The protocol as such, for what the drivers do not do: several statements before one Sync.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::world::{Outcome, World};

/// A session.
pub struct Wire(UnixStream);

impl Wire {
    /// The subject's session.
    pub fn alice(world: &World) -> Outcome<Wire> {
        let mut wire = Wire(UnixStream::connect(world.socket_path())?);
        const VERSION: i32 = 3 << 16;
        let mut startup = VERSION.to_be_bytes().to_vec();
        startup.extend(b"user\0driver_alice\0database\0driver\0\0");
        wire.0.write_all(&(startup.len() as i32 + 4).to_be_bytes())?;
        wire.0.write_all(&startup)?;
        wire.answers()?;
        Ok(wire)
    }

    /// Sends statements and one Sync after all of them. Returns the command tag of each that worked, and the SQLSTATE of the
    /// error.
    pub fn pipeline(&mut self, statements: &[&str]) -> Outcome<Vec<String>> {
        let mut messages = Vec::new();
        let mut message = |tag: u8, body: &[u8]| {
            messages.push(tag);
            messages.extend((body.len() as i32 + 4).to_be_bytes());
            messages.extend(body);
        };
        for statement in statements {
            message(b'P', format!("\0{statement}\0\0\0").as_bytes());
            // No names, no formats, no parameters, and any number of rows.
            message(b'B', &[0; 8]);
            message(b'E', &[0; 5]);
        }
        message(b'S', &[]);
        self.0.write_all(&messages)?;
        self.answers()
    }

    /// What comes in until the server is ready for more.
    fn answers(&mut self) -> Outcome<Vec<String>> {
        let mut answers = Vec::new();
        loop {
            let (mut tag, mut length) = ([0], [0; 4]);
            self.0.read_exact(&mut tag)?;
            self.0.read_exact(&mut length)?;
            let mut body = vec![0; i32::from_be_bytes(length) as usize - 4];
            self.0.read_exact(&mut body)?;
            let body = String::from_utf8_lossy(&body);
            let mut fields = body.split('\0');
            match tag[0] {
                b'Z' => return Ok(answers),
                b'C' => answers.extend(fields.next().map(str::to_owned)),
                b'E' => answers.extend(fields.find_map(|field| field.strip_prefix('C')).map(str::to_owned)),
                _ => {}
            }
        }
    }
}
