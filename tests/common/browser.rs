//! Headless Chromium, driven by WebDriver (<https://www.w3.org/TR/webdriver2/>): JSON over HTTP to chromedriver.

use super::process::Process;
use super::tools;
use super::wait::wait_until;
use rustix::process::{Signal, kill_process_group};
use serde_json::{Value, json};
use std::os::unix::process::CommandExt;
use std::time::Duration;
use tempfile::TempDir;
use ureq::Agent;

/// What the browser is started with: without a screen, quiet towards the world, and allowed to play with sound at once.
const FLAGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
];

/// A browser takes long to start where everything else runs too, and so does a page's first script.
const START: Duration = Duration::from_secs(60);

/// A browser of the test's own, with a profile that goes away with it. Dropped, it is ended; when the test failed, what its
/// windows show is printed.
pub struct Browser {
    agent: Agent,
    /// Leads a process group, which Chromium's processes belong to.
    driver: Process,
    session: String,
    profile: TempDir,
}

impl Browser {
    /// Starts one, with an empty window. A small machine plays what one browser plays: the test is [`super::alone`].
    ///
    /// # Panics
    /// When chromium or chromedriver is missing, or does not start.
    #[track_caller]
    pub fn start() -> Browser {
        Browser::start_with(None)
    }

    /// Starts one that takes a certificate for good which nobody has vouched for: the one whose public key has this SHA-256
    /// hash, in base64.
    #[track_caller]
    pub fn trusting(key_hash: &str) -> Browser {
        Browser::start_with(Some(format!(
            "--ignore-certificate-errors-spki-list={key_hash}"
        )))
    }

