//! Starting the binary: help, version, settings from everywhere, and what is said of bad ones.

use crate::common::SOON;
use crate::common::fetch::get;
use crate::common::process::{Process, own_binary};
use crate::common::proxy::Proxy;
use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Flag, name in the environment and default of every setting.
const SETTINGS: [(&str, &str, &str); 53] = [
    ("--http-server", "PROXY_HTTP_SERVER", "18080"),
    ("--system-api", "PROXY_SYSTEM_API", "12025"),
    ("--https-server", "PROXY_HTTPS_SERVER", "none"),
    ("--https-cert", "PROXY_HTTPS_CERT", "none"),
    ("--https-key", "PROXY_HTTPS_KEY", "none"),
    ("--system-api-tls", "PROXY_SYSTEM_API_TLS", "off"),
    ("--static-files", "PROXY_STATIC_FILES", "embedded"),
    ("--load-balancer-type", "PROXY_LOAD_BALANCER_TYPE", "memory"),
    ("--redis-host", "PROXY_REDIS_HOST", "127.0.0.1"),
    ("--redis-port", "PROXY_REDIS_PORT", "6379"),
    ("--redis-password", "PROXY_REDIS_PASSWORD", "none"),
    ("--redis-password-file", "PROXY_REDIS_PASSWORD_FILE", "none"),
    ("--redis-url", "PROXY_REDIS_URL", "none"),
    ("--redis-db", "PROXY_REDIS_DB", "0"),
    (
        "--default-backend-enabled",
        "PROXY_DEFAULT_BACKEND_ENABLED",
        "off",
    ),
    ("--origins", "PROXY_ORIGINS", "none"),
    (
        "--default-backend-ip",
        "PROXY_DEFAULT_BACKEND_IP",
        "127.0.0.1",
    ),
    (
        "--default-backend-http",
        "PROXY_DEFAULT_BACKEND_HTTP",
        "8080",
    ),
    ("--default-backend-api", "PROXY_DEFAULT_BACKEND_API", "1985"),
    (
        "--default-backend-rtmp",
        "PROXY_DEFAULT_BACKEND_RTMP",
        "1935",
    ),
    ("--origin-ca", "PROXY_ORIGIN_CA", "none"),
    ("--origin-insecure", "PROXY_ORIGIN_INSECURE", "off"),
    ("--origin-server-ttl", "PROXY_ORIGIN_SERVER_TTL", "300s"),
    ("--connect-timeout", "PROXY_CONNECT_TIMEOUT", "3s"),
    ("--response-timeout", "PROXY_RESPONSE_TIMEOUT", "10s"),
    ("--stall-timeout", "PROXY_STALL_TIMEOUT", "30s"),
    ("--idle-timeout", "PROXY_IDLE_TIMEOUT", "60s"),
    ("--max-streams", "PROXY_MAX_STREAMS", "auto"),
    ("--stream-wait", "PROXY_STREAM_WAIT", "5s"),
    (
        "--trusted-proxies",
        "PROXY_TRUSTED_PROXIES",
        "127.0.0.0/8,::1/128",
    ),
    ("--protocol", "PROXY_PROTOCOL", "off"),
    ("--try-unlisted", "PROXY_TRY_UNLISTED", "last"),
    ("--origin-api-auth", "PROXY_ORIGIN_API_AUTH", "none"),
    (
        "--origin-api-auth-file",
        "PROXY_ORIGIN_API_AUTH_FILE",
        "none",
    ),
    ("--grace-quit-timeout", "PROXY_GRACE_QUIT_TIMEOUT", "20s"),
    ("--upgrade-grace", "PROXY_UPGRADE_GRACE", "24h"),
    ("--force-quit-timeout", "PROXY_FORCE_QUIT_TIMEOUT", "30s"),
    ("--system-api-token", "PROXY_SYSTEM_API_TOKEN", "none"),
    (
        "--system-api-token-file",
        "PROXY_SYSTEM_API_TOKEN_FILE",
        "none",
    ),
    ("--log-level", "PROXY_LOG_LEVEL", "info"),
    ("--live-list", "PROXY_LIVE_LIST", "on"),
    ("--public-url", "PROXY_PUBLIC_URL", "none"),
    ("--log-format", "PROXY_LOG_FORMAT", "text"),
    ("--access-log", "PROXY_ACCESS_LOG", "on"),
    ("--hls-cache", "PROXY_HLS_CACHE", "64MiB"),
    ("--live-share", "PROXY_LIVE_SHARE", "on"),
    ("--gop-cache", "PROXY_GOP_CACHE", "on"),
    ("--live-buffer", "PROXY_LIVE_BUFFER", "256MiB"),
    ("--live-resume", "PROXY_LIVE_RESUME", "10s"),
    ("--on-play", "PROXY_ON_PLAY", "none"),
    ("--on-stop", "PROXY_ON_STOP", "none"),
    ("--hook-timeout", "PROXY_HOOK_TIMEOUT", "3s"),
    ("--hook-fail", "PROXY_HOOK_FAIL", "refuse"),
];

