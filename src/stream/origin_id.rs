//! The name of an origin: what pins, statistics and the API call it by.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An origin's id, `server-service-pid` in SRS's words. Cheap to clone, and new with each start of the origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginId(Arc<str>);

impl OriginId {
    /// Whether both are ids of one server, which has started anew between them. Cloned images have one server's id, too.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.server().is_some() && self.server() == other.server()
    }

    /// The part that stays, and the address after an `@`, which the balancer adds where two have the same id.
    fn server(&self) -> Option<(&str, &str)> {
        let (id, address) = self.0.split_once('@').unwrap_or((&self.0, ""));
        Some((id.rsplitn(3, '-').nth(2)?, address))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_keeps_the_server() {
        let same = |a: &str, b: &str| OriginId::from(a).is_same_server(&b.into());
        assert!(same("vid-7181o76-84l9f067-7901", "vid-7181o76-x-1"));
        assert!(same("vid-1-s-1@10.0.0.1:80", "vid-1-s-2@10.0.0.1:80"));
        for (a, b) in [
            ("vid-1-s-1", "vid-2-s-1"),
            ("vid-1-s-1@10.0.0.1:80", "vid-1-s-2@10.0.0.2:80"),
            ("vid-1-s-1@10.0.0.1:80", "vid-1-s-2"),
            ("a", "b"),
            ("a", "a"),
        ] {
            assert!(!same(a, b), "{a} and {b}");
        }
    }
}
