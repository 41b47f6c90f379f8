//! The method of a request.

use std::borrow::Cow;
use std::fmt;

/// A request's method, as it was written: methods have a case (RFC 9110 section 9.1). The usual ones cost no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method(Cow<'static, str>);

/// Methods that requests here usually have.
const USUAL: [&str; 4] = ["GET", "HEAD", "OPTIONS", "POST"];

impl Method {
    /// The method of that name.
    pub fn of(name: &str) -> Self {
        let usual = USUAL.into_iter().find(|usual| *usual == name);
        Self(usual.map_or_else(|| name.to_owned().into(), Cow::Borrowed))
    }

    /// The method's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq<&str> for Method {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
