//! Headers of a reply, as far as one can tell without the tree.

use super::ServerFault;
use crate::chain::auxpow::FullHeader;
use crate::chain::{Height, PureHeader};

/// Takes a reply's headers as pure ones, whether they came truncated or full, and checks the links between them.
pub(super) fn pure_headers(start: Height, count: Height, bytes: &[u8]) -> Result<Vec<PureHeader>, ServerFault> {
    let truncated = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(PureHeader::SIZE));
    let cut = truncated == Some(bytes.len());
    let mut headers: Vec<PureHeader> = Vec::new();
    let mut rest = bytes;
    for height in start..start.saturating_add(count) {
        let header = if cut {
            let (front, behind) = rest.split_at_checked(PureHeader::SIZE).unwrap_or_default();
            rest = behind;
            PureHeader::decode(front).ok_or(ServerFault::Count {
                expected: count,
                got: height - start,
            })?
        } else {
            let (full, behind) = FullHeader::decode(rest).map_err(|error| ServerFault::Decode { height, error })?;
            rest = behind;
            full.pure
        };
        if headers.last().is_some_and(|below| below.hash() != header.prev()) {
            return Err(ServerFault::BrokenLink { height });
        }
        headers.push(header);
    }
    if !rest.is_empty() {
        return Err(ServerFault::ExtraBytes { extra: rest.len() });
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::super::tests::chains::Chain;
    use super::*;

    #[test]
    fn headers_are_the_same_truncated_and_full() {
        let chain = Chain::mined(12);
        let full: Vec<u8> = chain.full(4, 5).flatten().copied().collect();
        let cut: Vec<u8> = chain.full(4, 5).flat_map(|header| &header[..80]).copied().collect();
        let expected: Vec<PureHeader> = (4..9).map(|height| chain.pure(height)).collect();
        assert_eq!(pure_headers(4, 5, &full).unwrap(), expected);
        assert_eq!(pure_headers(4, 5, &cut).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_in_itself_is_told() {
        let chain = Chain::mined(12);
        let mut full: Vec<u8> = chain.full(4, 5).flatten().copied().collect();
        full.push(0);
        assert_eq!(pure_headers(4, 5, &full), Err(ServerFault::ExtraBytes { extra: 1 }));
        let twice: Vec<u8> = [4, 4]
            .iter()
            .flat_map(|height| *chain.pure(*height).as_bytes())
            .collect();
        assert_eq!(pure_headers(4, 2, &twice), Err(ServerFault::BrokenLink { height: 5 }));
        let short = pure_headers(4, 2, &twice[..100]);
        assert!(matches!(short, Err(ServerFault::Decode { height: 5, .. })), "{short:?}");
    }
}
