//! One call of a hook: a POST, and what its answer means.

use crate::config::HookUrl;
use crate::runtime::cancel::{CancelListener, CancelToken};
use parking_lot::Mutex;
use serde_json::Value;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use ureq::{Agent, Timeout};

/// Bytes of an answer that are read; SRS's hooks answer `0` or `{"code":0}`.
const MAX_ANSWER: u64 = 16 * 1024;
/// Characters of an answer that the log shows.
const SHOWN: usize = 60;

/// What a hook makes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A 200 with `0` or `{"code":0}`.
    Allowed,
    /// Any other answer, in a few words.
    Refused(String),
    /// There was no answer, for this reason.
    Failed {
        why: String,
        /// The hook may have got the call.
        sent: bool,
    },
    /// The client has left meanwhile. The hook may have got the call.
    Left,
}

/// Ends a call when its client leaves.
struct Hangup(Mutex<Option<Agent>>);

impl CancelListener for Hangup {
    fn cancelled(&self) {
        let agent = self.0.lock().take();
        if let Some(agent) = agent {
            agent.shutdown();
        }
    }
}

impl fmt::Debug for Hangup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hangup")
    }
}

/// Posts `body` to a hook and reads its answer. Blocks for `timeout` at most, and no longer than the client stays, but
/// for the time of a connect. The token must have no other listener.
pub fn call(hook: &HookUrl, body: &str, timeout: Duration, cancel: &CancelToken) -> Answer {
    // An agent of its own, since ureq interrupts an agent's calls together. It costs a connection for each call, as
    // SRS's own hooks do.
    let agent = agent(timeout);
    let hangup = Arc::new(Hangup(Mutex::new(Some(agent.clone()))));
    cancel.on_cancel(hangup);
    let answer = ask(&agent, hook, body);
    cancel.clear_on_cancel();
    match answer {
        Ok((status, text)) => judge(status, &text),
        Err(_) if cancel.is_cancelled() => Answer::Left,
        Err(error) => Answer::Failed {
            sent: may_be_sent(&error),
            why: error.to_string(),
        },
    }
}

fn agent(timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None) // the default obeys HTTP_PROXY
        .user_agent("srs-stream-proxy")
        .timeout_global(Some(timeout))
        .build();
    config.new_agent()
}

fn ask(agent: &Agent, hook: &HookUrl, body: &str) -> Result<(u16, Vec<u8>), ureq::Error> {
    let mut request = agent
        .post(&hook.url)
        .header("Content-Type", "application/json")
        .header("Connection", "close");
    if let Some(authorization) = &hook.authorization {
        request = request.header("Authorization", authorization);
    }
    let mut response = request.send(body)?;
    let status = response.status().as_u16();
    let answer = response.body_mut().with_config().limit(MAX_ANSWER);
    match answer.read_to_vec() {
        Ok(text) => Ok((status, text)),
        // An answer all the same: it refuses.
        Err(ureq::Error::BodyExceedsLimit(_)) => Ok((status, b"a long answer".to_vec())),
        Err(error) => Err(error),
    }
}

/// What an answer means, as SRS reads it.
fn judge(status: u16, text: &[u8]) -> Answer {
    if status != 200 {
        return Answer::Refused(format!("status {status}"));
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) if object.get("code") == Some(&Value::from(0)) => Answer::Allowed,
        Ok(Value::Number(number)) if number.as_i64() == Some(0) => Answer::Allowed,
        _ => {
            let text = String::from_utf8_lossy(text);
            let shown: String = text.trim().chars().take(SHOWN).collect();
            Answer::Refused(format!("answer {shown:?}"))
        }
    }
}

/// Whether a call that failed so may have reached the hook.
fn may_be_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve)
        | ureq::Error::ConnectionFailed => false,
        ureq::Error::Io(error) => !matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        ),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_is_a_200_with_0_and_nothing_else() {
        for text in [
            "0",
            " 0\r\n",
            "{\"code\":0}",
            "{\"code\": 0, \"data\": null}",
        ] {
            assert_eq!(judge(200, text.as_bytes()), Answer::Allowed, "{text}");
        }
        for text in [
            "",
            "1",
            "00",
            "0.5",
            "ok",
            "null",
            "[0]",
            "{}",
            "{\"code\":1}",
            "{\"code\":\"0\"}",
            "{\"code\":0",
            "\"0\"",
            "0 0",
        ] {
            let refused = matches!(judge(200, text.as_bytes()), Answer::Refused(_));
            assert!(refused, "{text}");
        }
        for status in [201, 204, 302, 403, 500] {
            let refused = format!("status {status}");
            assert_eq!(judge(status, b"0"), Answer::Refused(refused));
        }
    }
}
