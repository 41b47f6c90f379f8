//! The settings as a whole, over command lines, environments and `.env` files of the tests.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use super::*;
use crate::config::names::{environment_name, settings};
use crate::config::sources::*;

/// Runs over the words of a command line, an environment and a `.env`.
fn run(arguments: &str, environment: &[(&str, &str)], dotenv: &str) -> Result<Command, String> {
    let arguments = std::iter::once("proxy").chain(arguments.split_whitespace());
    let environment = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    parse_from(arguments.map(OsString::from), environment, || {
        Ok((!dotenv.is_empty()).then(|| dotenv.as_bytes().to_vec()))
    })
    .map_err(|error| error.to_string())
}

fn proxy(arguments: &str, environment: &[(&str, &str)], dotenv: &str) -> Config {
    match run(arguments, environment, dotenv) {
        Ok(Command::Proxy(config)) => config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_is_sound() {
    command_line().debug_assert();
}

#[test]
fn defaults_are_those_of_the_table() {
    let config = proxy("", &[], "");
    assert_eq!(
        (
            config.http_server.to_string(),
            config.system_api.to_string()
        ),
        (":18080".into(), ":12025".into())
    );
    assert_eq!(
        (config.static_files, config.load_balancer_type),
        (None, LoadBalancerType::Memory)
    );
    let redis = &config.redis;
    assert_eq!(
        (redis.host.as_str(), redis.port, &redis.password, redis.db),
        ("127.0.0.1", 6379, &None, 0)
    );
    assert_eq!(config.default_backend, None);
    let seconds = [
        config.origin_server_ttl,
        config.connect_timeout,
        config.response_timeout,
        config.stall_timeout,
        config.idle_timeout,
        config.stream_wait,
        config.grace_quit_timeout,
        config.force_quit_timeout,
    ]
    .map(|duration| duration.as_millis());
    assert_eq!(
        seconds,
        [
            300_000, 3_000, 10_000, 30_000, 60_000, 5_000, 20_000, 30_000
        ]
    );
    assert_eq!(
        (config.max_streams, config.hls_cache),
        (MaxStreams::Auto, 64 << 20)
    );
    assert_eq!((config.live_share, config.gop_cache), (true, true));
    assert_eq!(
        (config.live_buffer, config.live_resume.as_secs()),
        (256 << 20, 10)
    );
    assert_eq!(
        config.trusted_proxies,
        TrustedProxies::parse("127.0.0.0/8,::1/128").unwrap()
    );
    assert_eq!(
        (config.system_api_token, config.log_level),
        (None, log::LevelFilter::Info)
    );
}

#[test]
fn every_setting_is_taken_from_each_source() {
    let values = [
        ("http_server", "127.0.0.1:1"),
        ("system_api", "[::1]:2"),
        ("https_server", "[::1]:3"),
        ("https_cert", "Cargo.toml"),
        ("https_key", "Cargo.lock"),
        ("system_api_tls", "on"),
        ("static_files", "."),
        ("load_balancer_type", "redis"),
        ("redis_host", "r"),
        ("redis_port", "3"),
        ("redis_password", "p"),
        ("redis_db", "4"),
        ("origins", "http://a:1"),
        ("origin_ca", "Cargo.toml"),
        ("origin_insecure", "off"), // it excludes the other
        ("default_backend_enabled", "on"),
        ("default_backend_ip", "::1"),
        ("default_backend_http", "5"),
        ("default_backend_api", "6"),
        ("default_backend_rtmp", "7"),
        ("origin_server_ttl", "8s"),
        ("connect_timeout", "9s"),
        ("response_timeout", "10s"),
        ("stall_timeout", "11s"),
        ("idle_timeout", "12s"),
        ("max_streams", "13"),
        ("stream_wait", "0s"),
        ("try_unlisted", "never"),
        ("origin_api_auth", "u:p"),
        ("trusted_proxies", "10.0.0.0/8"),
        ("protocol", "on"),
        ("live_list", "off"),
        ("public_url", "http://a/"),
        ("grace_quit_timeout", "14s"),
        ("force_quit_timeout", "15s"),
        ("upgrade_grace", "16s"),
        ("system_api_token", "t"),
        ("log_level", "trace"),
        ("log_format", "json"),
        ("access_log", "off"),
        ("redis_url", "redis://u:p@r:1/2"),
        ("hls_cache", "0"),
        ("live_share", "off"),
        ("gop_cache", "off"),
        ("live_buffer", "1MiB"),
        ("live_resume", "0s"),
        ("on_play", "http://a/x?k=v,http://b/"),
        ("on_stop", "http://c/"),
        ("hook_timeout", "17s"),
        ("hook_fail", "allow"),
    ];
    assert_eq!(values.map(|(id, _)| id.to_owned()).to_vec(), {
        let order = |id: &String| values.iter().position(|(name, _)| name == id);
        let mut all: Vec<_> = settings().collect();
        // They stand for another setting each, and have a test of their own.
        all.retain(|id| !id.ends_with("_file"));
        all.sort_by_key(order);
        all
    });
    let flags = values
        .map(|(id, value)| format!("--{} {value} ", id.replace('_', "-")))
        .concat();
    let names = values.map(|(id, value)| (environment_name(id), value));
    let environment = names
        .each_ref()
        .map(|(name, value)| (name.as_str(), *value));
    let dotenv = names
        .each_ref()
        .map(|(name, value)| format!("{name}={value}\n"))
        .concat();
    for config in [
        proxy(&flags, &[], ""),
        proxy("", &environment, ""),
        proxy("", &[], &dotenv),
    ] {
        assert_eq!(
            (
                config.http_server.to_string(),
                config.system_api.to_string()
            ),
            ("127.0.0.1:1".into(), "[::1]:2".into())
        );
        assert_eq!(
            (config.try_unlisted, config.origin_api_auth.as_deref()),
            (TryUnlisted::Never, Some("u:p"))
        );
        assert_eq!(
            (config.static_files, config.load_balancer_type),
            (Some(".".into()), LoadBalancerType::Redis)
        );
        let redis = &config.redis;
        assert_eq!(
            (
                redis.host.as_str(),
                redis.port,
                redis.password.as_deref(),
                redis.db
            ),
            ("r", 3, Some("p"), 4)
        );
        assert_eq!(
            config.default_backend,
            Some(StaticOrigin {
                host: "::1".to_owned(),
                http: 5,
                is_secure: false,
                api: Some(6),
                rtmp: Some(7),
            })
        );
        let seconds = [
            config.origin_server_ttl,
            config.connect_timeout,
            config.response_timeout,
            config.stall_timeout,
            config.idle_timeout,
            config.stream_wait,
            config.grace_quit_timeout,
            config.force_quit_timeout,
        ]
        .map(|duration| duration.as_secs());
        assert_eq!(seconds, [8, 9, 10, 11, 12, 0, 14, 15]);
        assert_eq!(
            (config.max_streams, config.hls_cache),
            (MaxStreams::Number(13), 0)
        );
        assert_eq!((config.live_share, config.gop_cache), (false, false));
        assert_eq!(
            (config.live_buffer, config.live_resume.as_secs()),
            (1 << 20, 0)
        );
        let urls = |list: &Option<HookList>| list.as_ref().map_or(0, |list| list.0.len());
        assert_eq!((urls(&config.on_play), urls(&config.on_stop)), (2, 1));
        assert_eq!(
            (config.hook_timeout.as_secs(), config.hook_fail),
            (17, HookFail::Allow)
        );
        assert!(config.trusted_proxies.contains("10.1.1.1".parse().unwrap()));
        assert_eq!(
            (config.system_api_token.as_deref(), config.log_level),
            (Some("t"), log::LevelFilter::Trace)
        );
    }
}

#[test]
fn the_first_source_counts() {
    const NAME: &str = "PROXY_CONNECT_TIMEOUT";
    for (arguments, environment, dotenv, seconds) in [
        (
            "--connect-timeout 1s",
            Some("2s"),
            "PROXY_CONNECT_TIMEOUT=4s",
            1,
        ),
        ("--connect-timeout=1s", None, "", 1),
        ("", Some("2s"), "PROXY_CONNECT_TIMEOUT=4s", 2),
        ("", None, "PROXY_CONNECT_TIMEOUT=4s", 4),
        ("", None, "PROXY_OTHER=4s", 3),
        // Empty is not set.
        ("", Some(""), "PROXY_CONNECT_TIMEOUT=4s", 4),
        ("", Some(""), "PROXY_CONNECT_TIMEOUT=", 3),
        // A source that does not count may hold anything.
        (
            "--connect-timeout 1s",
            Some("rubbish"),
            "PROXY_CONNECT_TIMEOUT=rubbish",
            1,
        ),
        ("", Some("2s"), "PROXY_CONNECT_TIMEOUT=rubbish", 2),
    ] {
        let environment: Vec<_> = environment.map(|value| (NAME, value)).into_iter().collect();
        let config = proxy(arguments, &environment, dotenv);
        assert_eq!(
            config.connect_timeout,
            Duration::from_secs(seconds),
            "{arguments} {environment:?} {dotenv}"
        );
    }
}

#[test]
fn an_error_names_setting_value_and_source() {
    for (arguments, environment, dotenv, parts) in [
        (
            "--max-streams 0",
            "",
            "",
            [
                "PROXY_MAX_STREAMS (--max-streams) is \"0\"; accepted: a number from 1",
                "",
            ],
        ),
        (
            "--redis-db -1",
            "",
            "",
            ["PROXY_REDIS_DB (--redis-db) is \"-1\"; accepted", ""],
        ),
        (
            "",
            "0",
            "",
            [
                "PROXY_MAX_STREAMS (--max-streams) is \"0\" in the environment; accepted",
                "",
            ],
        ),
        (
            "",
            "",
            "PROXY_MAX_STREAMS=0",
            [
                "PROXY_MAX_STREAMS (--max-streams) is \"0\" in .env; accepted",
                "",
            ],
        ),
        ("", "a\nb", "", ["is \"a\\nb\" in the environment", ""]),
        (
            "--max-streams",
            "",
            "",
            ["(--max-streams) needs a value", ""],
        ),
        (
            "--max-streams 1 --max-streams 2",
            "",
            "",
            ["(--max-streams) is given more than once", ""],
        ),
        (
            "--max-stream 1",
            "",
            "",
            ["\"--max-stream\"", "--max-streams"],
        ),
        (
            "--nonsense",
            "",
            "",
            ["unknown argument \"--nonsense\"", "--help"],
        ),
        ("stray", "", "", ["unknown argument \"stray\"", "--help"]),
        (
            "demo stray",
            "",
            "",
            ["unknown argument \"stray\"", "--help"],
        ),
        (
            "demo --max-streams 0",
            "",
            "",
            ["PROXY_MAX_STREAMS (--max-streams) is \"0\"", ""],
        ),
        (
            "--max-streams 1 origin",
            "",
            "",
            ["--max-streams is a setting of the proxy", "origin"],
        ),
        (
            "origin --listen x",
            "",
            "",
            ["--listen is \"x\"; accepted: a port", ""],
        ),
        (
            "origin --max-streams 1",
            "",
            "",
            ["unknown argument \"--max-streams\"", ""],
        ),
    ] {
        let environment: &[_] = if environment.is_empty() {
            &[]
        } else {
            &[("PROXY_MAX_STREAMS", environment)]
        };
        let error = run(arguments, environment, dotenv).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn secrets_are_never_shown() {
    for (arguments, environment, dotenv) in [
        ("--system-api-token s3/cret", vec![], ""),
        ("", vec![("PROXY_SYSTEM_API_TOKEN", "s3/cret")], ""),
        ("", vec![], "PROXY_SYSTEM_API_TOKEN=s3/cret"),
        ("", vec![("PROXY_REDIS_PASSWORD", "s3\ncret")], ""),
        ("", vec![], "PROXY_SYSTEM_API_TOKEN='s3cret"),
        ("", vec![], "PROXY_SYSTEM_API_TOKEN=s3 cret"),
    ] {
        let error = run(arguments, &environment, dotenv).unwrap_err();
        assert!(!error.contains("s3") && !error.contains("cret"), "{error}");
        assert!(
            error.contains("PROXY_") || error.contains(".env line 1"),
            "{error}"
        );
    }
    let command = run("--system-api-token s3cret --redis-password s3cret", &[], "").unwrap();
    let Command::Proxy(config) = &command else {
        panic!()
    };
    assert_eq!(config.system_api_token.as_deref(), Some("s3cret"));
    assert!(!format!("{command:?} {:?}", config.redis).contains("s3cret"));
}

#[test]
fn an_empty_flag_takes_a_secret_back() {
    let environment = [
        ("PROXY_SYSTEM_API_TOKEN", "t"),
        ("PROXY_REDIS_PASSWORD", "p"),
        ("PROXY_TRUSTED_PROXIES", "10.0.0.0/8"),
    ];
    let config = proxy(
        "--system-api-token= --redis-password= --trusted-proxies=",
        &environment,
        "",
    );
    assert_eq!(
        (config.system_api_token, config.redis.password),
        (None, None)
    );
    assert!(!config.trusted_proxies.contains("10.0.0.1".parse().unwrap()));
}

#[test]
fn what_is_not_unicode_is_named() {
    let bad = || OsString::from_vec(b"a\xff".to_vec());
    let joined = OsString::from_vec(b"--redis-host=a\xff".to_vec());
    for (arguments, expected) in [
        (
            vec!["proxy".into(), "--redis-host".into(), bad()],
            "PROXY_REDIS_HOST (--redis-host) is \"a\u{fffd}\"; accepted: text in UTF-8",
        ),
        (
            vec!["proxy".into(), joined],
            "PROXY_REDIS_HOST (--redis-host) is \"a\u{fffd}\"; accepted: text in UTF-8",
        ),
        (
            vec!["proxy".into(), bad()],
            "unknown argument \"a\u{fffd}\"; --help lists what is accepted",
        ),
    ] {
        let error = parse_from(arguments, [], || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let environment = [("PROXY_REDIS_HOST".into(), bad())];
    let error = parse_from(["proxy".into()], environment, || Ok(None)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("(--redis-host) is \"a\u{fffd}\" in the environment"),
        "{error}"
    );
    let error = parse_from(["proxy".into()], [], || {
        Ok(Some(b"\nPROXY_X=\xff\n".to_vec()))
    })
    .unwrap_err();
    assert!(error.to_string().starts_with(".env line 2 "), "{error}");
}

#[test]
fn dotenv_takes_the_usual_forms() {
    for text in [
        "PROXY_REDIS_HOST=r",
        "PROXY_REDIS_HOST=r ",
        "\u{feff}PROXY_REDIS_HOST=r\r\n",
        "export PROXY_REDIS_HOST=\"r\"\n",
        "# a comment\n\nPROXY_REDIS_HOST='r' # another\nPROXY_REDIS_HOST=second\n",
        "PROXY_RTMP_SERVER=1935\nPROXY_REDIS_HOST=r",
    ] {
        assert_eq!(proxy("", &[], text).redis.host, "r", "{text:?}");
    }
}

#[test]
fn a_bad_dotenv_line_of_ours_is_numbered() {
    for (text, line) in [
        ("PROXY_A", 1),
        ("# fine\n\nA=1\nPROXY_B 2\nC=3\n", 4),
        ("A=1\nPROXY_B=two words\n", 2),
        ("A=1\nPROXY_B=\"open\nC=3\nD=4\n", 2),
    ] {
        let error = run("", &[], text).unwrap_err();
        assert!(
            error.starts_with(&format!(".env line {line} cannot be read")),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn what_others_have_in_dotenv_does_not_end_the_start() {
    for text in [
        "NAME=Main Studio 1\nPROXY_REDIS_HOST=r",
        "{\"a\": 1,\n  \"b\": \"open\n}\nPROXY_REDIS_HOST=r\n",
        "A=$(rm -rf /)\nB=é\nexport PROXY_REDIS_HOST=r",
        "=1\nnonsense\n'\nPROXY_REDIS_HOST=r\n",
        "URL=http://x?PROXY_REDIS_HOST=no\nPROXY_REDIS_HOST=r\n",
    ] {
        assert_eq!(proxy("", &[], text).redis.host, "r", "{text:?}");
    }
    let latin1 = b"STUDIO=caf\xe9\nPROXY_REDIS_HOST=r\n".to_vec();
    let command = parse_from(["proxy".into()], [], || Ok(Some(latin1))).unwrap();
    assert!(matches!(command, Command::Proxy(config) if config.redis.host == "r"));
}

#[test]
fn a_comment_may_have_a_quote() {
    let text = "PROXY_REDIS_HOST=r # it's Anna's\nPROXY_REDIS_PORT=1\n";
    assert_eq!(proxy("", &[], text).redis.port, 1);
}

#[test]
fn a_dollar_in_dotenv_is_a_dollar() {
    for (value, token) in [
        ("$ecret99", "$ecret99"),
        ("a$b${c}$", "a$b${c}$"),
        ("\"$x\"", "$x"),
        ("'$x'", "$x"),
        ("\\$x", "$x"),
        ("a'$b'$c", "a$b$c"),
        ("$HOME", "$HOME"),
    ] {
        let config = proxy("", &[], &format!("PROXY_SYSTEM_API_TOKEN={value}"));
        assert_eq!(config.system_api_token.as_deref(), Some(token), "{value}");
    }
}

#[test]
fn a_misspelt_name_is_warned_of_with_the_nearest() {
    let environment = [
        ("PROXY_SYSTEM_API_TOKN", "x"),
        ("PROXY_RTMP_SERVER", "1935"),
        ("PROXY_MAX_STREAMS", "5"),
        ("PROXY_ZZZ", ""),
        ("PATH", "/bin"),
    ];
    let dotenv = "PROXY_TRUSTED_PROXY=10.0.0.0/8\nOTHER=1\n";
    let warnings = proxy("", &environment, dotenv).warnings;
    assert_eq!(
        warnings,
        [
            "PROXY_SYSTEM_API_TOKN is no setting and is ignored; did you mean PROXY_SYSTEM_API_TOKEN?",
            "PROXY_TRUSTED_PROXY is no setting and is ignored; did you mean PROXY_TRUSTED_PROXIES?",
            "PROXY_ZZZ is no setting and is ignored; --help lists all",
        ]
    );
}

#[test]
fn the_force_timeout_is_after_the_grace_time() {
    let config = proxy("--grace-quit-timeout 60s", &[], "");
    assert_eq!(config.force_quit_timeout, Duration::from_secs(70));
    for arguments in [
        "--grace-quit-timeout 60s --force-quit-timeout 30s",
        "--force-quit-timeout 20s",
        "--force-quit-timeout 5s",
    ] {
        let error = run(arguments, &[], "").unwrap_err();
        assert!(
            error.starts_with("PROXY_GRACE_QUIT_TIMEOUT (--grace-quit-timeout) is \"")
                && error.ends_with("accepted: less than PROXY_FORCE_QUIT_TIMEOUT"),
            "{error}"
        );
    }
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (token, bad) = (file("token", "s3cret\n"), file("bad", "s3/cret"));
    let (empty, none) = (file("empty", "\n"), directory.path().join("none"));
    let config = proxy(
        "",
        &[
            ("PROXY_SYSTEM_API_TOKEN_FILE", &token),
            ("PROXY_REDIS_PASSWORD_FILE", &bad),
        ],
        "",
    );
    assert_eq!(config.system_api_token.as_deref(), Some("s3cret"));
    assert_eq!(config.redis.password.as_deref(), Some("s3/cret"));
    // The stronger source counts.
    let flag = format!("--system-api-token-file {token}");
    let in_environment = [("PROXY_SYSTEM_API_TOKEN", "other")];
    let config = proxy(&flag, &in_environment, "");
    assert_eq!(config.system_api_token.as_deref(), Some("s3cret"));
    let config = proxy(
        "--system-api-token=",
        &[("PROXY_SYSTEM_API_TOKEN_FILE", &token)],
        "",
    );
    assert_eq!(config.system_api_token, None);
    for (value, part) in [
        (
            bad.as_str(),
            "has a value in its file that is not shown here",
        ),
        (&empty, "accepted: a file that is not empty"),
        (
            none.to_str().unwrap(),
            "accepted: a file that can be read (No such file",
        ),
        (
            directory.path().to_str().unwrap(),
            "accepted: a file that can be read (",
        ),
    ] {
        let error = run("", &[("PROXY_SYSTEM_API_TOKEN_FILE", value)], "").unwrap_err();
        assert!(
            error.contains(part) && !error.contains("s3/cret"),
            "{error}"
        );
    }
    let both = [
        ("PROXY_SYSTEM_API_TOKEN", "x"),
        ("PROXY_SYSTEM_API_TOKEN_FILE", &token),
    ];
    let error = run("", &both, "").unwrap_err();
    assert!(
        error.ends_with("accepted: it or PROXY_SYSTEM_API_TOKEN, not both"),
        "{error}"
    );
}

#[test]
fn a_redis_url_is_checked_and_never_shown() {
    for url in [
        "redis://127.0.0.1",
        "redis://user:pass@[::1]:6380/3",
        "rediss://redis.example.com:6379/0",
        "redis+unix:///run/redis.sock?db=1",
    ] {
        let config = proxy("", &[("PROXY_REDIS_URL", url)], "");
        assert_eq!(config.redis.url.as_deref(), Some(url));
    }
    for url in [
        "http://a",
        "127.0.0.1:6379",
        "redis://a:s3cret@h:port",
        "redis://h/x",
    ] {
        let error = run("", &[("PROXY_REDIS_URL", url)], "").unwrap_err();
        assert!(
            error.contains("accepted: a URL such as redis://") && !error.contains("s3cret"),
            "{error}"
        );
    }
}

#[test]
fn demo_takes_settings_on_both_sides() {
    let Ok(Command::Demo(config)) = run(
        "--http-server 1 --max-streams 5 demo --system-api 2 --max-streams 6",
        &[("PROXY_REDIS_DB", "7")],
        "",
    ) else {
        panic!("not a demo")
    };
    assert_eq!(
        (
            config.http_server.port,
            config.system_api.port,
            config.max_streams,
            config.redis.db
        ),
        (1, 2, MaxStreams::Number(6), 7)
    );
}

#[test]
fn origin_has_flags_of_its_own() {
    let Ok(Command::Origin(origin)) = run("origin", &[("PROXY_MAX_STREAMS", "bad")], "bad") else {
        panic!("not an origin")
    };
    let expected = OriginArgs {
        streams: vec!["demo".into()],
        listen: Listen {
            host: None,
            port: 8080,
        },
        device_id: "lab-origin".into(),
        register: None,
    };
    assert_eq!(origin, expected);
    let Ok(Command::Origin(origin)) = run(
        "origin --stream a --stream b --listen 127.0.0.1:0 --device-id x --register http://127.0.0.1:1/r",
        &[],
        "",
    ) else {
        panic!("not an origin")
    };
    assert_eq!(
        (origin.streams.join("+"), origin.listen.to_string()),
        ("a+b".into(), "127.0.0.1:0".into())
    );
    assert_eq!(
        (origin.device_id.as_str(), origin.register.as_deref()),
        ("x", Some("http://127.0.0.1:1/r"))
    );
}
