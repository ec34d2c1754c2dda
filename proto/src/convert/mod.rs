//! Conversion between protobuf messages and domain types: `From<&domain>` to a message, `TryFrom<message>` back.
//!
//! Nothing is decided here. A message becomes a domain value only when every field is there and of its type; whether the
//! value is allowed is for the state machine to say. What protobuf cannot tell apart (a number left out, and 0) is
//! taken as 0.

mod chain;
mod change;
mod event;
mod field;
mod node;
mod proposal;
mod readiness;
mod transaction;
mod upgrade;

pub use field::InvalidMessage;
