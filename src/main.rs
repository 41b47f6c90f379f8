//! The program: settings, log, signals, and what they ask for.

use crossbeam_channel::{Receiver, Sender, unbounded};
use log::{Level, error, info, warn};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use srs_stream_proxy::app::Proxy;
use srs_stream_proxy::app::health;
use srs_stream_proxy::app::inherited::Inherited;
use srs_stream_proxy::config::{self, Command, Config, HealthArgs, OriginArgs, PrintArgs};
use srs_stream_proxy::dist;
use srs_stream_proxy::lab::demo::{Demo, DemoError};
use srs_stream_proxy::lab::origin::LabOrigin;
use srs_stream_proxy::logging::{self, LogFormat};
use srs_stream_proxy::runtime::limits::Limits;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// SIGHUP: read again what may have changed.
    Reload,
    /// SIGUSR2: start a new process of this program, which takes over.
    Upgrade,
}

/// What runs, for what signals mean to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Proxy,
    /// The demo, or a lab origin.
    Tool,
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
    let (level, format) = match &command {
        Command::Proxy(config) | Command::Demo(config) => (config.log_level, config.log_format),
        Command::Origin(_) => (log::LevelFilter::Info, LogFormat::Text),
        Command::Health(args) => return run_health(args),
        Command::Print(args) => return print(args),
    };
    if let Err(error) = logging::init(level, format) {
        return cannot_start(&format!("cannot start the log: {error}"));
    }
    log_panics();
    if let Command::Proxy(config) | Command::Demo(config) = &command {
        for warning in &config.warnings {
            warn!("{warning}");
        }
    }
    let code = match command {
        Command::Proxy(config) => run_proxy(&config, inherited),
        Command::Demo(config) => run_demo(&config),
        Command::Origin(args) => run_origin(&args),
        Command::Health(args) => run_health(&args),
        Command::Print(args) => print(&args),
    };
    logging::flush();
    code
}

/// Says how the proxy is, and by the exit code whether it is well.
fn run_health(args: &HealthArgs) -> ExitCode {
    match health::ask(args) {
        Ok(answer) => {
            let _ = writeln!(io::stdout(), "{answer}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("srs-stream-proxy: not well: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a file. A reader that has seen enough is no failure.
fn print(args: &PrintArgs) -> ExitCode {
    match io::stdout().write_all(dist::text(args).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("srs-stream-proxy: cannot print: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Ends the process at once. The log's last lines still go out where somebody reads them.
fn end_now() -> ! {
    logging::flush();
    process::exit(1)
}

/// Says on stderr why there is no start. A stderr that is closed is no reason to panic.
fn cannot_start(why: &str) -> ExitCode {
    logging::flush(); // what was logged before comes first
    let _ = writeln!(io::stderr(), "srs-stream-proxy: {why}");
    ExitCode::from(CANNOT_START)
}

fn run_proxy(config: &Config, inherited: Inherited) -> ExitCode {
    let events = match signals(config.force_quit_timeout, Program::Proxy) {
        Ok(events) => events,
        Err(error) => return cannot_start(&format!("cannot listen for signals: {error}")),
    };
    let proxy = match Proxy::start(config, inherited) {
        Ok(proxy) => proxy,
        Err(error) => return cannot_start(&error.to_string()),
    };
    tell_systemd(NotifyState::Ready);
    // The sender lives in the signal handler, for as long as the process.
    while let Ok(event) = events.recv() {
        match event {
            Event::End => break,
            Event::Reload if proxy.reload() => {}
            Event::Reload => {
                info!("SIGHUP: there is nothing to reload; settings need a restart, or SIGUSR2")
            }
            Event::Upgrade => match proxy.upgrade() {
                Ok(successor) => {
                    tell_systemd(NotifyState::MainPid(successor));
                    proxy.retire(|| events.try_iter().any(|event| event == Event::End));
                    return ExitCode::SUCCESS;
                }
                Err(error) => error!("cannot upgrade, this process goes on: {error}"),
            },
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
    let events = match signals(force, Program::Tool) {
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
/// whatever is; a second one ends it at once. SIGHUP ends a tool whose terminal goes, but for one that was started with
/// `nohup`; the proxy it has reload, however that was started. SIGUSR2 only for the proxy.
fn signals(force: Duration, program: Program) -> io::Result<Receiver<Event>> {
    let (events, received) = unbounded();
    let ending = Arc::new(AtomicBool::new(false));
    let on_interrupt = {
        let (events, ending) = (events.clone(), ending.clone());
        move || end(&events, &ending, force)
    };
    ctrlc::set_handler(on_interrupt).map_err(io::Error::other)?;
    let mut others = vec![SIGTERM];
    if program == Program::Proxy || !is_ignored(SIGHUP) {
        others.push(SIGHUP);
    }
    if program == Program::Proxy {
        others.push(SIGUSR2);
    }
    let mut signals = Signals::new(others)?;
    let listen = move || {
        for signal in signals.forever() {
            match (signal, program) {
                (SIGUSR2, _) => {
                    info!("SIGUSR2: starting a new process of this program");
                    // The receiver lives until the process ends.
                    let _ = events.send(Event::Upgrade);
                }
                (SIGHUP, Program::Proxy) => {
                    let _ = events.send(Event::Reload);
                }
                _ => end(&events, &ending, force),
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen)?;
    Ok(received)
}

/// A signal that ends the process.
fn end(events: &Sender<Event>, ending: &AtomicBool, force: Duration) {
    if ending.swap(true, Ordering::SeqCst) {
        info!("a second signal: ending at once");
        end_now();
    }
    let deadline = move || {
        thread::sleep(force);
        error!("not ended after {force:?}: ending by force");
        end_now();
    };
    // The receiver lives until the process ends.
    let _ = events.send(Event::End);
    // Without that thread the end is still the grace timeout's.
    let _ = thread::Builder::new()
        .name("force quit".to_owned())
        .spawn(deadline);
}

/// Whether this process was started with that signal ignored: `SigIgn` in proc(5), a mask in hexadecimal.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// A panic is one line in the log, with its place; the default is several, past the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        error!("thread {name} {panic}");
    }));
}
