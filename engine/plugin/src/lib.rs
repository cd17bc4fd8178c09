//! The JavaScript engine of decision functions: a Javy plugin (QuickJS) with two exports of its own.
//!
//! * `decision-compile(source, length)` turns source that defines `evaluate` into bytecode.
//! * `decision-evaluate(bytecode, length, input, length)` calls `evaluate` with the elements of the JSON array `input`.
//!
//! Both return the address of three words: a status, and address and length of a text. The host (the crate `decision`)
//! makes an instance for each call, so that nothing is kept between calls and nothing has to be freed. The instance
//! starts from a snapshot taken after `initialize-runtime`.

// One thread, and the statics are written once, before anything reads them.
#![allow(static_mut_refs)]

use javy_plugin_api::javy::Runtime;
use javy_plugin_api::javy::quickjs::{
    self, CatchResultExt, CaughtError, Coerced, Context, Ctx, Error, Function, Module, Object, Value, WriteOptions,
    prelude::Func,
};
use javy_plugin_api::{Config, import_namespace};

import_namespace!("betweenrows-decision-v1");

#[link(wasm_import_module = "betweenrows")]
unsafe extern "C" {
    /// Hands one message of the function's to the host.
    fn log(level: u32, text: *const u8, length: usize);
}

/// The bytecode of a compilation, or an evaluation that does not fire.
const OK: u32 = 0;
/// An evaluation that fires.
const FIRES: u32 = 1;
/// JavaScript threw: the text is the error with its stack.
const THREW: u32 = 2;
/// `evaluate` is missing or gave something else than `{fire: boolean}`: the text says what.
const WRONG_SHAPE: u32 = 3;

/// What stack traces call the user's source; the host looks for it to find line and column.
const FILE: &str = "decision.js";
/// Makes `evaluate` reachable from outside, under a name that does not collide when the source exports it itself.
const EXPORTED: &str = "betweenrows_evaluate";

static mut CONTEXT: Option<Context> = None;

type Outcome = Result<(u32, Vec<u8>), Error>;

/// Prepares the state that every instance starts from.
#[unsafe(export_name = "initialize-runtime")]
pub extern "C" fn initialize_runtime() {
    let config = || {
        let mut config = Config::default();
        config.text_encoding(true);
        config
    };
    javy_plugin_api::initialize_runtime(config, prepare).expect("the runtime can be made");
}

fn prepare(runtime: Runtime) -> Runtime {
    runtime.context().with(|cx| {
        let install: Function = cx.eval(include_str!("prelude.js")).expect("the prelude is valid");
        let send = Func::from(|level: u32, text: String| {
            // SAFETY: the host reads the text during the call.
            unsafe { log(level, text.as_ptr(), text.len()) }
        });
        install.call::<_, ()>((send,)).expect("the prelude runs");
        // What the first use of these allocates is in the snapshot then.
        cx.json_parse(&b"[{\"a\": 1}, {\"b\": [true]}]"[..])
            .expect("JSON is available");
    });
    // SAFETY: one thread, and nothing has read it yet.
    unsafe { CONTEXT = Some(runtime.context().clone()) };
    runtime
}

/// # Safety
/// The address and length are those of the source, in UTF-8.
#[unsafe(export_name = "decision-compile")]
pub unsafe extern "C" fn decision_compile(source: *const u8, length: usize) -> *const u32 {
    // SAFETY: promised by the caller.
    let source = unsafe { std::slice::from_raw_parts(source, length) };
    answer(|cx| compile(cx, source))
}

/// # Safety
/// The addresses and lengths are those of bytecode from `decision-compile` and of a JSON text.
#[unsafe(export_name = "decision-evaluate")]
pub unsafe extern "C" fn decision_evaluate(
    bytecode: *const u8,
    bytecode_length: usize,
    input: *const u8,
    input_length: usize,
) -> *const u32 {
    // SAFETY: promised by the caller.
    let (bytecode, input) = unsafe {
        (
            std::slice::from_raw_parts(bytecode, bytecode_length),
            std::slice::from_raw_parts(input, input_length),
        )
    };
    answer(|cx| evaluate(cx, bytecode, input))
}

