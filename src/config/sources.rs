//! Where settings come from: the command line, the environment and `.env`, in this order.
//!
//! clap could read the environment by itself, but it takes an empty value for a value, and it sees
//! neither `.env` nor a test's own environment unless the process's is changed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _};

use crate::config::error::{ConfigError, SECRETS, Source};
use crate::config::names::{PREFIX, environment_name, is_setting, settings, warning_about};
use crate::config::{Command, Config, HealthArgs, OriginArgs, PrintArgs, dotenv};

/// Finds the SRS origin that has the stream and relays HTTP-FLV, HTTP-TS and HLS from it.
///
/// Each setting is a flag, a name in the environment, and a line in .env in the working directory: the
/// first of them counts, then the default. Empty values in the environment count as not set. Durations
/// are written 300ms, 20s, 5m; addresses 18080, :18080, 127.0.0.1:18080, [::1]:18080.
#[derive(clap::Parser)]
#[command(name = "srs-stream-proxy", version, verbatim_doc_comment)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "this text is the head of --help, and [::1] in it an address"
)]
struct CommandLine {
    #[command(flatten)]
    config: Config,

    #[command(subcommand)]
    word: Option<Word>,
}

#[derive(clap::Subcommand)]
enum Word {
    /// Run the proxy and lab origins in one process, to see it work; takes the same settings
    Demo(Box<Config>),
    /// Run a lab origin: a server that behaves like SRS over HTTP, with a clip for a stream
    Origin(OriginArgs),
    /// Ask the proxy of these settings whether it is ready: exit code 0 when it is, 1 when not
    Health(Box<HealthArgs>),
    /// Print a file for running the proxy somewhere: systemd, Docker, Prometheus, Grafana, shells
    Print(PrintArgs),
}

/// Longest file of a secret, in bytes: whatever is longer is another file.
const MAX_SECRET_FILE: u64 = 64 * 1024;
/// How much longer than the grace time the force timeout is where only the grace time is set.
const AFTER_GRACE: Duration = Duration::from_secs(10);

/// Reads the process's own command line, environment and `.env`.
///
/// # Errors
/// A [`ConfigError`], which is either what is wrong or the text for `--help` and `--version`:
/// give it to the user with [`ConfigError::report`] and end.
pub fn parse() -> Result<Command, ConfigError> {
    parse_from(std::env::args_os(), std::env::vars_os(), || {
        dotenv::read(Path::new(".env"))
    })
}

