//! A bounded table that forgets what was not used for longest.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::mem;

/// Values by the hash of a key, in two generations: what is looked at moves to the young one; when that
/// is full the old one goes. The hash is seeded anew in each process, so nobody can make two keys meet,
/// and a table of strangers' keys costs the same however long they are.
#[derive(Debug)]
pub struct Recent<V> {
    seed: RandomState,
    most: usize,
    young: Generation<V>,
    old: Generation<V>,
}

type Generation<V> = HashMap<u64, V, BuildHasherDefault<Same>>;

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl<V: Default> Recent<V> {
    /// An empty table of at least `most` values, at most twice as many.
    pub fn new(most: usize) -> Self {
        Self {
            seed: RandomState::new(),
            most,
            young: Generation::default(),
            old: Generation::default(),
        }
    }

    /// The value of a key, where there is one; looking so does not keep it for longer.
    pub fn peek(&self, key: &(impl Hash + ?Sized)) -> Option<&V> {
        let hash = self.seed.hash_one(key);
        self.young.get(&hash).or_else(|| self.old.get(&hash))
    }

    /// The value of a key, the default at first.
    pub fn of(&mut self, key: &(impl Hash + ?Sized)) -> &mut V {
        let hash = self.seed.hash_one(key);
        if !self.young.contains_key(&hash) {
            let before = self.old.remove(&hash).unwrap_or_default();
            if self.young.len() >= self.most {
                self.old = mem::take(&mut self.young);
            }
            self.young.insert(hash, before);
        }
        self.young.entry(hash).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_what_is_used_stays() {
        let mut recent: Recent<u32> = Recent::new(10);
        *recent.of("kept") = 7;
        for n in 0..1000_u32 {
            *recent.of(&n) = 1;
            assert_eq!(*recent.of("kept"), 7, "{n}");
            assert!(recent.young.len() <= 10 && recent.old.len() <= 10);
        }
        assert_eq!(*recent.of(&0_u32), 0, "long forgotten");
    }
}
