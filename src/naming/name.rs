//! Names as people and programs write them.

/// Longest host name in bytes, without a final dot. Source: RFC 1035 section 2.3.4.
const MAX_NAME: usize = 253;

/// Longest label in bytes. Source: RFC 1035 section 2.3.4.
const MAX_LABEL: usize = 63;

/// Says whether a lowercase text is the name of a host: labels of letters, digits and inner hyphens, between single
/// dots (RFC 1123 section 2.1). Underscores are taken too: hosts on the web have them, and resolvers take them.
pub fn is_host_name(text: &str) -> bool {
    let is_inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.as_bytes().iter().all(is_inner)
    };
    text.len() <= MAX_NAME && text.split('.').all(is_label)
}

/// Returns a name in the form in which suffixes and names are compared: lowercase and without final dots.
///
/// Tor hands final dots on, so `example.bit.` would pass for no `.bit` name and be asked of an exit.
#[must_use]
pub fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Returns a folded name without the `.onion` behind it, by which its user takes an onion service and nothing else: for
/// callers that must not leak names to DNS.
pub fn onion_only(name: &str) -> Option<&str> {
    name.strip_suffix(".onion")
}

/// Says whether a folded name is a suffix or lies below it.
pub fn is_below(name: &str, suffix: &str) -> bool {
    match name.strip_suffix(suffix) {
        Some(rest) => rest.is_empty() || rest.ends_with('.'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded() {
        for (name, expected) in [
            ("example.bit", "example.bit"),
            ("EXAMPLE.Bit.", "example.bit"),
            ("a.bit..", "a.bit"),
            (".", ""),
        ] {
            assert_eq!(folded(name), expected);
        }
    }

    #[test]
    fn suffixes_are_whole_labels() {
        for (name, suffix, expected) in [
            ("a.bit", "bit", true),
            ("bit", "bit", true),
            (".bit", "bit", true),
            ("rabbit", "bit", false),
            ("a.rabbit", "bit", false),
            ("a.bit.onion", "bit", false),
            ("a.bit.onion", "bit.onion", true),
            ("bit.a", "bit", false),
            ("", "bit", false),
        ] {
            assert_eq!(is_below(name, suffix), expected, "{name} {suffix}");
        }
    }

    #[test]
    fn host_names_are_told_from_other_text() {
        for text in ["a", "a.b", "xn--a.example", "1.2", "a_b.example", &"a".repeat(63)] {
            assert!(is_host_name(text), "{text}");
        }
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A",
            "a b",
            "a\n",
            "a\0",
            "é",
            "a:b",
            "[::1]",
            "-a",
            "a-",
            "a/b",
            "*.a",
            "a\"",
            &"a".repeat(64),
            &"a.".repeat(127).repeat(2),
        ] {
            assert!(!is_host_name(text), "{text}");
        }
    }
}
