//! Has the crate compiled anew when a file in `www` comes, changes or goes: the compiler by itself
//! follows only those that were embedded the last time, so it would miss a first `npm ci`.
fn main() {
    println!("cargo::rerun-if-changed=www");
    println!("cargo::rerun-if-changed=src/build.rs");
}
