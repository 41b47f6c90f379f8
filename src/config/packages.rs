//! The words of the command line for who installs the proxy: `print`.

/// What `print` can print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Package {
    /// systemd unit, with a reload that cuts no viewer
    SystemdService,
    /// systemd socket for players
    SystemdSocket,
    /// systemd socket for the System API
    SystemdSocketOperators,
    /// Dockerfile: a static binary on nothing
    Dockerfile,
    /// compose file: two SRS, the proxy, Redis, Prometheus
    Compose,
    /// Prometheus alert rules
    Alerts,
    /// Grafana dashboard
    Grafana,
    /// completions for a shell
    Completions,
}

/// A shell that completions can be printed for.
pub type Shell = clap_complete::Shell;

/// The arguments of `print`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[group(skip)]
pub struct PrintArgs {
    /// What to print to stdout
    #[arg(id = "package", value_name = "NAME")]
    pub name: Package,

    /// For which shell, with completions
    #[arg(id = "shell", value_name = "SHELL", default_value = "bash")]
    pub shell: Shell,
}
