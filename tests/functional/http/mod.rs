//! HTTP on both sides: headers, statuses, connections, bodies that break.

mod headers;
mod live_list;
mod serving;
mod statuses;
mod truncation;
