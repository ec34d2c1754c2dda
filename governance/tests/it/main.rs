//! Steps per rule, boundary tables, golden bytes, and random histories against a naive model.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests; the option of .clippy.toml only knows test functions"
)]

mod batch;
mod boundary;
mod cancel;
mod cancel_changes;
mod certificates;
mod changed_sets;
mod corpus;
mod decoding;
mod fixture;
mod forged_certificates;
mod genesis;
mod golden;
mod guard;
mod history;
mod invariants;
mod latch;
mod lookup;
mod model;
mod model_blocks;
mod parameters;
mod properties;
mod proposing;
mod python;
mod readiness;
mod root;
mod rows;
mod run;
mod sending;
mod store;
mod validator_changes;
mod voting;
