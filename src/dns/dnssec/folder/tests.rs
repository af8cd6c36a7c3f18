use super::*;
use crate::dns::dnssec::KeyAlgorithm;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/bind-keys")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A folder with some of the keys that dnssec-keygen made.
fn with(stems: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for stem in stems {
        for ending in ["key", "private"] {
            let file = format!("{stem}.{ending}");
            fs::copy(vectors().join(&file), folder.path().join(&file)).unwrap();
        }
    }
    folder
}

#[test]
fn what_is_written_is_read() {
    for algorithm in KeyAlgorithm::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/keys");
        let keys = Keys::generate(&name("bit"), algorithm).unwrap();
        let files = write(&path, &keys, Timestamp(1_800_000_000)).unwrap();
        assert_eq!((files.len(), names(&path).len()), (4, 4));
        #[cfg(unix)]
        for file in &files {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(file).unwrap().permissions().mode() & 0o777;
            let private = file.extension().unwrap() == "private";
            assert!(if private { mode == 0o600 } else { mode & !0o644 == 0 }, "{mode:o}");
        }
        let again = read(&path, &name("Bit.")).unwrap();
        assert_eq!(again.dnskeys(), keys.dnskeys());
        assert_eq!(again.ds().unwrap(), keys.ds().unwrap());
    }
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::generate(&name("bit"), KeyAlgorithm::Ed25519).unwrap();
    write(folder.path(), &keys, Timestamp(0)).unwrap();
    let before = names(folder.path());
    let other = Keys::generate(&name("bit"), KeyAlgorithm::EcdsaP256Sha256).unwrap();
    let refused = write(folder.path(), &other, Timestamp(0)).unwrap_err();
    assert!(matches!(refused, DnssecError::KeysPresent { .. }), "{refused}");
    assert_eq!(names(folder.path()), before);
    let elsewhere = Keys::generate(&name("bit.example"), KeyAlgorithm::Ed25519).unwrap();
    write(folder.path(), &elsewhere, Timestamp(0)).unwrap();
    assert_eq!(read(folder.path(), &name("bit")).unwrap().dnskeys(), keys.dnskeys());
}

#[test]
fn a_file_in_the_way_stays_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::generate(&name("bit"), KeyAlgorithm::Ed25519).unwrap();
    let in_the_way = format!("{}.private", key_file::stem(keys.zsk()));
    fs::write(folder.path().join(&in_the_way), "mine").unwrap();
    let refused = write(folder.path(), &keys, Timestamp(0)).unwrap_err();
    assert!(refused.to_string().contains(&in_the_way), "{refused}");
    assert_eq!(names(folder.path()), [in_the_way.as_str()]);
    assert_eq!(fs::read_to_string(folder.path().join(in_the_way)).unwrap(), "mine");
}

#[test]
fn folders_that_do_not_have_just_two_keys_are_refused() {
    let ecdsa = ["Kbit.+013+53661", "Kbit.+013+39900"];
    let ed25519 = ["Kbit.+015+21709", "Kbit.+015+46288"];
    assert!(read(with(&ecdsa).path(), &name("bit")).is_ok());
    assert!(read(with(&ed25519).path(), &name("bit")).is_ok());
    for (stems, words) in [
        (&[][..], "no keys for the zone bit.;"),
        (&ecdsa[..1], "no zone-signing key"),
        (&ecdsa[1..], "no key-signing key"),
        (&[ecdsa[0], ed25519[1]], "both must be of one algorithm"),
        (
            &[ecdsa[0], ecdsa[1], ed25519[0]],
            "more than one key-signing key for the zone bit. (key tags 53661 and 21709)",
        ),
    ] {
        let refused = read(with(stems).path(), &name("bit")).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused} / {words}");
    }
    let refused = read(with(&ecdsa).path(), &name("example")).unwrap_err().to_string();
    assert!(
        refused.contains("no keys for the zone example., only for bit."),
        "{refused}"
    );
    let missing = read(Path::new("/nonexistent"), &name("bit")).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent"), "{missing}");
}

/// As `dnssec-keygen -a RSASHA256` writes them, which the README of ncdns once told people to make.
#[test]
fn rsa_keys_are_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let public = "bit. IN DNSKEY 257 3 8 AwEAAbQ0bDsG8qkPDNTcRb3i2kAoFVnFSQyNSqaWOmF7\n";
    fs::write(folder.path().join("Kbit.+008+17515.key"), public).unwrap();
    let private = "Private-key-format: v1.3\nAlgorithm: 8 (RSASHA256)\nModulus: tDRsOw==\n";
    fs::write(folder.path().join("Kbit.+008+17515.private"), private).unwrap();
    let refused = read(folder.path(), &name("bit")).unwrap_err().to_string();
    assert!(
        refused.contains("algorithm 8 (RSA)") && refused.contains("ed25519"),
        "{refused}"
    );
}

#[test]
fn files_that_do_not_agree_with_their_names_are_refused() {
    let folder = with(&["Kbit.+013+53661"]);
    let rename = |from: &str, to: &str| {
        for ending in ["key", "private"] {
            let [from, to] = [from, to].map(|stem| folder.path().join(format!("{stem}.{ending}")));
            fs::rename(from, to).unwrap();
        }
    };
    rename("Kbit.+013+53661", "Kbit.+013+00001");
    let refused = read(folder.path(), &name("bit")).unwrap_err().to_string();
    assert!(
        refused.contains("Kbit.+013+00001.key: key files should be called Kbit.+013+53661.key"),
        "{refused}"
    );
    rename("Kbit.+013+00001", "Kother.+013+53661");
    let refused = read(folder.path(), &name("other")).unwrap_err().to_string();
    assert!(
        refused.contains("key is for the zone bit., expected other."),
        "{refused}"
    );
    fs::remove_file(folder.path().join("Kother.+013+53661.private")).unwrap();
    let refused = read(folder.path(), &name("other")).unwrap_err().to_string();
    assert!(refused.contains("53661.private"), "{refused}");
    fs::write(
        folder.path().join("Kother.+013+53661.private"),
        vec![b'x'; MAX_LENGTH * 4],
    )
    .unwrap();
    let refused = read(folder.path(), &name("other")).unwrap_err().to_string();
    assert!(refused.contains("longer than 8192 bytes"), "{refused}");
}

#[test]
fn only_names_of_key_files_are_looked_at() {
    for (stem, zone) in [
        ("Kbit.+013+12345", Some("bit.")),
        ("Ka+b.+015+00001", Some("a+b.")),
        ("bit.+013+12345", None),
        ("Kbit.+13+12345", None),
        ("Kbit.+013+1234", None),
        ("Kbit.+013+1234x", None),
        ("Kbit.+013", None),
        ("K", None),
    ] {
        assert_eq!(zone_of(stem), zone, "{stem}");
    }
}
