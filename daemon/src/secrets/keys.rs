//! The two keys of a store: one seals secrets, one signs tokens.
//!
//! Keys that are not configured are generated once and kept in files of mode 0600 in the state directory.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The file of the key that seals secrets.
pub const ENCRYPTION: &str = "encryption.key";

/// The keys.
pub struct Keys {
    /// Seals secrets in the store.
    pub encryption: [u8; 32],
    /// Signs tokens.
    pub signing: Vec<u8>,
}

impl Keys {
    /// The configured keys, else those in `directory`, which are made where they are missing.
    ///
    /// `encryption` is 64 hexadecimal digits; `signing` any text of at least 32 bytes.
    pub fn load(encryption: Option<&str>, signing: Option<&str>, directory: &Path) -> Result<Keys, String> {
        let encryption = match encryption {
            Some(text) => parse(text, "BR_ENCRYPTION_KEY")?,
            None => kept(&directory.join(ENCRYPTION))?,
        };
        let signing = match signing {
            Some(text) if text.len() < 32 => return Err("BR_ADMIN_JWT_SECRET must have at least 32 bytes".to_owned()),
            Some(text) => text.as_bytes().to_vec(),
            None => kept(&directory.join("signing.key"))?.to_vec(),
        };
        Ok(Keys { encryption, signing })
    }
}

/// The key that a variable holds.
pub fn parse(text: &str, variable: &str) -> Result<[u8; 32], String> {
    from_hex(text).ok_or_else(|| format!("{variable} must be 64 hexadecimal digits"))
}

/// The key in a file. It is written completely under another name first: two daemons that start at once end up with
/// the same key, and a crash leaves no half of one.
fn kept(path: &Path) -> Result<[u8; 32], String> {
    let problem = |error: std::io::Error| format!("{}: {error}", path.display());
    if !path.try_exists().map_err(problem)? {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(problem)?;
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let mut file: File = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .map_err(problem)?;
        writeln!(file, "{}", to_hex(&super::random::<32>())).map_err(problem)?;
        file.sync_all().map_err(problem)?;
        // Unlike a rename, a link never replaces a key that another process made meanwhile.
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft).map_err(problem)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(problem(error)),
            _ => {}
        }
    }
    let mode = fs::metadata(path).map_err(problem)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("{} can be read by others; run: chmod 600 {0}", path.display()));
    }
    let text = fs::read_to_string(path).map_err(problem)?;
    from_hex(text.trim()).ok_or_else(|| format!("{} does not hold 64 hexadecimal digits", path.display()))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|value| value as u8))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0))
        .collect();
    (digits.len() == 64).then(|| bytes.try_into().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_keys_are_kept_and_closed_to_others() {
        let directory = std::env::temp_dir().join(format!("betweenrows-keys-{}", uuid::Uuid::new_v4()));
        let first = Keys::load(None, None, &directory).unwrap();
        let second = Keys::load(None, None, &directory).unwrap();
        assert_eq!(first.encryption, second.encryption);
        assert_eq!(first.signing, second.signing);
        assert_ne!(first.encryption.to_vec(), first.signing);
        let path = directory.join("signing.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let problem = Keys::load(None, None, &directory).err().unwrap();
        assert!(problem.contains("chmod 600"), "{problem}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn configured_keys_are_checked() {
        let nowhere = Path::new("/nonexistent");
        let secret = "0123456789abcdef0123456789abcdef";
        let load = |encryption: &str, signing: &str| Keys::load(Some(encryption), Some(signing), nowhere);
        let good = "00ff".repeat(16);
        assert_eq!(load(&good, secret).unwrap().encryption[..2], [0, 255]);
        for bad in [
            "",
            "00",
            &"0".repeat(63),
            &"0".repeat(65),
            &"g".repeat(64),
            &"é".repeat(64),
        ] {
            assert!(load(bad, secret).is_err(), "{bad}");
        }
        assert!(load(&good, "short").is_err());
    }
}
