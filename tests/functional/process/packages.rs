//! What `print` prints is good where it is used, and `health` tells how a proxy is.

use crate::common::fetch::get;
use crate::common::origin::Origin;
use crate::common::process::own_binary;
use crate::common::proxy::Proxy;
use crate::common::tls::TestRoot;
use crate::common::tools;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// How long a tool may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the binary prints.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    tools::output(own_binary().arg("print").args(arguments), DEADLINE)
}

/// Whether a tool that not every machine has is there. Without it, says which test is not run.
fn has(tool: &str, test: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path.split(':').any(|it| Path::new(it).join(tool).is_file());
    if !found {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: there is no {tool}");
    }
    found
}

#[test]
fn each_name_is_printed_and_listed_in_help() {
    let help = tools::output(own_binary().args(["print", "--help"]), DEADLINE);
    for (name, words) in [
        ("systemd-service", "Type=notify"),
        ("systemd-socket", "FileDescriptorName=players"),
        ("systemd-socket-operators", "FileDescriptorName=operators"),
        ("dockerfile", "FROM scratch"),
        ("compose", "services:"),
        ("alerts", "groups:"),
        ("grafana", "\"panels\""),
        ("completions", "complete -F"),
    ] {
        assert!(printed(&[name]).contains(words), "{name}");
        assert!(help.contains(&format!("- {name}:")), "{name}: {help}");
    }
    let wrong = tools::run(own_binary().args(["print", "nginx"]), DEADLINE);
    assert_eq!(wrong.status.code(), Some(2));
    let why = String::from_utf8_lossy(&wrong.stderr).into_owned();
    let line = "srs-stream-proxy: <NAME> is \"nginx\"; accepted: systemd-service or ";
    assert!(
        why.starts_with(line) && why.contains("systemd-service"),
        "{why}"
    );
}

#[test]
fn the_systemd_units_are_verified() {
    if !has("systemd-analyze", "the_systemd_units_are_verified") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let binary = own_binary().get_program().to_string_lossy().into_owned();
    for (name, file) in [
        ("systemd-service", "srs-stream-proxy.service"),
        ("systemd-socket", "srs-stream-proxy.socket"),
        (
            "systemd-socket-operators",
            "srs-stream-proxy-operators.socket",
        ),
    ] {
        // A program that is not there is a complaint of its own.
        let unit =
            printed(&[name]).replace("/usr/local/bin/srs-stream-proxy\n", &format!("{binary}\n"));
        fs::write(directory.path().join(file), unit).expect("writing a unit");
    }
    let mut verify = Command::new("systemd-analyze");
    let units = fs::read_dir(directory.path()).expect("units");
    let units = units.map(|it| it.expect("a unit").path());
    verify.arg("verify").args(units);
    let Output { status, stderr, .. } = tools::run(&mut verify, DEADLINE);
    let complaints = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{complaints}");
    // It warns of other units of the machine, too.
    assert!(!complaints.contains("srs-stream-proxy"), "{complaints}");
}

#[test]
fn the_alert_rules_do_what_they_say() {
    let directory = tempfile::tempdir().expect("a directory");
    let rules = directory.path().join("alerts.yaml");
    fs::write(&rules, printed(&["alerts"])).expect("writing the rules");
    let test = directory.path().join("alerts_test.yaml");
    fs::copy(source("src/dist/alerts_test.yaml"), &test).expect("copying their test");
    promtool(&["check", "rules"], &rules);
    promtool(&["test", "rules"], &test);
}

