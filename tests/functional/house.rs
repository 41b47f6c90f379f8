//! The house keeps its order: rooms import only downward, and neither rooms nor files import each other in a circle.
//! Read from the sources: every path that begins with `crate::`, `super::`, `self::` or a module of the file itself.
//! Test code is free.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from top to bottom. A room imports from lower rows only.
const FLOORS: [&[&str]; 11] = [
    &["main"],
    &["lab"],
    &["app", "dist"],
    &["player", "api"],
    &["channel", "metrics"],
    &["cache", "locate", "hooks"],
    &["server", "upstream"],
    &["listener", "balancer"],
    &["stream", "config", "files"],
    &["http", "media"],
    &["runtime", "logging"],
];

/// What the rows alone would allow, and is not meant to be.
const NEVER: [(&str, &str); 1] = [
    // The one thing that both ways share is the HTTP head; a client's connection is never an origin's.
    ("upstream", "listener"),
];

/// A source file.
struct Source {
    /// Its module: `["balancer", "redis", "sync"]`, `["main"]`, empty for lib.rs.
    module: Vec<String>,
    /// Its words and signs, without comments, texts and test code.
    words: Vec<String>,
}

/// A path that a file names.
struct Named {
    path: Vec<String>,
    /// It stands in a `pub use`: what it names is handed on under the file's own name.
    handed_on: bool,
}

#[test]
fn rooms_import_only_downward() {
    let house = House::read();
    let floor = |room: &str| {
        let found = FLOORS.iter().position(|rooms| rooms.contains(&room));
        found.unwrap_or_else(|| panic!("{room} has no floor: give it one here and in lib.rs"))
    };
    let mut wrong = BTreeSet::new();
    for (from, to) in house.arrows() {
        let (room, other) = (house.room(from), house.room(to));
        let never = NEVER.contains(&(room, other));
        if room != other && (floor(room) >= floor(other) || never) {
            wrong.insert(format!("{} → {}", house.name(from), house.name(to)));
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that do not run downward: {wrong:#?}"
    );
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let house = House::read();
    let arrows = house.arrows();
    let mut after: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (from, to) in &arrows {
        after.entry(*from).or_default().push(*to);
    }
    // An arrow is part of a circle when its end leads back to its beginning.
    let leads = |start: usize, end: usize| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(at) = next.pop() {
            if seen.insert(at) {
                next.extend(after.get(&at).into_iter().flatten());
            }
        }
        seen.contains(&end)
    };
    let circles: Vec<String> = arrows
        .iter()
        .filter(|(from, to)| leads(*to, *from))
        .map(|(from, to)| format!("{} → {}", house.name(*from), house.name(*to)))
        .collect();
    assert!(circles.is_empty(), "imports in circles: {circles:#?}");
}

/// All sources.
struct House {
    sources: Vec<Source>,
}

impl House {
    fn read() -> House {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        collect(&root, &mut files);
        files.retain(|file| !file.ends_with("build.rs"));
        let mut sources: Vec<Source> = Vec::new();
        let mut tests = BTreeSet::new();
        for file in files {
            let text = fs::read_to_string(&file).expect("reading a source");
            let module = module(file.strip_prefix(&root).expect("below src"));
            let (words, test_modules) = without_tests(split(&text));
            tests.extend(
                test_modules
                    .into_iter()
                    .map(|name| [&module[..], &[name]].concat()),
            );
            sources.push(Source { module, words });
        }
        sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
        assert!(
            sources.len() > 50,
            "only {} sources in {}",
            sources.len(),
            root.display()
        );
        House { sources }
    }

    fn name(&self, source: usize) -> String {
        match &self.sources[source].module[..] {
            [] => "lib".to_owned(),
            module => module.join("::"),
        }
    }

    fn room(&self, source: usize) -> &str {
        self.sources[source]
            .module
            .first()
            .map_or("lib", |room| room)
    }

    /// Each file with each other file that it takes something from. lib.rs only says which rooms there are.
    fn arrows(&self) -> BTreeSet<(usize, usize)> {
        let mut arrows = BTreeSet::new();
        for (from, source) in self.sources.iter().enumerate() {
            for named in self.paths(source) {
                // Handing on is no import, unless the file itself uses it too.
                let last = named.path.last().map_or("", |word| word);
                let free = |at: &usize| *at == 0 || !["::", "."].contains(&&*source.words[at - 1]);
                let uses = (0..source.words.len())
                    .filter(free)
                    .filter(|at| source.words[*at] == last);
                if named.handed_on && uses.count() < 2 {
                    continue;
                }
                let to = self.place(&named.path);
                if let Some(to) =
                    to.filter(|to| *to != from && !self.sources[*to].module.is_empty())
                {
                    arrows.insert((from, to));
                }
            }
        }
        arrows
    }

    /// The file that has what an absolute path names; a name that a module hands on is where it comes from.
    fn place(&self, path: &[String]) -> Option<usize> {
        let module = (0..=path.len()).rev().map(|n| &path[..n]);
        let (module, place) = module
            .filter_map(|module| Some((module, self.find(module)?)))
            .next()?;
        let Some(name) = path.get(module.len()) else {
            return Some(place);
        };
        let handed = self
            .paths(&self.sources[place])
            .into_iter()
            .find(|named| named.handed_on && named.path.last() == Some(name) && named.path != path);
        handed.map_or(Some(place), |named| self.place(&named.path))
    }

    fn find(&self, module: &[String]) -> Option<usize> {
        self.sources
            .iter()
            .position(|source| source.module == module)
    }

    /// The paths that a file names, made absolute.
    fn paths(&self, source: &Source) -> Vec<Named> {
        let mut paths = Vec::new();
        let words = &source.words;
        for (at, word) in words.iter().enumerate() {
            let inside = at > 0 && words[at - 1] == "::";
            if inside || words.get(at + 1).is_none_or(|next| next != "::") {
                continue;
            }
            let own = [&source.module[..], std::slice::from_ref(word)].concat();
            let base = match word.as_str() {
                "crate" => Vec::new(),
                "self" => source.module.clone(),
                "super" => source.module[..source.module.len().saturating_sub(1)].to_vec(),
                "srs_stream_proxy" => Vec::new(), // main.rs says so
                _ if self.find(&own).is_some() => own,
                _ => continue,
            };
            let before: Vec<&str> = words[..at]
                .iter()
                .rev()
                .take(6)
                .map(String::as_str)
                .collect();
            let handed_on = matches!(before[..], ["use", "pub", ..])
                || matches!(before[..], ["use", ")", _, "(", "pub", ..]);
            let mut found = Vec::new();
            tree(&words[at + 2..], base, &mut found);
            paths.extend(found.into_iter().map(|path| Named { path, handed_on }));
        }
        paths
    }
}

/// Reads what follows `::`, braces included, and gives all paths; returns how many words it took.
fn tree(words: &[String], mut base: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    loop {
        match words.get(at).map(String::as_str) {
            Some("super") => {
                base.pop();
                at += 1;
            }
            Some("{") => {
                at += 1;
                while words.get(at).is_some_and(|word| word != "}") {
                    if words[at] == "," {
                        at += 1;
                        continue;
                    }
                    at += tree(&words[at..], base.clone(), found).max(1);
                    if words.get(at).is_some_and(|word| word == "as") {
                        at += 2;
                    }
                }
                return at + 1;
            }
            Some("self") => at += 1,
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                base.push(word.to_owned());
                at += 1;
            }
            _ => {
                found.push(base);
                return at;
            }
        }
        if words.get(at).is_some_and(|word| word == "::") {
            at += 1;
        } else {
            found.push(base);
            return at;
        }
    }
}

