//! A run: world after world, question after question.

use std::time::{Duration, Instant};

use crate::compare::Verdict;
use crate::dice::Dice;
use crate::oracle::{Oracle, Question};
use crate::session::Outcome;
use crate::shrink::{Mismatch, script};
use crate::world::World;

/// After how many questions the world changes.
const CHANGE_EVERY: usize = 40;

/// How long a run goes on.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The first world's seed; the others count up from it.
    pub seed: u64,
    /// Statements to ask, unless `seconds` says how long.
    pub iterations: usize,
    /// Seconds to go on.
    pub seconds: Option<u64>,
    /// Statements asked of one world.
    pub per_world: usize,
    /// Mismatches after which to stop.
    pub mismatches: usize,
    /// What names of roles begin with.
    pub prefix: String,
    /// Whether mismatches are shrunk and printed.
    pub report: bool,
    /// Prints the statements that both sides refuse with a SQLSTATE that begins like this.
    pub show_refused: Option<String>,
}

/// Asks until the plan is fulfilled.
///
/// # Errors
/// When a world cannot be built: the generator's fault, or the extension refuses a policy it should take.
pub fn run(oracle: &mut Oracle, plan: &Plan) -> Result<(), String> {
    let started = Instant::now();
    let mut asked = 0;
    for number in 0.. {
        let more = match plan.seconds {
            Some(seconds) => started.elapsed() < Duration::from_secs(seconds),
            None => asked < plan.iterations,
        };
        if !more || oracle.stats.mismatches >= plan.mismatches {
            break;
        }
        let seed = plan.seed.wrapping_add(number);
        asked += one_world(oracle, plan, seed).map_err(|error| format!("world of --seed {seed}: {error}"))?;
    }
    Ok(())
}

/// Asks one world's questions; now and then the world changes under the open sessions.
fn one_world(oracle: &mut Oracle, plan: &Plan, seed: u64) -> Result<usize, String> {
    let mut dice = Dice::new(seed);
    let mut world = World::generate(&mut dice, &plan.prefix);
    oracle.build(&world)?;
    let mut questions = Vec::new();
    for asked in 1..=plan.per_world {
        if asked % CHANGE_EVERY == 0 && !oracle.copy_only {
            let kept = oracle.prepare_some(&mut dice, &world, &questions);
            oracle.change(&mut dice, &mut world)?;
            questions.clear();
            for kept in &kept {
                let asked = (kept.question.clone(), oracle.ask_kept(&world, kept));
                if !judge(oracle, plan, seed, &world, asked)? {
                    return Ok(plan.per_world);
                }
            }
        }
        let question = Oracle::question(&mut dice, &world, oracle.major);
        let outcomes = oracle.ask(&world, &question);
        questions.push(question.clone());
        if !judge(oracle, plan, seed, &world, (question, outcomes))? {
            return Ok(asked);
        }
    }
    Ok(plan.per_world)
}

/// Counts and reports; whether to go on in this world.
fn judge(
    oracle: &mut Oracle,
    plan: &Plan,
    seed: u64,
    world: &World,
    (question, (verdict, governed, copy)): (Question, (Verdict, Outcome, Outcome)),
) -> Result<bool, String> {
    match verdict {
        Verdict::Equal if question.write.is_some() => oracle.stats.writes += 1,
        Verdict::Equal => {
            oracle.stats.rows += 1;
            oracle.stats.nonempty += usize::from(matches!(&copy, Outcome::Rows { rows, .. } if !rows.is_empty()));
        }
        Verdict::Refused(code) => {
            if plan
                .show_refused
                .as_ref()
                .is_some_and(|wanted| code.starts_with(wanted))
            {
                println!("refused: {:?} {}\n{governed}{copy}", question.mode, question.query.sql);
            }
            *oracle.stats.errors.entry(code).or_default() += 1;
        }
        Verdict::Skipped => oracle.stats.skipped += 1,
        Verdict::Different(reason) => {
            oracle.stats.mismatches += 1;
            if plan.report {
                report(
                    oracle,
                    world,
                    Mismatch {
                        question,
                        reason,
                        governed,
                        copy,
                    },
                    seed,
                    plan,
                );
            }
            // The sessions and copies are not what they were.
            return Ok(false);
        }
    }
    Ok(true)
}

fn report(oracle: &mut Oracle, world: &World, found: Mismatch, seed: u64, plan: &Plan) {
    println!(
        "MISMATCH: {}\nreplay: make oracle PG={} ARGS=\"--seed {seed} --iterations {} --per-world {}\"",
        found.reason, oracle.major, plan.per_world, plan.per_world
    );
    println!(
        "as asked ({:?}, {:?}): {}",
        found.question.identity, found.question.mode, found.question.query.sql
    );
    println!("as a subject: {}over the copy: {}", found.governed, found.copy);
    let (world, found, reproduced) = oracle.shrink(world, found);
    if !reproduced {
        println!("A new session over a new world does not show it: it depends on what was asked before.");
    }
    println!("{}", script(&world, &found));
    println!(
        "-- ---- as a subject\n{}\n-- ---- over the copy\n{}",
        found.governed, found.copy
    );
}
