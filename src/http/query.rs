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

/// A request target without this proxy's own parameter: what the origin is asked for.
pub fn without_spbhid(target: &str) -> Cow<'_, str> {
    match target.split_once('?') {
        Some((path, query)) if raw_value(query, "spbhid").is_some() => {
            match without_param(query, "spbhid") {
                Some(rest) => format!("{path}?{rest}").into(),
                None => path.to_owned().into(),
            }
        }
        _ => target.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
