//! HTTP on both sides: headers, statuses, connections, bodies that break.

mod headers;
mod https;
mod https_origins;
mod live_list;
mod proxy_protocol;
mod serving;
mod statuses;
mod truncation;
