//! A directory with everything in it that must not be served.

use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::files::{FileAnswer, FileRequest, Files};

/// `files/` is what is served; `secret` beside it is not. Gone when dropped.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("srs-stream-proxy-files-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(tree.0.join("files")).unwrap();
        tree.put("secret", "secret");
        tree
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.0.join(name)).unwrap();
    }

    fn files(&self) -> Files {
        Files::directory(self.0.join("files"))
    }

    fn get(&self, target: &str) -> FileAnswer {
        self.files()
            .answer(target, &FileRequest::default())
            .unwrap()
    }

    fn text(&self, target: &str) -> String {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "{target}");
        text(answer)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn text(mut answer: FileAnswer) -> String {
    let mut text = String::new();
    answer.body.read_to_string(&mut text).unwrap();
    text
}

fn header<'a>(answer: &'a FileAnswer, name: &str) -> Option<&'a str> {
    let mut values = answer.headers.iter().filter(|(key, _)| *key == name);
    let value = values.next().map(|(_, value)| value.as_str());
    assert!(values.next().is_none(), "{name} twice");
    value
}

#[test]
fn files_are_served_with_type_and_validators() {
    let tree = Tree::new();
    let path = tree.put("files/a b.html", "0123456789");
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(then)
        .unwrap();
    let answer = tree.get("/a%20b.html?x=1");
    assert_eq!((answer.status, answer.length), (200, Some(10)));
    assert_eq!(
        header(&answer, "Content-Type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(
        header(&answer, "Last-Modified"),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    assert_eq!(header(&answer, "Accept-Ranges"), Some("bytes"));
    let etag = header(&answer, "ETag").unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2);
    assert_eq!(text(answer), "0123456789");

    let ask = |request: FileRequest<'_>| tree.files().answer("/a%20b.html", &request).unwrap();
    let head = ask(FileRequest {
        method_is_head: true,
        range: Some("bytes=0-1"),
        ..Default::default()
    });
    assert_eq!((head.status, head.length), (200, Some(10)));
    assert_eq!(text(head), "");

    let part = ask(FileRequest {
        range: Some("bytes=-3"),
        if_range: Some(&etag),
        ..Default::default()
    });
    assert_eq!((part.status, part.length), (206, Some(3)));
    assert_eq!(header(&part, "Content-Range"), Some("bytes 7-9/10"));
    assert_eq!(
        header(&part, "Content-Type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(header(&part, "ETag"), Some(etag.as_str()));
    assert_eq!(text(part), "789");

    let none = ask(FileRequest {
        range: Some("bytes=10-"),
        ..Default::default()
    });
    assert_eq!((none.status, none.length), (416, Some(0)));
    assert_eq!(header(&none, "Content-Range"), Some("bytes */10"));
    assert_eq!(text(none), "");

    let known = ask(FileRequest {
        if_none_match: Some(&etag),
        ..Default::default()
    });
    assert_eq!(
        (known.status, known.length, header(&known, "ETag")),
        (304, None, Some(etag.as_str()))
    );
    assert_eq!(text(known), "");
    let known = ask(FileRequest {
        if_modified_since: Some("Sun, 06 Nov 1994 08:49:37 GMT"),
        ..Default::default()
    });
    assert_eq!(known.status, 304);

    // A change of the same length in the same second is another version.
    let path = tree.put("files/a b.html", "9876543210");
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(then + Duration::from_millis(1))
        .unwrap();
    assert_eq!(
        ask(FileRequest {
            if_none_match: Some(&etag),
            ..Default::default()
        })
        .status,
        200
    );
}

#[test]
fn a_body_is_what_was_announced_at_most() {
    let tree = Tree::new();
    let path = tree.put("files/a", "0123456789");
    let answer = tree.get("/a");
    fs::write(&path, "0123456789 and more").unwrap();
    assert_eq!(text(answer), "0123456789");
    let answer = tree.get("/a");
    fs::write(&path, "short").unwrap();
    assert_eq!((answer.length, text(answer).as_str()), (Some(19), "short"));
    tree.put("files/empty", "");
    let answer = tree.get("/empty");
    assert_eq!(
        (answer.status, answer.length, text(answer).as_str()),
        (200, Some(0), "")
    );
}

#[test]
fn directories_have_an_index_or_nothing() {
    let tree = Tree::new();
    assert_eq!(tree.get("/").status, 404);
    tree.put("files/index.html", "top");
    tree.put("files/sub dir/index.html", "sub");
    tree.put("files/bare/a.txt", "a");
    fs::create_dir_all(tree.0.join("files/odd/index.html")).unwrap();
    assert_eq!(
        (tree.text("/"), tree.text("//"), tree.text("/?a=b")),
        ("top".into(), "top".into(), "top".into())
    );
    assert_eq!(tree.text("/sub%20dir/"), "sub");
    assert_eq!(
        header(&tree.get("/sub%20dir/"), "Content-Type"),
        Some("text/html; charset=utf-8")
    );
    for (target, location) in [
        ("/sub%20dir?a=b&c", "./sub%20dir/?a=b&c"),
        ("//sub%20dir", "./sub%20dir/"),
        ("/bare", "./bare/"),
    ] {
        let answer = tree.get(target);
        assert_eq!(
            (answer.status, header(&answer, "Location"), answer.length),
            (301, Some(location), Some(0)),
            "{target}"
        );
    }
    for target in [
        "/bare/",
        "/odd/",
        "/index.html/",
        "/bare/a.txt/",
        "/bare/a.txt/x",
        "/nothing",
        "/nothing/",
    ] {
        assert_eq!(tree.get(target).status, 404, "{target}");
    }
}

#[test]
fn nothing_outside_and_nothing_hidden_is_served() {
    let tree = Tree::new();
    tree.put("files/a.txt", "a");
    tree.put("files/.env", "hidden");
    tree.put("files/.git/config", "hidden");
    tree.put("files/sub/.hidden/a.txt", "hidden");
    tree.put("files/back\\slash", "odd");
    let long = format!("/{}", "x".repeat(5000));
    for target in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/sub/../../secret",
        "/sub%2f..%2f..%2fsecret",
        "/..\\secret",
        "/..%5csecret",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.git",
        "/.git/",
        "/sub/.hidden/a.txt",
        "/./a.txt",
        "/sub/%2e/../a.txt",
        "/a.txt%00",
        "/a.txt%00.html",
        "/back%5cslash",
        "/%ff",
        "",
        "*",
        "a.txt",
        "/a.txt/..",
        &long,
    ] {
        assert_eq!(tree.get(target).status, 404, "{target}");
    }
    let absolute = tree.0.join("secret");
    assert_eq!(tree.get(&format!("/{}", absolute.display())).status, 404);
    assert_eq!(tree.text("/a.txt"), "a");
}

#[test]
fn links_lead_only_to_what_is_served() {
    let tree = Tree::new();
    tree.put("files/real/a.txt", "a");
    tree.put("files/real/index.html", "index");
    tree.put("files/.hidden/a.txt", "hidden");
    tree.put("files-too/a.txt", "beside");
    tree.link("real/a.txt", "files/relative");
    tree.link(tree.0.join("files/real/a.txt"), "files/absolute.html");
    tree.link("real", "files/directory");
    tree.link("relative", "files/twice");
    tree.link("../files/real/a.txt", "files/there-and-back");
    for target in [
        "/relative",
        "/absolute.html",
        "/directory/a.txt",
        "/twice",
        "/there-and-back",
    ] {
        assert_eq!(tree.text(target), "a", "{target}");
    }
    assert_eq!(tree.text("/directory/"), "index");
    assert_eq!(
        header(&tree.get("/directory"), "Location"),
        Some("./directory/")
    );

    tree.link("../secret", "files/out");
    tree.link(tree.0.join("secret"), "files/out-absolute");
    tree.link("..", "files/up");
    tree.link("../files-too", "files/beside");
    tree.link("out", "files/out-twice");
    tree.link(".hidden/a.txt", "files/to-hidden");
    tree.link(".hidden", "files/to-hidden-directory");
    tree.link("loop", "files/loop");
    tree.link("nowhere", "files/dangling");
    fs::create_dir(tree.0.join("files/indexed")).unwrap();
    tree.link("../../secret", "files/indexed/index.html");
    for target in [
        "/out",
        "/out-absolute",
        "/up",
        "/up/",
        "/up/secret",
        "/beside/a.txt",
        "/beside",
        "/out-twice",
        "/to-hidden",
        "/to-hidden-directory",
        "/to-hidden-directory/a.txt",
        "/loop",
        "/dangling",
        "/indexed/",
    ] {
        assert_eq!(tree.get(target).status, 404, "{target}");
    }
}

#[test]
fn the_root_itself_may_be_a_link_and_turn() {
    let tree = Tree::new();
    tree.put("one/a", "1");
    tree.put(".two/a", "2");
    tree.link("one", "current");
    let files = Files::directory(tree.0.join("current"));
    let get = || text(files.answer("/a", &FileRequest::default()).unwrap());
    assert_eq!(get(), "1");
    fs::remove_file(tree.0.join("current")).unwrap();
    tree.link(".two", "current");
    assert_eq!(get(), "2");
    fs::remove_file(tree.0.join("current")).unwrap();
    assert_eq!(
        files.answer("/a", &FileRequest::default()).unwrap().status,
        404
    );
}

#[test]
fn what_is_no_file_is_neither_served_nor_waited_for() {
    let tree = Tree::new();
    rustix::fs::mknodat(
        CWD,
        tree.0.join("files/pipe"),
        FileType::Fifo,
        Mode::RWXU,
        0,
    )
    .unwrap();
    tree.link("pipe", "files/to-pipe");
    let _socket = std::os::unix::net::UnixListener::bind(tree.0.join("files/socket")).unwrap();
    tree.link("/dev/zero", "files/zero");
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for target in ["/pipe", "/to-pipe", "/socket", "/zero", "/pipe/", "/pipe/x"] {
                done.send((target, tree.get(target).status)).unwrap();
            }
        });
        for _ in 0..6 {
            let answer = finished.recv_timeout(Duration::from_secs(20));
            // A thread that waits for the pipe would keep the test from ending: let it go.
            if answer.is_err() {
                File::options()
                    .read(true)
                    .write(true)
                    .open(tree.0.join("files/pipe"))
                    .unwrap();
            }
            let (target, status) = answer.expect("waits for a pipe");
            assert_eq!(status, 404, "{target}");
        }
    });
}

#[test]
fn what_was_checked_is_what_is_opened() {
    let tree = Tree::new();
    tree.put("files/real/a", "a");
    tree.link("real", "files/link");
    tree.link("../secret", "files/out");
    let root = fs::canonicalize(tree.0.join("files")).unwrap();
    assert!(open(&root, Path::new("real/a")).is_ok());
    // As if a link had been put there after the check.
    for inside in ["link/a", "out", "", "real"] {
        let error = open(&root, Path::new(inside)).unwrap_err();
        assert!(is_missing(&error), "{inside}: {error}");
    }
}

#[test]
fn trouble_of_the_server_is_not_a_missing_file() {
    assert!(
        [Errno::NOENT, Errno::ACCESS, Errno::LOOP, Errno::NOTDIR]
            .iter()
            .all(|errno| is_missing(&(*errno).into()))
    );
    assert!(
        [Errno::MFILE, Errno::NFILE, Errno::IO, Errno::NOMEM]
            .iter()
            .all(|errno| !is_missing(&(*errno).into()))
    );
}
