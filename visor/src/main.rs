//! The program `visor`. Everything is in the library; here is only what ends the process.

use std::panic;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A panic is a bug and has its own exit code. The node lives on and is adopted by the next visor.
    let code = panic::catch_unwind(|| visor::cli::main(std::env::args_os())).unwrap_or_else(|_| {
        let program = std::env::args_os().next();
        visor::cli::code_of_a_bug(program.as_deref())
    });
    ExitCode::from(code)
}
