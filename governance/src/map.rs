//! The map from validators to what is kept of each: persistent, ordered, and hashed as it stands.
//!
//! A binary trie over the bits of the validator id. Nodes are shared between versions of the map, so a clone costs
//! nothing, a change costs the path to one leaf, and two versions are compared in the time of their difference. Each
//! node remembers its hash until something below it changes. The shape depends on the ids alone, never on history:
//!
//! - nothing: 32 zero bytes
//! - one entry: SHA-256 of a byte 0, the id, the canonical bytes of the value
//! - several: SHA-256 of a byte 1, the hash of those whose next bit is 0, the hash of those whose next bit is 1
//!
//! Own code, because it is what a state root is made of: the libraries for authenticated maps bring their own store and
//! one fixed depth per key, which costs some twenty times the hashes.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::bytes::{Digest, ValidatorId};
use crate::encoding;

/// See the module.
#[derive(Clone)]
pub(crate) struct ValidatorMap<V> {
    root: Link<V>,
    len: usize,
}

type Link<V> = Option<Arc<Node<V>>>;

#[derive(Clone)]
struct Node<V> {
    hash: Option<Digest>,
    kind: Kind<V>,
}

#[derive(Clone)]
enum Kind<V> {
    Leaf(ValidatorId, V),
    Inner(Link<V>, Link<V>),
}

impl<V> Default for ValidatorMap<V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<V: fmt::Debug> fmt::Debug for ValidatorMap<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl<V: PartialEq> PartialEq for ValidatorMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for ValidatorMap<V> {}

impl<V> ValidatorMap<V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: &ValidatorId) -> Option<&V> {
        let mut link = &self.root;
        let mut depth = 0_usize;
        loop {
            match &link.as_deref()?.kind {
                Kind::Leaf(found, value) => return (found == id).then_some(value),
                Kind::Inner(zero, one) => link = if bit(id, depth) { one } else { zero },
            }
            depth = depth.saturating_add(1);
        }
    }

    /// Ordered by id.
    pub(crate) fn iter(&self) -> Iter<'_, V> {
        Iter {
            open: self.root.as_deref().into_iter().collect(),
        }
    }

    /// Ordered by id, from the first id above `after`.
    pub(crate) fn iter_after<'a>(&'a self, after: &ValidatorId) -> Iter<'a, V> {
        let mut open = Vec::new();
        let mut link = &self.root;
        let mut depth = 0_usize;
        while let Some(node) = link.as_deref() {
            match &node.kind {
                Kind::Leaf(id, _) => {
                    if id > after {
                        open.push(node);
                    }
                    break;
                }
                Kind::Inner(zero, one) => {
                    if bit(after, depth) {
                        link = one;
                    } else {
                        open.extend(one.as_deref());
                        link = zero;
                    }
                }
            }
            depth = depth.saturating_add(1);
        }
        Iter { open }
    }
}

impl<V: Clone> ValidatorMap<V> {
    /// The value that was there before.
    pub(crate) fn insert(&mut self, id: ValidatorId, value: V) -> Option<V> {
        let before = insert(&mut self.root, 0, id, value);
        if before.is_none() {
            self.len = self.len.saturating_add(1);
        }
        before
    }

    pub(crate) fn remove(&mut self, id: &ValidatorId) -> Option<V> {
        self.get(id)?;
        let before = remove(&mut self.root, 0, id);
        self.len = self.len.saturating_sub(1);
        before
    }
}

impl<V: Clone + Serialize> ValidatorMap<V> {
    /// The hash, if nothing has changed since it was computed.
    pub(crate) fn sealed(&self) -> Option<Digest> {
        self.root
            .as_ref()
            .map_or(Some(Digest::default()), |node| node.hash)
    }

    /// The hash over everything in it; only what has changed since the last time is hashed.
    pub(crate) fn seal(&mut self) -> Digest {
        seal(&mut self.root)
    }
}

impl<V: PartialEq> ValidatorMap<V> {
    /// What differs from `before`, ordered by id: the new value, or `None` where it is gone.
    pub(crate) fn difference<'a>(&'a self, before: &'a Self) -> Vec<(ValidatorId, Option<&'a V>)> {
        let mut found = Vec::new();
        difference(&before.root, &self.root, &mut found);
        found
    }
}

/// In order of ids.
pub(crate) struct Iter<'a, V> {
    open: Vec<&'a Node<V>>,
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a ValidatorId, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match &self.open.pop()?.kind {
                Kind::Leaf(id, value) => return Some((id, value)),
                Kind::Inner(zero, one) => {
                    self.open.extend(one.as_deref());
                    self.open.extend(zero.as_deref());
                }
            }
        }
    }
}

/// The bit of the id that decides at `depth`. Ids end before any two different ones agree further.
fn bit(id: &ValidatorId, depth: usize) -> bool {
    let byte = id.0.get(depth / 8).copied().unwrap_or_default();
    byte & (0x80_u8 >> (depth % 8)) != 0
}

