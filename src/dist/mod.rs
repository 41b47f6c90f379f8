//! The files for running the proxy somewhere, which `srs-stream-proxy print NAME` prints: they are in the binary, so that who
//! has it needs nothing else.

use crate::config::{Package, PrintArgs, command_line};
use std::borrow::Cow;

/// The text that `print` prints.
pub fn text(args: &PrintArgs) -> Cow<'static, str> {
    let text = match args.name {
        Package::SystemdService => include_str!("srs-stream-proxy.service"),
        Package::SystemdSocket => include_str!("srs-stream-proxy.socket"),
        Package::SystemdSocketOperators => include_str!("srs-stream-proxy-operators.socket"),
        Package::Dockerfile => include_str!("Dockerfile"),
        Package::Compose => include_str!("compose.yaml"),
        Package::Alerts => include_str!("alerts.yaml"),
        Package::Grafana => include_str!("grafana.json"),
        Package::Completions => {
            let mut script = Vec::new();
            let mut command = command_line();
            clap_complete::generate(args.shell, &mut command, "srs-stream-proxy", &mut script);
            return String::from_utf8_lossy(&script).into_owned().into();
        }
    };
    text.into()
}
