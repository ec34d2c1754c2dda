//! The passes and the restore, in this process: random trees, odd trees, and work that is cut off before each change.

mod cuts;
mod odd;
mod random;
mod retention;
mod scene;