/// [`parse`] over sources of the caller's. `arguments` begin with the program's name, `environment` has names and
/// values, `read_dotenv` gives the bytes of the `.env` file, if there is one; it is asked only when needed.
///
/// # Errors
/// As [`parse`].
pub fn parse_from(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    read_dotenv: impl FnOnce() -> Result<Option<Vec<u8>>, ConfigError>,
) -> Result<Command, ConfigError> {
    let arguments = unicode(arguments)?;
    let matches = command_line()
        .try_get_matches_from(arguments)
        .map_err(|error| ConfigError::from_clap(&error, |_| Source::Flag))?;
    if let Some((word @ ("origin" | "print"), own)) = matches.subcommand() {
        if let Some(id) = settings().find(|id| given(&matches, id).is_some()) {
            let flag = id.replace('_', "-");
            return Err(ConfigError::new(format!(
                "--{flag} is a setting of the proxy, {word} does not take it"
            )));
        }
        if word == "print" {
            return PrintArgs::from_arg_matches(own)
                .map(Command::Print)
                .map_err(|error| ConfigError::from_clap(&error, |_| Source::Flag));
        }
        return OriginArgs::from_arg_matches(own)
            .map(Command::Origin)
            .map_err(|error| ConfigError::from_clap(&error, |_| Source::Flag));
    }
    let word = matches.subcommand();
    let dotenv = match read_dotenv()? {
        Some(bytes) => dotenv::values(&bytes)?,
        None => HashMap::new(),
    };
    let environment: HashMap<String, OsString> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    let mut chosen = HashMap::new();
    for id in settings() {
        let name = environment_name(&id);
        // Flags are accepted on both sides of the words `demo` and `health`; the later one wins.
        let flag = word
            .and_then(|(_, own)| given(own, &id))
            .or_else(|| given(&matches, &id));
        let value = match (flag, environment.get(&name).cloned()) {
            (Some(value), _) => Some((Source::Flag, value)),
            (None, Some(value)) if !value.is_empty() => match value.into_string() {
                Ok(value) => Some((Source::Environment, value)),
                Err(value) => {
                    let value = value.to_string_lossy();
                    return Err(ConfigError::refused(
                        &id,
                        Source::Environment,
                        &value,
                        "text in UTF-8",
                    ));
                }
            },
            _ => dotenv
                .get(&name)
                .filter(|value| !value.is_empty())
                .map(|value| (Source::DotEnv, value.clone())),
        };
        if let Some(value) = value {
            chosen.insert(id, value);
        }
    }
    read_secrets(&mut chosen)?;
    let mut config = typed(&chosen)?.finish();
    fit_force_timeout(&mut config, &chosen)?;
    check_https(&config)?;
    check_origin_trust(&config)?;
    let mut names: Vec<_> = environment.keys().chain(dotenv.keys()).collect();
    names.sort();
    names.dedup();
    config.warnings = names
        .into_iter()
        .filter_map(|name| warning_about(name))
        .collect();
    Ok(match word {
        None => Command::Proxy(config),
        Some(("health", own)) => Command::Health(HealthArgs {
            config,
            live: own.get_flag("live"),
        }),
        Some(_) => Command::Demo(config),
    })
}

/// Takes secrets from the files that `…_file` settings name. Of a secret and its file, the one from the stronger source
/// counts.
fn read_secrets(chosen: &mut HashMap<String, (Source, String)>) -> Result<(), ConfigError> {
    for id in SECRETS {
        let file_id = format!("{id}_file");
        let Some((source, path)) = chosen.get(&file_id).cloned() else {
            continue;
        };
        let refused = |accepted: &str| ConfigError::refused(&file_id, source, &path, accepted);
        match chosen.get(id) {
            Some((own, _)) if *own == source => {
                let name = environment_name(id);
                return Err(refused(&format!("it or {name}, not both")));
            }
            Some((own, _)) if *own < source => continue,
            _ => {}
        }
        let read = || {
            let mut text = String::new();
            let file = std::fs::File::open(&path)?;
            file.take(MAX_SECRET_FILE).read_to_string(&mut text)?;
            std::io::Result::Ok(text)
        };
        let text =
            read().map_err(|error| refused(&format!("a file that can be read ({error})")))?;
        let secret = text.trim_end_matches(['\n', '\r']);
        if secret.is_empty() {
            // To go on without would open what the secret is to close.
            return Err(refused("a file that is not empty"));
        }
        chosen.insert(id.to_owned(), (Source::File, secret.to_owned()));
    }
    Ok(())
}

/// The force timeout must not come before the end of the grace time: it is moved, unless it is set itself.
fn fit_force_timeout(
    config: &mut Config,
    chosen: &HashMap<String, (Source, String)>,
) -> Result<(), ConfigError> {
    let (grace, force) = (config.grace_quit_timeout, config.force_quit_timeout);
    if grace < force {
        return Ok(());
    }
    if chosen.contains_key("force_quit_timeout") {
        let (id, accepted) = ("grace_quit_timeout", "less than PROXY_FORCE_QUIT_TIMEOUT");
        let given = chosen.get(id).cloned();
        let (source, value) = given.unwrap_or((Source::Flag, "20s".to_owned()));
        return Err(ConfigError::refused(id, source, &value, accepted));
    }
    config.force_quit_timeout = grace + AFTER_GRACE;
    Ok(())
}

