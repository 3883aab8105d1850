//! The command line: what an operator types, and the exit code that a script reads.
//!
//! Source: the public interface, section 1.
//! Input: arguments, `LAMPLIGHTER_URL`, `LAMPLIGHTER_TOKEN`, `LAMPLIGHTER_LOG`. Output: what was asked for on
//! stdout, everything else on stderr, one of the codes of [`exit`].
//! Commands for the box itself take `--config`; commands that ask a running gateway take `--url` and `--token`.
//! A reader of stdout that goes away (`| head`) is no error.

mod client;
mod events;
mod log;
mod service;
mod show;
mod table;
mod token;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Config;
use crate::tokens::Scope;

/// How a command ends.
pub mod exit {
    pub const OK: u8 = 0;
    /// `log verify` found damage that the log has not told of.
    pub const DAMAGE: u8 = 1;
    /// The command itself is wrong.
    pub const USAGE: u8 = 64;
    /// A needed thing is not there: the gateway, a file, a port.
    pub const UNAVAILABLE: u8 = 69;
    /// Our fault.
    pub const BUG: u8 = 70;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
}

/// Where the configuration is unless `--config` says otherwise.
pub const CONFIG_FILE: &str = "/etc/lamplighter/lamplighter.toml";

#[derive(Debug, Parser)]
#[command(name = "lamplighter", version, about, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    /// What to log to stderr: a level, or levels by stage such as `info,lamplighter::link=debug`
    #[arg(long, global = true, env = "LAMPLIGHTER_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  lamplighter demo                          the whole product on this machine, nothing to set up
  lamplighter check --config office.toml    every fault of a configuration, with line and key
  lamplighter run --config office.toml      the service
  lamplighter token add wall --scope read   a token for a wallboard, printed once
  lamplighter devices                       who is free, who is talking
  lamplighter events --follow --type call.  calls as they happen
  lamplighter log verify                    is every event of this box whole

Commands that ask a running gateway take --url and --token, or LAMPLIGHTER_URL and LAMPLIGHTER_TOKEN.
Exit codes: 0 ok, 1 `log verify` found damage, 64 usage, 69 a needed thing is unavailable, 70 a bug, 78 bad configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: what systemd starts
    #[command(after_help = "SIGHUP reads FILE again; SIGTERM and SIGINT stop cleanly within 5 s.")]
    Run(ConfigArgs),
    /// Say every fault of a configuration, and touch nothing else
    #[command(after_help = "\
Example:
  lamplighter check --config office.toml
  office.toml:14:13: links.front-desk.heartbeat: expected 1s to 10m, found \"0s\"

Each fault is FILE:LINE:COLUMN: KEY: expected, found. Exit code 0 without faults, 78 with.")]
    Check(ConfigArgs),
    /// Show the whole product on this machine, with a simulated office and nothing to set up
    #[cfg(feature = "demo")]
    #[command(after_help = "\
Examples:
  lamplighter demo
  lamplighter demo --for 60 --json | jq .type    the office's events, one a line")]
    Demo(DemoArgs),
    /// Show a gateway's version, uptime and log
    Status(ClientArgs),
    /// List devices and their states
    Devices(ClientArgs),
    /// List agents and their states
    Agents(ClientArgs),
    /// List the calls in progress
    Calls(ClientArgs),
    /// List lamps, what they show and why
    Lamps(ClientArgs),
    /// List the links to PBXs
    Links(ClientArgs),
    /// Read the log, or follow it
    #[command(after_help = "\
Examples:
  lamplighter events --type call. --type agent.state   calls and agents, from the oldest entry
  lamplighter events --after 1200 --json               events as JSON, one a line
  lamplighter events --follow --link front-desk        what happens from here on, until Ctrl-C")]
    Events(EventsArgs),
    /// Have a link's PBX do something: make a call, set an agent's state …
    #[command(after_help = SERVICE_HELP)]
    Service(ServiceArgs),
    /// Print a schema: of the configuration (JSON Schema) or of the API (OpenAPI 3.1)
    #[command(after_help = "\
Example:
  lamplighter schema config | jq '.properties.links.additionalProperties.oneOf[] | .title, .properties'

Every key of the configuration stands in the schema with its default, its bounds and, where a PBX's document leaves it
open, the number of the assumption it carries.")]
    Schema {
        #[arg(value_enum)]
        of: SchemaOf,
    },
    /// Check, shrink, copy out and restore the log of this box
    #[command(subcommand)]
    Log(LogCommand),
    /// Make, list and remove API tokens on this box
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
}

