//! Tells the crate which engine it belongs to.

use std::path::Path;

fn main() {
    // Asked when it runs: the script may have been compiled in another clone that shares the target directory.
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
    let file = Path::new(&crate_dir).join("../engine/engine.wasm.sha256");
    println!("cargo::rerun-if-changed={}", file.display());
    let text = std::fs::read_to_string(&file).expect("engine/engine.wasm.sha256 can be read");
    let id = text.split_whitespace().next().expect("it starts with the checksum");
    println!("cargo::rustc-env=BETWEENROWS_ENGINE_ID={id}");
}
