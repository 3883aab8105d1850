//! `token add | list | remove`: API tokens in this box's data folder.

use std::path::Path;

use serde_json::{Value, json};

use super::table::Table;
use super::{ConfigArgs, Failure, ScopeArg, TokenCommand, exit, print};
use crate::clock::Clock;
use crate::config::Config;
use crate::tokens::{self, Token, Tokens, TokensError};

pub(super) fn run(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Add { name, scope, config } => {
            let config = load(&config)?;
            let now = Clock::system().timestamp();
            let token = tokens::add(&config.gateway.data_dir, &name, ScopeArg::scopes(&scope), now)?;
            print(&format!("{}\n", token.expose()))?;
            Ok(())
        }
        TokenCommand::List { config, json } => list(&load(&config)?.gateway.data_dir, json),
        TokenCommand::Remove { name, config } => Ok(tokens::remove(&load(&config)?.gateway.data_dir, &name)?),
    }
}

fn load(args: &ConfigArgs) -> Result<Config, Failure> {
    crate::config::load(&args.config).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failure { code: exit::CONFIG, said: lines.join("\n") }
    })
}

fn list(data_dir: &Path, json: bool) -> Result<(), Failure> {
    let tokens = Tokens::load(data_dir)?;
    if json {
        let list: Vec<Value> = tokens.iter().map(as_json).collect();
        print(&format!("{:#}\n", json!({ "tokens": list })))?;
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "SCOPES", "CREATED"]);
    for token in tokens.iter() {
        table.row(vec![token.name.clone(), scopes(token).join(","), token.created.to_string()]);
    }
    print(&table.to_string())?;
    Ok(())
}

fn as_json(token: &Token) -> Value {
    json!({ "name": token.name, "scopes": scopes(token), "created": token.created })
}

fn scopes(token: &Token) -> Vec<&'static str> {
    token.scopes.iter().map(|scope| scope.as_str()).collect()
}

impl From<TokensError> for Failure {
    fn from(error: TokensError) -> Self {
        match error {
            TokensError::BadName { .. } | TokensError::Exists { .. } | TokensError::Unknown { .. } => {
                Self::usage(error.to_string())
            }
            _ => Self::unavailable(error.to_string()),
        }
    }
}
