//! The program: hands its arguments to the command line and its result to the shell.

use std::process::ExitCode;

fn main() -> ExitCode {
    lamplighter::cli::main(std::env::args_os())
}
