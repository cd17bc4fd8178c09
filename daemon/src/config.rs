//! Settings: flags before environment variables before the configuration file before defaults.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args;
use serde::Deserialize;

use crate::tls::Files;

/// Settings as they were given, on the command line, in the environment or in the file.
///
/// Secrets have no flag: everybody on the machine can read command lines.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// The store, a postgres:// URL, with a password rather in the variable, since others see flags [default: database
    /// betweenrows_control of the local server]
    #[arg(
        long,
        global = true,
        env = "BR_ADMIN_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub database_url: Option<String>,
    /// Where to listen [default: 127.0.0.1:5435]
    #[arg(long, global = true, env = "BR_ADMIN_BIND_ADDR", value_name = "ADDRESS:PORT")]
    pub bind_addr: Option<String>,
    /// Certificate to serve TLS with, and those between it and its authority (PEM); read again on SIGHUP
    #[arg(long, global = true, env = "BR_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, global = true, env = "BR_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Where generated keys are kept [default: /var/lib/betweenrowsd for root, else ~/.local/share/betweenrowsd]
    #[arg(long, global = true, env = "BR_STATE_DIR", value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,
    /// Hours until a token ends [default: 24]
    #[arg(long, global = true, env = "BR_ADMIN_JWT_EXPIRY_HOURS", value_name = "HOURS")]
    pub jwt_expiry_hours: Option<u32>,
    /// Origins of browsers that may call the API from other sites, separated by commas
    #[arg(long, global = true, env = "BR_CORS_ALLOWED_ORIGINS", value_name = "ORIGINS")]
    pub cors_allowed_origins: Option<String>,
    /// Addresses of proxies whose X-Forwarded-For is believed, separated by commas
    #[arg(long, global = true, env = "BR_TRUSTED_PROXIES", value_name = "ADDRESSES")]
    pub trusted_proxies: Option<String>,
    /// Seconds after which an unchanged data source is looked at for drift [default: 60]
    #[arg(long, global = true, env = "BR_SYNC_INTERVAL", value_name = "SECONDS")]
    pub sync_interval: Option<u32>,
    /// The engine of decision functions, betweenrows_engine.cwasm [default: beside this program, or in the library
    /// directory of a PostgreSQL of this machine]
    #[arg(long, global = true, env = "BR_ENGINE_FILE", value_name = "FILE")]
    pub engine_file: Option<PathBuf>,
    /// Log as JSON
    #[arg(long, global = true, env = "BR_LOG_JSON", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub log_json: Option<bool>,
    /// Name of the first administrator [default: admin]
    #[arg(skip)]
    pub admin_user: Option<String>,
    /// Password of the first administrator; generated and printed once if there is none
    #[arg(skip)]
    pub admin_password: Option<String>,
    /// Key that seals secrets, 64 hexadecimal digits
    #[arg(skip)]
    pub encryption_key: Option<String>,
    /// The key before it, for `reseal`
    #[arg(skip)]
    pub old_encryption_key: Option<String>,
    /// Key that signs tokens, at least 32 bytes
    #[arg(skip)]
    pub jwt_secret: Option<String>,
}

impl Given {
    /// A variable that is set to nothing is as good as none: compose files pass them on that way.
    fn without_empty(mut self) -> Self {
        for text in [
            &mut self.database_url,
            &mut self.bind_addr,
            &mut self.cors_allowed_origins,
            &mut self.trusted_proxies,
            &mut self.admin_user,
            &mut self.admin_password,
            &mut self.encryption_key,
            &mut self.old_encryption_key,
            &mut self.jwt_secret,
        ] {
            text.take_if(|text| text.is_empty());
        }
        for path in [
            &mut self.tls_cert,
            &mut self.tls_key,
            &mut self.state_dir,
            &mut self.engine_file,
        ] {
            path.take_if(|path| path.as_os_str().is_empty());
        }
        self
    }
}

/// The settings in force.
#[derive(Clone)]
pub struct Config {
    /// The store.
    pub database_url: String,
    /// Where to listen.
    pub bind_addr: SocketAddr,
    /// What to serve TLS with; without it the API is plain HTTP.
    pub tls: Option<Files>,
    /// Where generated keys are kept.
    pub state_dir: PathBuf,
    /// How long a token is good.
    pub token_lifetime: Duration,
    /// Origins of browsers that may call from other sites.
    pub origins: Vec<HeaderValue>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// How often an unchanged data source is looked at.
    pub sync_interval: Duration,
    /// The engine of decision functions, if it is not where it usually is.
    pub engine_file: Option<PathBuf>,
    /// Whether to log as JSON.
    pub log_json: bool,
    /// Name of the first administrator.
    pub admin_user: String,
    /// Password of the first administrator.
    pub admin_password: Option<String>,
    /// Key that seals secrets.
    pub encryption_key: Option<String>,
    /// The key before it.
    pub old_encryption_key: Option<String>,
    /// Key that signs tokens.
    pub jwt_secret: Option<String>,
    /// Whether one of these is in the file.
    pub file_has_secrets: bool,
}

