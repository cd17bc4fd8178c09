//! Parts of the extension's audit that need no server, for their unit tests: the extension's own test program could not be
//! linked without one.

#[path = "../../../extension/src/audit/event.rs"]
#[allow(dead_code, reason = "used in the extension")]
mod event;
#[path = "../../../extension/src/audit/spool/frame.rs"]
#[allow(dead_code, reason = "used in the extension")]
mod frame;
#[path = "../../../extension/src/audit/text.rs"]
mod text;
