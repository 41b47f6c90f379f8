//! Static files.

mod sending;
mod static_files;
