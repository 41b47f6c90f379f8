//! How far a viewer of HLS has come, and what a playlist has beyond that.

/// A segment as a playlist names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub number: u64,
    pub uri: String,
}

#[derive(Default)]
pub struct LiveEdge {
    /// The last segment that the viewer has; `None` before its first playlist.
    pub last: Option<u64>,
    /// Segments that were gone before the viewer could ask for them.
    pub missed: u64,
}

impl LiveEdge {
    /// The segments of a playlist that are new to the viewer, in order: of the first playlist the newest alone.
    pub fn new_segments(&mut self, playlist: &str) -> Result<Vec<Listed>, String> {
        let uris = playlist.lines().filter(|line| !line.starts_with('#'));
        let listed: Option<Vec<Listed>> = uris.map(listed).collect();
        let listed = listed.ok_or("a URI without a segment's number")?;
        let (Some(oldest), Some(newest)) = (listed.first(), listed.last()) else {
            return Err(format!("no playlist: {playlist:?}"));
        };
        let last = self.last.unwrap_or(newest.number.saturating_sub(1));
        if newest.number < last {
            return Err(format!("a playlist to {} after {last}", newest.number));
        }
        let missed = oldest.number.saturating_sub(last + 1);
        self.missed += missed;
        // What is gone is missed once.
        let last = last + missed;
        self.last = Some(last);
        let new = listed.into_iter().filter(|listed| listed.number > last);
        Ok(new.collect())
    }
}

/// `crowd-17.ts?hls_ctx=c3` is segment 17.
fn listed(uri: &str) -> Option<Listed> {
    let path = uri.split('?').next()?;
    let (_, number) = path.strip_suffix(".ts")?.rsplit_once('-')?;
    Some(Listed {
        number: number.parse().ok()?,
        uri: uri.to_owned(),
    })
}
