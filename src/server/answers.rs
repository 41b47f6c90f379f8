//! Answers that more than one server gives: this program's version, and static files.

use crate::files::{FileAnswer, FileBody};
use crate::server::body::ResponseBody;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use log::error;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// Answers with this program's version, in SRS's form; both servers have it.
pub fn versions(exchange: Exchange) {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    let body = serde_json::json!({
        "code": 0,
        "pid": std::process::id().to_string(),
        "data": {
            "major": part(env!("CARGO_PKG_VERSION_MAJOR")),
            "minor": part(env!("CARGO_PKG_VERSION_MINOR")),
            "revision": part(env!("CARGO_PKG_VERSION_PATCH")),
            "version": env!("CARGO_PKG_VERSION"),
        }
    });
    let head = ResponseHead::new(200).with("Content-Type", "application/json");
    exchange.answer(head, body.to_string().as_bytes());
}

/// Sends a part of a file, by the kernel where it can.
fn send_from_disk(out: &mut ResponseBody, file: &File, part: Range<u64>) -> io::Result<u64> {
    let before = out.record().bytes;
    match out.send_file(file, part.clone()) {
        // A file system without it (sendfile(2), EINVAL) has sent nothing.
        Err(error)
            if error.kind() == io::ErrorKind::InvalidInput && out.record().bytes == before =>
        {
            let mut file = file;
            file.seek(SeekFrom::Start(part.start))?;
            io::copy(&mut file.take(part.end - part.start), out)
        }
        sent => sent.map(|()| part.end - part.start),
    }
}

/// Sends a static file, or what there is instead.
pub fn send_file(exchange: Exchange, answer: io::Result<FileAnswer>) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            error!("{}: reading a static file: {error}", exchange.record.id);
            return exchange.problem(500, "The file cannot be read now. Try again.");
        }
    };
    let mut head = ResponseHead::new(answer.status);
    for (name, value) in answer.headers {
        head = head.with(name, value);
    }
    match answer.status {
        404 => exchange.problem_with(
            head,
            "There is nothing here. Streams are at /app/stream.flv, .ts or .m3u8.",
        ),
        416 => exchange.problem_with(head, "The file is shorter than that."),
        301 => exchange.answer(head, b""),
        _ => {
            head.length = answer.length;
            let Ok(mut out) = exchange.start(&head) else {
                return;
            };
            let copied = match answer.body {
                FileBody::Empty => Ok(0),
                FileBody::Memory(mut bytes) => io::copy(&mut bytes, &mut out),
                FileBody::Disk(file, part) => send_from_disk(&mut out, &file, part),
            };
            match copied {
                // What remains undone is the client's connection, which has its record.
                Ok(_) => drop(out.finish()),
                Err(error) => out.break_off(&error.to_string()),
            }
        }
    }
}
