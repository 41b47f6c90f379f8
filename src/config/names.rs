//! The names of settings: `http_server`, and `PROXY_HTTP_SERVER` in the environment.

use clap::Args as _;

use crate::config::Config;

/// How the names of all settings begin in the environment.
pub const PREFIX: &str = "PROXY_";

/// Settings of the Go proxy that this one has no use for: it speaks HTTP only. Who comes from there has them set.
const OF_THE_GO_PROXY: [&str; 6] = [
    "PROXY_HTTP_API",
    "PROXY_RTMP_SERVER",
    "PROXY_SRT_SERVER",
    "PROXY_WEBRTC_SERVER",
    "PROXY_DEFAULT_BACKEND_RTC",
    "PROXY_DEFAULT_BACKEND_SRT",
];

/// How alike two names must be for one to be meant by the other, from 0 to 1 (Jaro-Winkler).
const ALIKE: f64 = 0.9;

/// The name in the environment of the setting `id`: `PROXY_HTTP_SERVER` of `http_server`.
pub fn environment_name(id: &str) -> String {
    format!("{PREFIX}{}", id.to_ascii_uppercase())
}

/// Whether `id` is one of the proxy's settings, and not a flag of something else.
pub fn is_setting(id: &str) -> bool {
    settings().any(|setting| setting == id)
}

/// The names of all settings, such as `http_server`.
pub fn settings() -> impl Iterator<Item = String> {
    let command = Config::augment_args(clap::Command::new("settings"));
    let ids: Vec<_> = command
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect();
    ids.into_iter()
}

/// A warning about a name that begins as ours do and is none, with the nearest that is. `None` for a name of ours,
/// and for those that the Go proxy has.
pub fn warning_about(name: &str) -> Option<String> {
    let names: Vec<String> = settings().map(|id| environment_name(&id)).collect();
    if names.iter().any(|own| own == name) || OF_THE_GO_PROXY.contains(&name) {
        return None;
    }
    let alike = |own: &&String| {
        strsim::jaro_winkler(
            &own[PREFIX.len()..],
            name.get(PREFIX.len()..).unwrap_or_default(),
        )
    };
    let nearest = names.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    Some(match nearest.filter(|own| alike(own) >= ALIKE) {
        Some(own) => format!("{name} is no setting and is ignored; did you mean {own}?"),
        None => format!("{name} is no setting and is ignored; --help lists all"),
    })
}
