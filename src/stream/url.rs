//! Stream URLs: `vhost/app/stream`, the name of a stream whatever format it is asked for in.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::http::query::raw_value;

/// The vhost that SRS uses when a request names none.
pub const DEFAULT_VHOST: &str = "__defaultVhost__";

/// What SRS calls the app of a stream whose URL has none, as in `/a.flv`.
const DEFAULT_APP: &str = "__defaultApp__";

/// Longest stream URL, in bytes of its text form. It is the key of tables, and every URI of a playlist carries it.
pub const MAX_STREAM_URL: usize = 1024;

/// A stream's name, `vhost/app/stream`, as text: decoded, without an extension, and not to be put into a request.
///
/// The vhost is in lower case, without port or trailing dot. The app may have several levels, or none: `/a.flv` is
/// `vhost/a`. No part is empty, `.` or `..`, and there is no control character, so the text is safe in a log line
/// and as a key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamUrl(Arc<str>);

/// How a stream stands in an origin's `/api/v1/streams/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiMatch {
    /// The stream itself is listed.
    Exact,
    /// The default vhost's stream of that name is: SRS serves it when no entry is exact.
    DefaultVhost,
    /// Neither is.
    No,
}

impl StreamUrl {
    /// The stream that a request asks for, from its `Host`, its path and its query, both still percent-encoded.
    ///
    /// App and stream are the path without the extension of its last part, each replaced by `?app=` or `?stream=`
    /// where that is given and not empty. The path is decoded first, so `/live/%61.flv` is `/live/a.flv`; slashes
    /// that were doubled or encoded separate like any other, as nginx has it.
    ///
    /// The vhost is the first of `?vhost=`, `?domain=` and `Host` that is not empty, and [`DEFAULT_VHOST`] when that
    /// is an IP address. A `Host` without a dot is the default vhost too; a vhost that the query names is meant,
    /// dot or not, for SRS takes it as it is.
    ///
    /// `None` when there is no stream name, when something does not decode to UTF-8, for control characters, `.` and
    /// `..` parts, a vhost that cannot be one, and beyond [`MAX_STREAM_URL`].
    pub fn of_request(host: Option<&str>, path: &str, query: Option<&str>) -> Option<StreamUrl> {
        let given = |name| decoded(query.and_then(|query| raw_value(query, name)).unwrap_or(""));
        let vhost = Self::vhost_of_request(host, query)?;
        let path = decoded(path)?;
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let (app, stream) = (given("app")?, given("stream")?);
        Self::of_parts(
            &vhost,
            if app.is_empty() { folder } else { &app },
            if stream.is_empty() { stem } else { &stream },
        )
    }