/// What `demo` was asked for.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Where the API listens; any free port of loopback unless given
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// End by itself after this many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    pub seconds: Option<u32>,
    /// Print nothing on stdout but the canonical events, one a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
struct ClientArgs {
    /// The gateway's API
    #[arg(long, value_name = "URL", env = "LAMPLIGHTER_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A token with scope read; the variable keeps it out of the list of processes
    #[arg(long, value_name = "TOKEN", env = "LAMPLIGHTER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print the API's JSON as it is
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct EventsArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only what follows this entry
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Wait for more, for ever; begins at the live end unless --after is given
    #[arg(long)]
    follow: bool,
    /// Only events of this type, or of a family such as `call.`; may be given again
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events of this link; may be given again
    #[arg(long = "link", value_name = "LINK")]
    links: Vec<String>,
}

#[derive(Debug, Args)]
struct ServiceArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The link, by its name in the configuration; without one, services are listed with their arguments
    link: Option<String>,
    /// The service, such as `make-call`; without one, those the link offers are listed
    name: Option<String>,
    /// Arguments, each KEY=VALUE; `native.KEY=VALUE` for the dialect's own, a list with commas for `members`
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
}

const SERVICE_HELP: &str = "\
Examples:
  lamplighter service                                              every service and its arguments
  lamplighter service front-desk                                   what this link's PBX offers
  lamplighter service front-desk make-call device=0101 to=0102     the phone 0101 rings, then 0102
  lamplighter service front-desk set-agent-state agent=kim device=0101 state=not-ready reason=lunch
  lamplighter service front-desk raw native.Action=Ping            a message of the PBX's own (scope admin)

Needs a token with scope call. Exit code 0 when the PBX did it, 69 when it did not, with its words on stderr.";

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it, alone on stdout, this once
    #[command(after_help = "\
