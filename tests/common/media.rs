//! Media made by ffmpeg from its own sources: four seconds of a test picture with a tone.

use super::tools;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// What making all of it may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory with `live/a.flv`, `.ts`, `.aac`, `.mp3`, and as HLS `live/ts.m3u8` (TS segments), `live/fmp4.m3u8`
/// (fMP4 segments), `live/aes.m3u8` (AES-128) and `live/master.m3u8` (a master playlist for `ts.m3u8`).
/// Made once, kept in Cargo's directory for tests.
///
/// # Panics
/// When ffmpeg is missing or fails.
pub fn directory() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media-1");
        if !home.is_dir() {
            let parent = home.parent().expect("a parent");
            std::fs::create_dir_all(parent).expect("making a directory");
            let making = tempfile::tempdir_in(parent).expect("a temporary directory");
            make(&making.path().join("live"));
            // Another test binary may have been faster; then its files are as good.
            let _ = std::fs::rename(making.path(), &home);
        }
        assert!(
            home.join("live/a.flv").is_file(),
            "no media in {}",
            home.display()
        );
        home
    })
}

fn make(live: &Path) {
    std::fs::create_dir_all(live).expect("making a directory");
    let picture = "testsrc2=size=320x180:rate=25";
    let tone = "sine=frequency=440:sample_rate=44100";
    ffmpeg(
        live,
        &[
            "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone, "-t", "4", "-c:v", "libx264",
        ]
        .into_iter()
        .chain("-preset ultrafast -g 25 -bf 0 -pix_fmt yuv420p -c:a aac -b:a 64k a.flv".split(' '))
        .collect::<Vec<_>>(),
    );
    let hls = "-hls_time 1 -hls_list_size 0 -hls_playlist_type vod";
    std::fs::write(live.join("aes.key"), b"0123456789abcdef").expect("writing the key");
    std::fs::write(live.join("aes.info"), "aes.key\naes.key\n").expect("writing the key's info");
    for how in [
        "-c copy a.ts",
        "-vn -c:a copy a.aac",
        "-vn -c:a libmp3lame a.mp3",
        &format!("-c copy -f hls {hls} -hls_segment_filename ts-%d.ts ts.m3u8"),
        &format!(
            "-c copy -f hls {hls} -hls_segment_type fmp4 -hls_fmp4_init_filename init.mp4 \
                  -hls_segment_filename fmp4-%d.m4s fmp4.m3u8"
        ),
        &format!(
            "-c copy -f hls {hls} -hls_key_info_file aes.info -hls_segment_filename aes-%d.ts aes.m3u8"
        ),
    ] {
        ffmpeg(
            live,
            &["-i", "a.flv"]
                .into_iter()
                .chain(how.split_whitespace())
                .collect::<Vec<_>>(),
        );
    }
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=500000\nts.m3u8\n";
    std::fs::write(live.join("master.m3u8"), master).expect("writing the master playlist");
}

/// The hashes of the decoded frames of a file or URL, one line a frame.
///
/// # Panics
/// When it cannot be read to its end, or ffmpeg complains about anything in it.
#[track_caller]
pub fn frames(input: &str) -> String {
    let mut command = tools::command("ffmpeg");
    command.args(["-v", "error", "-nostdin"]);
    command.args(["-i", input, "-f", "framemd5", "-"]);
    let output = tools::run(&mut command, PATIENCE);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "ffmpeg reading {input}: {errors}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ffmpeg(directory: &Path, args: &[&str]) {
    let mut command = tools::command("ffmpeg");
    command
        .current_dir(directory)
        .args(["-v", "error", "-nostdin", "-y"])
        .args(args);
    tools::output(&mut command, PATIENCE);
}
