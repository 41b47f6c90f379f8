//! The names of settings: `http_server`, and `PROXY_HTTP_SERVER` in the environment.

use clap::Args as _;

use crate::config::Config;

/// The name in the environment of the setting `id`: `PROXY_HTTP_SERVER` of `http_server`.
pub fn environment_name(id: &str) -> String {
    format!("PROXY_{}", id.to_ascii_uppercase())
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
