//! Statuses as a label. An origin may send any of 900; the label has a few dozen values.

/// The statuses that have a value of their own: ours, and those that media servers send.
const OWN: [(u16, &str); 30] = [
    (200, "200"),
    (204, "204"),
    (206, "206"),
    (301, "301"),
    (302, "302"),
    (303, "303"),
    (304, "304"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (410, "410"),
    (411, "411"),
    (412, "412"),
    (413, "413"),
    (416, "416"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (505, "505"),
    (508, "508"),
];

/// The value for a status: itself where it is common, else its class; `none` for 0.
pub(super) fn label(status: u16) -> &'static str {
    let own = OWN.iter().find(|(own, _)| *own == status);
    match (own, status / 100) {
        (Some((_, label)), _) => label,
        (None, 2) => "2xx",
        (None, 3) => "3xx",
        (None, 4) => "4xx",
        (None, 5) => "5xx",
        (None, _) if status == 0 => "none",
        (None, _) => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn common_statuses_are_themselves_and_others_their_class() {
        for (status, label) in OWN {
            assert_eq!(status.to_string(), label);
        }
        for (status, expected) in [
            (0, "none"),
            (200, "200"),
            (226, "2xx"),
            (305, "3xx"),
            (418, "4xx"),
            (599, "5xx"),
            (100, "other"),
            (999, "other"),
        ] {
            assert_eq!(label(status), expected);
        }
        let all: HashSet<_> = (0..=u16::MAX).map(label).collect();
        assert_eq!(all.len(), OWN.len() + 6);
    }
}