/// The variables for secrets, which have no flags.
const SECRETS: [&str; 5] = [
    "BR_ADMIN_USER",
    "BR_ADMIN_PASSWORD",
    "BR_ENCRYPTION_KEY",
    "BR_OLD_ENCRYPTION_KEY",
    "BR_ADMIN_JWT_SECRET",
];

impl Config {
    /// From flags and environment (`given`), and from a file if there is one.
    pub fn load(given: Given, file: Option<&Path>) -> Result<Config, String> {
        let mut given = given;
        let [user, password, encryption, old, signing] = SECRETS.map(|name| std::env::var(name).ok());
        given.admin_user = user;
        given.admin_password = password;
        given.encryption_key = encryption;
        given.old_encryption_key = old;
        given.jwt_secret = signing;
        let file = match file {
            Some(path) => read(path)?,
            None => Given::default(),
        };
        Config::merge(given.without_empty(), file.without_empty())
    }

    /// Whether others than this machine and known proxies may send passwords in the clear.
    pub fn is_open_without_tls(&self) -> bool {
        self.tls.is_none() && self.trusted_proxies.is_empty() && !self.bind_addr.ip().is_loopback()
    }

    fn merge(given: Given, file: Given) -> Result<Config, String> {
        let bind_addr = given
            .bind_addr
            .or(file.bind_addr)
            .unwrap_or_else(|| "127.0.0.1:5435".to_owned());
        let hours = given.jwt_expiry_hours.or(file.jwt_expiry_hours).unwrap_or(24);
        let interval = given.sync_interval.or(file.sync_interval).unwrap_or(60);
        if hours == 0 || interval == 0 {
            return Err("jwt_expiry_hours and sync_interval must not be 0".to_owned());
        }
        let origins = given.cors_allowed_origins.or(file.cors_allowed_origins);
        let proxies = given.trusted_proxies.or(file.trusted_proxies);
        let tls = match (given.tls_cert.or(file.tls_cert), given.tls_key.or(file.tls_key)) {
            (Some(certificate), Some(key)) => Some(Files { certificate, key }),
            (None, None) => None,
            _ => return Err("tls_cert and tls_key go together".to_owned()),
        };
        let secrets = [
            &file.admin_password,
            &file.encryption_key,
            &file.old_encryption_key,
            &file.jwt_secret,
        ];
        Ok(Config {
            file_has_secrets: secrets.iter().any(|secret| secret.is_some()),
            tls,
            database_url: given
                .database_url
                .or(file.database_url)
                .unwrap_or_else(|| "postgres:///betweenrows_control".to_owned()),
            bind_addr: bind_addr
                .parse()
                .map_err(|_| format!("bind_addr: \"{bind_addr}\" is not ADDRESS:PORT"))?,
            state_dir: given.state_dir.or(file.state_dir).unwrap_or_else(default_state_dir),
            token_lifetime: Duration::from_secs(u64::from(hours) * 3_600),
            origins: listed(origins.as_deref(), "cors_allowed_origins", origin)?,
            trusted_proxies: listed(proxies.as_deref(), "trusted_proxies", |text| text.parse().ok())?,
            sync_interval: Duration::from_secs(u64::from(interval)),
            engine_file: given.engine_file.or(file.engine_file),
            log_json: given.log_json.or(file.log_json).unwrap_or(false),
            admin_user: given
                .admin_user
                .or(file.admin_user)
                .unwrap_or_else(|| "admin".to_owned()),
            admin_password: given.admin_password.or(file.admin_password),
            encryption_key: given.encryption_key.or(file.encryption_key),
            old_encryption_key: given.old_encryption_key.or(file.old_encryption_key),
            jwt_secret: given.jwt_secret.or(file.jwt_secret),
        })
    }
}

fn read(path: &Path) -> Result<Given, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).map_err(|(line, problem)| format!("{}:{line}: {problem}", path.display()))
}

/// The settings of a file, else in which line of it something is wrong, and what. The line itself is not shown: it may be
/// one with a secret.
fn parse(text: &str) -> Result<Given, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        (line, error.message().to_owned())
    })
}

