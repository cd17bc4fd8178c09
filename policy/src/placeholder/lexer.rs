//! The part of PostgreSQL's lexer that tells what is code and what is quoted.
//!
//! Follows `src/backend/parser/scan.l` of PostgreSQL 15 to 18. Where that refuses the text anyway, e.g. a number glued
//! to a name, tokens may come out differently here.

use super::placeholder_at;

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A string constant of any kind, quotes included.
    Literal,
    /// A parameter such as `$1`.
    Parameter,
    /// A placeholder in code, with its key, or an opening brace that starts none.
    OpenBrace(Option<&'a str>),
    /// A closing brace in code that ends no placeholder.
    CloseBrace,
    /// Anything else: a name or number, white space, an operator's character, a quoted identifier, a comment.
    Other,
}

/// Iterates over `(token, start, end)`; the tokens cover the text without gaps.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

/// Whether a byte can stand inside a name (every byte of a non-ASCII character can).
pub(super) fn continues_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Lexer { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips `count` bytes and then everything while `keep` holds.
    fn skip(&mut self, count: usize, keep: impl Fn(u8) -> bool) {
        self.at += count;
        self.at += self.text.as_bytes()[self.at..]
            .iter()
            .take_while(|&&byte| keep(byte))
            .count();
    }

    /// Skips to behind the next `end`, or to the end of the text.
    fn skip_past(&mut self, end: &str) {
        self.at = self
            .rest()
            .find(end)
            .map_or(self.text.len(), |offset| self.at + offset + end.len());
    }

    fn token(&mut self) -> Option<Token<'a>> {
        let bytes = self.rest().as_bytes();
        let token = match *bytes.first()? {
            b'e' | b'E' if bytes.get(1) == Some(&b'\'') => {
                self.escape_literal();
                Token::Literal
            }
            b'\'' => {
                self.at += 1;
                self.skip_past("'");
                Token::Literal
            }
            b'"' => {
                self.at += 1;
                self.skip_past("\"");
                Token::Other
            }
            b'-' if bytes.get(1) == Some(&b'-') => {
                self.skip(2, |byte| byte != b'\n' && byte != b'\r');
                Token::Other
            }
            b'/' if bytes.get(1) == Some(&b'*') => {
                self.nested_comment();
                Token::Other
            }
            b'$' => self.dollar(),
            b'{' => self.brace(),
            b'}' => {
                self.at += 1;
                Token::CloseBrace
            }
            byte if starts_word(byte) => {
                self.skip(1, continues_word);
                Token::Other
            }
            byte if byte.is_ascii_digit() => {
                // A dollar sign does not belong to a number: `1$1` ends in a parameter.
                self.skip(1, |byte| continues_word(byte) && byte != b'$');
                Token::Other
            }
            _ => {
                self.at += 1;
                Token::Other
            }
        };
        Some(token)
    }

    /// `E'…'`, where a backslash takes the next character's meaning. Parts on following lines belong to it.
    fn escape_literal(&mut self) {
        self.at += 2;
        loop {
            match self.rest().bytes().position(|byte| byte == b'\'' || byte == b'\\') {
                None => return self.at = self.text.len(),
                Some(offset) if self.rest().as_bytes()[offset] == b'\\' => {
                    self.at += offset + 1;
                    self.at += self.rest().chars().next().map_or(0, char::len_utf8);
                }
                Some(offset) => {
                    self.at += offset + 1;
                    match continuation(self.rest()) {
                        Some(length) => self.at += length,
                        None => return,
                    }
                }
            }
        }
    }

    fn nested_comment(&mut self) {
        let mut depth = 0usize;
        loop {
            let Some(offset) = self
                .rest()
                .as_bytes()
                .windows(2)
                .position(|pair| pair == b"/*" || pair == b"*/")
            else {
                return self.at = self.text.len();
            };
            let opens = self.rest().as_bytes()[offset] == b'/';
            self.at += offset + 2;
            depth = if opens { depth + 1 } else { depth - 1 };
            if depth == 0 {
                return;
            }
        }
    }

    /// A parameter, a dollar-quoted literal, or a lone dollar sign.
    fn dollar(&mut self) -> Token<'a> {
        let after = &self.rest()[1..];
        let first = after.bytes().next();
        if first.is_some_and(|byte| byte.is_ascii_digit()) {
            self.skip(1, |byte| byte.is_ascii_digit());
            return Token::Parameter;
        }
        let tag = after
            .bytes()
            .take_while(|&byte| continues_word(byte) && byte != b'$')
            .count();
        if after.as_bytes().get(tag) != Some(&b'$') {
            self.at += 1;
            return Token::Other;
        }
        let delimiter = &self.rest()[..tag + 2];
        self.at += delimiter.len();
        self.skip_past(delimiter);
        Token::Literal
    }

    fn brace(&mut self) -> Token<'a> {
        let placeholder = placeholder_at(self.rest());
        self.at += placeholder.map_or(1, |(_, length)| length);
        Token::OpenBrace(placeholder.map(|(key, _)| key))
    }
}

/// How many bytes lie between the quote that ends a part of a literal and the text of the next part: nothing and one
/// more quote, or white space with a line break (comments included) and a quote.
fn continuation(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut broken = false;
    loop {
        match bytes.get(at)? {
            b'\'' if at == 0 || broken => return Some(at + 1),
            b'\n' | b'\r' => {
                broken = true;
                at += 1;
            }
            b' ' | b'\t' | 0x0b | 0x0c => at += 1,
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at += bytes[at..]
                    .iter()
                    .take_while(|&&byte| byte != b'\n' && byte != b'\r')
                    .count();
            }
            _ => return None,
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = (Token<'a>, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        self.token().map(|token| (token, start, self.at))
    }
}
