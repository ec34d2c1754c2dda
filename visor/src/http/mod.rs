//! Metrics and health over HTTP, when `[http] listen` is set: `/metrics`, `/healthz`, `/readyz`.
//!
//! Answers from the newest snapshot and from the loop's own heartbeat; changes nothing. Whoever can reach the address can
//! read it: there is nothing secret in it, and nothing can be ordered here.

mod health;
mod metrics;
mod server;

pub(crate) use server::bind;
