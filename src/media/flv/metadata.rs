//! `onMetaData`, the script tag at the beginning of an FLV file (FLV specification 10.1, annex E.5;
//! values are in AMF 0).

const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const STRING: u8 = 2;
const ECMA_ARRAY: u8 = 8;

const NAME: &str = "onMetaData";

/// Whether the script tag `body` is `onMetaData`. Some servers pass on the publisher's command
/// (`@setDataFrame`) with it.
pub fn is_metadata(body: &[u8]) -> bool {
    let rest = body
        .strip_prefix(b"\x02\x00\x0d@setDataFrame")
        .unwrap_or(body);
    rest.starts_with(b"\x02\x00\x0aonMetaData")
}

/// Whether the metadata `body` says something about video.
pub fn mentions_video(body: &[u8]) -> bool {
    ["videocodecid", "width"].iter().any(|key| {
        body.windows(key.len())
            .any(|window| window == key.as_bytes())
    })
}

/// The number that the script tag `body` gives for `key`, when it comes before values of other kinds
/// than numbers, booleans and strings.
pub fn number(mut body: &[u8], key: &str) -> Option<f64> {
    let body = &mut body;
    (body.split_off_first()? == &STRING && string(body)? == NAME.as_bytes()).then_some(())?;
    (body.split_off_first()? == &ECMA_ARRAY).then_some(())?;
    body.split_off(..4)?;
    loop {
        let name = string(body)?;
        match *body.split_off_first()? {
            NUMBER => {
                let value = f64::from_be_bytes(body.split_off(..8)?.try_into().ok()?);
                if name == key.as_bytes() {
                    return Some(value);
                }
            }
            BOOLEAN => {
                body.split_off(..1)?;
            }
            STRING => {
                string(body)?;
            }
            _ => return None,
        }
    }
}

fn string<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = body.split_off(..2)?;
    body.split_off(..usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// The body of a script tag that gives `numbers`.
pub fn body(numbers: &[(&str, f64)]) -> Vec<u8> {
    let mut out = vec![STRING];
    name(&mut out, NAME);
    out.push(ECMA_ARRAY);
    out.extend((numbers.len() as u32).to_be_bytes());
    for (key, value) in numbers {
        name(&mut out, key);
        out.push(NUMBER);
        out.extend(value.to_be_bytes());
    }
    out.extend([0, 0, 9]);
    out
}

fn name(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_found_behind_other_values() {
        let mut script = body(&[("width", 640.0)]);
        script.truncate(script.len() - 3);
        script.extend(b"\x00\x06stereo\x01\x01\x00\x07encoder\x02\x00\x01x\x00\x06height\x00");
        script.extend(360f64.to_be_bytes());
        assert_eq!(number(&script, "width"), Some(640.0));
        assert_eq!(number(&script, "height"), Some(360.0));
        assert_eq!(number(&script, "framerate"), None);
        assert_eq!(number(b"", "width"), None);
    }

    #[test]
    fn metadata_is_known_by_its_name() {
        let script = body(&[("width", 640.0)]);
        assert!(is_metadata(&script) && mentions_video(&script));
        assert!(is_metadata(
            &[&b"\x02\x00\x0d@setDataFrame"[..], &script].concat()
        ));
        assert!(!mentions_video(&body(&[("audiocodecid", 10.0)])));
        for no in [&b""[..], b"\x02\x00\x0aonTextData", b"\x02\x00\x07onMetaD"] {
            assert!(!is_metadata(no), "{no:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_asked(script: Vec<u8>) {
            let _ = number(&script, "width");
            let script = [&body(&[("a", 1.0)])[..], &script].concat();
            prop_assert_eq!(number(&script, "a"), Some(1.0));
            let _ = number(&script, "b");
        }
    }
}
