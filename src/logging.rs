//! The log: one line a record, to stderr.

use std::fmt;
use std::io::{self, Write};
use std::time::SystemTime;

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};

/// Sets the log up: `2026-01-31T12:00:00.000Z [INFO] message`, with the module before the message of debug
/// and trace records. Other people's crates are heard from warn on.
///
/// A second call changes nothing but is no error. A stderr that is closed, or full, loses lines and
/// harms nobody.
pub fn init(level: LevelFilter) {
    if log::set_boxed_logger(Box::new(Logger::new(level, Line::new(io::stderr())))).is_ok() {
        log::set_max_level(level);
    }
}

/// Shows a text with every character escaped that could break a log line or a terminal: control characters,
/// line and paragraph separators, and those that turn the direction of writing. Backslashes stay as they are,
/// so cleaning twice changes nothing more.
#[derive(Clone, Copy, Debug)]
pub struct Clean<'a>(pub &'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(breaks) {
            f.write_str(&rest[..at])?;
            let mut characters = rest[at..].chars();
            if let Some(character) = characters.next() {
                write!(f, "{}", character.escape_default())?;
            }
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

fn breaks(character: char) -> bool {
    let separator = matches!(character, '\u{2028}' | '\u{2029}');
    let direction = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    character.is_control() || separator || direction
}

/// simplelog with a filter and clean messages before it.
///
/// It puts a message together before simplelog takes its lock, so a value that panics while it is shown
/// cannot poison that lock, which would make every later record panic.
struct Logger<W: Write + Send + 'static> {
    level: LevelFilter,
    inner: Box<WriteLogger<W>>,
}

impl<W: Write + Send + 'static> Logger<W> {
    fn new(level: LevelFilter, writer: W) -> Self {
        let config = ConfigBuilder::new()
            .set_time_level(LevelFilter::Off)
            .set_thread_level(LevelFilter::Off)
            .set_location_level(LevelFilter::Off)
            .set_target_level(LevelFilter::Debug)
            .build();
        Self {
            level,
            inner: WriteLogger::new(level, config, writer),
        }
    }

    fn wants(&self, metadata: &Metadata<'_>, module: &str) -> bool {
        let ours = module
            .strip_prefix("srs_stream_proxy")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        // Theirs have whole URLs below warn, and tokens do not belong in logs.
        let level = if ours {
            self.level
        } else {
            self.level.min(LevelFilter::Warn)
        };
        metadata.level() <= level
    }
}

impl<W: Write + Send + 'static> Log for Logger<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.wants(metadata, metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        // The module, not the target: our own records may have a target of another name.
        let module = record.module_path().unwrap_or(record.target());
        if self.wants(record.metadata(), module) {
            let message = record.args().to_string();
            self.inner.log(
                &Record::builder()
                    .metadata(record.metadata().clone())
                    .args(format_args!("{}", Clean(&message)))
                    .build(),
            );
        }
    }

    fn flush(&self) {}
}

/// Puts the time before a record, gathers it and writes it at once, so that lines of several
/// processes, and of a panic, do not mix. It never fails: there is nobody to tell.
struct Line<W> {
    bytes: Vec<u8>,
    writer: W,
}

