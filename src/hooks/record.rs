//! A session as text: for a process that takes over, and for proxies that share a Redis.

use crate::hooks::viewer::Viewer;
use crate::stream::url::StreamUrl;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What another process needs to go on with a session. A field that the other version does not know is passed over, one
/// that it does not send is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionRecord {
    pub id: String,
    pub client_id: String,
    pub ip: Option<IpAddr>,
    pub stream: String,
    pub host: String,
    pub param: String,
    pub page_url: String,
    /// ms since 1970.
    pub since: u64,
    pub bytes: u64,
    /// The target duration in ms.
    pub target: u64,
    /// The names, each with the stream whose playlists it is for; segments have none.
    pub names: Vec<(String, Option<String>)>,
    /// The session is refused for so many ms.
    pub refused: u64,
    /// The proxy that has seen its player last.
    pub by: String,
}

impl SessionRecord {
    /// The viewer; `None` where the record is no session's.
    pub fn viewer(&self) -> Option<Viewer> {
        Some(Viewer {
            client_id: self.client_id.clone(),
            ip: self.ip?,
            stream: StreamUrl::parse(&self.stream)?,
            host: self.host.clone(),
            param: self.param.clone(),
            page_url: self.page_url.clone(),
        })
    }
}