#[test]
fn each_query_of_the_dashboard_is_one_of_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&printed(&["grafana"])).expect("JSON");
    let mut queries = BTreeSet::new();
    collect(&dashboard, &mut queries);
    assert!(queries.len() > 20, "{queries:?}");
    let directory = tempfile::tempdir().expect("a directory");
    let rules = directory.path().join("queries.yaml");
    let mut text = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (number, query) in queries.iter().enumerate() {
        let query = query
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".*");
        text += &format!("  - {{record: 'q:{number}', expr: '{query}'}}\n");
    }
    fs::write(&rules, text).expect("writing the queries");
    promtool(&["check", "rules"], &rules);

    // Each name is one of a proxy that has had a request, and a certificate.
    let origin = Origin::start();
    let proxy = Proxy::builder().https(&TestRoot::new()).start();
    proxy.register(&origin);
    get(proxy.http, "/live/none.m3u8");
    let metrics = get(proxy.api, "/metrics").text().to_string();
    let mut used = names(&queries.into_iter().collect::<Vec<_>>().join(" "));
    used.extend(names(&printed(&["alerts"])));
    for name in used {
        assert!(metrics.contains(&format!("\n{name}")), "{name}: {metrics}");
    }
}

/// The metric names in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let own = words.filter(|it| it.starts_with("srs_proxy_") || it.starts_with("process_"));
    own.map(str::to_owned).collect()
}

fn collect(value: &Value, queries: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            queries.extend(
                fields
                    .get("expr")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|it| collect(it, queries));
        }
        Value::Array(items) => items.iter().for_each(|it| collect(it, queries)),
        _ => {}
    }
}

#[test]
fn the_compose_file_names_what_there_is() {
    let compose: Value = serde_yaml_ng::from_str(&printed(&["compose"])).expect("YAML");
    let services = compose["services"].as_object().expect("services");
    let expected = ["proxy", "srs1", "srs2", "redis", "prometheus"];
    assert_eq!(services.keys().collect::<Vec<_>>(), expected);
    for (name, service) in services {
        assert!(service["image"].is_string(), "{name}");
        for config in service["configs"].as_array().into_iter().flatten() {
            let source = config["source"].as_str().expect("a source");
            assert!(compose["configs"].get(source).is_some(), "{name}: {source}");
        }
    }
    for file in [
        &services["proxy"]["build"]["dockerfile"],
        &compose["configs"]["alerts"]["file"],
    ] {
        let file = file.as_str().expect("a path");
        assert!(source(file).is_file(), "{file}");
    }
    // Its settings are settings.
    let settings = services["proxy"]["environment"]
        .as_object()
        .expect("settings");
    let help = tools::output(own_binary().arg("--help"), DEADLINE);
    for name in settings.keys() {
        assert!(help.contains(&format!("[env: {name}]")), "{name}");
    }
    // What Prometheus gets.
    let directory = tempfile::tempdir().expect("a directory");
    let text = compose["configs"]["prometheus"]["content"]
        .as_str()
        .expect("its settings");
    let rules = source("src/dist/alerts.yaml");
    let text = text.replace(
        "/etc/prometheus/alerts.yaml",
        rules.to_str().expect("UTF-8"),
    );
    let file = directory.path().join("prometheus.yml");
    fs::write(&file, text).expect("writing its settings");
    promtool(&["check", "config"], &file);
    // Where docker compose is, it reads the file.
    let compose = Command::new("docker").args(["compose", "version"]).output();
    if compose.is_ok_and(|it| it.status.success()) {
        let mut check = Command::new("docker");
        let top = env!("CARGO_MANIFEST_DIR");
        check.args([
            "compose",
            "-f",
            "src/dist/compose.yaml",
            "--project-directory",
            ".",
            "config",
            "-q",
        ]);
        tools::output(check.current_dir(top), DEADLINE);
    }
}

