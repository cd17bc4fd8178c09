//! A new migration is part of the binary: cargo has to know where they are.

fn main() {
    println!("cargo::rerun-if-changed=../sql/daemon");
}
