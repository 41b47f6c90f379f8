//! Has the players of `www` there before the crate is compiled, and the crate compiled anew when a file in `www` comes,
//! changes or goes: the compiler by itself follows only those that were embedded the last time.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

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
    if let Err(error) = gzip() {
        panic!("cannot gzip the pages of www: {error}");
    }
}

/// Gzips the texts of `www` that the binary has, and writes the table `GZIPPED` of those that get shorter. A browser on
/// a slow line waits a third of the time for the players.
fn gzip() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let mut names: Vec<String> = PLAYERS
        .iter()
        .filter_map(|player| player.strip_prefix("www/"))
        .map(str::to_owned)
        .collect();
    for entry in fs::read_dir("www")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_text = [".html", ".css", ".js", ".svg"]
            .iter()
            .any(|end| name.ends_with(end));
        names.extend(is_text.then_some(name));
    }
    names.sort();
    let mut table = "static GZIPPED: &[(&str, &[u8])] = &[\n".to_owned();
    for (n, name) in names.iter().enumerate() {
        let Ok(bytes) = fs::read(Path::new("www").join(name)) else {
            continue; // a player that is not there
        };
        // Without a time and a name: the same page makes the same bytes.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        let gzipped = encoder.finish()?;
        if gzipped.len() < bytes.len() {
            let file = out.join(format!("{n}.gz"));
            fs::write(&file, gzipped)?;
            let _ = writeln!(table, "    ({name:?}, include_bytes!({file:?})),");
        }
    }
    table.push_str("];\n");
    fs::write(out.join("gzipped.rs"), table)
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
