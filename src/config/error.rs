//! Why the settings do not make a program: one line that names the setting, the value and what is accepted.

use std::error::Error as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::names;
use crate::logging::Clean;

/// How much of a refused value is shown, in characters: enough to find it again.
const SHOWN: usize = 200;

/// Settings whose values never reach a terminal or a log. Where there is a setting `…_file`, the value may stand in a file.
pub(super) const SECRETS: [&str; 6] = [
    "system_api_token",
    "redis_password",
    "redis_url",
    "origin_api_auth",
    "on_play",
    "on_stop",
];

/// The end of a start: either a line that says what is wrong, or the text of `--help` or `--version`.
#[derive(Debug, thiserror::Error)]
#[error("{}", Clean(.text))]
pub struct ConfigError {
    text: String,
    wanted: bool,
}

/// Where a value came from, for the person who has to correct it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Flag,
    Environment,
    DotEnv,
    /// The file that the `…_file` setting names.
    File,
}

impl ConfigError {
    /// A complaint. `text` is one line without the program's name.
    pub(super) fn new(text: String) -> Self {
        Self {
            text,
            wanted: false,
        }
    }

    /// A value of the setting `id` (`http_server`) that is not accepted.
    pub(super) fn refused(id: &str, source: Source, value: &str, accepted: &str) -> Self {
        let origin = match source {
            Source::Flag => "",
            Source::Environment => " in the environment",
            Source::DotEnv => " in .env",
            Source::File => " in its file",
        };
        let name = setting(id);
        Self::new(if SECRETS.contains(&id) {
            format!("{name} has a value{origin} that is not shown here; accepted: {accepted}")
        } else {
            format!(
                "{name} is \"{}\"{origin}; accepted: {accepted}",
                shorten(value)
            )
        })
    }

    /// The setting `id` is of no use without the setting `other`.
    pub(super) fn missing(id: &str, other: &str) -> Self {
        Self::new(format!("{} needs {}", setting(id), setting(other)))
    }

    /// Two settings that contradict each other.
    pub(super) fn either(id: &str, other: &str) -> Self {
        let (name, other) = (setting(id), setting(other));
        Self::new(format!("{name} and {other} exclude each other"))
    }

    /// Puts clap's error, which is several lines, into one. `source` tells where a setting's value is from.
    pub(super) fn from_clap(error: &clap::Error, source: impl Fn(&str) -> Source) -> Self {
        let context = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.as_str(),
            Some(ContextValue::Strings(texts)) => texts.first().map_or("", String::as_str),
            _ => "",
        };
        // clap shows an argument as "--http-server <ADDRESS>".
        let shown = context(ContextKind::InvalidArg);
        let flag = shown.split([' ', '=']).next().unwrap_or_default();
        let id = flag.trim_start_matches('-').replace('-', "_");
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self {
                text: error.to_string(),
                wanted: true,
            },
            ErrorKind::ValueValidation => {
                let value = context(ContextKind::InvalidValue);
                let accepted = error.source().map(ToString::to_string).unwrap_or_default();
                Self::refused(&id, source(&id), value, &accepted)
            }
            ErrorKind::InvalidValue if !context(ContextKind::InvalidValue).is_empty() => {
                let value = context(ContextKind::InvalidValue);
                let accepted = match error.get(ContextKind::ValidValue) {
                    Some(ContextValue::Strings(words)) => words.join(" or "),
                    _ => String::new(),
                };
                match flag.starts_with('<') {
                    // A word of the command line that has no name but its place.
                    true => Self::new(format!(
                        "{shown} is \"{}\"; accepted: {accepted}",
                        shorten(value)
                    )),
                    false => Self::refused(&id, source(&id), value, &accepted),
                }
            }
            ErrorKind::MissingRequiredArgument => {
                Self::new(format!("{shown} is missing; --help lists what is accepted"))
            }
            ErrorKind::InvalidValue => Self::new(format!("{} needs a value", setting(&id))),
            ErrorKind::ArgumentConflict => {
                Self::new(format!("{} is given more than once", setting(&id)))
            }
            ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
                let word = match context(ContextKind::InvalidSubcommand) {
                    "" => flag,
                    word => word,
                };
                let word = shorten(word);
                Self::new(match context(ContextKind::SuggestedArg) {
                    "" => format!("unknown argument \"{word}\"; --help lists what is accepted"),
                    near => format!(
                        "unknown argument \"{word}\"; a similar one is {near}, --help lists all"
                    ),
                })
            }
            _ => {
                let text = error.to_string();
                let line = text.lines().next().unwrap_or_default();
                Self::new(line.trim_start_matches("error: ").to_owned())
            }
        }
    }

    /// Prints it and gives the exit code: help and version to stdout and 0, a complaint to stderr and 2.
    pub fn report(&self) -> ExitCode {
        // A reader that has gone is no reason to panic, and there is nobody left to tell.
        if self.wanted {
            let _ = write!(std::io::stdout(), "{}", self.text);
            ExitCode::SUCCESS
        } else {
            let _ = writeln!(std::io::stderr(), "srs-stream-proxy: {self}");
            ExitCode::from(2)
        }
    }

    /// Whether it is the answer to `--help` or `--version`, not a complaint.
    pub fn is_answer(&self) -> bool {
        self.wanted
    }
}

/// Both spellings of a setting; only the flag where there is no other.
fn setting(id: &str) -> String {
    let flag = id.replace('_', "-");
    if names::is_setting(id) {
        format!("{} (--{flag})", names::environment_name(id))
    } else {
        format!("--{flag}")
    }
}

fn shorten(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
