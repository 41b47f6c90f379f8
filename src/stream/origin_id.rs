//! The name of an origin: what pins, statistics and the API call it by.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An origin's id, `server-service-pid` in SRS's words. Cheap to clone, and new with each start of the origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginId(Arc<str>);

impl From<&str> for OriginId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for OriginId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl Deref for OriginId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for OriginId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for OriginId {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for OriginId {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Display for OriginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
