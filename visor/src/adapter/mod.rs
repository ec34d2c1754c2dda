//! Chain adapters: one file per chain system. They translate its conventions into planner inputs and decide nothing.

pub mod governance;