/// A run of the binary in an empty directory of its own, without settings of the one who tests.
struct Start {
    command: Command,
    directory: PathBuf,
}

impl Start {
    fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("srs-stream-proxy-start-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut command = own_binary();
        command.args(arguments).current_dir(&directory);
        Self { command, directory }
    }

    fn words(arguments: &str) -> Self {
        Self::new(arguments.split_whitespace())
    }

    fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    fn dotenv(self, text: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.directory.join(".env"), text).unwrap();
        self
    }

    /// For runs that end by themselves; a run that goes on is killed and fails the test.
    fn output(mut self) -> Output {
        Process::run("the proxy", &mut self.command, SOON * 3)
    }

    /// Its stdout, where it must end well.
    fn answer(self) -> String {
        let output = self.output();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The one line on stderr, where it must not start.
    fn refusal(self) -> String {
        let output = self.output();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(
            !line.chars().any(char::is_control) && !line.contains("panic"),
            "{text:?}"
        );
        line.strip_prefix("srs-stream-proxy: ").unwrap().to_owned()
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn help_lists_every_setting() {
    for arguments in ["--help", "-h", "demo --help", "help"] {
        let help = Start::words(arguments).answer();
        for (flag, name, default) in SETTINGS {
            assert!(help.contains(&format!("{flag} <")), "{arguments}: {flag}");
            let line = format!("[env: {name}] [default: {default}]");
            assert!(help.contains(&line), "{arguments}: {line}");
        }
        let listed = help.matches("[env: ").count();
        assert_eq!(
            listed,
            SETTINGS.len(),
            "a setting that this test does not know"
        );
    }
}

#[test]
fn help_is_of_the_program_and_not_of_its_settings() {
    let start = Start::words("--help")
        .env("PROXY_SYSTEM_API_TOKEN", "s3cret")
        .env("PROXY_HTTP_SERVER", "bad")
        .dotenv("bad");
    let help = start.answer();
    assert!(!help.contains("s3cret") && help.contains("[default: 18080]"));
    let help = Start::words("origin --help").answer();
    for part in [
        "--stream <NAME>",
        "[default: demo]",
        "--listen <ADDRESS>",
        "[default: 8080]",
        "--device-id <ID>",
        "[default: lab-origin]",
        "--register <URL>",
        "[default: none]",
    ] {
        assert!(help.contains(part), "{part}");
    }
    assert!(!help.contains("PROXY_"));
}

#[test]
fn version_is_that_of_the_package() {
    let expected = format!("srs-stream-proxy {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(Start::words("--version").answer(), expected);
    assert_eq!(Start::words("-V").answer(), expected);
}

#[test]
fn each_bad_value_is_named_in_one_line() {
    let bad = [
        ("--http-server", "70000"),
        ("--system-api", "localhost:1"),
        ("--static-files", "missing"),
        ("--load-balancer-type", "disk"),
        ("--redis-host", "a:1"),
        ("--redis-port", "0"),
        ("--redis-password-file", "missing"),
        ("--redis-db", "-1"),
        ("--default-backend-enabled", "maybe"),
        ("--default-backend-ip", "ho:st"),
        ("--origins", "srs1:8080"),
        ("--default-backend-http", "0"),
        ("--default-backend-api", "x"),
        ("--default-backend-rtmp", "65536"),
        ("--origin-server-ttl", "0s"),
        ("--connect-timeout", "3"),
        ("--response-timeout", "-1s"),
        ("--stall-timeout", "25h"),
        ("--idle-timeout", "soon"),
        ("--max-streams", "0"),
        ("--stream-wait", "5"),
        ("--trusted-proxies", "10.0.0.0/33"),
        ("--protocol", "v2"),
        ("--https-server", "tcp:443"),
        ("--https-cert", "missing.pem"),
        ("--https-key", "missing.pem"),
        ("--system-api-tls", "yes"),
        ("--origin-ca", "missing.pem"),
        ("--origin-insecure", "1"),
        ("--try-unlisted", "perhaps"),
        ("--grace-quit-timeout", "0s"),
        ("--upgrade-grace", "0s"),
        ("--force-quit-timeout", "0s"),
        ("--system-api-token-file", "missing"),
        ("--origin-api-auth-file", "missing"),
        ("--log-level", "loud"),
        ("--live-list", "yes"),
        ("--public-url", "tv.example.com"),
        ("--log-format", "xml"),
        ("--access-log", "yes"),
        ("--hls-cache", "64MB"),
        ("--live-share", "yes"),
        ("--gop-cache", "1"),
        ("--live-buffer", "much"),
        ("--live-resume", "10"),
        ("--hook-timeout", "0s"),
        ("--hook-fail", "maybe"),
    ];
    for (flag, name, _) in SETTINGS {
        let secret = match flag {
            "--system-api-token" => Some("no/good"),
            "--redis-password" => Some("no\ngood"),
            "--redis-url" => Some("http://no:good@host"),
            "--origin-api-auth" => Some("nogood"),
            "--on-play" => Some("127.0.0.1:8085/?key=nogood"),
            "--on-stop" => Some("http://:0/?key=nogood"),
            _ => None,
        };
        let value = secret.unwrap_or_else(|| bad.iter().find(|(bad, _)| *bad == flag).unwrap().1);
        let setting = format!("{name} ({flag}) ");
        let quoted = format!("\"{value}\"");
        for start in [
            Start::new([flag, value]),
            Start::new([format!("{flag}={value}")]),
            Start::new(["demo", flag, value]),
            Start::words("").env(name, value),
            Start::words("").dotenv(format!("{name}=\"{value}\"")),
        ] {
            let line = start.refusal();
            assert!(line.starts_with(&setting), "{line}");
            assert!(line.contains("accepted: "), "{line}");
            match secret {
                Some(_) => assert!(!line.contains("good"), "{line}"),
                None => assert!(line.contains(&quoted), "{line}"),
            }
        }
    }
}

#[test]
fn a_static_directory_that_is_not_there_is_named() {
    let line = Start::words("--static-files /nowhere/www").refusal();
    assert!(
        line.contains("\"/nowhere/www\"") && line.contains("No such file or directory"),
        "{line}"
    );
    let line = Start::words("--static-files /dev/null").refusal();
    assert!(
        line.contains("\"/dev/null\"") && line.contains("Not a directory"),
        "{line}"
    );
}

#[test]
fn arguments_that_nobody_knows_are_refused() {
    for (arguments, word) in [
        ("--nonsense", "\"--nonsense\""),
        ("--nonsense=s3cret", "\"--nonsense\""),
        ("--http-servers 1", "--http-server,"),
        ("-x", "\"-x\""),
        ("stray", "\"stray\""),
        ("--max-streams 1 stray", "\"stray\""),
        ("demo stray", "\"stray\""),
        ("origin stray", "\"stray\""),
        ("demo --stream a", "\"--stream\""),
        (
            "--http-server",
            "PROXY_HTTP_SERVER (--http-server) needs a value",
        ),
        (
            "--max-streams 1 --max-streams 1",
            "PROXY_MAX_STREAMS (--max-streams) is given more than once",
        ),
        ("origin --listen nowhere", "--listen is \"nowhere\""),
        ("origin --stream a/b", "--stream is \"a/b\""),
        ("origin --register ftp://a", "--register is \"ftp://a\""),
        (
            "--http-server 1 origin",
            "--http-server is a setting of the proxy",
        ),
    ] {
        let line = Start::words(arguments).refusal();
        assert!(
            line.contains(word) && !line.contains("s3cret"),
            "{arguments}: {line}"
        );
    }
    let line = Start::new(["a\nb\x1b[31m"]).refusal();
    assert!(line.contains("a\\nb\\u{1b}[31m"), "{line}");
}

#[test]
fn what_is_not_unicode_is_refused() {
    let bad = || OsString::from_vec(b"\xff\xfe".to_vec());
    for start in [
        Start::new([OsString::from("--redis-host"), bad()]),
        Start::new([OsString::from_vec(b"--redis-host=\xff".to_vec())]),
        Start::words("").env("PROXY_REDIS_HOST", bad()),
        // What stands in the environment counts, readable or not.
        Start::words("")
            .env("PROXY_REDIS_HOST", bad())
            .dotenv("PROXY_REDIS_HOST=r"),
    ] {
        let line = start.refusal();
        assert!(
            line.starts_with("PROXY_REDIS_HOST (--redis-host) is \"\u{fffd}"),
            "{line}"
        );
    }
    let line = Start::new([bad()]).refusal();
    assert!(line.starts_with("unknown argument"), "{line}");
    let line = Start::words("")
        .env(
            "PROXY_SYSTEM_API_TOKEN",
            OsString::from_vec(b"s3cret\xff".to_vec()),
        )
        .refusal();
    assert!(
        line.starts_with("PROXY_SYSTEM_API_TOKEN") && !line.contains("s3cret"),
        "{line}"
    );
}

/// Seen by which of the bad values is complained of.
#[test]
fn a_flag_counts_before_the_environment_and_that_before_dotenv() {
    const NAME: &str = "PROXY_MAX_STREAMS";
    let dotenv = "PROXY_MAX_STREAMS=bad-dotenv\n";
    let all = Start::words("--max-streams bad-flag")
        .env(NAME, "bad-environment")
        .dotenv(dotenv);
    assert!(all.refusal().contains("is \"bad-flag\"; "));
    let two = Start::words("").env(NAME, "bad-environment").dotenv(dotenv);
    assert!(
        two.refusal()
            .contains("is \"bad-environment\" in the environment; ")
    );
    let one = Start::words("").dotenv(dotenv);
    assert!(one.refusal().contains("is \"bad-dotenv\" in .env; "));
    let empty = Start::words("").env(NAME, "").dotenv(dotenv);
    assert!(empty.refusal().contains("is \"bad-dotenv\" in .env; "));
    // A good flag hides what is bad behind it: only the other setting is left to complain of.
    let hidden = Start::words("--max-streams 1 --hls-cache bad")
        .env(NAME, "bad-environment")
        .dotenv(dotenv);
    assert!(hidden.refusal().starts_with("PROXY_HLS_CACHE "));
}

#[test]
fn dotenv_is_read_in_the_working_directory_only() {
    let start = Start::words("--hls-cache bad");
    let below = start.directory.join("below");
    std::fs::create_dir(&below).unwrap();
    let mut start = start.dotenv("PROXY_MAX_STREAMS=bad-above\n");
    start.command.current_dir(below);
    assert!(start.refusal().starts_with("PROXY_HLS_CACHE "));
    // Somebody else's directory of that name is left alone.
    let start = Start::words("--hls-cache bad");
    std::fs::create_dir(start.directory.join(".env")).unwrap();
    assert!(start.refusal().starts_with("PROXY_HLS_CACHE "));
}

#[test]
fn a_malformed_dotenv_names_its_line() {
    let line = Start::words("")
        .dotenv("# settings\nPROXY_REDIS_DB=1\nPROXY_SYSTEM_API_TOKEN s3cret\n")
        .refusal();
    assert!(
        line.starts_with(".env line 3 ") && !line.contains("s3cret"),
        "{line}"
    );
    let line = Start::words("")
        .dotenv(b"\nPROXY_REDIS_HOST=\xff\n")
        .refusal();
    assert!(line.starts_with(".env line 2 "), "{line}");
}

#[test]
fn a_closed_stdout_or_stderr_is_no_panic() {
    for (arguments, code) in [("--help", 0), ("--nonsense", 2)] {
        let mut start = Start::words(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let stdout = writer.try_clone().unwrap();
        let status = start
            .command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(writer)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code), "{arguments}");
    }
}

/// Which address and which setting, so that one sees what to change.
#[test]
fn a_port_that_is_taken_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, name, _) in &SETTINGS[..2] {
        let mut arguments = vec!["--http-server=127.0.0.1:0", "--system-api=127.0.0.1:0"];
        arguments.retain(|argument| !argument.starts_with(flag));
        let own = format!("{flag}={address}");
        arguments.push(&own);
        let line = Start::new(arguments).refusal();
        assert!(
            line.starts_with(&format!("cannot listen on {address} "))
                && line.contains(name)
                && line.contains("Address already in use"),
            "{line}"
        );
    }
    // One address for both: the second is named.
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let arguments = [
        format!("--http-server={port}"),
        format!("--system-api={port}"),
    ];
    let line = Start::new(arguments).refusal();
    assert!(
        line.contains(&port) && line.contains("PROXY_SYSTEM_API"),
        "{line}"
    );
}

#[test]
fn an_address_of_another_host_is_named() {
    // TEST-NET-1 (RFC 5737): no host has it.
    let line = Start::words("--http-server 192.0.2.1:0").refusal();
    assert!(
        line.contains("192.0.2.1:0") && line.contains("PROXY_HTTP_SERVER"),
        "{line}"
    );
}

#[test]
fn the_logs_first_lines_say_what_listens_where() {
    let proxy = Proxy::start(&[("PROXY_MAX_STREAMS", "123")]);
    let said = |part: &str| proxy.wait_for_log(|line| line.contains(part), SOON);
    said(" 123 streams at once");
    let lines = proxy.log_lines();
    for (line, part) in lines.iter().zip([
        format!("listening for players on {}", proxy.http),
        format!("listening for origins and operators on {}", proxy.api),
        " 123 streams at once".to_owned(),
    ]) {
        assert!(
            line.contains("[INFO]") && line.contains(&part),
            "{lines:#?}"
        );
    }
    assert!(proxy.http.port() != 0 && proxy.api.port() != 0);
    assert_eq!(get(proxy.http, "/api/v1/versions").status(), 200);
    assert_eq!(get(proxy.api, "/api/v1/versions").status(), 200);
}
