//! Has the players of `www` there before the crate is compiled, and the crate compiled anew when a file in `www` comes,
//! changes or goes: the compiler by itself follows only those that were embedded the last time.

use std::path::Path;
use std::process::{Command, Stdio};

/// The files that the binary takes from npm's packages.
const PLAYERS: [&str; 2] = [
    "www/node_modules/hls.js/dist/hls.min.js",
    "www/node_modules/mpegts.js/dist/mpegts.js",
];
/// `off`: npm is not run.
const SWITCH: &str = "PROXY_BUILD_NPM";

fn main() {
    println!("cargo::rerun-if-changed=www");
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed={SWITCH}");
    let missing = PLAYERS.iter().any(|file| !Path::new(file).is_file());
    let is_off = std::env::var(SWITCH).is_ok_and(|value| value == "off");
    // Documentation is built without a network.
    if missing && !is_off && std::env::var_os("DOCS_RS").is_none() {
        install();
    }
}

/// Runs `npm ci`. That it fails, or that there is no npm, never fails the build: the player page says what is missing.
fn install() {
    let arguments =
        "ci --ignore-scripts --no-audit --no-fund --silent --fetch-retries=1 --fetch-timeout=20000";
    let run = Command::new("npm")
        .args(arguments.split(' '))
        .current_dir("www")
        .stdin(Stdio::null())
        .stdout(Stdio::null()) // cargo reads it
        .status();
    let why = match run {
        Ok(status) if status.success() => return,
        Ok(status) => format!("npm ci in www failed ({status})"),
        Err(error) => format!("npm does not start ({error})"),
    };
    println!(
        "cargo::warning=the player page will have no FLV and TS: {why}. Run npm ci in www and build again, or set {SWITCH}=off"
    );
}
