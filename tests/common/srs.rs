//! A scripted origin that lives as SRS does: it holds the players of streams that nobody publishes, and its API
//! lists the others.

use super::answer::{Answer, Reply};
use super::origin::Origin;

/// Starts one without streams.
pub fn start() -> Origin {
    let origin = Origin::start_with_api();
    origin.otherwise(|_| Answer::Silence);
    origin
}

/// Somebody publishes `/live/NAME` there: FLV, playlist and segment are served, each with `word` in it, and the
/// API lists it.
pub fn publish(origin: &Origin, name: &str, word: &str) {
    serve(origin, name, word);
    origin.api().publish(&format!("/live/{name}"));
}

/// `/live/NAME` is served there, whatever the API says.
pub fn serve(origin: &Origin, name: &str, word: &str) {
    origin.on(
        &format!("/live/{name}.flv"),
        Reply::ok("video/x-flv", word).chunked(),
    );
    let playlist = format!("#EXTM3U\n#EXTINF:2,{word}\n{name}-1.ts\n");
    origin.on(&format!("/live/{name}.m3u8"), Reply::playlist(playlist));
    origin.on(
        &format!("/live/{name}-1.ts"),
        Reply::ok("video/MP2T", word).chunked(),
    );
}

/// Its publisher is gone: players of the FLV are held, and the last playlist stays a while.
pub fn unpublish(origin: &Origin, name: &str) {
    origin.api().unpublish(&format!("/live/{name}"));
    origin.on(&format!("/live/{name}.flv"), Answer::Silence);
}

/// How often it was asked for `/live/NAME` in whatever form.
pub fn asked_for(origin: &Origin, name: &str) -> usize {
    let path = format!("/live/{name}.");
    let own = |r: &&super::origin::Request| r.path().starts_with(&path);
    origin.requests().iter().filter(own).count()
}