fn default_state_dir() -> PathBuf {
    let home = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")));
    match home {
        Some(home) if std::env::var("USER").as_deref() != Ok("root") => home.join("betweenrowsd"),
        _ => PathBuf::from("/var/lib/betweenrowsd"),
    }
}

/// An origin is a scheme, a host and perhaps a port; `*` would let every site in.
fn origin(text: &str) -> Option<HeaderValue> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    (!host.is_empty() && !host.contains(['/', '*', ' '])).then(|| HeaderValue::from_str(text).ok())?
}

fn listed<T>(text: Option<&str>, key: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    text.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| read(item).ok_or_else(|| format!("{key}: \"{item}\" cannot be used")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Given, String> {
        parse(text).map_err(|(line, problem)| format!("line {line}: {problem}"))
    }

    #[test]
    fn what_was_given_goes_before_the_file_and_that_before_defaults() {
        let given = Given {
            bind_addr: Some("127.0.0.1:1".to_owned()),
            ..Given::default()
        };
        let file = file("bind_addr = '127.0.0.1:2'\nsync_interval = 5").unwrap();
        let config = Config::merge(given, file).unwrap();
        assert_eq!(config.bind_addr.port(), 1);
        assert_eq!(config.sync_interval.as_secs(), 5);
        assert_eq!(config.token_lifetime.as_secs(), 86_400);
        assert_eq!(config.admin_user, "admin");
    }

    #[test]
    fn what_is_empty_is_absent() {
        let given = Given {
            bind_addr: Some(String::new()),
            tls_cert: Some(PathBuf::new()),
            admin_password: Some(String::new()),
            ..Given::default()
        };
        let config = Config::merge(given.without_empty(), Given::default()).unwrap();
        assert_eq!(config.bind_addr.port(), 5435);
        assert!(config.tls.is_none() && config.admin_password.is_none());
    }

    /// Set-ups rely on these names.
    #[test]
    fn variables_keep_their_names() {
        let command = Given::augment_args(clap::Command::new("betweenrowsd"));
        let found: Vec<_> = command
            .get_arguments()
            .filter_map(|argument| Some((argument.get_id().as_str(), argument.get_env()?.to_str()?)))
            .collect();
        let expected = [
            ("database_url", "BR_ADMIN_DATABASE_URL"),
            ("bind_addr", "BR_ADMIN_BIND_ADDR"),
            ("tls_cert", "BR_TLS_CERT"),
            ("tls_key", "BR_TLS_KEY"),
            ("state_dir", "BR_STATE_DIR"),
            ("jwt_expiry_hours", "BR_ADMIN_JWT_EXPIRY_HOURS"),
            ("cors_allowed_origins", "BR_CORS_ALLOWED_ORIGINS"),
            ("trusted_proxies", "BR_TRUSTED_PROXIES"),
            ("sync_interval", "BR_SYNC_INTERVAL"),
            ("engine_file", "BR_ENGINE_FILE"),
            ("log_json", "BR_LOG_JSON"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_flag_without_a_value_takes_no_word_after_it() {
        let command = Given::augment_args(clap::Command::new("betweenrowsd")).arg(clap::Arg::new("command"));
        let found = command
            .try_get_matches_from(["betweenrowsd", "--log-json", "serve"])
            .unwrap();
        assert_eq!(found.get_one("log_json"), Some(&true));
        assert_eq!(found.get_one::<String>("command").unwrap(), "serve");
    }

    #[test]
    fn unknown_keys_and_unusable_values_are_refused() {
        let unknown = file("bind_addr = 'x'\nbind_address = 'hunter2'").unwrap_err();
        assert!(
            unknown.starts_with("line 2: ") && unknown.contains("bind_address"),
            "{unknown}"
        );
        for text in [
            "encryption_key = 'hunter2",
            "jwt_secret = hunter2",
            "jwt_secret = ['hunter2']",
        ] {
            let problem = file(text).unwrap_err();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        for text in [
            "bind_addr = 'localhost'",
            "cors_allowed_origins = '*'",
            "cors_allowed_origins = 'https://a.example/path'",
            "trusted_proxies = 'proxy'",
            "sync_interval = 0",
            "jwt_expiry_hours = 0",
            "tls_cert = 'cert.pem'",
        ] {
            assert!(Config::merge(Given::default(), file(text).unwrap()).is_err(), "{text}");
        }
        let good = file("cors_allowed_origins = 'https://a.example, http://b:8080'\ntrusted_proxies = '::1,10.0.0.1'");
        let config = Config::merge(Given::default(), good.unwrap()).unwrap();
        assert_eq!((config.origins.len(), config.trusted_proxies.len()), (2, 2));
    }
}
