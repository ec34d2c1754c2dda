#![doc = include_str!("../README.md")]

mod artifact;
mod change;
mod cli;
mod client;
mod client_error;
mod command;
mod command_error;
mod describe;
mod document;
mod durable_file;
mod exit_code;
mod input;
mod key_file;
mod keystore;
mod measure;
mod node_status;
mod sending;
mod text;
mod ui;

pub use cli::run;
