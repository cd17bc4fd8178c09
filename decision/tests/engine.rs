//! The engine as everyone uses it. `BETWEENROWS_ENGINE` names the compiled engine; `make test` sets it.

use std::fs::File;
use std::sync::{Mutex, MutexGuard, OnceLock};

use decision::{Engine, Evaluation, Failure, Level, Limits};

const LIMITS: Limits = Limits {
    fuel: 20_000_000,
    memory: 16 << 20,
    log: 1_000,
};
/// 2026-11-21 13:30:00 UTC.
const NOW: u64 = 1_795_267_800_000_000_000;

/// One engine, and one instance at a time, as in a backend.
fn engine() -> MutexGuard<'static, Engine> {
    static ENGINE: OnceLock<Mutex<Engine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let path = std::env::var("BETWEENROWS_ENGINE")
            .expect("BETWEENROWS_ENGINE is set to what pg_regress/bin/engine prints");
        let file = File::open(path).expect("the compiled engine can be opened");
        // SAFETY: the file was compiled by the tool of this repository.
        Mutex::new(unsafe { Engine::load(file) }.expect("the engine fits"))
    });
    engine.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn run_with(source: &str, context: &str, config: &str, limits: &Limits) -> Evaluation {
    let engine = engine();
    let bytecode = engine.compile(source, &LIMITS).expect("the source can be compiled");
    engine.evaluate(&bytecode, context, config, NOW, Some(Level::Info), limits)
}

fn run(source: &str) -> Evaluation {
    run_with(source, "{}", "{}", &LIMITS)
}

/// What a function body comes to.
fn outcome(body: &str) -> Result<bool, Failure> {
    run(&format!("function evaluate(ctx, config) {{ {body} }}")).outcome
}

#[track_caller]
fn fires(expression: &str) {
    assert_eq!(
        outcome(&format!("return {{fire: {expression}}};")),
        Ok(true),
        "{expression}"
    );
}

#[track_caller]
fn refused(source: &str, position: Option<(u32, u32)>, message: &str) {
    let error = engine().compile(source, &LIMITS).expect_err("the source is refused");
    assert_eq!(
        (error.position, error.message.contains(message)),
        (position, true),
        "{error:?}"
    );
}

#[test]
fn a_function_sees_context_and_config() {
    let source = "function evaluate(ctx, config) { return {fire: ctx.session.user.level > config.limit}; }";
    let at = |level: u32| {
        let context = format!("{{\"session\": {{\"user\": {{\"level\": {level}}}}}}}");
        run_with(source, &context, "{\"limit\": 3}", &LIMITS).outcome
    };
    assert_eq!((at(3), at(4)), (Ok(false), Ok(true)));
}

#[test]
fn every_way_to_define_it_works() {
    for source in [
        "function evaluate() { return {fire: true}; }",
        "export function evaluate() { return {fire: true}; }",
        "const evaluate = () => ({fire: true});",
        "async function evaluate() { return {fire: await Promise.resolve(true)}; }",
        "let helper = 1; function evaluate() { return {fire: helper === 1, reason: 'more is ignored'}; } // comment",
    ] {
        assert_eq!(run(source).outcome, Ok(true), "{source}");
    }
}

#[test]
fn the_same_call_gives_the_same_result_and_takes_the_same_fuel() {
    let source = "const seen = []; function evaluate() {
        seen.push(1); Object.prototype.polluted = (Object.prototype.polluted ?? 0) + 1;
        console.log(seen.length, {}.polluted, Math.random(), Date.now());
        return {fire: seen.length === 1 && {}.polluted === 1};
    }";
    let first = run(source);
    assert_eq!(first.outcome, Ok(true));
    let again = run(source);
    assert_eq!(
        (&again.outcome, again.fuel, &again.logs),
        (&first.outcome, first.fuel, &first.logs)
    );
}

#[test]
fn the_clock_stands_at_the_given_time_in_utc() {
    fires("Date.now() === 1795267800000");
    fires("new Date().toISOString() === '2026-11-21T13:30:00.000Z' && new Date().getHours() === 13");
    fires("new Date().getTimezoneOffset() === 0");
}

