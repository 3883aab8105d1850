//! The labs by hand: Asterisk built, started, looked at, stopped; Mosquitto fetched.

use anyhow::{Context, Result};
use asterisk_lab::{AMI_PORT, AMI_SECRET, AMI_TLS_PORT, AMI_USER, Asterisk, Root, SIP_PORT};
use mosquitto_lab::Program;

use crate::{host, step};

pub(crate) fn ensure() -> Result<Root> {
    Root::ensure(&step)
}

pub(crate) fn ensure_broker() -> Result<Program> {
    Program::ensure(&step)
}

pub(crate) fn broker() -> Result<()> {
    println!("{} is ready for the tests", ensure_broker()?.version()?);
    Ok(())
}

pub(crate) fn build() -> Result<()> {
    host::prepare()?;
    let root = ensure()?;
    println!("the Asterisk root is {}", root.path().display());
    Ok(())
}

pub(crate) fn start() -> Result<()> {
    host::prepare()?;
    let root = ensure()?;
    let asterisk = Asterisk::start(&root)?;
    println!("Asterisk runs, pid {}; it ends with `cargo xtask lab stop`", asterisk.pid());
    println!(
        "  manager   tcp://127.0.0.1:{AMI_PORT}, tls://127.0.0.1:{AMI_TLS_PORT}; user {AMI_USER}, secret {AMI_SECRET}"
    );
    println!("            certificate {}", root.certificate().display());
    println!("  SIP       127.0.0.1:{SIP_PORT}/udp; phones 0101 to 0110, password pw- and the number");
    println!("  queues    600 support, 601 sales; conference 800, echo 900, parking 700");
    println!("  log       {}", root.lab().join("log/full").display());
    asterisk.leave();
    Ok(())
}

pub(crate) fn stop() -> Result<()> {
    let root = kept()?;
    let was = Asterisk::stop_left(&root);
    println!("{}", if was { "stopped" } else { "no Asterisk was running" });
    Ok(())
}

pub(crate) fn console(command: &str) -> Result<()> {
    print!("{}", Asterisk::ask_left(&kept()?, command)?);
    Ok(())
}

fn kept() -> Result<Root> {
    Root::kept().context("there is no Asterisk root; `cargo xtask lab build` makes it")
}