/// HTTPS needs a certificate, and a key one that it belongs to. The files are read when the servers start.
fn check_https(config: &Config) -> Result<(), ConfigError> {
    if config.https_cert.is_some() {
        return Ok(());
    }
    let needy = [
        ("https_server", config.https_server.is_some()),
        ("https_key", config.https_key.is_some()),
        ("system_api_tls", config.system_api_tls),
    ];
    match needy.into_iter().find(|(_, is_set)| *is_set) {
        Some((id, _)) => Err(ConfigError::missing(id, "https_cert")),
        None => Ok(()),
    }
}

/// Roots, and no verification, contradict each other.
fn check_origin_trust(config: &Config) -> Result<(), ConfigError> {
    match config.origin_insecure && config.origin_ca.is_some() {
        true => Err(ConfigError::either("origin_ca", "origin_insecure")),
        false => Ok(()),
    }
}

/// The command, whose help says on a line of its own what a setting is called in the environment and what
/// it is by default.
pub fn command_line() -> clap::Command {
    fn complete(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| {
            let id = arg.get_id().to_string();
            let (Some(help), true) = (arg.get_help(), arg.get_action().takes_values()) else {
                return arg;
            };
            let environment = match is_setting(&id) {
                true => format!("[env: {}] ", environment_name(&id)),
                false => String::new(),
            };
            let default = match (arg.get_default_values().first(), id.as_str()) {
                (Some(default), _) => default.to_string_lossy(),
                (None, "static_files") => "embedded".into(),
                (None, _) => "none".into(),
            };
            let help = format!("{help}\n{environment}[default: {default}]");
            arg.help(help)
                .hide_default_value(true)
                // So that a negative number is a bad value of its setting, and not an unknown flag.
                .allow_hyphen_values(!SECRETS.contains(&id.as_str()))
        })
    }
    complete(CommandLine::command())
        .mut_subcommand("demo", complete)
        .mut_subcommand("origin", complete)
        .mut_subcommand("health", complete)
}

/// The value of a setting that stands on the command line.
fn given(matches: &ArgMatches, id: &str) -> Option<String> {
    (matches.value_source(id)? == ValueSource::CommandLine).then(|| {
        matches
            .get_raw(id)?
            .next_back()?
            .to_str()
            .map(str::to_owned)
    })?
}

/// Checks the chosen values and makes them what they mean.
fn typed(chosen: &HashMap<String, (Source, String)>) -> Result<Config, ConfigError> {
    let arguments = chosen
        .iter()
        .map(|(id, (_, value))| format!("--{}={value}", id.replace('_', "-")));
    let source = |id: &str| chosen.get(id).map_or(Source::Flag, |(source, _)| *source);
    Config::augment_args(clap::Command::new("settings").no_binary_name(true))
        .try_get_matches_from(arguments)
        .and_then(|matches| Config::from_arg_matches(&matches))
        .map_err(|error| ConfigError::from_clap(&error, source))
}

/// clap says of a value that is not Unicode only that there is one; we name it.
fn unicode(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, ConfigError> {
    let mut texts: Vec<String> = Vec::new();
    for argument in arguments {
        match argument.into_string() {
            Ok(text) => texts.push(text),
            // The program's own name may be anything.
            Err(name) if texts.is_empty() => texts.push(name.to_string_lossy().into_owned()),
            Err(argument) => {
                let argument = argument.to_string_lossy();
                let last = texts.last().map_or("", String::as_str);
                let (flag, value) = match argument.split_once('=') {
                    Some((flag, value)) if flag.starts_with("--") => (flag, value),
                    _ if last.starts_with("--") => (last, &*argument),
                    _ => {
                        return Err(ConfigError::new(format!(
                            "unknown argument \"{argument}\"; --help lists what is accepted"
                        )));
                    }
                };
                let id = flag.trim_start_matches('-').replace('-', "_");
                return Err(ConfigError::refused(
                    &id,
                    Source::Flag,
                    value,
                    "text in UTF-8",
                ));
            }
        }
    }
    Ok(texts)
}
