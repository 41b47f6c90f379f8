//! A body as a list of blocks that never change: readers take references to them, never copies.

use smallvec::SmallVec;
use std::sync::Arc;

/// Size of a block, in bytes.
pub const BLOCK: usize = 64 * 1024;
/// Blocks that a reader has taken: a playlist is one, so that a list of them needs no memory.
pub type Batch = SmallVec<[Arc<[u8]>; 2]>;
/// Blocks that a reader takes at once: what one call may hand to its socket.
const MAX_AT_ONCE: usize = 16;

/// The bytes of a body that have come so far.
#[derive(Debug, Default)]
pub struct BodyBlocks {
    /// Whole blocks, then one that may be shorter.
    blocks: Vec<Arc<[u8]>>,
    /// What came after them, piece by piece as it came.
    tail: Vec<Arc<[u8]>>,
}

impl BodyBlocks {
    /// A body that is there as a whole.
    pub fn whole(body: &[u8]) -> Self {
        Self {
            blocks: body.chunks(BLOCK).map(Arc::from).collect(),
            tail: Vec::new(),
        }
    }

    /// Adds a piece at the end.
    pub fn append(&mut self, piece: Arc<[u8]>) {
        self.tail.push(piece);
    }

    /// How many pieces came after the last block.
    pub fn pieces(&self) -> usize {
        self.tail.len()
    }

    /// Puts one block in the place of the pieces that came last; without `merged` the only piece is the block. Returns
    /// the pieces, to be dropped without a lock.
    pub fn settle(&mut self, merged: Option<Arc<[u8]>>) -> Vec<Arc<[u8]>> {
        let block = merged.or_else(|| self.tail.pop());
        self.blocks.extend(block);
        std::mem::take(&mut self.tail)
    }

    /// Puts the blocks from byte `at` on into `batch`. Returns how many bytes of the first one lie before `at`; `None`
    /// where nothing has come at `at` yet.
    pub fn take(&self, at: u64, batch: &mut Batch) -> Option<usize> {
        let at = usize::try_from(at).ok()?;
        let settled: usize = match self.blocks.last() {
            Some(last) => (self.blocks.len() - 1) * BLOCK + last.len(),
            None => 0,
        };
        let mut behind = at.saturating_sub(settled);
        if at < settled {
            let blocks = &self.blocks[at / BLOCK..];
            batch.extend(blocks.iter().take(MAX_AT_ONCE).cloned());
            return Some(at % BLOCK);
        }
        for (index, piece) in self.tail.iter().enumerate() {
            if behind < piece.len() {
                batch.extend(self.tail[index..].iter().take(MAX_AT_ONCE).cloned());
                return Some(behind);
            }
            behind -= piece.len();
        }
        None
    }
}
