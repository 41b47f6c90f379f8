//! Hooks: the URLs that are asked who may watch, and told who has watched.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use url::Url;

/// What a viewer gets whom no hook decides about: it is dead, or too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HookFail {
    /// A 403.
    Refuse,
    /// The stream.
    Allow,
}

/// A URL that hooks are called at.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl {
    /// The URL without user and password.
    pub url: String,
    /// The `Authorization` line, where the URL has a user (RFC 7617).
    pub authorization: Option<String>,
    /// The URL as the log may have it: without user, password and query.
    pub name: String,
}

/// Shows the name: the rest is a secret.
impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The URLs of `PROXY_ON_PLAY` or `PROXY_ON_STOP`, in the order in which they are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookList(pub Vec<HookUrl>);

impl HookList {
    /// Reads URLs with commas between, such as `http://127.0.0.1:8085/api/v1/sessions`. A comma in a URL is `%2C`.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let accepted =
            || "http:// URLs with commas between, such as http://127.0.0.1:8085/on_play".to_owned();
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let urls: Result<_, _> = parts.map(|part| one(part).ok_or_else(accepted)).collect();
        urls.map(Self)
    }
}

fn one(text: &str) -> Option<HookUrl> {
    let mut url = Url::parse(text).ok()?;
    if url.scheme() != "http" || url.host_str().is_none() || url.port() == Some(0) {
        return None;
    }
    let decoded = |part: &str| {
        let text = percent_encoding::percent_decode_str(part).decode_utf8();
        text.ok().map(|text| text.into_owned())
    };
    let user = decoded(url.username())?;
    let password = decoded(url.password().unwrap_or_default())?;
    let is_named = !user.is_empty() || !password.is_empty();
    let credentials = || STANDARD.encode(format!("{user}:{password}"));
    let authorization = is_named.then(|| format!("Basic {}", credentials()));
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_fragment(None);
    let whole = url.to_string();
    url.set_query(None);
    Some(HookUrl {
        url: whole,
        authorization,
        name: url.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_commas_between_and_names_without_secrets() {
        let list = HookList::parse("http://a:81/x?key=s3, http://u%40:p@b/y#z,").unwrap();
        let [a, b] = &list.0[..] else {
            panic!("{list:?}")
        };
        assert_eq!(
            (&*a.url, &*a.name),
            ("http://a:81/x?key=s3", "http://a:81/x")
        );
        assert_eq!(a.authorization, None);
        assert_eq!((&*b.url, &*b.name), ("http://b/y", "http://b/y"));
        assert_eq!(b.authorization.as_deref(), Some("Basic dUA6cA=="));
        assert!(!format!("{list:?}").contains("s3"));
        assert_eq!(HookList::parse("").unwrap().0, []);
        for text in [
            "x",
            "https://a/",
            "http://",
            "ftp://a",
            "http://a:0/",
            "http://a/,b",
        ] {
            assert!(HookList::parse(text).is_err(), "{text}");
        }
    }
}