/// All Rust files below a directory.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("reading src") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// `balancer/redis/mod.rs` is `balancer::redis`; `lib.rs` is the root.
fn module(file: &Path) -> Vec<String> {
    let path = file.with_extension("");
    let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
    parts
        .filter(|part| part != "mod" && part != "lib")
        .collect()
}

/// Words and signs of a source. Comments are left out, and texts are `""`.
fn split(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let mut at = 0;
    let here = |at: usize, sign: &str| {
        sign.chars()
            .enumerate()
            .all(|(n, c)| text.get(at + n) == Some(&c))
    };
    while at < text.len() {
        let c = text[at];
        let start = at;
        if here(at, "//") {
            at = (at..text.len())
                .find(|at| text[*at] == '\n')
                .unwrap_or(text.len());
        } else if here(at, "/*") {
            at = (at + 2..text.len())
                .find(|at| here(*at, "*/"))
                .map_or(text.len(), |at| at + 2);
        } else if c == 'r'
            && (here(at + 1, "\"") || here(at + 1, "#"))
            && raw_end(&text, at).is_some()
        {
            at = raw_end(&text, at).expect("just found");
            words.push("\"\"".to_owned());
        } else if c == '"' {
            at += 1;
            while at < text.len() && text[at] != '"' {
                at += if text[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            words.push("\"\"".to_owned());
        } else if c == '\'' {
            // A character ends with a quote; a lifetime does not.
            at = if text.get(at + 1) == Some(&'\\') {
                (at + 3..text.len())
                    .find(|at| text[*at] == '\'')
                    .unwrap_or(text.len())
                    + 1
            } else if text.get(at + 2) == Some(&'\'') {
                at + 3
            } else {
                at + 1
            };
        } else if c.is_alphanumeric() || c == '_' {
            while at < text.len() && (text[at].is_alphanumeric() || text[at] == '_') {
                at += 1;
            }
            words.push(text[start..at].iter().collect());
        } else if here(at, "::") {
            at += 2;
            words.push("::".to_owned());
        } else {
            at += 1;
            if !c.is_whitespace() {
                words.push(c.to_string());
            }
        }
    }
    words
}

/// Where the raw text that begins at `at` ends; `None`: it is none (`r#type`, a name).
fn raw_end(text: &[char], at: usize) -> Option<usize> {
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    (text.get(at + 1 + hashes) == Some(&'"')).then_some(())?;
    let first = at + 2 + hashes;
    let ends = |at: &usize| {
        text[*at] == '"' && text[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    (first..text.len()).find(ends).map(|at| at + 1 + hashes)
}

/// Leaves out what `#[cfg(test)]` is for; gives the names of modules among it too.
fn without_tests(words: Vec<String>) -> (Vec<String>, Vec<String>) {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < words.len() {
        if !words[at..]
            .iter()
            .map(String::as_str)
            .take(attribute.len())
            .eq(attribute)
        {
            kept.push(words[at].clone());
            at += 1;
            continue;
        }
        let item = at + attribute.len();
        let mut depth = 0;
        at = item;
        while at < words.len() {
            match words[at].as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            at += 1;
            let closed = words[at - 1] == "}" && words[item] != "use";
            if depth <= 0 && (closed || words[at - 1] == ";" || words[at - 1] == ",") {
                break;
            }
        }
        let named = words[item..at].iter().position(|word| word == "mod");
        modules.extend(named.map(|n| words[item + n + 1].clone()));
    }
    (kept, modules)
}
