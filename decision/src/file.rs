//! The engine file.
//!
//! Invariant: the file is native code, so it is used only when it is as trustworthy as the program that loads it: owned
//! by root, this process' account or whoever owns its directory, and writable by nobody else.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::engine::EngineError;

/// The name of the engine file, wherever it is installed.
pub const ENGINE_FILE: &str = "betweenrows_engine.cwasm";

/// Opens an engine file that can be trusted.
///
/// # Errors
/// When it cannot be opened, or somebody else could have changed it.
pub fn open_engine_file(path: &Path) -> Result<File, EngineError> {
    let say = |text: String| EngineError(format!("the engine file {}{text}", path.display()));
    let failed = |error: std::io::Error| say(format!(": {error}"));
    let file = File::open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let owner_of_directory = directory.metadata().map_err(failed)?.uid();
    // SAFETY: reads the process' credentials.
    let own = unsafe { geteuid() };
    if !facts.is_file() || facts.mode() & 0o022 != 0 {
        return Err(say(" can be written by others than its owner".to_owned()));
    }
    if ![0, own, owner_of_directory].contains(&facts.uid()) {
        return Err(say(" belongs to somebody else".to_owned()));
    }
    Ok(file)
}

unsafe extern "C" {
    /// POSIX.
    fn geteuid() -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_others_can_write_is_not_trusted() {
        let path = std::env::temp_dir().join(format!("betweenrows-engine-file-{}", std::process::id()));
        let missing = open_engine_file(&path).unwrap_err().to_string();
        assert!(missing.contains("No such file"), "{missing}");
        std::fs::write(&path, "").unwrap();
        let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        set_mode(0o600);
        assert!(open_engine_file(&path).is_ok());
        for mode in [0o620, 0o602] {
            set_mode(mode);
            let refused = open_engine_file(&path).unwrap_err().to_string();
            assert!(refused.contains("can be written by others"), "{refused}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(open_engine_file(&std::env::temp_dir()).is_err(), "a directory");
    }
}
