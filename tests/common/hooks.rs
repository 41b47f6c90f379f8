//! A hook server: it answers SRS's `on_play` and `on_stop` as the test says, and remembers every call.

use super::SOON;
use super::wait::{wait_for, wait_until};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// A call as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// The target of the POST.
    pub target: String,
    pub authorization: Option<String>,
    pub body: Value,
}

impl Call {
    /// A field that is text.
    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_default().to_owned()
    }

    pub fn is(&self, action: &str) -> bool {
        self.body["action"] == action
    }
}

/// What comes back for a call.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// A 200 with this body.
    Says(&'static str),
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
    /// The connection is closed without an answer.
    Closes,
    /// No answer until the hook server is told to go on, or is dropped.
    Holds,
}

type Judge = Box<dyn Fn(&Call) -> Verdict + Send + Sync>;

struct State {
    judge: Mutex<Judge>,
    delay: Mutex<Duration>,
    calls: Mutex<Vec<Call>>,
    now: AtomicUsize,
    most: AtomicUsize,
    held: Mutex<bool>,
    go_on: Condvar,
}

/// The server.
pub struct HookServer {
    state: Arc<State>,
    addr: SocketAddr,
}

impl HookServer {
    /// Starts one that allows everybody.
    pub fn start() -> HookServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for hooks");
        let addr = listener.local_addr().expect("its address");
        // The standard library's backlog is 4096 or what the host allows: a crowd of 64 fits.
        let state = Arc::new(State {
            judge: Mutex::new(Box::new(|_| Verdict::Says("0"))),
            delay: Mutex::default(),
            calls: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            held: Mutex::new(true),
            go_on: Condvar::new(),
        });
        let own = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = own.clone();
                thread::spawn(move || serve(&state, stream));
            }
        });
        HookServer { state, addr }
    }

    /// Answers by looking at the call from now on.
    pub fn judge(&self, judge: impl Fn(&Call) -> Verdict + Send + Sync + 'static) {
        *self.state.judge.lock().expect("judge") = Box::new(judge);
    }

    /// Answers every call the same from now on.
    pub fn says(&self, verdict: Verdict) {
        self.judge(move |_| verdict.clone());
    }

    /// Waits so long before each answer.
    pub fn delay(&self, delay: Duration) {
        *self.state.delay.lock().expect("delay") = delay;
    }

    /// Answers what was held with `0`, and holds nothing more.
    pub fn go_on(&self) {
        *self.state.held.lock().expect("held") = false;
        self.state.go_on.notify_all();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// All calls of that action so far.
    pub fn calls(&self, action: &str) -> Vec<Call> {
        let calls = self.state.calls.lock().expect("calls");
        calls.iter().filter(|it| it.is(action)).cloned().collect()
    }

    /// Waits for so many calls of that action, and gives them.
    #[track_caller]
    pub fn wait_for(&self, action: &str, many: usize) -> Vec<Call> {
        wait_for(&format!("{many} calls of {action}"), SOON, || {
            Some(self.calls(action)).filter(|calls| calls.len() >= many)
        })
    }

    /// Calls that were being answered at one time, at most.
    pub fn most_at_once(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }

    /// Whether no call is being answered.
    pub fn is_idle(&self) -> bool {
        self.state.now.load(Ordering::SeqCst) == 0
    }

    /// Waits until there is one `on_stop` for each `on_play`, of the same client.
    #[track_caller]
    pub fn wait_balanced(&self, deadline: Duration) {
        wait_until("each on_play has its on_stop", deadline, || {
            self.unbalanced().is_empty()
        });
    }

    /// The clients whose calls are not one of each.
    pub fn unbalanced(&self) -> HashMap<String, (usize, usize)> {
        let mut clients: HashMap<String, (usize, usize)> = HashMap::new();
        for call in self.state.calls.lock().expect("calls").iter() {
            let counts = clients.entry(call.text("client_id")).or_default();
            match call.is("on_play") {
                true => counts.0 += 1,
                false => counts.1 += 1,
            }
        }
        clients.retain(|_, counts| *counts != (1, 1));
        clients
    }
}

fn serve(state: &State, stream: TcpStream) {
    let Some(call) = read(&stream) else { return };
    let now = state.now.fetch_add(1, Ordering::SeqCst) + 1;
    state.most.fetch_max(now, Ordering::SeqCst);
    let verdict = (state.judge.lock().expect("judge"))(&call);
    state.calls.lock().expect("calls").push(call);
    let delay = *state.delay.lock().expect("delay");
    thread::sleep(delay);
    let mut verdict = verdict;
    if matches!(verdict, Verdict::Holds) {
        let mut held = state.held.lock().expect("held");
        while *held {
            held = state.go_on.wait(held).expect("held");
        }
        verdict = Verdict::Says("0");
    }
    state.now.fetch_sub(1, Ordering::SeqCst);
    let bytes = match verdict {
        Verdict::Says(body) => {
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .into_bytes()
        }
        Verdict::Raw(bytes) => bytes,
        Verdict::Closes | Verdict::Holds => return,
    };
    let _ = (&stream).write_all(&bytes); // the caller may have left
}

fn read(stream: &TcpStream) -> Option<Call> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Call {
        target,
        authorization,
        body: serde_json::from_slice(&body).ok()?,
    })
}
