//! Query strings, read and trimmed in place.
//!
//! Parameters are separated by `&` only and names are compared as they are written. `+` stays a plus: SRS and
//! stream names know nothing of HTML forms.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The first value of `name` as it is written; empty when the parameter has no `=`.
pub fn raw_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|param| {
        let (key, value) = param.split_once('=').unwrap_or((param, ""));
        (key == name).then_some(value)
    })
}

/// The first value of `name`, percent-decoded; empty when the parameter has no `=`.
///
/// `None` when there is no such parameter, and when its value does not decode to UTF-8: that is no text that
/// anyone could have meant.
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    percent_decode_str(raw_value(query, name)?)
        .decode_utf8()
        .ok()
}

/// The query without any parameter called `name`; the others stay byte for byte and in order.
///
/// `None` when nothing is left, so that the `?` can go too.
pub fn without_param(query: &str, name: &str) -> Option<String> {
    let mut rest = String::with_capacity(query.len());
    let mut first = true;
    for param in query.split('&').filter(|param| !is_param(param, name)) {
        if !first {
            rest.push('&');
        }
        first = false;
        rest.push_str(param);
    }
    (!rest.is_empty()).then_some(rest)
}

fn is_param(param: &str, name: &str) -> bool {
    param
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// Whether a query has a session id of this proxy, be it one that no text decodes to.
pub fn names_session(query: &str) -> bool {
    query
        .split('&')
        .any(|param| session_of_param(param).is_some())
}

/// The session id that this proxy has put into a query, percent-decoded: the last `spbhid`. One before it belongs
/// to another proxy of this kind, nearer to the origin.
pub fn own_session(query: &str) -> Option<Cow<'_, str>> {
    let value = query.rsplit('&').find_map(session_of_param)?;
    percent_decode_str(value).decode_utf8().ok()
}

/// A request target without this proxy's own parameter, the last `spbhid`: what the origin is asked for.
pub fn without_spbhid(target: &str) -> Cow<'_, str> {
    let Some((path, query)) = target.split_once('?') else {
        return target.into();
    };
    let params: Vec<&str> = query.split('&').collect();
    let own = |param: &&str| session_of_param(param).is_some();
    match params.iter().rposition(own) {
        Some(own) => without_nth(path, &params, own).into(),
        None => target.into(),
    }
}

/// A request target without the viewer's session that this proxy has put into it, the last `spbhs`, and that session;
/// `None` where there is none. One before it belongs to another proxy of this kind, nearer to the origin.
pub fn split_viewer(target: &str) -> Option<(String, &str)> {
    let (path, query) = target.split_once('?')?;
    let params: Vec<&str> = query.split('&').collect();
    let own = |param: &&str| param.starts_with("spbhs=");
    let own = params.iter().rposition(own)?;
    let rest = without_nth(path, &params, own);
    Some((rest, &params[own]["spbhs=".len()..]))
}

fn without_nth(path: &str, params: &[&str], nth: usize) -> String {
    let rest = [&params[..nth], &params[nth + 1..]].concat().join("&");
    match rest.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{rest}"),
    }
}

fn session_of_param(param: &str) -> Option<&str> {
    let rest = param.strip_prefix("spbhid")?;
    match rest.strip_prefix('=') {
        None if rest.is_empty() => Some(""),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_viewer_is_ours() {
        for (target, expected) in [
            ("/a.ts", None),
            ("/a.ts?spbhsx=1&xspbhs=2", None),
            ("/a.ts?spbhs=x", Some(("/a.ts", "x"))),
            ("/a.ts?spbhs=", Some(("/a.ts", ""))),
            ("/a.ts?b=1&spbhs=x&c", Some(("/a.ts?b=1&c", "x"))),
            (
                "/a.ts?spbhs=1&spbhid=y&spbhs=2",
                Some(("/a.ts?spbhs=1&spbhid=y", "2")),
            ),
        ] {
            let found = split_viewer(target);
            assert_eq!(
                found.as_ref().map(|(rest, id)| (&**rest, *id)),
                expected,
                "{target}"
            );
        }
    }

    #[test]
    fn values_are_found_by_exact_name_and_decoded() {
        let rows = [
            ("app=live&stream=a", "stream", Some("a")),
            ("a=1&a=2", "a", Some("1")),
            ("xa=1&a=2", "a", Some("2")),
            ("A=1", "a", None),
            ("%61=1", "a", None),
            ("a", "a", Some("")),
            ("a=", "a", Some("")),
            ("a=b=c", "a", Some("b=c")),
            ("a=%2Flive%20x+y", "a", Some("/live x+y")),
            ("a=%zz%", "a", Some("%zz%")),
            ("a=%ff", "a", None),
            ("", "a", None),
            ("b=1;a=2", "a", None),
        ];
        for (query, name, value) in rows {
            assert_eq!(
                query_value(query, name).as_deref(),
                value,
                "{name} of {query}"
            );
        }
    }

    #[test]
    fn the_last_session_is_ours_and_goes() {
        let rows = [
            ("/a?spbhid=x", Some("x"), "/a"),
            ("/a?spbhid=in&spbhid=out", Some("out"), "/a?spbhid=in"),
            ("/a?spbhid=in&spbhid", Some(""), "/a?spbhid=in"),
            ("/a?b=1&spbhid=%78&c=%2f&&", Some("x"), "/a?b=1&c=%2f&&"),
            ("/a?spbhids=x&xspbhid=y", None, "/a?spbhids=x&xspbhid=y"),
            ("/a", None, "/a"),
            ("/a?", None, "/a?"),
        ];
        for (target, id, rest) in rows {
            let query = target.split_once('?').map_or("", |(_, query)| query);
            assert_eq!(own_session(query).as_deref(), id, "{target}");
            assert_eq!(without_spbhid(target), rest, "{target}");
        }
    }

    #[test]
    fn a_parameter_goes_and_the_others_stay() {
        let rows = [
            ("spbhid=x", None),
            ("spbhid", None),
            ("", None),
            ("spbhid=x&spbhid=y", None),
            ("a=1&spbhid=x", Some("a=1")),
            ("spbhid=x&a=1", Some("a=1")),
            ("a=1&spbhid=x&b=%2f&&c", Some("a=1&b=%2f&&c")),
            (
                "spbhid2=x&xspbhid=y&Spbhid=z",
                Some("spbhid2=x&xspbhid=y&Spbhid=z"),
            ),
            ("a=spbhid=x&spbhid=y", Some("a=spbhid=x")),
        ];
        for (query, rest) in rows {
            assert_eq!(without_param(query, "spbhid").as_deref(), rest, "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_and_trimmed(query in "\\PC{0,40}", name in "[a-z]{1,3}") {
            let rest = without_param(&query, &name).unwrap_or_default();
            prop_assert_eq!(raw_value(&rest, &name), None);
            let others: Vec<_> = query.split('&').filter(|param| param.split('=').next() != Some(&name)).collect();
            prop_assert_eq!(rest, others.join("&"));
        }

        #[test]
        fn an_encoded_value_comes_back(value in any::<String>()) {
            let encoded = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
            let query = format!("x=1&a={encoded}&a=2");
            let decoded = query_value(&query, "a");
            prop_assert_eq!(decoded.as_deref(), Some(value.as_str()));
        }
    }
}
