//! `doctor`: what is wrong with the set-up, and the command that mends it.

mod data_source;
mod store;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use super::output::line;
use super::{Failure, Outcome};
use crate::config::Config;
use crate::decisions::Decisions;
use crate::secrets::keys::{ENCRYPTION, Keys};
use crate::secrets::seal::Sealer;
use crate::store::data_sources::{self, DataSource};
use crate::store::{Store, Window};
use crate::tls::Identity;

/// Clocks that differ by more make tokens of one machine end early on another, and times in audits misleading.
const CLOCKS: f64 = 30.0;

#[derive(Default)]
struct Report {
    bad: u32,
}

impl Report {
    fn good(&self, what: &str) -> Result<(), Failure> {
        line(format!("ok    {what}"))
    }

    fn bad(&mut self, what: &str, mend: &str) -> Result<(), Failure> {
        self.bad += 1;
        line(format!("bad   {what}"))?;
        line(format!("      → {mend}"))
    }

    /// Compares a server's clock, in seconds since 1970, with this machine's.
    fn clock(&mut self, what: &str, there: f64) -> Result<(), Failure> {
        let here = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        match there - here {
            apart if apart.abs() <= CLOCKS => Ok(()),
            apart => self.bad(
                &format!("{what}: its clock is {apart:.0} seconds off this machine's"),
                "on the one that is wrong: timedatectl set-ntp true",
            ),
        }
    }
}

/// `doctor`. Changes nothing. `file` is the configuration file.
pub async fn doctor(config: &Config, file: Option<&Path>) -> Outcome {
    let mut report = Report::default();
    settings(config, file, &mut report)?;
    let keys = keys(config, &mut report)?;
    if let (Some(pool), Some(keys)) = (store::open(config, &mut report).await?, keys) {
        let store = Store {
            pool,
            sealer: Sealer::new(&keys.encryption),
            decisions: Decisions::new(config.engine_file.clone()),
        };
        match store.decisions.load().await {
            Ok(()) => report.good("decision functions can be compiled")?,
            Err(problem) => report.bad(
                &problem.to_string(),
                "copy the file of the release that the extension is of, and set BR_ENGINE_FILE",
            )?,
        }
        store::secrets(&store, &mut report).await?;
        store::administrators(&store, &mut report).await?;
        let sources = data_sources::list(&mut *store.read().await?, "", Window::ALL).await?.0;
        let active: Vec<&DataSource> = sources.iter().filter(|source| source.is_active).collect();
        for (index, source) in active.iter().enumerate() {
            data_source::not_twice(source, &active[..index], &mut report)?;
            data_source::look_at(&store, source, &mut report).await?;
        }
    }
    Ok(ExitCode::from(u8::from(report.bad > 0)))
}

fn settings(config: &Config, file: Option<&Path>, report: &mut Report) -> Result<(), Failure> {
    if let Some(path) = file
        && std::fs::metadata(path)?.permissions().mode() & 0o077 != 0
        && config.file_has_secrets
    {
        report.bad(
            &format!("{} has secrets and can be read by others", path.display()),
            &format!("chmod 600 {}", path.display()),
        )?;
    }
    if config.is_open_without_tls() {
        report.bad(
            &format!(
                "passwords and tokens pass the network in the clear to {}",
                config.bind_addr
            ),
            "set tls_cert and tls_key, or trusted_proxies to the proxy that has a certificate",
        )?;
    }
    match config.tls.clone().map(Identity::load) {
        Some(Ok(_)) => report.good("the certificate can be used"),
        Some(Err(problem)) => report.bad(&problem, "correct tls_cert and tls_key"),
        None => Ok(()),
    }
}

/// The keys, unless they cannot be used or have yet to be made.
fn keys(config: &Config, report: &mut Report) -> Result<Option<Keys>, Failure> {
    let path = config.state_dir.join(ENCRYPTION);
    if config.encryption_key.is_none() && !path.exists() {
        report.bad(
            &format!("there is no key: {} does not exist or cannot be seen", path.display()),
            "put the key back there, set BR_STATE_DIR or BR_ENCRYPTION_KEY, or run as the daemon's account; for a new store: \
             betweenrowsd migrate",
        )?;
        return Ok(None);
    }
    let found = Keys::load(
        config.encryption_key.as_deref(),
        config.jwt_secret.as_deref(),
        &config.state_dir,
    );
    match found {
        Ok(keys) => {
            report.good("keys can be used")?;
            Ok(Some(keys))
        }
        Err(problem) => {
            let (what, mend) = problem
                .split_once("; run: ")
                .unwrap_or((&problem, "correct the file or the variable"));
            report.bad(what, mend)?;
            Ok(None)
        }
    }
}

/// A text as one word of a shell.
fn word(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-./:@".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_a_shell() {
        assert_eq!(word("shop-1"), "shop-1");
        assert_eq!(word("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(word(""), "''");
    }
}
