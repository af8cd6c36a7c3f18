use proptest::prelude::*;

use super::*;
use crate::dns::dnssec::{KeyAlgorithm, Role};

macro_rules! vector {
    ($stem:literal) => {
        KeyFiles {
            public: include_str!(concat!("../../../../tests/vectors/bind-keys/", $stem, ".key")).to_owned(),
            private: include_str!(concat!("../../../../tests/vectors/bind-keys/", $stem, ".private"))
                .to_owned()
                .into(),
        }
    };
}

/// Keys that dnssec-keygen made, with what they are called.
fn made_by_bind() -> [(&'static str, KeyFiles); 4] {
    [
        ("Kbit.+013+53661", vector!("Kbit.+013+53661")),
        ("Kbit.+013+39900", vector!("Kbit.+013+39900")),
        ("Kbit.+015+21709", vector!("Kbit.+015+21709")),
        ("Kbit.+015+46288", vector!("Kbit.+015+46288")),
    ]
}

fn refusal(public: &str, private: &str) -> String {
    let files = KeyFiles {
        public: public.to_owned(),
        private: private.to_owned().into(),
    };
    decode(&files).unwrap_err().to_string()
}

#[test]
fn keys_of_bind_are_read_and_written_back() {
    let now = Timestamp(1_795_656_220);
    for (name, files) in made_by_bind() {
        let key = decode(&files).unwrap();
        assert_eq!(stem(&key), name);
        assert_eq!(key.ttl(), (name == "Kbit.+015+46288").then_some(86_400));
        let again = encode(&key, now);
        // Bytes for bytes what BIND wrote in that second.
        assert_eq!(again.private, files.private);
        let record = |text: &str| text.lines().last().unwrap().replace(' ', "");
        assert_eq!(record(&again.public), record(&files.public));
        assert_eq!(decode(&again).unwrap().dnskey(), key.dnskey());
    }
}

#[test]
fn drawn_keys_survive_their_files() {
    let zone = Name::from_ascii("bit.suffix.xyz").unwrap();
    for algorithm in KeyAlgorithm::ALL {
        for role in [Role::KeySigning, Role::ZoneSigning] {
            let key = Key::generate(&zone, role, algorithm).unwrap();
            let files = encode(&key, Timestamp(0));
            let again = decode(&files).unwrap();
            assert_eq!(
                (again.dnskey(), again.zone(), again.tag()),
                (key.dnskey(), key.zone(), key.tag())
            );
            assert_eq!(again.private().secret(), key.private().secret());
            assert!(files.private.contains("Created: 19700101000000"));
        }
    }
}

#[test]
fn times_no_calendar_has_are_written_as_the_epoch() {
    assert_eq!(bind_time(Timestamp(u64::MAX)), "19700101000000");
    assert_eq!(bind_time(Timestamp(4_102_444_799)), "20991231235959");
}

#[test]
fn scalars_without_their_leading_zeros_are_read() {
    // Old versions of BIND write them so.
    let mut secret = [0; 32];
    secret[31] = 1;
    let generator = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==";
    let public = format!("bit. IN DNSKEY 257 3 13 {generator}");
    let key = decode(&KeyFiles {
        public: public.clone(),
        private: "Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: AQ==\n"
            .to_owned()
            .into(),
    });
    assert_eq!(key.unwrap().private().secret(), &secret);
    let seed = "Private-key-format: v1.3\nAlgorithm: 15 (ED25519)\nPrivateKey: AQ==\n";
    let [.., (_, ed25519)] = made_by_bind();
    assert!(refusal(&ed25519.public, seed).contains("PrivateKey of the private key is malformed"));
}

#[test]
fn files_that_are_no_key_are_refused() {
    let [(_, ecdsa), (_, other), (_, ed25519), _] = made_by_bind();
    let (public, private) = (ecdsa.public.as_str(), ecdsa.private.as_str());
    let long = "; \n".repeat(MAX_LENGTH);
    for (public, private, words) in [
        (public, other.private.as_str(), "does not belong"),
        (public, ed25519.private.as_str(), "does not belong"),
        (long.as_str(), private, "longer than"),
        (public, long.as_str(), "longer than"),
        ("", private, "0 DNSKEY records"),
        (&public.repeat(2), private, "2 DNSKEY records"),
        (&public.replace("IN", "CH"), private, "expected IN"),
        (&public.replace("257", "385"), private, "flags are 385"),
        (
            &public.replace(" 3 13 ", " 3 8 "),
            &private.replace("13 (", "8 ("),
            "algorithm 8 (RSA) are not supported",
        ),
        ("bit. IN DS 1 13 2 00", private, "not a DNSKEY record"),
        (public, "", "Private-key-format of the private key is missing"),
        (public, &private.replace("v1.3", "v2.0"), "not in BIND's format"),
        (
            public,
            &private.replace("PrivateKey", "Engine"),
            "PrivateKey of the private key is missing",
        ),
        (public, &private.repeat(2), "there twice"),
        (public, &private.replace("bsYm", "bs m"), "malformed"),
        (public, &private.replace("bsYm", "bsYmbsYm"), "malformed"),
        (
            public,
            &private.replace("13 (", "x ("),
            "Algorithm of the private key is malformed",
        ),
    ] {
        let refused = refusal(public, private);
        assert!(refused.contains(words), "{refused} / {words}");
        assert!(!refused.contains("bsY"), "the secret is shown: {refused}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_the_decoder_panic(public in "\\PC{0,80}", private in "\\PC{0,80}", cut in 0_usize..400) {
        let [(_, files), ..] = made_by_bind();
        let _ = decode(&KeyFiles { public: public.clone(), private: files.private.clone() });
        let _ = decode(&KeyFiles { public: files.public.clone(), private: private.into() });
        let head = files.public.get(..cut).unwrap_or(&files.public);
        let _ = decode(&KeyFiles { public: format!("{head}{public}"), private: files.private });
    }
}