fn compile(cx: &Ctx, source: &[u8]) -> Outcome {
    let mut text = source.to_vec();
    text.extend_from_slice(format!("\nexport {{ evaluate as {EXPORTED} }};\n").as_bytes());
    let module = Module::declare(cx.clone(), FILE, text)?;
    let bytecode = module.write(WriteOptions {
        strip_source: true,
        ..WriteOptions::default()
    })?;
    // The top level runs once now, so that what fails there and what is not a function is told to the author.
    let (module, promise) = module.eval()?;
    promise.finish::<()>()?;
    let evaluate: Value = module.get(EXPORTED)?;
    if evaluate.is_function() {
        Ok((OK, bytecode))
    } else {
        Ok((WRONG_SHAPE, b"\"evaluate\" is not a function".to_vec()))
    }
}

fn evaluate<'js>(cx: &Ctx<'js>, bytecode: &[u8], input: &[u8]) -> Outcome {
    // SAFETY: made by `compile` of this very engine. Were it not, the sandbox would hold whatever it does.
    let module = unsafe { Module::load(cx.clone(), bytecode)? };
    let (module, promise) = module.eval()?;
    promise.finish::<()>()?;
    let evaluate: Function = module.get(EXPORTED)?;
    let (context, config): (Value, Value) = {
        let input: quickjs::Array = cx.json_parse(input)?.get()?;
        (input.get(0)?, input.get(1)?)
    };
    let mut result: Value = evaluate.call((context, config))?;
    if let Some(promise) = result.as_promise() {
        result = promise.finish()?;
    }
    let fire: Value = match result.as_object() {
        Some(object) if !object.is_array() && !object.is_function() => object.get("fire")?,
        _ => return Ok(wrong_shape("evaluate returned", &result)),
    };
    match fire.as_bool() {
        Some(true) => Ok((FIRES, Vec::new())),
        Some(false) => Ok((OK, Vec::new())),
        None => Ok(wrong_shape("the result's \"fire\" is", &fire)),
    }
}

fn wrong_shape(what: &str, value: &Value) -> (u32, Vec<u8>) {
    let kind = match value.type_name() {
        "int" | "float" => "number",
        other => other,
    };
    (
        WRONG_SHAPE,
        format!("{what} {kind}, expected {{fire: true}} or {{fire: false}}").into_bytes(),
    )
}

/// Runs one export's work and gives the host its answer.
fn answer(work: impl FnOnce(&Ctx) -> Outcome) -> *const u32 {
    static mut ANSWER: [u32; 3] = [0; 3];
    // SAFETY: written before the snapshot was taken, read only since.
    let context = unsafe { CONTEXT.as_ref() }.expect("the engine was initialised");
    context.with(|cx| {
        let (status, text) = work(&cx).catch(&cx).unwrap_or_else(|error| (THREW, describe(error)));
        let text = text.leak();
        // SAFETY: one thread; the host reads it before it calls again.
        unsafe {
            ANSWER = [status, text.as_ptr() as u32, text.len() as u32];
            ANSWER.as_ptr()
        }
    })
}

/// An error with its stack, without running code of the user's again where that can be avoided.
fn describe(error: CaughtError) -> Vec<u8> {
    match error {
        CaughtError::Exception(exception) => {
            let name = own_text(exception.as_object(), "name").unwrap_or_else(|| "Error".to_owned());
            let message = exception.message().unwrap_or_default();
            let stack = exception.stack().unwrap_or_default();
            format!("{name}: {message}\n{stack}").into_bytes()
        }
        CaughtError::Value(value) => {
            let text = value.get::<Coerced<String>>().map(|text| text.0);
            let text = text.unwrap_or_else(|_| format!("a {} that cannot be shown", value.type_name()));
            format!("thrown: {text}").into_bytes()
        }
        CaughtError::Error(Error::WouldBlock) => b"the promise is never settled: there is nothing to wait for".to_vec(),
        CaughtError::Error(error) => error.to_string().into_bytes(),
    }
}

fn own_text(object: &Object, key: &str) -> Option<String> {
    object
        .get::<_, Option<Coerced<String>>>(key)
        .ok()
        .flatten()
        .map(|text| text.0)
}
