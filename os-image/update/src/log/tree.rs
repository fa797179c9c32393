//! The Merkle tree of RFC 9162, section 2.1: its hashes, its proofs and how they are checked.

use crate::key::sha256;

/// SHA-256.
pub type Hash = [u8; 32];

/// The root of the tree without entries: the hash of nothing.
pub const EMPTY: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Why a proof shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The entry's number is beyond the end.
    #[error("there is no entry of that number")]
    Beyond,
    /// There are more or fewer hashes than the sizes ask for.
    #[error("the proof has the wrong length")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The hash of an entry.
pub fn leaf(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry].concat())
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], &left[..], &right[..]].concat())
}

/// Checks that the entry with the hash `leaf` is the one with the number `index` (from 0) in the tree (2.1.3.2).
pub fn check_inclusion(leaf: Hash, index: u64, (size, root): (u64, Hash), path: &[Hash]) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Beyond);
    }
    let mut walk = Walk { first: index, second: size - 1 };
    let mut hash = leaf;
    for step in path {
        hash = match walk.step()? {
            Turn::Left => node(step, &hash),
            Turn::Right => node(&hash, step),
        };
    }
    walk.end()?;
    if hash == root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks that a tree continues an earlier one (2.1.4.2). Everything continues the tree without entries.
pub fn check_consistency(first: (u64, Hash), second: (u64, Hash), path: &[Hash]) -> Result<(), ProofError> {
    let ((first_size, first_root), (second_size, second_root)) = (first, second);
    if first_size > second_size {
        return Err(ProofError::Beyond);
    }
    if first_size == 0 || first_size == second_size {
        if !path.is_empty() {
            return Err(ProofError::Length);
        }
        return if first_size == 0 || first_root == second_root { Ok(()) } else { Err(ProofError::Root) };
    }
    // Where the first tree is a whole one, its root is the first hash and is left out.
    let (start, path) = match path.split_first() {
        _ if first_size.is_power_of_two() => (first_root, path),
        Some((start, path)) => (*start, path),
        None => return Err(ProofError::Length),
    };
    let mut walk = Walk { first: first_size - 1, second: second_size - 1 };
    while walk.first & 1 == 1 {
        walk.up();
    }
    let (mut old, mut new) = (start, start);
    for step in path {
        match walk.step()? {
            Turn::Left => {
                old = node(step, &old);
                new = node(step, &new);
            }
            Turn::Right => new = node(&new, step),
        }
    }
    walk.end()?;
    if old == first_root && new == second_root { Ok(()) } else { Err(ProofError::Root) }
}

/// `fn` and `sn` of the RFC's algorithms: the number of a node and of the last one on its level.
struct Walk {
    first: u64,
    second: u64,
}

/// On which side the proof's hash stands.
enum Turn {
    Left,
    Right,
}

impl Walk {
    fn up(&mut self) {
        self.first >>= 1;
        self.second >>= 1;
    }

    fn step(&mut self) -> Result<Turn, ProofError> {
        if self.second == 0 {
            return Err(ProofError::Length);
        }
        let left = self.first & 1 == 1 || self.first == self.second;
        if left {
            while self.first & 1 == 0 && self.first != 0 {
                self.up();
            }
        }
        self.up();
        Ok(if left { Turn::Left } else { Turn::Right })
    }

    fn end(&self) -> Result<(), ProofError> {
        if self.second == 0 { Ok(()) } else { Err(ProofError::Length) }
    }
}

/// A whole log, as its keeper has it. Proofs are made by going over all entries: a release a week for twenty years are a thousand.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    leaves: Vec<Hash>,
}

impl Tree {
    /// The log of these entries.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { leaves: entries.into_iter().map(leaf).collect() }
    }

    /// Adds an entry and gives its number.
    pub fn push(&mut self, entry: &[u8]) -> u64 {
        self.leaves.push(leaf(entry));
        self.size() - 1
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The root.
    pub fn root(&self) -> Hash {
        root(&self.leaves)
    }

    /// The proof that the entry with this number is in the tree (2.1.3.1). `None` if there is none.
    pub fn inclusion(&self, index: u64) -> Option<Vec<Hash>> {
        let index = usize::try_from(index).ok().filter(|index| *index < self.leaves.len())?;
        let mut path = Vec::new();
        include(index, &self.leaves, &mut path);
        Some(path)
    }

    /// The proof that the tree continues the one of its first `size` entries (2.1.4.1). `None` if it has fewer.
    pub fn consistency(&self, size: u64) -> Option<Vec<Hash>> {
        let size = usize::try_from(size).ok().filter(|size| *size <= self.leaves.len())?;
        let mut path = Vec::new();
        if size > 0 {
            continues(size, &self.leaves, true, &mut path);
        }
        Some(path)
    }
}

