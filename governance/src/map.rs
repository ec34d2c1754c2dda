//! A map from ids or keys to what is kept of each: persistent, ordered, and hashed as it stands.
//!
//! A trie over the half bytes of the key. Nodes are shared between versions of the map, so a clone costs
//! nothing, a change costs the path to one leaf, and two versions are compared in the time of their difference. Each
//! node remembers its hash until something below it changes. The shape depends on the keys alone, never on history:
//!
//! - nothing: 32 zero bytes
//! - one entry: BLAKE3 of a byte 0, the key, the canonical bytes of the value
//! - several: BLAKE3 of a byte 1, two bytes of which bit n says whether there are entries whose next half byte is n, and
//!   the hashes of those subtrees in order of n
//!
//! Own code, because it is what a state root is made of: the libraries for authenticated maps bring their own store and
//! one fixed depth per key, which costs some twenty times the hashes.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use serde::Serialize;

use crate::bytes::{Digest, PublicKey, ValidatorId};
use crate::encoding;

/// See the module.
#[derive(Clone)]
pub(crate) struct Trie<K, V> {
    root: Link<K, V>,
    len: usize,
}

/// What is kept of each validator.
pub(crate) type ValidatorMap<V> = Trie<ValidatorId, V>;

/// What a trie is over: bytes of one length, most of them drawn at random.
pub(crate) trait Key: Copy + Ord {
    fn bytes(&self) -> &[u8];
}

impl Key for ValidatorId {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Key for PublicKey {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

type Link<K, V> = Option<Arc<Node<K, V>>>;

#[derive(Clone)]
struct Node<K, V> {
    hash: Option<Digest>,
    kind: Kind<K, V>,
}

#[derive(Clone)]
enum Kind<K, V> {
    Leaf(K, V),
    /// At least two entries below. Index: the half byte of their ids at this depth.
    Inner([Link<K, V>; FANOUT]),
}

const FANOUT: usize = 16;

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<K: Key + fmt::Debug, V: fmt::Debug> fmt::Debug for Trie<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Key, V: PartialEq> PartialEq for Trie<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Key, V: Eq> Eq for Trie<K, V> {}

impl<K: Key, V> Trie<K, V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: &K) -> Option<&V> {
        let mut link = self.root.as_deref();
        let mut depth = 0_usize;
        loop {
            match &link?.kind {
                Kind::Leaf(found, value) => return (found == id).then_some(value),
                Kind::Inner(children) => link = children.get(digit(id, depth))?.as_deref(),
            }
            depth = depth.saturating_add(1);
        }
    }

    /// Ordered by id.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            open: self.root.as_deref().into_iter().collect(),
        }
    }

    /// Ordered by id, from the first id above `after`.
    pub(crate) fn iter_after<'a>(&'a self, after: &K) -> Iter<'a, K, V> {
        let mut open = Vec::new();
        let mut link = self.root.as_deref();
        let mut depth = 0_usize;
        while let Some(node) = link {
            link = None;
            match &node.kind {
                Kind::Leaf(id, _) => open.extend((id > after).then_some(node)),
                Kind::Inner(children) => {
                    let place = digit(after, depth);
                    let later = children.iter().skip(place.saturating_add(1));
                    open.extend(later.rev().filter_map(Option::as_deref));
                    link = children.get(place).and_then(Option::as_deref);
                }
            }
            depth = depth.saturating_add(1);
        }
        Iter { open }
    }
}

impl<K: Key, V: Clone> Trie<K, V> {
    /// The value that was there before.
    pub(crate) fn insert(&mut self, id: K, value: V) -> Option<V> {
        let before = insert(&mut self.root, 0, id, value);
        if before.is_none() {
            self.len = self.len.saturating_add(1);
        }
        before
    }

    pub(crate) fn remove(&mut self, id: &K) -> Option<V> {
        self.get(id)?;
        let before = remove(&mut self.root, 0, id);
        self.len = self.len.saturating_sub(1);
        before
    }
}

impl<K: Key, V: Clone + Serialize> Trie<K, V> {
    /// The hash, if nothing has changed since it was computed.
    pub(crate) fn sealed(&self) -> Option<Digest> {
        self.root
            .as_ref()
            .map_or(Some(Digest::default()), |node| node.hash)
    }

    /// The hash over everything in it; only what has changed since the last time is hashed.
    pub(crate) fn seal(&mut self) -> Digest {
        seal(&mut self.root, &mut Vec::new())
    }
}

impl<K: Key, V: PartialEq> Trie<K, V> {
    /// What differs from `before`, ordered by id: the new value, or `None` where it is gone.
    pub(crate) fn difference<'a>(&'a self, before: &'a Self) -> Vec<(K, Option<&'a V>)> {
        let mut found = Vec::new();
        difference(&before.root, &self.root, &mut found);
        found
    }
}

