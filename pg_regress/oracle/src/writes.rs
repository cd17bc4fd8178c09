//! Asks a write of both sides inside transactions that are rolled back, and compares what it returns and what it leaves.

use postgres::Client;

use crate::compare::{Verdict, compare};
use crate::dml::Write;
use crate::forecast::{Expectation, expectation};
use crate::mirror;
use crate::oracle::{Identity, Oracle, Question, become_subject, settings};
use crate::session::{Mode, Outcome, simple};
use crate::world::World;

/// Refused by policy.
const REFUSED: &str = "42501";

/// What the copy says about a write.
struct Forecast {
    outcome: Outcome,
    after: Outcome,
    violations: bool,
    doubts: bool,
}

impl Oracle {
    /// Asks both sides to write.
    pub fn ask_write(&mut self, world: &World, question: &Question, write: &Write) -> (Verdict, Outcome, Outcome) {
        let text = question.query.sql.to_string();
        let copy = mirror::schema(question.subject);
        let Some(expected) = expectation(world, question.subject, &copy, write) else {
            return (
                Verdict::Skipped,
                Outcome::Lost(String::new()),
                Outcome::Lost(String::new()),
            );
        };
        let (governed, left) = self.governed_write(world, question, &text, &expected);
        if let Some(code) = write.refused.filter(|_| !self.copy_only) {
            let verdict = match governed.code() {
                Some(found) if found == code => Verdict::Refused(code.to_string()),
                // A hidden name is refused first.
                Some(found @ ("42703" | "42P01")) if question.query.traits.hidden > 0 => {
                    Verdict::Refused(found.to_string())
                }
                _ => Verdict::Different(format!("must be refused with {code}")),
            };
            return (verdict, governed, Outcome::Lost("not asked".into()));
        }
        let forecast = forecast(&mut self.reference, &copy, &text, &expected);
        let verdict = judge(&governed, left.as_ref(), &forecast, question);
        match verdict {
            Verdict::Different(ref why) if why.contains("left") => (verdict, left.unwrap_or(governed), forecast.after),
            verdict => (verdict, governed, forecast.outcome),
        }
    }

    /// The write's outcome, and the rows it leaves where a superuser in the same session can look.
    fn governed_write(
        &mut self,
        world: &World,
        question: &Question,
        text: &str,
        expected: &Expectation,
    ) -> (Outcome, Option<Outcome>) {
        let user = &world.users[question.subject].name;
        let copy_only = self.copy_only;
        if matches!(question.identity, Identity::Login | Identity::Member) && !copy_only {
            let before = format!(
                "BEGIN; {} {}",
                settings(&question.settings),
                become_subject(world, question)
            );
            return match self.login(question.subject, user) {
                Ok(client) => {
                    simple(client, &before);
                    let outcome = simple(client, text);
                    simple(client, "ROLLBACK");
                    (outcome, None)
                }
                Err(error) => (Outcome::Lost(error), None),
            };
        }
        let become_subject = match copy_only {
            true => format!("SET LOCAL search_path = {}, public", mirror::schema(question.subject)),
            false => become_subject(world, question),
        };
        simple(
            &mut self.admin,
            &format!("BEGIN; {} {become_subject}", settings(&question.settings)),
        );
        let outcome = simple(&mut self.admin, text);
        let mut left = None;
        if matches!(outcome, Outcome::Rows { .. }) {
            simple(&mut self.admin, "RESET ROLE; RESET SESSION AUTHORIZATION");
            let look = if copy_only { &expected.after } else { &expected.raw };
            left = Some(simple(&mut self.admin, look));
        }
        simple(&mut self.admin, "ROLLBACK");
        (outcome, left)
    }
}

fn forecast(client: &mut Client, copy: &str, text: &str, expected: &Expectation) -> Forecast {
    simple(client, &format!("BEGIN; SET LOCAL search_path = {copy}, public"));
    let count = |client: &mut Client, query: &str| match simple(client, query) {
        Outcome::Rows { rows, .. } => rows
            .first()
            .and_then(|row| row[0].clone())
            .is_some_and(|count| count != "0"),
        _ => false,
    };
    // A write that is wrong is wrong in its source, too.
    simple(client, "SAVEPOINT before");
    let mut violations = expected.proposed.as_ref().is_some_and(|query| count(client, query));
    simple(client, "ROLLBACK TO before");
    let outcome = simple(client, text);
    let mut doubts = false;
    let mut after = Outcome::Lost("the write failed".into());
    if matches!(outcome, Outcome::Rows { .. }) {
        violations |= count(client, &expected.violations);
        doubts = count(client, &expected.doubts);
        after = simple(client, &expected.after);
    }
    simple(client, "ROLLBACK");
    Forecast {
        outcome,
        after,
        violations,
        doubts,
    }
}

/// SQLSTATE of a cursor that stands on no row.
const NO_CURRENT_ROW: &str = "24000";

fn judge(governed: &Outcome, left: Option<&Outcome>, forecast: &Forecast, question: &Question) -> Verdict {
    if forecast.violations {
        return match governed.code() {
            Some(REFUSED) => Verdict::Refused(REFUSED.to_string()),
            // The copy's violation may lie behind an error that both sides meet first.
            Some(code) if forecast.outcome.code() == Some(code) => Verdict::Refused(code.to_string()),
            _ => Verdict::Different("a row that violates the filters was written".into()),
        };
    }
    if forecast.doubts && governed.code() == Some(REFUSED) {
        return Verdict::Refused(REFUSED.to_string());
    }
    if let Outcome::Failure { .. } = &forecast.after {
        return Verdict::Different("the expected rows cannot be computed".into());
    }
    // Without a row that can be seen, the plan decides whether WHERE CURRENT OF is asked at all.
    let nothing = matches!(governed, Outcome::Rows { count: 0, .. });
    if nothing && forecast.outcome.code() == Some(NO_CURRENT_ROW) {
        return Verdict::Refused(NO_CURRENT_ROW.to_string());
    }
    let verdict = compare(governed, &forecast.outcome, false, &question.query.traits, Mode::Simple);
    match (verdict, left) {
        (Verdict::Equal, Some(left)) if left.clone().sorted() != forecast.after.clone().sorted() => {
            Verdict::Different("different rows left in the table".into())
        }
        (verdict, _) => verdict,
    }
}
