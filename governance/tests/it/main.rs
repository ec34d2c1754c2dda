//! Steps per rule, boundary tables, golden bytes, and random histories against a naive model.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests; the option of .clippy.toml only knows test functions"
)]

mod boundary;
mod cancel;
mod decoding;
mod fixture;
mod genesis;
mod golden;
mod guard;
mod history;
mod invariants;
mod latch;
mod lookup;
mod model;
mod properties;
mod proposing;
mod sending;
mod store;
mod voting;
