#![doc = include_str!("../README.md")]

pub mod adapter;
pub mod backup;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod execute;
pub mod exit_code;
pub mod fault;
pub mod home;
pub mod hook;
mod jobs;
pub mod journal;
pub mod lock;
mod notice;
pub mod notify;
pub mod process;
mod program;
mod readiness;
pub mod reconnect;
pub mod rpc;
pub mod run_config;
pub mod staging;
mod status;
pub mod swap;
