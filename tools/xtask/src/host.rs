//! What the host must have for the lab: installed where that is possible, named where it is not.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use asterisk_lab::is_root;

use crate::step;

/// Program, Debian package.
const NEEDED: [(&str, &str); 6] = [
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("perl", "perl"),
    ("gpgv", "gpgv"),
    ("xz", "xz-utils"),
];

/// # Errors
/// Something is missing and cannot be installed; the message names it and the command that would.
pub(crate) fn prepare() -> Result<()> {
    if !is_root() {
        bail!("the lab needs root, for a chroot and a network of its own; run `sudo -E cargo xtask test`");
    }
    let missing: Vec<_> = NEEDED.iter().filter(|(program, _)| !on_path(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    if !on_path("apt-get") {
        bail!("the lab needs {} (no apt-get here to install them with)", programs.join(", "));
    }
    step(&format!("installing {}", packages.join(" ")));
    let install = || apt_get(&[&["install", "-y", "-qq", "--no-install-recommends"], packages.as_slice()].concat());
    if install() || (apt_get(&["update", "-qq"]) && install()) {
        return Ok(());
    }
    bail!("the lab needs {}, and `apt-get install {}` failed", programs.join(", "), packages.join(" "))
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]).any(|dir| dir.join(program).is_file())
}

fn apt_get(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|ended| ended.success())
}
