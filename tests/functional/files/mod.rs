//! Static files.

mod static_files;
