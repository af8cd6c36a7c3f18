//! Who is let in.

use super::*;

fn guard() -> Guard {
    let credentials = [
        Credentials::parse("user:pass:word"),
        Credentials::parse("__cookie__:00ff"),
    ];
    Guard::new(credentials.iter().flatten())
}

fn judge(header: &str) -> Verdict {
    guard().judge(Some(header.as_bytes()))
}

#[test]
fn the_right_ones_are_let_in() {
    for line in ["user:pass:word", "__cookie__:00ff"] {
        let credentials = Credentials::parse(line).unwrap();
        assert_eq!(judge(&credentials.to_header()), Verdict::Allowed);
    }
    assert_eq!(judge("Basic dXNlcjpwYXNzOndvcmQ="), Verdict::Allowed);
    assert_eq!(judge("Basic  dXNlcjpwYXNzOndvcmQ= "), Verdict::Allowed);
}

#[test]
fn others_are_not() {
    for header in [
        "",
        "Bearer x",
        "basic dXNlcjpwYXNzOndvcmQ=",
        "Basic",
        "Digest username=\"user\"",
    ] {
        assert_eq!(judge(header), Verdict::Missing, "{header}");
    }
    assert_eq!(guard().judge(None), Verdict::Missing);
    for line in [
        "user:pass",
        "user:pass:word ",
        "user",
        "",
        ":",
        "user:pass:wore",
        "__cookie__:pass:word",
    ] {
        let header = format!("Basic {}", STANDARD.encode(line));
        assert_eq!(judge(&header), Verdict::Wrong, "{line}");
    }
    assert_eq!(judge("Basic ****"), Verdict::Wrong);
    assert_eq!(Guard::new([]).judge(Some(b"Basic Og==")), Verdict::Wrong);
}

#[test]
fn users_have_no_colon() {
    assert_eq!(Credentials::new("a:b", "c"), None);
    assert_eq!(Credentials::parse("ab"), None);
    assert_eq!(Credentials::parse("a:b:c"), Credentials::new("a", "b:c"));
}

#[test]
fn secrets_are_not_shown() {
    let credentials = Credentials::new("marker", "marker").unwrap();
    let shown = format!("{credentials:?} {:?}", Guard::new([&credentials]));
    assert!(!shown.contains("marker"));
}
