//! What a mistyped name may have meant.

/// How like two words must be: 1 for equal ones. Half of a short word's letters may differ, but not its beginning.
const ALIKE: f64 = 0.8;

/// Returns the known name that is most like a word, if one is.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_through() {
        let known = ["server", "proxy", "dns-listen", "socks-listen"];
        for (word, meant) in [("servers", "server"), ("prox", "proxy"), ("dns_listen", "dns-listen")] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
        assert_eq!(nearest("colour", known), None);
    }
}
