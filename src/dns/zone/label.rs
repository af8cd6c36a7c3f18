//! Labels of domains.

use crate::name::NameId;

/// Longest label, in bytes. Source: RFC 1035 section 2.3.4.
const MAX_LABEL: usize = 63;

/// Returns the name that holds a domain's value, such as `d/example` for `example`; `None` when no domain has such a
/// label.
///
/// The label is 1 to 63 bytes of lowercase letters, digits and single inner hyphens, behind at most one `xn--`. Labels
/// of digits alone are served, as ncdns does, although IFA-0001 has none. Source: IFA-0001, Keys.
pub fn name_id(label: &[u8]) -> Option<NameId> {
    if label.len() > MAX_LABEL {
        return None;
    }
    let rest = label.strip_prefix(b"xn--").unwrap_or(label);
    let word = |word: &[u8]| {
        let fits = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !word.is_empty() && word.iter().all(fits)
    };
    if !rest.split(|byte| *byte == b'-').all(word) {
        return None;
    }
    NameId::new(&[b"d/", label].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_domains_give_names() {
        for label in ["example", "a", "0", "123", "a-b-c", "xn--a", "xn--a-b", "xn-a", "xna"] {
            let name = name_id(label.as_bytes()).unwrap();
            assert_eq!(name.as_bytes(), format!("d/{label}").as_bytes());
        }
        assert!(name_id(&[b'a'; 63]).is_some());
    }

    #[test]
    fn other_labels_give_none() {
        for label in [
            "",
            "A",
            "a--b",
            "-a",
            "a-",
            "xn--",
            "xn---a",
            "xn--a--b",
            "xn--xn--a",
            "x--nmc",
            "_tor",
            "a.b",
            "*",
            "a b",
            "é",
            "a\0",
        ] {
            assert_eq!(name_id(label.as_bytes()), None, "{label}");
        }
        assert_eq!(name_id(&[b'a'; 64]), None);
    }
}
