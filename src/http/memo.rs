//! What other rooms have made of a request's head, kept with the head.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A place for one value that is made of a head once, however often the same head comes on its connection. The head
/// itself knows nothing of the value: it is no part of comparing heads, and a copy of a head begins without one.
#[derive(Default)]
pub struct Memo(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Memo {
    /// The value, where it has been made.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get()?.clone().downcast().ok()
    }

    /// Keeps the value; only the first time counts.
    pub fn set<T: Send + Sync + 'static>(&self, value: Arc<T>) {
        let _ = self.0.set(value);
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}
