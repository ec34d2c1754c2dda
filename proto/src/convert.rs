//! Conversion between protobuf messages and domain types.

/// A message that is no valid domain value.
#[derive(Debug)]
pub struct InvalidMessage;