    #[track_caller]
    fn start_with(flag: Option<String>) -> Browser {
        let profile = tempfile::tempdir().expect("a directory");
        let mut command = tools::command("chromedriver");
        command
            .arg("--port=0")
            .env("HOME", profile.path())
            .process_group(0);
        let mut driver = Process::start("chromedriver", &mut command);
        let port = port(&mut driver);
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(START));
        let mut browser = Browser {
            agent: config.build().into(),
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            profile,
        };
        browser.begin(flag);
        browser
    }

    fn begin(&mut self, flag: Option<String>) {
        let own = format!("--user-data-dir={}", self.profile.path().display());
        let size = "--window-size=1280,900".to_owned();
        let args: Vec<_> = FLAGS
            .map(str::to_owned)
            .into_iter()
            .chain([own, size])
            .chain(flag)
            .collect();
        let made = self.call(
            "POST",
            "",
            &json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"binary": tools::find("chromium"), "args": args},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        let id = made["sessionId"].as_str().expect("a session's id");
        self.session = format!("{}/{id}", self.session);
    }

    /// Goes to a page and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({"url": url}));
    }

    /// Opens another window, beside those there are, and turns to it. Windows, unlike tabs, are all visible. Gives its handle.
    #[track_caller]
    pub fn new_window(&self) -> String {
        let made = self.call("POST", "/window/new", &json!({"type": "window"}));
        let handle = made["handle"].as_str().expect("a handle").to_owned();
        self.turn_to(&handle);
        handle
    }

    /// The handle of the window that everything is about.
    #[track_caller]
    pub fn window(&self) -> String {
        let handle = self.call("GET", "/window", &Value::Null);
        handle.as_str().expect("a handle").to_owned()
    }

    /// Turns to a window: everything else is about that one.
    #[track_caller]
    pub fn turn_to(&self, window: &str) {
        self.call("POST", "/window", &json!({"handle": window}));
    }

    /// Runs the body of a function in the page and gives what it returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.call(
            "POST",
            "/execute/sync",
            &json!({"script": script, "args": []}),
        )
    }

    /// Has this window run a script before each page's own ones, from the next page on.
    #[track_caller]
    pub fn run_before_pages(&self, script: &str) {
        self.cdp(
            "Page.addScriptToEvaluateOnNewDocument",
            &json!({"source": script}),
        );
    }

    /// Gives this window a command of the DevTools protocol, which WebDriver has no own one for.
    #[track_caller]
    pub fn cdp(&self, command: &str, parameters: &Value) {
        let body = json!({"cmd": command, "params": parameters});
        self.call("POST", "/goog/cdp/execute", &body);
    }

    /// The text of the first element that a CSS selector finds, as it is seen: empty when it is hidden.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let text = self.text_of(selector);
        text.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    fn text_of(&self, selector: &str) -> Result<String, String> {
        let element = self.look_for(selector)?;
        let text = self.ask("GET", &format!("/element/{element}/text"), &Value::Null)?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Clicks on an element as a mouse does: one that is hidden or covered fails.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.call("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into a field. `\u{E007}` is the enter key.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.call(
            "POST",
            &format!("/element/{element}/value"),
            &json!({"text": text}),
        );
    }

    /// The URL of the page.
    #[track_caller]
    pub fn address(&self) -> String {
        let url = self.call("GET", "/url", &Value::Null);
        url.as_str().expect("a URL").to_owned()
    }

    /// Waits until there is an element that shows a text.
    #[track_caller]
    pub fn wait_for_text(&self, selector: &str, wanted: &str, deadline: Duration) {
        let what = format!("{selector} showed {wanted:?}");
        wait_until(&what, deadline, || {
            self.text_of(selector)
                .is_ok_and(|text| text.contains(wanted))
        });
    }

    /// What went wrong since this was asked last: errors and warnings of scripts, of the content security policy, of loading.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", &json!({"type": "browser"}));
        let entries = log.as_array().expect("entries").iter();
        // Advice to the pages' authors has other levels.
        let wrong =
            entries.filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        wrong.map(|entry| entry["message"].to_string()).collect()
    }

    #[track_caller]
    fn find(&self, selector: &str) -> String {
        let found = self.look_for(selector);
        found.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// The first element's reference, an object with one entry whose name the standard fixes.
    fn look_for(&self, selector: &str) -> Result<String, String> {
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.ask("POST", "/element", &wanted)?;
        let id = found
            .as_object()
            .and_then(|it| it.values().next()?.as_str());
        Ok(id.ok_or("no element's reference")?.to_owned())
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    /// A WebDriver command: gives its value, or its error in words.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}{path}", self.session);
        let answer = match method {
            "GET" => self.agent.get(url).call(),
            "DELETE" => self.agent.delete(url).call(),
            _ => self.agent.post(url).send(body.to_string()),
        };
        let mut answer = answer.map_err(|error| error.to_string())?;
        let text = answer
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string();
        let text = text.map_err(|error| error.to_string())?;
        let mut json: Value =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        match answer.status().is_success() {
            true => Ok(json["value"].take()),
            false => Err(json["value"]["message"]
                .as_str()
                .unwrap_or(&text)
                .to_owned()),
        }
    }

    /// What all windows show, for the report of a failed test.
    fn tell(&self) {
        let handles = self
            .ask("GET", "/window/handles", &Value::Null)
            .unwrap_or_default();
        for window in handles.as_array().into_iter().flatten() {
            let seen = self
                .ask("POST", "/window", &json!({"handle": window}))
                .and_then(|_| {
                    let script = "return location.href + '\\n' + document.body.innerText";
                    self.ask(
                        "POST",
                        "/execute/sync",
                        &json!({"script": script, "args": []}),
                    )
                });
            let log = self.ask("POST", "/se/log", &json!({"type": "browser"}));
            let seen = seen.map(|text| text.as_str().unwrap_or_default().to_owned());
            eprintln!("---- a window ----\n{}", seen.unwrap_or_else(|error| error));
            eprintln!("---- its console ----\n{}\n----", log.unwrap_or_default());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        // This ends the browser, unless it hangs.
        let _ = self.ask("DELETE", "", &Value::Null);
        let _ = kill_process_group(self.driver.pid(), Signal::KILL);
    }
}

/// The port that chromedriver took and tells of in one of its first lines.
#[track_caller]
fn port(driver: &mut Process) -> u16 {
    let read = Process::stdout_lines;
    driver.wait_for_line("that it has started", START, read, |line| {
        let (_, port) = line.split_once("successfully on port ")?;
        Some(port.trim_end_matches('.').parse().expect("a port"))
    })
}
