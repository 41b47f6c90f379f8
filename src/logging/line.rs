//! A record as one line: text by simplelog, or a JSON object.

use crate::logging::Clean;
use log::kv::{self, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use serde_json::Map;
use simplelog::{ConfigBuilder, WriteLogger};
use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::time::SystemTime;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `2026-01-31T12:00:00.000Z [INFO] message`.
    Text,
    /// One JSON object a line: `time`, `level`, `message`, and the fields of a request.
    Json,
}

/// The key of a record that stands for its message in JSON, where the text would only repeat the other fields.
pub const MESSAGE: &str = "message";

/// What a thread keeps of its message buffer between two lines, in bytes.
const MAX_BUFFER: usize = 256;

thread_local! {
    /// The last message of the thread: its memory is for the next one.
    static MESSAGE_BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// Puts records into lines, with a filter before it. Each line is one write.
///
/// A message is put together before any lock is taken, so a value that panics while it is shown harms nobody else.
pub(super) struct Logger<W: Write + Send + 'static> {
    level: LevelFilter,
    form: Form<W>,
}

enum Form<W: Write + Send + 'static> {
    Text(Box<WriteLogger<Line<W>>>),
    Json(Mutex<W>),
}

impl<W: Write + Send + 'static> Logger<W> {
    /// `stamped`: text lines begin with the time.
    pub fn new(level: LevelFilter, format: LogFormat, stamped: bool, writer: W) -> Self {
        let form = match format {
            LogFormat::Json => Form::Json(Mutex::new(writer)),
            LogFormat::Text => {
                let config = ConfigBuilder::new()
                    .set_time_level(LevelFilter::Off)
                    .set_thread_level(LevelFilter::Off)
                    .set_location_level(LevelFilter::Off)
                    .set_target_level(LevelFilter::Debug)
                    .build();
                let line = Line {
                    bytes: Vec::new(),
                    stamped,
                    writer,
                };
                Form::Text(WriteLogger::new(level, config, line))
            }
        };
        Self { level, form }
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
        if !self.wants(record.metadata(), module) {
            return;
        }
        match &self.form {
            Form::Text(inner) => {
                let mut message = MESSAGE_BUFFER.take();
                message.clear();
                let _ = fmt::Write::write_fmt(&mut message, *record.args());
                inner.log(
                    &Record::builder()
                        .metadata(record.metadata().clone())
                        .args(format_args!("{}", Clean(&message)))
                        .build(),
                );
                message.shrink_to(MAX_BUFFER);
                MESSAGE_BUFFER.set(message);
            }
            Form::Json(writer) => {
                let mut line = json(record);
                line.push(b'\n');
                // It never fails: there is nobody to tell.
                let _ = writer.lock().write_all(&line);
            }
        }
    }

    fn flush(&self) {}
}

fn now() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_millis(SystemTime::now())
}

/// A line for text output about something that no record tells of.
pub(super) fn warning(format: LogFormat, stamped: bool, message: &str) -> Vec<u8> {
    let line = match format {
        LogFormat::Text if stamped => format!("{} [WARN] {message}\n", now()),
        LogFormat::Text => format!("[WARN] {message}\n"),
        LogFormat::Json => {
            let line =
                serde_json::json!({"time": now().to_string(), "level": "warn", MESSAGE: message});
            format!("{line}\n")
        }
    };
    line.into_bytes()
}

fn json(record: &Record<'_>) -> Vec<u8> {
    let mut fields = Fields(Map::new());
    let mut put = |key: &str, value: String| fields.0.insert(key.to_owned(), value.into());
    put("time", now().to_string());
    put("level", record.level().as_str().to_ascii_lowercase());
    if record.level() >= log::Level::Debug {
        put("module", record.target().to_owned());
    }
    if record.key_values().get(Key::from(MESSAGE)).is_none() {
        put(MESSAGE, record.args().to_string());
    }
    // Only a visitor of another's could fail.
    let _ = record.key_values().visit(&mut fields);
    // A map of texts and numbers always has a JSON form.
    serde_json::to_vec(&fields.0).unwrap_or_default()
}

