//! The program: settings, log, signals, and what they ask for.

use crossbeam_channel::{Receiver, Sender, unbounded};
use log::{Level, error, info};
use sd_notify::NotifyState;
use signal_hook::consts::SIGUSR2;
use signal_hook::iterator::Signals;
use srs_stream_proxy::app::Proxy;
use srs_stream_proxy::app::inherited::Inherited;
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

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// SIGINT or SIGTERM: end.
    End,
    /// SIGUSR2: start a new process of this program, which takes over.
    Upgrade,
}

fn main() -> ExitCode {
    // Before anything else: later threads read the environment.
    let inherited = match Inherited::from_env() {
        Ok(inherited) => inherited,
        Err(error) => return cannot_start(&format!("cannot take inherited sockets: {error}")),
    };
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
        Command::Proxy(config) => run_proxy(&config, inherited),
        Command::Demo(config) => run_demo(&config),
        Command::Origin(args) => run_origin(&args),
    }
}

fn cannot_start(why: &str) -> ExitCode {
    eprintln!("srs-stream-proxy: {why}");
    ExitCode::from(CANNOT_START)
}

fn run_proxy(config: &Config, inherited: Inherited) -> ExitCode {
    let events = match signals(config.force_quit_timeout, true) {
        Ok(events) => events,
        Err(error) => return cannot_start(&format!("cannot listen for signals: {error}")),
    };
    let proxy = match Proxy::start(config, inherited) {
        Ok(proxy) => proxy,
        Err(error) => return cannot_start(&error.to_string()),
    };
    tell_systemd(NotifyState::Ready);
    // The sender lives in the signal handler, for as long as the process.
    while events.recv() == Ok(Event::Upgrade) {
        match proxy.upgrade() {
            Ok(successor) => {
                tell_systemd(NotifyState::MainPid(successor));
                proxy.retire(|| events.try_iter().any(|event| event == Event::End));
                return ExitCode::SUCCESS;
            }
            Err(error) => error!("cannot upgrade, this process goes on: {error}"),
        }
    }
    tell_systemd(NotifyState::Stopping);
    proxy.stop();
    ExitCode::SUCCESS
}

/// Tells systemd, where it has started this process and wants to know (`Type=notify`).
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        error!("cannot notify systemd: {error}");
    }
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

/// Starts a program that knows no upgrade, waits for the signal to end, and stops it; after `force` it ends whatever
/// is.
fn run<T, E: Display>(
    force: Duration,
    start: impl FnOnce() -> Result<T, E>,
    stop: impl FnOnce(T),
) -> ExitCode {
    let events = match signals(force, false) {
        Ok(events) => events,
        Err(error) => return cannot_start(&format!("cannot listen for signals: {error}")),
    };
    let running = match start() {
        Ok(running) => running,
        Err(error) => return cannot_start(&error.to_string()),
    };
    // The sender lives in the signal handler, for as long as the process.
    let _ = events.recv();
    stop(running);
    ExitCode::SUCCESS
}

/// The events that signals make. SIGINT and SIGTERM: the first one is received, and after `force` the process ends
/// whatever is; a second one ends it at once. SIGUSR2 only where `upgrades`.
fn signals(force: Duration, upgrades: bool) -> io::Result<Receiver<Event>> {
    let (events, received) = unbounded();
    if upgrades {
        listen_for_upgrades(events.clone())?;
    }
    let mut ending = false;
    let handler = move || {
        if std::mem::replace(&mut ending, true) {
            info!("a second signal: ending at once");
            process::exit(1);
        }
        let deadline = move || {
            thread::sleep(force);
            error!("not ended after {force:?}: ending by force");
            process::exit(1);
        };
        // The receiver lives until the process ends.
        let _ = events.send(Event::End);
        // Without that thread the end is still the grace timeout's.
        let _ = thread::Builder::new()
            .name("force quit".to_owned())
            .spawn(deadline);
    };
    ctrlc::set_handler(handler).map_err(io::Error::other)?;
    Ok(received)
}

fn listen_for_upgrades(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGUSR2])?;
    let listen = move || {
        for _ in signals.forever() {
            info!("SIGUSR2: starting a new process of this program");
            // The receiver lives until the process ends.
            let _ = events.send(Event::Upgrade);
        }
    };
    thread::Builder::new()
        .name("upgrade signal".to_owned())
        .spawn(listen)
        .map(drop)
}

/// A panic is one line in the log, with its place; the default is several, past the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        error!("thread {name} {panic}");
    }));
}
