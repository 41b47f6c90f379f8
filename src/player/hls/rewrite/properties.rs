use proptest::prelude::*;

use crate::player::hls::rewrite::tests::{ID, rewritten, text, with_id};
use crate::player::hls::syntax::{is_master, is_playlist, only_variant};

/// A piece of a playlist: what comes in, what must go out.
type Piece = (String, String);

/// A URI of ours as it comes in and as it must go out, by a model that is not the code: path, parameters, fragment.
fn own_uri(session_params: bool) -> impl Strategy<Value = Piece> {
    let path =
        "(/|\\.\\./|http://ts\\.example\\.com:18080/)?[a-z0-9%ä]{1,6}(\\.ts|\\.m4s|/[a-z:]{1,3})";
    let other = "[a-z]{1,3}(=[A-Za-z0-9%=?+/ü]{0,4})?|xspbhid=1|spbhids=2";
    let param = match session_params {
        true => {
            prop_oneof![3 => other.prop_map(|p| p), 1 => "spbhid(=[a-z]{0,3})?".prop_map(|p| p)]
                .boxed()
        }
        false => other.prop_map(|p| p).boxed(),
    };
    let params = prop::collection::vec(param, 0..4);
    let fragment = "(#[a-z?&=]{0,4})?";
    (path, params, fragment).prop_map(|(path, params, fragment)| {
        // Those of other proxies stay.
        let all = params.join("&");
        let and = if all.is_empty() { "" } else { "&" };
        let out = format!("{all}{and}spbhid={ID}");
        let mark = if params.is_empty() { "" } else { "?" };
        let uri = format!("{path}{mark}{}{fragment}", params.join("&"));
        (uri, format!("{path}?{out}{fragment}"))
    })
}

fn line(session_params: bool) -> impl Strategy<Value = Piece> {
    let wrapped = |before: &'static str, after: &'static str| {
        move |(before_, (uri, out), after_): (String, Piece, String)| {
            (
                format!("{before_}{before}{uri}{after}{after_}"),
                format!("{before_}{before}{out}{after}{after_}"),
            )
        }
    };
    let tag = "#EXT-X-[A-Z]{1,5}:([A-Z-]{4,6}=([0-9x]{1,3}|\"[a-z,=]{0,5}(URI=)?\"),){0,2}";
    let tail = "(,[A-Z-]{4,6}=([0-9x]{1,3}|\"[a-z,=]{0,5}(URI=)?\")){0,2}";
    let kept = prop_oneof![
        "[ \\t]{0,3}",
        "#EXTINF:[0-9.]{1,4},([a-zä ,]{0,5}URI=\"[a-z.]{1,3}\")?",
        "#[a-z ]{0,9}(URI=\"a\\.ts\")?",
        "(data|skd|urn):[a-z/;,?#]{0,9}",
        "(https?:)?//[a-z]{1,4}\\.(org|ts)(:[0-9]{1,4})?/[a-z/?&=#]{0,9}",
        "#EXT-X-[A-Z]{1,5}:(X-URI|KEYFORMATURI|uri)=\"[a-z./?]{0,6}\"",
    ];
    prop_oneof![
        4 => ("[ \\t]{0,2}", own_uri(session_params), "[ \\t]{0,2}").prop_map(wrapped("", "")),
        2 => (tag, own_uri(session_params), tail).prop_map(wrapped("URI=\"", "\"")),
        4 => kept.prop_map(|line| (line.clone(), line)),
    ]
}

fn playlist(session_params: bool) -> impl Strategy<Value = Piece> {
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    let lines = prop::collection::vec((line(session_params), end), 0..12);
    (any::<bool>(), lines, line(session_params)).prop_map(|(bom, lines, last)| {
        let head = format!("{}#EXTM3U\n", if bom { "\u{feff}" } else { "" });
        let mut whole = (head.clone(), head);
        for ((line, out), end) in lines {
            whole.0 += &(line + end);
            whole.1 += &(out + end);
        }
        (whole.0 + &last.0, whole.1 + &last.1)
    })
}

/// What a hostile playlist is made of.
const PIECES: &[&[u8]] = &[
    b"#EXTM3U",
    b"#EXT-X-A:",
    b"#EXT-X-STREAM-INF:",
    b"#EXTINF:",
    b"URI",
    b"=",
    b",",
    b"\"",
    b"?",
    b"&",
    b"#",
    b":",
    b"//",
    b"\r",
    b"\n",
    b" ",
    b"a.ts",
    b"\xff",
    b"\xef\xbb\xbf",
    b"@",
    b"[",
    b"http",
    b"ts.example.com:18080",
];

fn without(body: &[u8], gone: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut at = 0;
    while at < body.len() {
        if body[at..].starts_with(gone) {
            at += gone.len();
        } else {
            rest.push(body[at]);
            at += 1;
        }
    }
    rest
}

proptest! {
    #[test]
    fn each_own_uri_gains_one_and_all_else_stays((body, expected) in playlist(true)) {
        prop_assert_eq!(text(&body), expected);
    }

    #[test]
    fn what_was_put_in_can_be_taken_out((body, _) in playlist(false)) {
        let back = text(&body).replace(&with_id("&@"), "").replace(&with_id("?@"), "");
        prop_assert_eq!(back, body);
    }

    #[test]
    fn a_second_proxy_adds_its_own_and_takes_nothing((list, _) in playlist(true)) {
        let outer = text(rewritten(list.as_bytes()));
        let taken = outer.replace(&with_id("&@"), "").replace(&with_id("?@"), "");
        prop_assert!(outer.matches(&with_id("@&@")).count() * 2 == outer.matches(&with_id("@")).count());
        prop_assert!(!taken.contains(ID));
    }

    #[test]
    fn any_bytes_lose_nothing(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        let body = pieces.concat();
        let strip = |bytes: &[u8]| -> Vec<u8> {
            let bytes = without(bytes, with_id("@").as_bytes());
            bytes.into_iter().filter(|b| !b"?&".contains(b)).collect()
        };
        let after = rewritten(&body);
        prop_assert_eq!(strip(&after), strip(&body));
        prop_assert_eq!(is_playlist(&after), is_playlist(&body));
        if let Some(uri) = only_variant(&body) {
            prop_assert!(is_master(&body) && !uri.is_empty());
        }
    }
}