    /// The vhost of a request, as [`StreamUrl::of_request`] has it; `None` for one that cannot be one.
    pub fn vhost_of_request(host: Option<&str>, query: Option<&str>) -> Option<Cow<'static, str>> {
        let given = |name| decoded(query.and_then(|query| raw_value(query, name)).unwrap_or(""));
        let (vhost, domain) = (given("vhost")?, given("domain")?);
        match (&*vhost, &*domain) {
            ("", "") => vhost_of_host(host.unwrap_or("")),
            ("", named) | (named, _) => normal_vhost(named),
        }
    }

    /// Reads the text form, with the checks of [`StreamUrl::of_request`]; what [`StreamUrl::as_str`] gives comes back
    /// as it was.
    pub fn parse(text: &str) -> Option<StreamUrl> {
        let (vhost, path) = text.split_once('/')?;
        if vhost.is_empty() {
            return None;
        }
        let (app, stream) = path.rsplit_once('/').unwrap_or(("", path));
        Self::of_parts(&normal_vhost(vhost)?, app, stream)
    }

    fn of_parts(vhost: &str, app: &str, stream: &str) -> Option<StreamUrl> {
        if vhost.len() + app.len() + stream.len() > 2 * MAX_STREAM_URL {
            return None;
        }
        let mut text = String::with_capacity(vhost.len() + app.len() + stream.len() + 2);
        text.push_str(vhost);
        push_parts(&mut text, app)?;
        let before = text.len();
        push_parts(&mut text, stream)?;
        let whole = text.len() > before && text.len() <= MAX_STREAM_URL;
        whole.then(|| StreamUrl(text.into()))
    }

    /// `vhost/app/stream`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The vhost, [`DEFAULT_VHOST`] where the request named none.
    pub fn vhost(&self) -> &str {
        self.halves().0
    }

    /// `/app/stream`, decoded; `/stream` where there is no app.
    pub fn app_stream(&self) -> &str {
        self.halves().1
    }

    fn halves(&self) -> (&str, &str) {
        self.0.split_at(self.0.find('/').unwrap_or(self.0.len()))
    }

    /// What an origin's API may mean by `entry`, its `url` field: `/app/stream` in the default vhost, `vhost/app/stream`
    /// in a named one. Publishers' names come as they were sent, percent-encoded by some encoders: a name with a `%` is
    /// taken both as it is and decoded.
    pub fn of_api_entry(entry: &str) -> impl Iterator<Item = StreamUrl> {
        let (vhost, name) = entry.split_at(entry.find('/').unwrap_or(entry.len()));
        let vhost = if vhost.is_empty() {
            DEFAULT_VHOST
        } else {
            vhost
        };
        let plain = decoded(name).filter(|plain| *plain != name);
        let names = [Some(Cow::from(name)), plain].into_iter().flatten();
        names.filter_map(move |name| {
            let own_app = name
                .strip_prefix('/')
                .and_then(|name| name.strip_prefix(DEFAULT_APP))
                .filter(|stream| stream.starts_with('/') && stream.rfind('/') == Some(0));
            Self::parse(&format!("{vhost}{}", own_app.unwrap_or(&name)))
        })
    }

    /// How this stream stands in what an origin's API lists: under its own vhost, or under the default one, from
    /// which SRS serves it where there is no exact entry.
    pub fn api_match(&self, listed: &HashSet<StreamUrl>) -> ApiMatch {
        if listed.contains(self) {
            return ApiMatch::Exact;
        }
        match self.in_default_vhost() {
            Some(stand_in) if listed.contains(&stand_in) => ApiMatch::DefaultVhost,
            _ => ApiMatch::No,
        }
    }

    /// The default vhost's stream of that name, from which SRS serves this one where nobody publishes it under its own
    /// vhost. `None` where it is the default vhost's itself.
    pub fn in_default_vhost(&self) -> Option<StreamUrl> {
        let (vhost, name) = self.halves();
        (vhost != DEFAULT_VHOST).then(|| StreamUrl(format!("{DEFAULT_VHOST}{name}").into()))
    }
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

/// Appends `/part` for each part of `path` that is not empty; `None` when one of them must not be in a name.
fn push_parts(text: &mut String, path: &str) -> Option<()> {
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." || part.contains(char::is_control) {
            return None;
        }
        text.push('/');
        text.push_str(part);
    }
    Some(())
}

fn vhost_of_host(host: &str) -> Option<Cow<'static, str>> {
    normal_vhost(host).map(|vhost| match vhost.contains('.') {
        true => vhost,
        false => DEFAULT_VHOST.into(),
    })
}

/// A host name in the form that stream URLs have it; the default vhost for IP addresses and for none.
fn normal_vhost(host: &str) -> Option<Cow<'static, str>> {
    if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        return Some(DEFAULT_VHOST.into());
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_end_matches('.');
    if name.is_empty() || name.eq_ignore_ascii_case(DEFAULT_VHOST) || name.parse::<IpAddr>().is_ok()
    {
        return Some(DEFAULT_VHOST.into());
    }
    // Anything that could move the border between vhost and app, or that a host name cannot hold (RFC 3986
    // section 3.2.2).
    let strange = |c: char| c.is_control() || c.is_whitespace() || "/\\?#@:[]%".contains(c);
    (!name.contains(strange)).then(|| name.to_ascii_lowercase().into())
}

impl fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests;