#[test]
fn there_is_nothing_to_reach() {
    for name in [
        "require",
        "process",
        "fetch",
        "setTimeout",
        "Javy",
        "std",
        "os",
        "WebAssembly",
        "XMLHttpRequest",
        "navigator",
    ] {
        fires(&format!("typeof {name} === 'undefined'"));
    }
    for source in [
        "import * as std from 'std'; function evaluate() { return {fire: true}; }",
        "import * as os from 'os'; function evaluate() { return {fire: true}; }",
    ] {
        assert!(engine().compile(source, &LIMITS).is_err(), "{source}");
    }
    assert!(matches!(
        run("async function evaluate() { await import('std'); return {fire: true}; }").outcome,
        Err(Failure::Threw(_))
    ));
}

#[test]
fn errors_in_the_source_are_told_with_their_place() {
    refused(
        "function evaluate(ctx) {\n  return {fire: tru e};\n}",
        Some((2, 10)),
        "Unexpected identifier 'e'",
    );
    refused(
        "function evaluate(ctx) {\n  return 1;\n",
        Some((3, 1)),
        "the source ends before it is complete",
    );
    refused(
        "function decide() {}\n",
        Some((2, 1)),
        "the source defines no function \"evaluate\"",
    );
    refused("", Some((1, 1)), "the source defines no function \"evaluate\"");
    refused(
        "const evaluate = {fire: true};",
        Some((1, 1)),
        "\"evaluate\" is not a function",
    );
    refused(
        "\n  nothing.here; function evaluate() {}",
        Some((2, 3)),
        "nothing is not defined",
    );
    refused(
        "while (true); function evaluate() {}",
        None,
        "the limit on fuel was reached",
    );
    refused(
        "const list = []; while (true) list.push(new Uint8Array(1000000)); function evaluate() {}",
        None,
        "the limit on memory was reached",
    );
}

