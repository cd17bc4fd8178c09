//! The table that every check begins with, and who looks at it.

use std::error::Error;
use std::fmt::Debug;

use postgres::{Client, Config, NoTls};

/// What a check comes to.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;
/// A check.
pub type Check = fn(&World) -> Outcome;

const DATABASE: &str = "driver";

/// alice sees the first three of five payments, their cards masked and no secrets.
const TABLES: &str = "
    CREATE EXTENSION betweenrows;
    CREATE TABLE pay (id int, owner text, amount numeric(10,2), card text, secret text, tags text[], paid timestamptz,
        code int NOT NULL DEFAULT 7);
    INSERT INTO pay SELECT i, CASE WHEN i < 4 THEN 'driver_alice' ELSE 'nobody' END, i * 1.5, 'raw-' || i, 'secret-' || i,
        ARRAY['t', 'raw-' || i], timestamptz '2024-02-01 12:00+00' + make_interval(days => i) FROM generate_series(1, 5) i;
    GRANT ALL ON pay TO driver_alice;
    DO $$ BEGIN
        PERFORM betweenrows.filter_rows('pay', 'owner = {user.username}', 'own');
        PERFORM betweenrows.mask_column('pay', 'card', '''mask-'' || right(card, 1)', 'card');
        PERFORM betweenrows.mask_column('pay', 'tags', 'ARRAY[''none'']', 'tags');
        PERFORM betweenrows.mask_column('pay', 'code', '-1', 'code');
        PERFORM betweenrows.deny_columns('pay', '{secret}', 'secret');
    END $$";
const ROLES: &str = "
    DROP DATABASE IF EXISTS driver WITH (FORCE);
    DROP ROLE IF EXISTS driver_alice, driver_bob;
    CREATE ROLE driver_alice LOGIN;
    CREATE ROLE driver_bob LOGIN";

/// A server with that table.
pub struct World {
    socket: String,
    port: u16,
}

impl World {
    /// Makes it anew.
    pub fn create(socket: &str, port: u16) -> Outcome<World> {
        let world = World {
            socket: socket.to_string(),
            port,
        };
        let mut server = world.config("postgres").dbname("postgres").connect(NoTls)?;
        for statement in ROLES.split(';') {
            server.batch_execute(statement)?;
        }
        server.batch_execute("CREATE DATABASE driver")?;
        let mut admin = world.admin()?;
        admin.batch_execute(TABLES)?;
        Ok(world)
    }

    /// Where the server listens.
    pub fn socket_path(&self) -> String {
        format!("{}/.s.PGSQL.{}", self.socket, self.port)
    }

    /// How a user connects.
    pub fn config(&self, user: &str) -> Config {
        let mut config = Config::new();
        config.host(&self.socket).port(self.port).user(user).dbname(DATABASE);
        config
    }

    /// The same, for a session that does not wait for answers.
    pub fn pipelined(&self, user: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host(&self.socket).port(self.port).user(user).dbname(DATABASE);
        config
    }

    /// A superuser's session.
    pub fn admin(&self) -> Outcome<Client> {
        Ok(self.config("postgres").connect(NoTls)?)
    }

    /// The subject's session.
    pub fn alice(&self) -> Outcome<Client> {
        Ok(self.config("driver_alice").connect(NoTls)?)
    }

    /// Changes policies in another session, committed.
    pub fn change(&self, statement: &str) -> Outcome {
        Ok(self.admin()?.batch_execute(statement)?)
    }
}

/// Fails unless both are the same.
pub fn same<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}").into())
}

/// Fails unless it failed with this SQLSTATE.
pub fn fails<T>(what: &str, result: Result<T, postgres::Error>, code: &str) -> Outcome<postgres::error::DbError> {
    let Err(error) = result else {
        return Err(format!("{what}: expected {code}, it worked").into());
    };
    let Some(db) = error.as_db_error().cloned() else {
        return Err(format!("{what}: expected {code}, found {}", explain(&error)).into());
    };
    same(what, db.code().code(), code)?;
    Ok(db)
}

/// The names of the columns of a statement or row.
pub fn names(columns: &[postgres::Column]) -> Vec<&str> {
    columns.iter().map(postgres::Column::name).collect()
}

/// An error with its causes.
pub fn explain(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", explain(cause)),
        None => error.to_string(),
    }
}
