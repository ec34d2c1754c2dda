#![doc = include_str!("../README.md")]

pub mod adapter;
pub mod cli;
pub mod config;
pub mod exit_code;
pub mod home;
pub mod journal;
pub mod lock;
pub mod process;
mod readiness;
pub mod reconnect;
pub mod rpc;
pub mod run_config;
pub mod staging;
pub mod swap;