/// In order of ids.
pub(crate) struct Iter<'a, K, V> {
    open: Vec<&'a Node<K, V>>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match &self.open.pop()?.kind {
                Kind::Leaf(id, value) => return Some((id, value)),
                Kind::Inner(children) => {
                    self.open
                        .extend(children.iter().rev().filter_map(Option::as_deref));
                }
            }
        }
    }
}

/// The half byte of the key that decides at `depth`. Keys end before any two different ones agree further.
fn digit<K: Key>(id: &K, depth: usize) -> usize {
    let byte = id.bytes().get(depth / 2).copied().unwrap_or_default();
    usize::from(if depth.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 0xf
    })
}

fn leaf<K, V>(id: K, value: V) -> Arc<Node<K, V>> {
    Arc::new(Node {
        hash: None,
        kind: Kind::Leaf(id, value),
    })
}

fn insert<K: Key, V: Clone>(link: &mut Link<K, V>, depth: usize, id: K, value: V) -> Option<V> {
    let Some(node) = link else {
        *link = Some(leaf(id, value));
        return None;
    };
    if let Kind::Leaf(found, _) = &node.kind
        && *found != id
    {
        let found = *found;
        let other = link.take();
        *link = Some(fork(depth, (found, other), (id, Some(leaf(id, value)))));
        return None;
    }
    let node = Arc::make_mut(node);
    node.hash = None;
    match &mut node.kind {
        Kind::Leaf(_, held) => Some(core::mem::replace(held, value)),
        Kind::Inner(children) => {
            let child = children.get_mut(digit(&id, depth))?;
            insert(child, depth.saturating_add(1), id, value)
        }
    }
}

/// The inner nodes above two leaves, from `depth` down to the half byte in which they differ.
fn fork<K: Key, V>(depth: usize, first: (K, Link<K, V>), second: (K, Link<K, V>)) -> Arc<Node<K, V>> {
    let (a, b) = (digit(&first.0, depth), digit(&second.0, depth));
    let mut children = [const { None }; FANOUT];
    let mut put = |place: usize, link| {
        if let Some(child) = children.get_mut(place) {
            *child = link;
        }
    };
    if a == b {
        put(a, Some(fork(depth.saturating_add(1), first, second)));
    } else {
        put(a, first.1);
        put(b, second.1);
    }
    Arc::new(Node {
        hash: None,
        kind: Kind::Inner(children),
    })
}

/// Removes an entry that is there. An inner node left with one leaf becomes that leaf: the shape has no history.
fn remove<K: Key, V: Clone>(link: &mut Link<K, V>, depth: usize, id: &K) -> Option<V> {
    let node = link.as_mut()?;
    if matches!(node.kind, Kind::Leaf(..)) {
        let node = link.take()?;
        return match Arc::unwrap_or_clone(node).kind {
            Kind::Leaf(_, value) => Some(value),
            Kind::Inner(_) => None,
        };
    }
    let node = Arc::make_mut(node);
    node.hash = None;
    let Kind::Inner(children) = &mut node.kind else {
        return None;
    };
    let removed = remove(children.get_mut(digit(id, depth))?, depth.saturating_add(1), id);
    let mut left = children.iter().flatten();
    if let (Some(only), None) = (left.next(), left.next())
        && matches!(only.kind, Kind::Leaf(..))
    {
        *link = Some(Arc::clone(only));
    }
    removed
}

/// `bytes` is a buffer to use again and again.
fn seal<K: Key, V: Clone + Serialize>(link: &mut Link<K, V>, bytes: &mut Vec<u8>) -> Digest {
    let Some(node) = link else {
        return Digest::default();
    };
    if let Some(hash) = node.hash {
        return hash;
    }
    let node = Arc::make_mut(node);
    let hash = match &mut node.kind {
        Kind::Leaf(id, value) => {
            bytes.clear();
            bytes.push(0);
            bytes.extend_from_slice(id.bytes());
            encoding::append_canonical(bytes, value);
            Digest::blake3(bytes)
        }
        Kind::Inner(children) => {
            let mut present = 0_u16;
            let mut hashes = [Digest::default(); FANOUT];
            let mut bit = 1_u16;
            for (child, hash) in children.iter_mut().zip(&mut hashes) {
                if child.is_some() {
                    *hash = seal(child, bytes);
                    present |= bit;
                }
                bit = bit.wrapping_shl(1);
            }
            bytes.clear();
            bytes.push(1);
            bytes.extend_from_slice(&present.to_be_bytes());
            for (child, hash) in children.iter().zip(&hashes) {
                if child.is_some() {
                    bytes.extend_from_slice(&hash.0);
                }
            }
            Digest::blake3(bytes)
        }
    };
    node.hash = Some(hash);
    hash
}

