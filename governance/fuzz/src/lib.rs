//! What is fuzzed: one function per target, which takes any bytes and must never panic.
//!
//! The modules are also compiled into the tests of the crates that they are about, by path.

#![expect(dead_code, reason = "seeds are written and compared by the stable tests")]

mod certificate;
mod grpc;
mod prepared;
mod rows;
mod snapshot;
mod transaction;

// Links to the node's sources: the whole node, with its engine, would take an hour to build with a sanitizer.
mod chronicle;
mod snapshot_file;

/// See the module.
pub fn transaction(data: &[u8]) {
    transaction::run(data);
}

/// See the module.
pub fn certificate(data: &[u8]) {
    certificate::run(data);
}

/// See the module.
pub fn rows(data: &[u8]) {
    rows::run(data);
}

/// See the module.
pub fn grpc(data: &[u8]) {
    grpc::run(data);
}

/// See the module.
pub fn snapshot(data: &[u8]) {
    snapshot::run(data);
}
