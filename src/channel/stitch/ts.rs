//! MPEG transport streams.

use super::Unit;
use crate::media::format::NotThisFormat;
use std::sync::Arc;

#[derive(Default)]
pub struct TsStitcher {
    waiting: bool,
}

impl TsStitcher {
    pub fn push(&mut self, _: &[u8], _: &mut dyn FnMut(Unit<'_>)) -> Result<(), NotThisFormat> {
        Err(NotThisFormat("transport streams are relayed alone"))
    }

    pub fn splice(&mut self) {
        self.waiting = true;
    }

    pub fn is_waiting_for_key(&self) -> bool {
        self.waiting
    }

    pub fn opening(&self) -> Arc<[u8]> {
        Arc::default()
    }

    pub fn has_video(&self) -> Option<bool> {
        None
    }
}