fn difference<'a, K: Key, V: PartialEq>(
    before: &'a Link<K, V>,
    after: &'a Link<K, V>,
    found: &mut Vec<(K, Option<&'a V>)>,
) {
    match (before, after) {
        (None, None) => {}
        (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {}
        (Some(first), Some(second)) => match (&first.kind, &second.kind) {
            (Kind::Inner(children), Kind::Inner(others)) => {
                for (child, other) in children.iter().zip(others) {
                    difference(child, other, found);
                }
            }
            (Kind::Leaf(..), Kind::Leaf(..) | Kind::Inner(_)) | (Kind::Inner(_), Kind::Leaf(..)) => {
                merge(before, after, found);
            }
        },
        (Some(_), None) | (None, Some(_)) => merge(before, after, found),
    }
}

/// Compares two short subtrees entry by entry.
fn merge<'a, K: Key, V: PartialEq>(
    before: &'a Link<K, V>,
    after: &'a Link<K, V>,
    found: &mut Vec<(K, Option<&'a V>)>,
) {
    let entries = |link: &'a Link<K, V>| {
        Iter {
            open: link.as_deref().into_iter().collect(),
        }
        .peekable()
    };
    let (mut old, mut new) = (entries(before), entries(after));
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((first, _)), Some((second, _))) => first.cmp(second),
        };
        let gone = if order == Ordering::Greater {
            None
        } else {
            old.next()
        };
        let come = if order == Ordering::Less { None } else { new.next() };
        match (gone, come) {
            (Some((id, _)), None) => found.push((*id, None)),
            (Some((_, held)), Some((_, value))) if held == value => {}
            (_, Some((id, value))) => found.push((*id, Some(value))),
            (None, None) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few different ids with long common beginnings, so that forks, collapses and deep chains all happen.
    fn id() -> impl Strategy<Value = ValidatorId> {
        (0_u8..6, 0_u8..3, 0_u8..4).prop_map(|(first, middle, last)| {
            let mut id = [0; 20];
            (id[0], id[9], id[19]) = (first & 1, middle, last | (first << 5));
            ValidatorId(id)
        })
    }

    fn naive_root(entries: &[(ValidatorId, u64)], depth: usize) -> Digest {
        match entries {
            [] => Digest::default(),
            [(id, value)] => {
                let mut bytes = alloc::vec![0];
                bytes.extend_from_slice(&id.0);
                bytes.extend_from_slice(&value.to_be_bytes());
                Digest(*blake3::hash(&bytes).as_bytes())
            }
            several => {
                let (mut present, mut hashes) = (0_u16, alloc::vec![]);
                for wanted in 0..16 {
                    let digit = |id: &ValidatorId| (id.0[depth / 2] >> (4 * (1 - depth % 2))) & 15;
                    let below: Vec<_> = several
                        .iter()
                        .copied()
                        .filter(|(id, _)| digit(id) == wanted)
                        .collect();
                    if !below.is_empty() {
                        present |= 1 << wanted;
                        hashes.extend_from_slice(&naive_root(&below, depth + 1).0);
                    }
                }
                let bytes = [&[1], present.to_be_bytes().as_slice(), &hashes].concat();
                Digest(*blake3::hash(&bytes).as_bytes())
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_with_a_root_and_a_difference(
            steps in proptest::collection::vec((id(), proptest::option::of(0_u64..5), any::<bool>()), 0..60),
        ) {
            let (mut map, mut naive) = (ValidatorMap::default(), BTreeMap::new());
            let (mut kept, mut naive_kept) = (map.clone(), naive.clone());
            for (id, value, keep) in steps {
                if keep {
                    map.seal();
                    (kept, naive_kept) = (map.clone(), naive.clone());
                }
                match value {
                    Some(value) => prop_assert_eq!(map.insert(id, value), naive.insert(id, value)),
                    None => prop_assert_eq!(map.remove(&id), naive.remove(&id)),
                }
                prop_assert_eq!(map.len(), naive.len());
                prop_assert_eq!(map.get(&id), naive.get(&id));
                let entries: Vec<_> = naive.iter().map(|(id, value)| (*id, *value)).collect();
                let held: Vec<_> = map.iter().map(|(id, value)| (*id, *value)).collect();
                prop_assert_eq!(&held, &entries);
                let rest: Vec<_> = map.iter_after(&id).map(|(id, value)| (*id, *value)).collect();
                let expected: Vec<_> = entries.iter().copied().filter(|(other, _)| *other > id).collect();
                prop_assert_eq!(rest, expected);

                let mut patched = naive_kept.clone();
                for (id, value) in map.difference(&kept) {
                    match value {
                        Some(value) => prop_assert_ne!(patched.insert(id, *value), Some(*value)),
                        None => prop_assert!(patched.remove(&id).is_some()),
                    }
                }
                prop_assert_eq!(&patched, &naive);
                prop_assert_eq!(kept.seal(), naive_root(&naive_kept.iter().map(|(id, value)| (*id, *value)).collect::<Vec<_>>(), 0));
                prop_assert_eq!(map.clone().seal(), naive_root(&entries, 0));
            }
        }
    }
}