fn leaf<V>(id: ValidatorId, value: V) -> Arc<Node<V>> {
    Arc::new(Node {
        hash: None,
        kind: Kind::Leaf(id, value),
    })
}

fn insert<V: Clone>(link: &mut Link<V>, depth: usize, id: ValidatorId, value: V) -> Option<V> {
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
        Kind::Inner(zero, one) => {
            let side = if bit(&id, depth) { one } else { zero };
            insert(side, depth.saturating_add(1), id, value)
        }
    }
}

/// The inner nodes above two leaves, from `depth` down to the bit in which they differ.
fn fork<V>(depth: usize, first: (ValidatorId, Link<V>), second: (ValidatorId, Link<V>)) -> Arc<Node<V>> {
    let (a, b) = (bit(&first.0, depth), bit(&second.0, depth));
    let (zero, one) = match (a, b) {
        (false, true) => (first.1, second.1),
        (true, false) => (second.1, first.1),
        (false, false) => (Some(fork(depth.saturating_add(1), first, second)), None),
        (true, true) => (None, Some(fork(depth.saturating_add(1), first, second))),
    };
    Arc::new(Node {
        hash: None,
        kind: Kind::Inner(zero, one),
    })
}

/// Removes an entry that is there. An inner node left with one leaf becomes that leaf: the shape has no history.
fn remove<V: Clone>(link: &mut Link<V>, depth: usize, id: &ValidatorId) -> Option<V> {
    let node = link.as_mut()?;
    if matches!(node.kind, Kind::Leaf(..)) {
        let node = link.take()?;
        return match Arc::unwrap_or_clone(node).kind {
            Kind::Leaf(_, value) => Some(value),
            Kind::Inner(..) => None,
        };
    }
    let node = Arc::make_mut(node);
    node.hash = None;
    let Kind::Inner(zero, one) = &mut node.kind else {
        return None;
    };
    let side = if bit(id, depth) { &mut *one } else { &mut *zero };
    let removed = remove(side, depth.saturating_add(1), id);
    let only = match (&*zero, &*one) {
        (Some(only), None) | (None, Some(only)) => Some(Arc::clone(only)),
        (Some(_), Some(_)) | (None, None) => None,
    };
    if let Some(only) = only.filter(|only| matches!(only.kind, Kind::Leaf(..))) {
        *link = Some(only);
    }
    removed
}

fn seal<V: Clone + Serialize>(link: &mut Link<V>) -> Digest {
    let Some(node) = link else {
        return Digest::default();
    };
    if let Some(hash) = node.hash {
        return hash;
    }
    let node = Arc::make_mut(node);
    let mut hasher = Sha256::new();
    match &mut node.kind {
        Kind::Leaf(id, value) => {
            hasher.update([0]);
            hasher.update(id.0);
            hasher.update(encoding::to_canonical(value));
        }
        Kind::Inner(zero, one) => {
            hasher.update([1]);
            hasher.update(seal(zero).0);
            hasher.update(seal(one).0);
        }
    }
    let hash = Digest(hasher.finalize().into());
    node.hash = Some(hash);
    hash
}

fn difference<'a, V: PartialEq>(
    before: &'a Link<V>,
    after: &'a Link<V>,
    found: &mut Vec<(ValidatorId, Option<&'a V>)>,
) {
    match (before, after) {
        (None, None) => {}
        (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {}
        (Some(first), Some(second)) => match (&first.kind, &second.kind) {
            (Kind::Inner(zero, one), Kind::Inner(other_zero, other_one)) => {
                difference(zero, other_zero, found);
                difference(one, other_one, found);
            }
            (Kind::Leaf(..), Kind::Leaf(..) | Kind::Inner(..)) | (Kind::Inner(..), Kind::Leaf(..)) => {
                merge(before, after, found);
            }
        },
        (Some(_), None) | (None, Some(_)) => merge(before, after, found),
    }
}

/// Compares two short subtrees entry by entry.
fn merge<'a, V: PartialEq>(
    before: &'a Link<V>,
    after: &'a Link<V>,
    found: &mut Vec<(ValidatorId, Option<&'a V>)>,
) {
    let entries = |link: &'a Link<V>| {
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
                Digest::of(&bytes)
            }
            several => {
                let of = |wanted: bool| -> Vec<_> {
                    let one = |id: &ValidatorId| (id.0[depth / 8] >> (7 - depth % 8)) & 1 == 1;
                    several
                        .iter()
                        .copied()
                        .filter(|(id, _)| one(id) == wanted)
                        .collect()
                };
                let mut bytes = alloc::vec![1];
                bytes.extend_from_slice(&naive_root(&of(false), depth + 1).0);
                bytes.extend_from_slice(&naive_root(&of(true), depth + 1).0);
                Digest::of(&bytes)
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
