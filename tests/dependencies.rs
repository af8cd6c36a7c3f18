//! Keeps `docs/dependencies.md` and the manifests equal: every package of others that one of ours names has its reason
//! there, with the features that have it, and nothing else has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on is to fail"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Packages that go into the program, with the feature of it that has them; without one it always has them.
const OF_THE_PROGRAM: [(&str, Option<&str>); 3] =
    [("", None), ("crates/core", None), ("crates/sim", Some("playground"))];

/// What stands for the absence of a feature.
const ALWAYS: &str = "always";

/// What tests alone have, in the same column.
const TESTS: &str = "tests";

/// What the fuzzer alone has.
const FUZZER: &str = "fuzzer";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn manifest(folder: &str) -> Table {
    let path = root().join(folder).join("Cargo.toml");
    fs::read_to_string(path).unwrap().parse().unwrap()
}

/// The tables of this name in a manifest, those for one target among them.
fn sections<'a>(manifest: &'a Table, name: &str) -> Vec<&'a Table> {
    let of = |table: &'a Table| table.get(name).and_then(Value::as_table);
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(Value::as_table));
    of(manifest).into_iter().chain(targets.filter_map(of)).collect()
}

/// A package of others that a manifest names.
struct Foreign<'a> {
    /// What it is called there, which features go by.
    key: &'a str,
    package: &'a str,
    is_optional: bool,
}

/// Packages of others in such a table.
fn foreign(section: &Table) -> impl Iterator<Item = Foreign<'_>> {
    let named = section.iter().map(|(key, value)| Foreign {
        key,
        package: value.get("package").and_then(Value::as_str).unwrap_or(key),
        is_optional: value.get("optional").and_then(Value::as_bool).unwrap_or(false),
    });
    named.filter(|it| !it.package.starts_with("isonym-") && it.package != "isonym")
}

/// The features of a manifest that have an optional package.
fn features_with<'a>(manifest: &'a Table, package: &str) -> Vec<&'a str> {
    let wanted = Value::from(format!("dep:{package}"));
    let features = manifest["features"].as_table().unwrap().iter();
    let with = features.filter(|(_, has)| has.as_array().unwrap().contains(&wanted));
    with.map(|(name, _)| name.as_str()).collect()
}

/// Who has each package, as the manifests say: features, or a word of the constants above.
fn by_manifests() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    let mut note = |package: &str, who: &str| {
        all.entry(package.to_owned()).or_default().insert(who.to_owned());
    };
    for (folder, feature) in OF_THE_PROGRAM {
        let manifest = manifest(folder);
        for section in sections(&manifest, "dependencies") {
            for it in foreign(section) {
                if it.is_optional {
                    for feature in features_with(&manifest, it.key) {
                        note(it.package, feature);
                    }
                } else {
                    note(it.package, feature.unwrap_or(ALWAYS));
                }
            }
        }
        for it in sections(&manifest, "dev-dependencies").into_iter().flat_map(foreign) {
            note(it.package, TESTS);
        }
    }
    let workspace = manifest("");
    let members = workspace["workspace"]["members"].as_array().unwrap();
    for member in members.iter().map(|member| member.as_str().unwrap()) {
        if OF_THE_PROGRAM.iter().all(|(folder, _)| *folder != member) {
            let manifest = manifest(member);
            let who = if member == "fuzz" { FUZZER } else { TESTS };
            for it in sections(&manifest, "dependencies").into_iter().flat_map(foreign) {
                note(it.package, who);
            }
        }
    }
    // Whatever more often has it says more.
    for who in all.values_mut() {
        if who.contains(ALWAYS) {
            who.retain(|word| word == ALWAYS);
        } else if who.iter().any(|word| ![TESTS, FUZZER].contains(&word.as_str())) {
            who.retain(|word| ![TESTS, FUZZER].contains(&word.as_str()));
        } else if who.contains(TESTS) {
            who.remove(FUZZER);
        }
    }
    all
}

/// The words of a cell: what stands in backquotes, or the cell itself.
fn words(cell: &str) -> BTreeSet<String> {
    let quoted: BTreeSet<String> = cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    if quoted.is_empty() {
        BTreeSet::from([cell.trim().to_owned()])
    } else {
        quoted
    }
}

/// Who has each package, as a text says, and the reasons that it gives.
fn by_text(text: &str) -> (BTreeMap<String, BTreeSet<String>>, Vec<String>) {
    let (mut all, mut reasons) = (BTreeMap::new(), Vec::new());
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [packages, who, reason] = cells[..] else {
            panic!("a row has three columns: {row}");
        };
        for package in words(packages) {
            assert!(
                all.insert(package.clone(), words(who)).is_none(),
                "{package} has two rows"
            );
        }
        reasons.push(reason.trim().to_owned());
    }
    (all, reasons)
}

#[test]
fn every_package_has_its_reason() {
    let text = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let (said, reasons) = by_text(&text);
    assert!(reasons.iter().all(|reason| !reason.is_empty()));
    assert_eq!(said, by_manifests());
}

#[test]
fn a_row_is_read() {
    let (said, reasons) = by_text("| package | in |\n| `a`, `b` | `cli`, `tor` | c |\n| `d` | always | e |");
    let row = |package: &str, who: &[&str]| (package.to_owned(), who.iter().map(|word| (*word).to_owned()).collect());
    assert_eq!(
        said,
        BTreeMap::from([
            row("a", &["cli", "tor"]),
            row("b", &["cli", "tor"]),
            row("d", &["always"])
        ])
    );
    assert_eq!(reasons, ["c", "e"]);
}