impl<W> Line<W> {
    fn new(writer: W) -> Self {
        Self {
            bytes: Vec::new(),
            writer,
        }
    }
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            let _ = write!(self.bytes, "{now} ");
        }
        self.bytes.extend_from_slice(bytes);
        // Messages are clean, so the only newline is the record's end.
        if bytes.ends_with(b"\n") {
            let _ = self.writer.write_all(&self.bytes);
            self.bytes.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use log::Level;

    use super::*;

    /// Each write by itself.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.0.lock().unwrap().push(text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(at: LevelFilter, level: Level, module: &'static str, message: &str) -> Vec<String> {
        let writes = Writes::default();
        let logger = Logger::new(at, Line::new(writes.clone()));
        logger.log(
            &Record::builder()
                .level(level)
                .target(module)
                .module_path(Some(module))
                .args(format_args!("{message}"))
                .build(),
        );
        writes.0.lock().unwrap().clone()
    }

    #[test]
    fn a_record_is_one_write_of_one_line() {
        let lines = logged(
            LevelFilter::Info,
            Level::Info,
            "srs_stream_proxy::door",
            "hello",
        );
        let (time, rest) = lines[0].split_once(' ').unwrap();
        assert_eq!((lines.len(), rest), (1, "[INFO] hello\n"));
        assert!(
            time.len() == "2026-01-31T12:00:00.000Z".len() && time.ends_with('Z'),
            "{time}"
        );
        recent(time);
        let lines = logged(
            LevelFilter::Debug,
            Level::Debug,
            "srs_stream_proxy::door",
            "hello",
        );
        assert!(
            lines[0].ends_with(" [DEBUG] srs_stream_proxy::door: hello\n"),
            "{lines:?}"
        );
    }

    fn recent(time: &str) {
        let stamp = humantime::parse_rfc3339(time).unwrap();
        let age = SystemTime::now().duration_since(stamp).unwrap_or_default();
        assert!(age < std::time::Duration::from_secs(60), "{time}");
    }

    #[test]
    fn a_message_cannot_make_a_second_line() {
        let lines = logged(
            LevelFilter::Info,
            Level::Warn,
            "srs_stream_proxy",
            "a\nb\r\x1b[31m\0\u{2028}\n",
        );
        assert!(
            lines[0].ends_with("[WARN] a\\nb\\r\\u{1b}[31m\\u{0}\\u{2028}\\n\n"),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn others_are_heard_when_it_matters() {
        for (at, level, module, heard) in [
            (LevelFilter::Info, Level::Info, "srs_stream_proxy::x", true),
            (
                LevelFilter::Info,
                Level::Debug,
                "srs_stream_proxy::x",
                false,
            ),
            (LevelFilter::Debug, Level::Debug, "srs_stream_proxy", true),
            (LevelFilter::Debug, Level::Debug, "ureq::pool", false),
            (LevelFilter::Info, Level::Info, "tiny_http", false),
            (
                LevelFilter::Info,
                Level::Info,
                "srs_stream_proxy_other",
                false,
            ),
            (LevelFilter::Info, Level::Warn, "tiny_http", true),
            (LevelFilter::Error, Level::Warn, "tiny_http", false),
            (LevelFilter::Error, Level::Error, "tiny_http", true),
            (LevelFilter::Trace, Level::Debug, "ureq_proto::x", false),
            (LevelFilter::Off, Level::Error, "srs_stream_proxy", false),
        ] {
            let lines = logged(at, level, module, "x");
            assert_eq!(lines.len(), usize::from(heard), "{at} {level} {module}");
        }
    }

    #[test]
    fn cleaning_shows_what_it_replaces_and_is_done_once() {
        for (text, clean) in [
            ("", ""),
            ("plain é 世界 \\n", "plain é 世界 \\n"),
            ("\t", "\\t"),
            ("\r\nSet-Cookie: a", "\\r\\nSet-Cookie: a"),
            ("a\u{7f}\u{85}b", "a\\u{7f}\\u{85}b"),
            ("\u{202e}gpj", "\\u{202e}gpj"),
        ] {
            let once = Clean(text).to_string();
            assert_eq!(once, clean);
            assert_eq!(Clean(&once).to_string(), clean);
        }
    }

    #[test]
    fn a_writer_that_fails_harms_nobody() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let logger = Logger::new(LevelFilter::Info, Line::new(Broken));
        for _ in 0..3 {
            let record = Record::builder()
                .level(Level::Error)
                .target("srs_stream_proxy")
                .args(format_args!("x"))
                .build();
            logger.log(&record);
        }
        assert!(
            logger
                .inner
                .enabled(&Metadata::builder().level(Level::Error).build())
        );
    }

    #[test]
    fn a_value_that_panics_leaves_the_log_usable() {
        struct Bomb;
        impl fmt::Display for Bomb {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("shown")
            }
        }
        let writes = Writes::default();
        let logger = Logger::new(LevelFilter::Info, Line::new(writes.clone()));
        let say = |value: &dyn fmt::Display| {
            let record = &mut Record::builder();
            record.level(Level::Info).target("srs_stream_proxy");
            logger.log(&record.args(format_args!("{value}")).build());
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| say(&Bomb))).unwrap_err();
        say(&"after");
        assert!(writes.0.lock().unwrap().concat().ends_with("after\n"));
    }
}
