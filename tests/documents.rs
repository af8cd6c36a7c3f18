//! The documents: their links lead somewhere, and what they quote of the program is what it says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on is to fail"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all files below a folder that end so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| if path.is_dir() { files(&path, end) } else { vec![path] });
    found.filter(|path| path.to_string_lossy().ends_with(end)).collect()
}

/// Returns what is written for readers.
fn documents() -> Vec<PathBuf> {
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let top = top.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let folders = ["docs", "headers", "packaging", "crates"];
    let below = folders.iter().flat_map(|folder| files(&root().join(folder), ".md"));
    top.chain(below).collect()
}

/// Returns a document without its blocks of code, in which brackets mean other things.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Returns where the links of a document lead.
fn links(text: &str) -> Vec<String> {
    let after = prose(text);
    let after = after.split("](").skip(1);
    after
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

/// Returns the words by which a page's headings are linked to, as Markdown's renderers make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| -> String {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut astray = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(file)
            };
            let is_there = target.exists()
                && (anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor));
            if !is_there {
                astray.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(astray.is_empty(), "{astray:#?}");
}

#[test]
fn each_document_is_found_from_the_first() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let linked = links(&readme);
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        // Pages for who changes the program are found from the one for them.
        let is_linked =
            path.is_dir() || linked.iter().any(|link| *link == format!("docs/{name}")) || contributing.contains(&*name);
        assert!(is_linked, "{name} is not in README.md");
    }
}

/// Messages that a user may look for are found by their words.
#[test]
fn messages_that_are_explained_are_those_that_are_given() {
    let page = fs::read_to_string(root().join("docs/user.md")).unwrap();
    let (_, table) = page.split_once("\n| it says |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let messages: Vec<&str> = rows
        .filter_map(|row| row.strip_prefix("| `")?.split_once('`'))
        .map(|(message, _)| message)
        .collect();
    assert!(messages.len() > 10, "{messages:?}");
    let folders = ["src", "crates/core/src"];
    let sources: String = folders
        .iter()
        .flat_map(|folder| files(&root().join(folder), ".rs"))
        .filter(|file| !file.ends_with("tests.rs"))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for message in messages {
        let words = message.split('…');
        for words in words.map(str::trim).filter(|words| !words.is_empty()) {
            assert!(
                sources.contains(words.trim_start_matches(": ")),
                "`{message}`: no source says {words}"
            );
        }
    }
}
