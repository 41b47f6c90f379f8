//! The program: settings, log, signals, and what they ask for.

use crossbeam_channel::{Receiver, bounded};
use log::{Level, error, info};
use srs_stream_proxy::app::Proxy;
use srs_stream_proxy::config::{self, Command, Config, OriginArgs};
use srs_stream_proxy::lab::demo::{Demo, DemoError};
use srs_stream_proxy::lab::origin::LabOrigin;
use srs_stream_proxy::logging;
use srs_stream_proxy::runtime::limits::Limits;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

/// The exit code of a start that does not come about.
const CANNOT_START: u8 = 2;
/// A lab origin ends at once; should it not, it ends by force after this.
const LAB_FORCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let command = match config::parse() {
        Ok(command) => command,
        Err(error) => return error.report(),
    };
    logging::init(match &command {
        Command::Proxy(config) | Command::Demo(config) => config.log_level,
        Command::Origin(_) => log::LevelFilter::Info,
    });
    log_panics();
    match command {
        Command::Proxy(config) => run_proxy(&config),
        Command::Demo(config) => run_demo(&config),
        Command::Origin(args) => run_origin(&args),
    }
}

fn run_proxy(config: &Config) -> ExitCode {
    let start = || Proxy::start(config);
    run(config.force_quit_timeout, start, Proxy::stop)
}

fn run_demo(config: &Config) -> ExitCode {
    let start = || {
        let demo = Demo::start(config)?;
        // A stdout that is closed, or full, is no reason not to run.
        let mut stdout = io::stdout().lock();
        let _ = write!(stdout, "{demo}").and_then(|()| stdout.flush());
        Ok::<_, DemoError>(demo)
    };
    run(config.force_quit_timeout, start, Demo::stop)
}

fn run_origin(args: &OriginArgs) -> ExitCode {
    let connections = Limits::raise_and_read().connections();
    let start = || LabOrigin::start(args, connections, Level::Info);
    run(LAB_FORCE, start, LabOrigin::stop)
}

/// Starts what is asked for, waits for a signal, and stops it; after `force` it ends whatever is.
fn run<T, E: Display>(
    force: Duration,
    start: impl FnOnce() -> Result<T, E>,
    stop: impl FnOnce(T),
) -> ExitCode {
    let Some(signals) = signals(force) else {
        return ExitCode::from(CANNOT_START);
    };
    let running = match start() {
        Ok(running) => running,
        Err(error) => {
            eprintln!("srs-stream-proxy: {error}");
            return ExitCode::from(CANNOT_START);
        }
    };
    // The sender lives in the signal handler, for as long as the process.
    let _ = signals.recv();
    stop(running);
    ExitCode::SUCCESS
}

/// SIGINT and SIGTERM: the first one is received, and after `force` the process ends whatever is; a
/// second one ends it at once.
fn signals(force: Duration) -> Option<Receiver<()>> {
    let (first, signals) = bounded(1);
    let mut ending = false;
    let set = ctrlc::set_handler(move || {
        if std::mem::replace(&mut ending, true) {
            info!("a second signal: ending at once");
            process::exit(1);
        }
        let deadline = move || {
            thread::sleep(force);
            error!("not ended after {force:?}: ending by force");
            process::exit(1);
        };
        // The channel has room for the only signal that is ever sent.
        let _ = first.try_send(());
        // Without that thread the end is still the grace timeout's.
        let _ = thread::Builder::new()
            .name("force quit".to_owned())
            .spawn(deadline);
    });
    match set {
        Ok(()) => Some(signals),
        Err(error) => {
            eprintln!("srs-stream-proxy: cannot listen for signals: {error}");
            None
        }
    }
}

/// A panic is one line in the log, with its place; the default is several, past the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        error!("thread {name} {panic}");
    }));
}
