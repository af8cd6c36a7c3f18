//! The bounds of lines: one line is one JSON value.

/// Longest line on a connection that carries lookups, in bytes.
///
/// A name with 280 operations is proved by 327 kB; this is room for some 3,500.
pub const LOOKUP_LINE: usize = 4 << 20;

/// Longest line on a connection that carries header sync, in bytes.
///
/// 2016 AuxPoW headers are 3 to 6 MB of hex; `ElectrumX` itself sends at most 10 MB.
pub const SYNC_LINE: usize = 16 << 20;

/// Deepest nesting of arrays and objects in a line. The deepest that the protocol has is a value proof's
/// merkle branch: response, result, list, item, `tx_merkle`, `merkle`. A batch adds one.
pub const MAX_DEPTH: usize = 12;

/// Says whether no array or object in a line of JSON lies deeper than [`MAX_DEPTH`].
///
/// A cheap look before the parser: brackets inside of strings don't count. What is no JSON at all may pass;
/// the parser refuses it.
pub fn is_shallow(line: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in line {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings_only() {
        assert!(is_shallow(
            format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH)).as_bytes()
        ));
        assert!(!is_shallow("[".repeat(MAX_DEPTH + 1).as_bytes()));
        assert!(!is_shallow(r#"{"a":"#.repeat(MAX_DEPTH + 1).as_bytes()));
        assert!(is_shallow(br#""[[[[[[[[[[[[[[[[[\"[[[[[[[[[[[[[[[""#));
        assert!(!is_shallow(format!(r#""\\",{}"#, "[".repeat(MAX_DEPTH + 1)).as_bytes()));
        assert!(is_shallow("[],".repeat(100).as_bytes()));
    }
}