/// A record's fields. Empty texts are left out: they say that there is nothing to say.
struct Fields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let value: serde_json::Value = match (value.to_u64(), value.to_f64(), value.to_bool()) {
            (Some(number), ..) => number.into(),
            (None, Some(number), _) => number.into(),
            (None, None, Some(yes)) => yes.into(),
            _ => value.to_string().into(),
        };
        if value != "" {
            self.0.insert(key.to_string(), value);
        }
        Ok(())
    }
}

/// Puts the time before a record, gathers it and writes it at once, so that lines of several
/// processes, and of a panic, do not mix. It never fails: there is nobody to tell.
struct Line<W> {
    bytes: Vec<u8>,
    stamped: bool,
    writer: W,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && self.stamped {
            let _ = write!(self.bytes, "{} ", now());
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
    use std::fmt;
    use std::sync::Arc;

    use log::Level;

    use super::*;

    /// Each write by itself.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.0.lock().push(text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(at: LevelFilter, level: Level, module: &'static str, message: &str) -> Vec<String> {
        let writes = Writes::default();
        let logger = Logger::new(at, LogFormat::Text, true, writes.clone());
        logger.log(
            &Record::builder()
                .level(level)
                .target(module)
                .module_path(Some(module))
                .args(format_args!("{message}"))
                .build(),
        );
        writes.0.lock().clone()
    }

    #[test]
    fn a_record_is_one_write_of_one_line() {
        let lines = logged(
            LevelFilter::Info,
            Level::Info,
            "srs_stream_proxy::listener",
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
            "srs_stream_proxy::listener",
            "hello",
        );
        assert!(
            lines[0].ends_with(" [DEBUG] srs_stream_proxy::listener: hello\n"),
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
        let logger = Logger::new(LevelFilter::Info, LogFormat::Text, true, Broken);
        for _ in 0..3 {
            let record = Record::builder()
                .level(Level::Error)
                .target("srs_stream_proxy")
                .args(format_args!("x"))
                .build();
            logger.log(&record);
        }
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
        let logger = Logger::new(LevelFilter::Info, LogFormat::Text, true, writes.clone());
        let say = |value: &dyn fmt::Display| {
            let record = &mut Record::builder();
            record.level(Level::Info).target("srs_stream_proxy");
            logger.log(&record.args(format_args!("{value}")).build());
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| say(&Bomb))).unwrap_err();
        say(&"after");
        assert!(writes.0.lock().concat().ends_with("after\n"));
    }

    #[test]
    fn a_line_for_the_journal_has_no_time() {
        let writes = Writes::default();
        let logger = Logger::new(LevelFilter::Info, LogFormat::Text, false, writes.clone());
        let record = &mut Record::builder();
        record.level(Level::Info).target("srs_stream_proxy");
        logger.log(&record.args(format_args!("x")).build());
        assert_eq!(writes.0.lock().concat(), "[INFO] x\n");
    }

    #[test]
    fn a_json_line_has_the_fields_of_its_record_and_stays_one_line() {
        let writes = Writes::default();
        let logger = Logger::new(LevelFilter::Info, LogFormat::Json, true, writes.clone());
        let fields = [
            ("status", Value::from(200_u16)),
            ("seconds", Value::from(0.5)),
            ("path", Value::from("/a\n\u{202e}\"")),
            ("empty", Value::from("")),
        ];
        let record = &mut Record::builder();
        record.level(Level::Warn).target("srs_stream_proxy");
        logger.log(
            &record
                .key_values(&fields)
                .args(format_args!("a\nb"))
                .build(),
        );
        let lines = writes.0.lock().clone();
        assert_eq!(lines.len(), 1);
        let (line, end) = lines[0].split_at(lines[0].len() - 1);
        assert!(end == "\n" && !line.chars().any(char::is_control), "{line}");
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        recent(json["time"].as_str().unwrap());
        let expected = serde_json::json!({
            "time": json["time"], "level": "warn", "message": "a\nb",
            "status": 200, "seconds": 0.5, "path": "/a\n\u{202e}\"",
        });
        assert_eq!(json, expected);
        let fields = [(MESSAGE, "request"), ("id", "1")];
        logger.log(
            &record
                .key_values(&fields)
                .args(format_args!("the same as text"))
                .build(),
        );
        let line = writes.0.lock().last().unwrap().clone();
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&json["message"], &json["id"]),
            (&"request".into(), &"1".into())
        );
    }
}