#[test]
fn the_dockerfile_makes_a_static_binary_that_nobody_in_particular_runs() {
    let text = printed(&["dockerfile"]);
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|it| !it.is_empty() && !it.starts_with('#'));
    let (mut stages, mut user) = (Vec::new(), "");
    for line in lines {
        let (word, rest) = line.split_once(' ').expect("a word and more");
        match word {
            "FROM" => {
                user = "root";
                stages.push(rest.split(" AS ").collect::<Vec<_>>());
            }
            "COPY" => {
                let words: Vec<&str> = rest.split(' ').collect();
                match words[0].strip_prefix("--from=") {
                    Some(from) => {
                        assert!(stages.iter().any(|it| it.last() == Some(&from)), "{line}")
                    }
                    None => {
                        for file in &words[..words.len() - 1] {
                            assert!(source(file).exists(), "{line}");
                        }
                    }
                }
            }
            "USER" => user = rest,
            "HEALTHCHECK" => assert!(rest.contains("\"health\""), "{line}"),
            "WORKDIR" | "RUN" | "ENV" | "EXPOSE" | "STOPSIGNAL" => {}
            "ENTRYPOINT" => assert_eq!(rest, "[\"/srs-stream-proxy\"]"),
            _ => panic!("{line}"),
        }
    }
    assert_eq!(stages.last().expect("a stage"), &["scratch"]);
    assert_eq!(user, "65534:65534");
}

#[test]
fn completions_are_scripts_that_the_shell_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("completions.bash");
    fs::write(&script, printed(&["completions", "bash"])).expect("writing the script");
    let completed = "source \"$1\"; COMP_WORDS=(srs-stream-proxy --http-s); COMP_CWORD=1; \
                     _srs__stream__proxy srs-stream-proxy --http-s srs-stream-proxy; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", completed, "bash"]).arg(&script);
    assert_eq!(tools::output(&mut bash, DEADLINE), "--http-server\n");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(
            printed(&["completions", shell]).contains("http-server"),
            "{shell}"
        );
    }
}

#[test]
fn health_is_the_exit_code() {
    let health = |proxy: &Proxy, more: &[&str]| {
        let mut command = own_binary();
        let api = proxy.api.to_string();
        command.args(["health", "--system-api", &api]).args(more);
        tools::run(&mut command, DEADLINE)
    };
    // A token is no hindrance.
    let mut proxy = Proxy::start(&[("PROXY_SYSTEM_API_TOKEN", "s3cret")]);
    assert_eq!(health(&proxy, &["--live"]).status.code(), Some(0));
    let waiting = health(&proxy, &[]);
    assert_eq!(waiting.status.code(), Some(1));
    let why = String::from_utf8_lossy(&waiting.stderr).into_owned();
    assert!(why.contains("503") && why.contains("origin"), "{why}");
    proxy.signal(rustix::process::Signal::TERM);
    proxy.wait_exit(DEADLINE);
    assert_eq!(health(&proxy, &["--live"]).status.code(), Some(1));
    let origin = Origin::start();
    let ready = Proxy::before(&origin, &[]);
    let output = health(&ready, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("alive_origins"));
}

/// A directory with programs that stand for others: each writes its name and arguments to `calls`, then runs its line.
fn stand_ins(directory: &Path, programs: &[(&str, &str)]) {
    let bin = directory.join("bin");
    fs::create_dir(&bin).expect("a directory");
    for (name, line) in programs {
        let file = bin.join(name);
        let calls = directory.join("calls");
        let text = format!(
            "#!/bin/sh\necho {name} \"$@\" >>{}\n{line}\n",
            calls.display()
        );
        fs::write(&file, text).expect("writing a program");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
}

/// What the stand-ins were called with.
fn calls(directory: &Path) -> String {
    fs::read_to_string(directory.join("calls")).unwrap_or_default()
}

#[test]
fn a_release_has_a_file_for_each_machine_and_names_what_it_lacks() {
    let program = r#"case "$1" in
metadata) echo '{"packages":[{"name":"srs-stream-proxy","version":"7.8.9"}]}' ;;
build)
    while [ "$1" != --target ]; do shift; done
    mkdir -p "$CARGO_TARGET_DIR/$2/release" && echo "$2" >"$CARGO_TARGET_DIR/$2/release/srs-stream-proxy" ;;