#[test]
fn wrong_results_are_told() {
    for (body, text) in [
        ("", "evaluate returned undefined"),
        ("return true", "evaluate returned bool"),
        ("return null", "evaluate returned null"),
        ("return [true]", "evaluate returned array"),
        ("return {}", "\"fire\" is undefined"),
        ("return {fire: 1}", "\"fire\" is number"),
        ("return {fire: 'true'}", "\"fire\" is string"),
        ("return () => true", "evaluate returned function"),
    ] {
        match outcome(body) {
            Err(Failure::WrongShape(found)) => assert!(found.contains(text), "{body}: {found}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn what_is_thrown_is_told() {
    for (body, text) in [
        ("throw new RangeError('too far')", "RangeError: too far\n"),
        ("throw 'text'", "thrown: text"),
        (
            "throw {toString() { throw 1 }}",
            "thrown: a object that cannot be shown",
        ),
        ("ctx.session.user", "TypeError: "),
        ("return {get fire() { throw new Error('getter') }}", "Error: getter"),
        ("return new Promise(() => {})", "the promise is never settled"),
        ("return Promise.reject(new Error('rejected'))", "Error: rejected"),
        ("throw new Error('a\\0b')", "Error: a\u{fffd}b"),
    ] {
        match outcome(body) {
            Err(Failure::Threw(found)) => assert!(found.contains(text), "{body}: {found:?}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    match outcome("throw new Error('x'.repeat(100000))") {
        Err(Failure::Threw(found)) => assert!(found.len() <= 2_000),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_runs_for_ever() {
    for body in [
        "while (true);",
        "for (;;) { try { for (;;); } catch {} }",
        "return {fire: /^(a+)+$/.test('a'.repeat(40) + 'b')}",
        "return {get fire() { while (true); }}",
        "const f = () => Promise.resolve().then(f); return f()",
        "throw {toString() { while (true); }}",
        "for (const x of {*[Symbol.iterator]() { while (true) yield 1; }});",
    ] {
        assert_eq!(outcome(body), Err(Failure::OutOfFuel), "{body}");
    }
    let spent = run("function evaluate() { while (true); }");
    assert_eq!(spent.fuel, LIMITS.fuel);
}

#[test]
fn memory_is_bounded() {
    for body in [
        "const list = []; while (true) list.push(new Uint8Array(1000000));",
        "return {fire: new ArrayBuffer(1e9).byteLength > 0}",
    ] {
        assert_eq!(outcome(body), Err(Failure::OutOfMemory), "{body}");
    }
    // What it gave up it can do without.
    assert_eq!(
        outcome("try { new ArrayBuffer(1e9) } catch {} return {fire: true}"),
        Ok(true)
    );
}

#[test]
fn recursion_is_bounded() {
    for body in [
        "const f = () => f() + 1; return f()",
        "const o = {}; o.toJSON = () => JSON.stringify(o); return JSON.stringify(o)",
        "return {fire: new RegExp('(?:'.repeat(20000) + ')'.repeat(20000)).test('')}",
    ] {
        assert_eq!(outcome(body), Err(Failure::TooDeep), "{body}");
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let source = "function evaluate() { return {fire: true}; }";
    assert!(run_with(source, &deep, "{}", &LIMITS).outcome.is_err());
    assert!(
        engine()
            .compile(&format!("const a = {deep}; {source}"), &LIMITS)
            .is_err()
    );
}

#[test]
fn an_engine_that_was_hurt_is_as_new_for_the_next_call() {
    for body in [
        "while (true);",
        "const f = () => f() + 1; f()",
        "while (true) ctx[Math.random()] = 'x'.repeat(1e6)",
    ] {
        assert!(outcome(body).is_err());
        fires("true");
    }
}

#[test]
fn logs_are_kept_by_level_and_within_bounds() {
    let source = "function evaluate() {
        console.log('text', 1, {a: [null, true]}, undefined, new Error('e'));
        console.error('bad'); console.warn('w'); console.info('i'); console.debug('d');
        console.log(); return {fire: true}; }";
    let texts = |evaluation: Evaluation| -> Vec<(Level, String)> {
        evaluation.logs.into_iter().map(|log| (log.level, log.text)).collect()
    };
    let info = |text: &str| (Level::Info, text.to_owned());
    let bad = (Level::Error, "bad".to_owned());
    assert_eq!(
        texts(run(source)),
        [
            info("text 1 {\"a\":[null,true]} undefined Error: e"),
            bad.clone(),
            info("w"),
            info("i"),
            info("d"),
            info(""),
        ]
    );
    let engine = engine();
    let bytecode = engine.compile(source, &LIMITS).expect("it can be compiled");
    let at = |level| texts(engine.evaluate(&bytecode, "{}", "{}", NOW, level, &LIMITS));
    assert_eq!((at(Some(Level::Error)), at(None)), (vec![bad], vec![]));
    let flood =
        "function evaluate() { for (let i = 0; i < 50; i++) console.log('é'.repeat(300)); return {fire: true}; }";
    let bytecode = engine.compile(flood, &LIMITS).expect("it can be compiled");
    let flooded = engine.evaluate(&bytecode, "{}", "{}", NOW, Some(Level::Info), &LIMITS);
    assert_eq!(flooded.outcome, Ok(true));
    assert_eq!(flooded.logs.len(), 2);
}

#[test]
fn foreign_bytecode_harms_nobody() {
    let engine = engine();
    let bytecode = engine
        .compile("function evaluate() { return {fire: true}; }", &LIMITS)
        .expect("it can be compiled");
    let with = |bytes: &[u8]| engine.evaluate(bytes, "{}", "{}", NOW, None, &LIMITS).outcome;
    assert_eq!(with(&bytecode), Ok(true));
    assert!(with(b"").is_err());
    assert!(with(b"not bytecode").is_err());
    for index in 0..bytecode.len() {
        let mut changed = bytecode.clone();
        changed[index] ^= 0x55;
        // Whatever it comes to, it comes back.
        let _ = with(&changed);
    }
    assert_eq!(with(&bytecode), Ok(true));
}

#[test]
fn input_that_is_no_json_fails() {
    let source = "function evaluate() { return {fire: true}; }";
    assert!(matches!(
        run_with(source, "{", "{}", &LIMITS).outcome,
        Err(Failure::Threw(_))
    ));
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(20 << 20));
    assert!(run_with(source, &long, "{}", &LIMITS).outcome.is_err());
}

#[test]
fn an_engine_of_another_build_is_refused() {
    let path = std::env::temp_dir().join(format!("betweenrows-engine-{}", std::process::id()));
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("a temporary file can be written");
        // SAFETY: none of these is accepted as code.
        unsafe { Engine::load(File::open(&path).expect("it is there")) }
            .err()
            .map(|error| error.to_string())
    };
    let engine = std::fs::read(std::env::var("BETWEENROWS_ENGINE").expect("it is set")).expect("it can be read");
    assert!(load(b"").is_some());
    assert!(load(b"not an engine").is_some());
    let id = decision::ENGINE_ID.as_bytes();
    let at = engine
        .windows(id.len())
        .position(|window| window == id)
        .expect("the engine says which one it is");
    let mut other = engine;
    other[at] ^= 1;
    let message = load(&other).expect("another engine is refused");
    std::fs::remove_file(&path).expect("it can be removed");
    assert!(message.contains("version"), "{message}");
}