Example:
  export LAMPLIGHTER_TOKEN=$(lamplighter token add laptop --scope read)")]
    Add {
        /// A-Z a-z 0-9 - _, 1 to 32
        name: String,
        /// What it may do
        #[arg(long, value_name = "SCOPE", value_enum, value_delimiter = ',', required = true)]
        scope: Vec<ScopeArg>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// List tokens by name; the tokens themselves are not kept
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print a JSON list
        #[arg(long)]
        json: bool,
    },
    /// Take a token away; the gateway refuses it from then on
    Remove {
        name: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Read every entry and change nothing; a gateway may run meanwhile
    #[command(after_help = "\
Example:
  lamplighter log verify --json | jq '.missing'

A table of epochs with what is damaged, then what is missing and why, what is kept in quarantine, and how far each
consumer has read. Each epoch is copied to the folder for temporary files (TMPDIR), read there, and removed.
Exit code 0 where nothing is damaged that the log has not told of as log.lost; 1 where something is: the gateway repairs
it when it reads it, keeps the rest and says which numbers are missing; 69 where there is no log.")]
    Verify {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Rewrite what takes much more disk than it holds, and remove what retention says; the gateway must be stopped
    #[command(after_help = "\
Example:
  systemctl stop lamplighter && lamplighter log compact; systemctl start lamplighter

No entry changes. A stop at any moment loses nothing. What log.keep and log.max_bytes remove is told as log.trimmed.")]
    Compact {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Write entries as lines of JSON: a header, CloudEvents, an end with a checksum; a gateway may run meanwhile
    #[command(after_help = "\
Examples:
  lamplighter log export --file box.jsonl                the whole log, for `log import` on a new box
  lamplighter log export --after 1200 --limit 100        a hundred entries, on stdout
  lamplighter log export | grep '\"specversion\"' | jq .type

For a move stop the gateway first: what it stores after the export is not in it, and the new box would give those numbers
to other events. How far each consumer has read goes along.")]
    Export {
        #[command(flatten)]
        config: ConfigArgs,
        /// Where to; a file that is there is not overwritten; stdout unless given
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Only what follows this entry
        #[arg(long, value_name = "SEQ")]
        after: Option<u64>,
        /// At most so many entries
        #[arg(long, value_name = "COUNT")]
        limit: Option<u64>,
    },
    /// Bring an export into a data folder without a log, with its numbers, ids, times and name
    #[command(after_help = "\
Example:
  lamplighter log import box.jsonl && lamplighter log verify

The file is read whole before anything is written: a damaged line, a missing one, or numbers missing without a word are
refused with the line's number. A folder that holds entries is refused. gateway.id must be the exporting box's.")]
    Import {
        #[command(flatten)]
        config: ConfigArgs,
        /// An export
        file: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaOf {
    /// JSON Schema of the configuration
    Config,
    /// OpenAPI 3.1 of the LAN API
    Openapi,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeArg {
    /// See everything
    Read,
    /// Act for devices and agents, test lamps
    Call,
    /// Everything, with tokens and configuration
    Admin,
}

/// Why a command did not do what it was asked, for a person, and its exit code.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    code: u8,
    said: String,
}

/// Runs one command to its end.
///
/// A panic is a bug, and the exit code says so.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(shown) => {
            let code = if shown.use_stderr() { exit::USAGE } else { exit::OK };
            let _reader_gone = shown.print();
            return ExitCode::from(code);
        }
    };
    if let Err(error) = crate::telemetry::init(log_filter(&cli)) {
        eprintln!("lamplighter: --log (LAMPLIGHTER_LOG): {error}");
        return ExitCode::from(exit::USAGE);
    }
    std::panic::catch_unwind(|| dispatch(cli.command)).unwrap_or(ExitCode::from(exit::BUG))
}

/// Lines of the program's own log would tear the demonstration's picture.
fn log_filter(cli: &Cli) -> &str {
    #[cfg(feature = "demo")]
    if let Command::Demo(demo) = &cli.command
        && !demo.json
        && io::stderr().is_terminal()
        && crate::demo::terminal::shows() != crate::demo::terminal::Shows::Lines
    {
        return "off";
    }
    &cli.log
}

fn dispatch(command: Command) -> ExitCode {
    let result = match command {
        Command::Run(args) => return crate::run::run(&args.config),
        Command::Check(args) => return check(&args.config),
        #[cfg(feature = "demo")]
        Command::Demo(args) => return crate::demo::run(&args),
        Command::Status(args) => show::status(&args),
        Command::Devices(args) => show::list(&args, &show::DEVICES),
        Command::Agents(args) => show::list(&args, &show::AGENTS),
        Command::Calls(args) => show::list(&args, &show::CALLS),
        Command::Lamps(args) => show::list(&args, &show::LAMPS),
        Command::Links(args) => show::list(&args, &show::LINKS),
        Command::Events(args) => events::run(&args),
        Command::Service(args) => service::run(&args),
        Command::Schema { of: SchemaOf::Config } => {
            print(&format!("{:#}\n", crate::config::keys::json_schema())).map(drop)
        }
        Command::Schema { of: SchemaOf::Openapi } => print(crate::api::OPENAPI).map(drop),
        Command::Token(command) => token::run(command),
        Command::Log(command) => match log::run(command) {
            Ok(code) => return ExitCode::from(code),
            Err(failure) => Err(failure),
        },
    };
    match result {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            eprintln!("lamplighter: {}", failure.said);
            ExitCode::from(failure.code)
        }
    }
}

/// The configuration, or its faults on stderr and the code to end with.
///
/// # Errors
/// [`exit::CONFIG`], with every fault said.
pub fn load_config(path: &Path) -> Result<Config, ExitCode> {
    crate::config::load(path).map_err(|faults| {
        for fault in &faults {
            eprintln!("{fault}");
        }
        ExitCode::from(exit::CONFIG)
    })
}

fn check(path: &Path) -> ExitCode {
    match load_config(path) {
        Ok(config) => {
            let said = format!("{}: ok: {}\n", path.display(), config.summary());
            ExitCode::from(print(&said).map_or_else(|failure| failure.code, |_| exit::OK))
        }
        Err(code) => code,
    }
}

impl Failure {
    fn usage(said: impl Into<String>) -> Self {
        Self { code: exit::USAGE, said: said.into() }
    }

    fn unavailable(said: impl Into<String>) -> Self {
        Self { code: exit::UNAVAILABLE, said: said.into() }
    }
}

/// Writes to stdout. False where the reader went away, which ends the command and is no error.
fn print(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::unavailable(format!("stdout: {error}"))),
    }
}

impl ScopeArg {
    fn scopes(args: &[Self]) -> BTreeSet<Scope> {
        let scope = |arg: &Self| match arg {
            Self::Read => Scope::Read,
            Self::Call => Scope::Call,
            Self::Admin => Scope::Admin,
        };
        args.iter().map(scope).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_word_of_help() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