esac"#;
    for (has_target, files) in [
        ("exit 0", &["x86_64", "aarch64"][..]),
        ("[ \"$4\" != aarch64-unknown-linux-musl ]", &["x86_64"]),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        stand_ins(
            directory.path(),
            &[
                ("cargo", program),
                ("rustc", "echo /nowhere"),
                ("rustup", has_target),
                ("cc", ""),
                ("x86_64-linux-gnu-gcc", ""),
                ("aarch64-linux-gnu-gcc", ""),
            ],
        );
        let out = directory.path().join("out");
        let mut release = Command::new("bash");
        let path = format!("{}:/usr/bin:/bin", directory.path().join("bin").display());
        release.arg(source(".ci/release")).arg(&out);
        release.env("PATH", path);
        release.env("CARGO_TARGET_DIR", directory.path().join("target"));
        let ran = tools::run(&mut release, DEADLINE);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{said}");
        let sums = fs::read_to_string(out.join("SHA256SUMS")).expect("the sums");
        assert_eq!(sums.lines().count(), files.len(), "{sums}");
        for machine in files {
            let name = format!("srs-stream-proxy-7.8.9-{machine}-linux");
            assert!(sums.contains(&name), "{sums}");
            let built = fs::read_to_string(out.join(name)).expect("a file");
            assert_eq!(built.trim(), format!("{machine}-unknown-linux-musl"));
        }
        let missing = "NOT BUILT: aarch64, for Rust's target aarch64-unknown-linux-musl";
        assert_eq!(said.contains(missing), files.len() == 1, "{said}");
        assert!(calls(directory.path()).contains("--release --locked"));
    }
}

#[test]
fn the_build_fetches_the_players_where_npm_is_and_never_fails() {
    // The build script that made this very binary, with a stand-in for npm.
    let target = Path::new(env!("CARGO_BIN_EXE_srs-stream-proxy"));
    let builds = target.parent().expect("its directory").join("build");
    let scripts = fs::read_dir(builds).expect("build scripts");
    let script = scripts
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let own = path.file_name()?.to_str()?.starts_with("srs-stream-proxy-");
            let script = path.join("build-script-build");
            let time = fs::metadata(&script).ok()?.modified().ok()?;
            own.then_some((time, script))
        })
        .max()
        .expect("a build script")
        .1;
    let install =
        "mkdir -p node_modules/hls.js/dist && echo player >node_modules/hls.js/dist/hls.min.js";
    for (npm, switch, called, warned) in [
        (Some(install), "", true, false),
        (Some("exit 1"), "", true, true),
        (Some(install), "off", false, false),
        (None, "", false, true),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("www")).expect("a directory");
        fs::create_dir_all(directory.path().join("out")).expect("a directory");
        fs::write(directory.path().join("www/index.html"), "page ".repeat(99)).expect("a page");
        let programs: Vec<_> = npm.iter().map(|line| ("npm", *line)).collect();
        stand_ins(directory.path(), &programs);
        let mut build = Command::new(&script);
        // Without npm: its interpreter's directory alone would have the machine's own.
        let path = match npm {
            Some(_) => format!("{}:/usr/bin:/bin", directory.path().join("bin").display()),
            None => directory.path().join("bin").display().to_string(),
        };
        build.current_dir(directory.path());
        build
            .env("PATH", path)
            .env("OUT_DIR", directory.path().join("out"));
        build.env_remove("DOCS_RS").env("PROXY_BUILD_NPM", switch);
        let ran = tools::run(&mut build, DEADLINE);
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{said}");
        assert_eq!(
            calls(directory.path()).contains("npm ci "),
            called,
            "{said}"
        );
        let warning = "cargo::warning=the player page will have no FLV and TS";
        assert_eq!(said.contains(warning), warned, "{npm:?}: {said}");
        let gzipped = fs::read_to_string(directory.path().join("out/gzipped.rs"));
        assert!(gzipped.expect("the table").contains("index.html"));
    }
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[track_caller]
fn promtool(words: &[&str], file: &Path) {
    tools::output(tools::command("promtool").args(words).arg(file), DEADLINE);
}
