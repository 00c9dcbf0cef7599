//! The storybook as endless rows, any of which is reached at once.
//!
//! Rows come in blocks. A block begins with a story of its own and goes on with the next ones, an end-of-text id after
//! each, until it holds its rows and the one id more that the last row's targets need; what is left of the last story is
//! dropped. So a block is a function of the seed and its number alone.

use std::sync::{Arc, Mutex, PoisonError};

use tokenizer::{SpecialMode, Tokenizer};

use super::Window;
use super::storybook::Storybook;

/// Rows of a block.
const ROWS: u64 = 64;
/// A block's number stands above this many bits of a story's number.
const STORY_BITS: u32 = 24;

/// Endless rows of stories.
#[derive(Debug)]
pub(super) struct Stories {
    book: Storybook,
    length: usize,
    tokenizer: Arc<Tokenizer>,
    /// The block last used: rows are mostly asked for in order.
    last: Mutex<Option<Arc<Block>>>,
}

#[derive(Debug)]
struct Block {
    number: u64,
    ids: Vec<u32>,
    /// Where stories begin.
    starts: Vec<u64>,
    /// Text of its ids, in bytes; of the last story the whole.
    bytes: usize,
}

impl Stories {
    /// The stories of `seed` in rows of `length` ids.
    pub(super) fn new(seed: u64, length: usize, tokenizer: Arc<Tokenizer>) -> Self {
        Self {
            book: Storybook::new(seed),
            length,
            tokenizer,
            last: Mutex::new(None),
        }
    }

    /// Reads row `row`.
    pub(super) fn window(&self, row: u64, window: &mut Window) {
        let block = self.block(row / ROWS);
        let start = (row % ROWS) * self.length as u64;
        let end = start as usize + self.length + 1;
        window.ids.clear();
        let ids = &block.ids[start as usize..end];
        window.ids.extend(ids.iter().map(|id| *id as i32));
        window.set_starts(&block.starts, start);
    }

    /// Mean bytes of an id, from the first block.
    pub(super) fn bytes_per_token(&self) -> f64 {
        let block = self.block(0);
        block.bytes as f64 / block.ids.len() as f64
    }

    fn block(&self, number: u64) -> Arc<Block> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(block) if block.number == number => Arc::clone(block),
            _ => {
                let block = Arc::new(self.write(number));
                *last = Some(Arc::clone(&block));
                block
            }
        }
    }

    fn write(&self, number: u64) -> Block {
        let need = ROWS as usize * self.length + 1;
        let end = self.tokenizer.end_of_text();
        let mut block = Block {
            number,
            ids: Vec::with_capacity(need + 512),
            starts: Vec::new(),
            bytes: 0,
        };
        let mut story = number << STORY_BITS;
        while block.ids.len() < need {
            block.starts.push(block.ids.len() as u64);
            let text = self.book.story(story).text;
            block.bytes += text.len();
            let ids = self.tokenizer.encode(&text, SpecialMode::AsText);
            block.ids.extend(ids);
            block.ids.extend(end);
            story += 1;
        }
        block
    }
}
