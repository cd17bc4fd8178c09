//! What commands print.
//!
//! Names and messages come from documents, databases and other people. Control characters in them would command the
//! terminal or forge lines, so they are shown as escapes. A reader that has gone away, such as `head`, is no failure.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use super::Failure;

/// A text without control characters, other than the tab that separates columns.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => shown.push('\t'),
            control if control.is_control() => shown.extend(control.escape_default()),
            other => shown.push(other),
        }
    }
    shown
}

/// Prints a line.
pub fn line(text: impl Display) -> Result<(), Failure> {
    whole(&format!("{}\n", plain(&text.to_string())))
}

/// Prints a text as it is.
pub fn whole(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Tells what is wrong, which may take several lines.
pub fn complain(what: &str, text: impl Display) {
    let text = text.to_string();
    let mut errors = std::io::stderr().lock();
    for (index, line) in text.lines().enumerate() {
        let before = if index == 0 { what } else { "" };
        // There is nobody to tell.
        writeln!(errors, "{before}{}", plain(line)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(plain("a\tb \u{1b}[31m\nc\r\u{9b}é"), "a\tb \\u{1b}[31m\\nc\\r\\u{9b}é");
    }
}