/// Splits at the largest power of two below the length, which is at least 2.
fn split(leaves: &[Hash]) -> (&[Hash], &[Hash]) {
    leaves.split_at(leaves.len().next_power_of_two() / 2)
}

fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY,
        [leaf] => *leaf,
        _ => {
            let (left, right) = split(leaves);
            node(&root(left), &root(right))
        }
    }
}

fn include(index: usize, leaves: &[Hash], path: &mut Vec<Hash>) {
    if leaves.len() < 2 {
        return;
    }
    let (left, right) = split(leaves);
    if index < left.len() {
        include(index, left, path);
        path.push(root(right));
    } else {
        include(index - left.len(), right, path);
        path.push(root(left));
    }
}

fn continues(size: usize, leaves: &[Hash], whole: bool, path: &mut Vec<Hash>) {
    if size == leaves.len() {
        if !whole {
            path.push(root(leaves));
        }
        return;
    }
    let (left, right) = split(leaves);
    if size <= left.len() {
        continues(size, left, whole, path);
        path.push(root(right));
    } else {
        continues(size - left.len(), right, false, path);
        path.push(root(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    /// The entries of Certificate Transparency's own tests, and the roots of the trees of the first so many.
    const ENTRIES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn the_roots_are_those_of_certificate_transparency() {
        let mut tree = Tree::default();
        assert_eq!(HEXLOWER.encode(&tree.root()), ROOTS[0]);
        for (entry, root) in ENTRIES.iter().zip(&ROOTS[1..]) {
            tree.push(&HEXLOWER.decode(entry.as_bytes()).unwrap());
            assert_eq!(HEXLOWER.encode(&tree.root()), *root);
        }
    }

    fn tree(size: u64) -> Tree {
        let mut tree = Tree::default();
        for number in 0..size {
            tree.push(&number.to_be_bytes());
        }
        tree
    }

    #[test]
    fn every_proof_of_every_small_tree_holds_and_no_other_does() {
        for size in 0..=20 {
            let whole = tree(size);
            let head = (size, whole.root());
            assert_eq!(whole.inclusion(size), None);
            for index in 0..size {
                let hash = leaf(&index.to_be_bytes());
                let mut path = whole.inclusion(index).unwrap();
                assert_eq!(check_inclusion(hash, index, head, &path), Ok(()));
                for other in (0..size + 2).filter(|other| *other != index) {
                    assert!(check_inclusion(hash, other, head, &path).is_err(), "{index} as {other} of {size}");
                }
                assert!(check_inclusion(leaf(b"another"), index, head, &path).is_err());
                path.push(hash);
                assert!(check_inclusion(hash, index, head, &path).is_err());
                path.truncate(path.len().saturating_sub(2));
                assert!(size == 1 || check_inclusion(hash, index, head, &path).is_err());
            }
            for earlier in 0..=size {
                let before = (earlier, tree(earlier).root());
                let path = whole.consistency(earlier).unwrap();
                assert_eq!(check_consistency(before, head, &path), Ok(()), "{earlier} to {size}");
                if earlier > 0 {
                    assert!(check_consistency((earlier, leaf(b"another past")), head, &path).is_err());
                    assert!(check_consistency(before, (size, leaf(b"another present")), &path).is_err());
                }
                let longer = [&path[..], &[EMPTY]].concat();
                assert!(check_consistency(before, head, &longer).is_err());
                if let Some((_, shorter)) = path.split_last() {
                    assert!(check_consistency(before, head, shorter).is_err());
                }
            }
            assert_eq!(whole.consistency(size + 1), None);
        }
    }

    proptest! {
        #[test]
        fn no_numbers_and_hashes_make_it_stumble(
            (first, second, index) in any::<(u64, u64, u64)>(),
            path in proptest::collection::vec(any::<Hash>(), 0..70),
        ) {
            prop_assert!(check_inclusion(EMPTY, index, (second, EMPTY), &path).is_err());
            let consistent = check_consistency((first, EMPTY), (second, EMPTY), &path);
            prop_assert!(consistent.is_err() || first == second || first == 0);
        }

        #[test]
        fn one_changed_bit_in_a_proof_shows((size, index, bit) in (2_u64..300, any::<u64>(), any::<usize>())) {
            let (tree, index) = (tree(size), index % size);
            let mut path = tree.inclusion(index).unwrap();
            let bit = bit % (path.len() * 256);
            path[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            let hash = leaf(&index.to_be_bytes());
            prop_assert_eq!(check_inclusion(hash, index, (size, tree.root()), &path), Err(ProofError::Root));
        }
    }
}
