//! Lists in pages: how many items, and after which one.

use tonic::Status;

/// Proposals on a page. The largest takes some 12 KiB, a page then 1.2 MB, within the 4 MiB that gRPC clients take.
pub(super) const PROPOSALS: usize = 100;
/// Ballots, reports or validators on a page: some 300 bytes each.
pub(super) const BY_VALIDATOR: usize = 1_000;

/// How many items the client gets: what it wants, within the limit.
pub(super) fn size(wanted: u32, limit: usize) -> usize {
    match usize::try_from(wanted) {
        Ok(0) | Err(_) => limit,
        Ok(wanted) => wanted.min(limit),
    }
}

/// The key after which the page begins; `None` for the first page.
pub(super) fn after<const LENGTH: usize>(token: &[u8]) -> Result<Option<[u8; LENGTH]>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    token.try_into().map(Some).map_err(|_| {
        Status::invalid_argument(format!(
            "page_token: expected the next_page_token of this list ({LENGTH} bytes), found {} bytes",
            token.len()
        ))
    })
}

/// Cuts `found`, which was asked for with one item more than fits, to a page. Returns the token of the next one.
pub(super) fn cut<T>(found: &mut Vec<T>, size: usize, token: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
    if found.len() <= size {
        return Vec::new();
    }
    found.truncate(size);
    found.last().map(token).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_never_larger_than_its_limit() {
        assert_eq!(
            [size(0, 7), size(3, 7), size(7, 7), size(u32::MAX, 7)],
            [7, 3, 7, 7]
        );
    }

    #[test]
    fn a_token_is_of_its_list_or_refused() {
        assert_eq!(after::<2>(&[]).unwrap(), None);
        assert_eq!(after::<2>(&[1, 2]).unwrap(), Some([1, 2]));
        let refused = after::<2>(&[1, 2, 3]).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn the_last_page_has_no_token() {
        let token = |item: &u8| vec![*item];
        for (items, kept, expected) in [(2, 2, vec![]), (3, 3, vec![]), (4, 3, vec![3])] {
            let mut found: Vec<u8> = (1..=items).collect();
            assert_eq!(cut(&mut found, 3, token), expected);
            assert_eq!(found.len(), kept);
        }
    }
}
