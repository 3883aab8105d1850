//! API tokens at rest: who may ask the LAN API for what.
//!
//! Shape: `DATA_DIR/tokens.json`, `{"version":1,"tokens":[{"name","scopes","sha256","created"}]}`, mode 0600. A token's
//! text is `lamp_` and 64 hex digits of 32 random bytes; it is shown once and only its SHA-256 is kept. The bytes
//! are random, so a plain hash gives nothing away and a slow one would only cost each request.
//! Writing: under an exclusive lock on `tokens.lock`, as a new file that is flushed and then renamed over the old one,
//! so two commands at once lose nothing and a power cut leaves the old file or the new one.
//! Owner: who owns the data folder owns the file, so that root may add a token for the service's own user.
//! Bounds: [`TOKENS_MAX`], [`TOKENS_BYTES_MAX`], [`TOKENS_LOCK_WAIT`]; at each the change is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::limits::{TOKENS_BYTES_MAX, TOKENS_LOCK_WAIT, TOKENS_MAX};
use crate::secret::Secret;

/// What a token may do. `admin` contains the other two; `call` does not contain `read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// See everything.
    Read,
    /// Act for a device or an agent, test a lamp.
    Call,
    /// Tokens, configuration, backup.
    Admin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    pub scopes: BTreeSet<Scope>,
    pub created: Timestamp,
    sha256: [u8; 32],
}

/// Every token of a gateway, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(BTreeMap<String, Token>);

/// The tokens of a running gateway: read again when the file was changed, by whatever process.
#[derive(Debug)]
pub struct TokenFile {
    data_dir: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    #[error("{}: cannot {doing}: {error}", path.display())]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    #[error("{}: expected a token file of this version, found {found}", path.display())]
    Damaged { path: PathBuf, found: String },
    #[error("{}: another process has been changing tokens for {} s; nothing is changed", path.display(), TOKENS_LOCK_WAIT.as_secs())]
    Locked { path: PathBuf },
    #[error("expected a token name of 1 to 32 of A-Z a-z 0-9 - _, starting with a letter or digit, found {found:?}")]
    BadName { found: String },
    #[error("a token named {name:?} exists; remove it first, or take another name")]
    Exists { name: String },
    #[error("no token is named {name:?}; `lamplighter token list` shows those that are")]
    Unknown { name: String },
    #[error("{TOKENS_MAX} tokens exist, which is the most; remove one first")]
    Full,
    #[error("no randomness from the system: {0}")]
    Random(getrandom::Error),
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Call, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Call => "call",
            Self::Admin => "admin",
        }
    }
}

impl Token {
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&Scope::Admin) || self.scopes.contains(&scope)
    }
}

impl Tokens {
    /// Reads the tokens of a data folder; a folder without a token file has none.
    ///
    /// # Errors
    /// The file cannot be read or is not ours.
    pub fn load(data_dir: &Path) -> Result<Self, TokensError> {
        let path = data_dir.join(FILE);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(TOKENS_BYTES_MAX + 1).read_to_string(&mut text));
        match read {
            Ok(_) => Self::parse(&text).map_err(|found| TokensError::Damaged { path, found }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(TokensError::Io { path, doing: "read", error }),
        }
    }

    /// Whose token this is. Takes the same time for every wrong token, however much of it is right.
    pub fn verify(&self, presented: &str) -> Option<&Token> {
        let hash = sha256(presented);
        // Every token is compared, so that the time tells nothing of where one matched.
        self.0.values().fold(None, |found, token| {
            let same = bool::from(token.sha256.ct_eq(&hash));
            if same { Some(token) } else { found }
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.values()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.len() as u64 > TOKENS_BYTES_MAX {
            return Err(format!("more than {TOKENS_BYTES_MAX} bytes"));
        }
        let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if stored.version != VERSION {
            return Err(format!("version {}", stored.version));
        }
        if stored.tokens.len() > TOKENS_MAX {
            return Err(format!("{} tokens", stored.tokens.len()));
        }
        let mut tokens = BTreeMap::new();
        for StoredToken { name, scopes, sha256, created } in stored.tokens {
            let sha256 = from_hex(&sha256).ok_or_else(|| format!("no SHA-256 at token {name:?}"))?;
            let token = Token { name: name.clone(), scopes, created, sha256 };
            if tokens.insert(name.clone(), token).is_some() {
                return Err(format!("token {name:?} twice"));
            }
        }
        Ok(Self(tokens))
    }

    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let stored = |token: &Token| StoredToken {
            name: token.name.clone(),
            scopes: token.scopes.clone(),
            sha256: to_hex(&token.sha256),
            created: token.created,
        };
        let stored = Stored { version: VERSION, tokens: self.0.values().map(stored).collect() };
        let mut json = serde_json::to_vec_pretty(&stored)?;
        json.push(b'\n');
        Ok(json)
    }
}

/// Makes a token and keeps its hash. The text is given back this once.
///
/// # Errors
/// The name is bad or taken, there are too many, or the file cannot be changed; nothing is changed then.
pub fn add(data_dir: &Path, name: &str, scopes: BTreeSet<Scope>, now: Timestamp) -> Result<Secret, TokensError> {
    if !crate::config::is_name(name) {
        return Err(TokensError::BadName { found: name.to_owned() });
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(TokensError::Random)?;
    let text = format!("{PREFIX}{}", to_hex(&random));
    let token = Token { name: name.to_owned(), scopes, created: now, sha256: sha256(&text) };
    change(data_dir, |tokens| {
        if tokens.0.contains_key(name) {
            return Err(TokensError::Exists { name: name.to_owned() });
        }
        if tokens.len() >= TOKENS_MAX {
            return Err(TokensError::Full);
        }
        tokens.0.insert(name.to_owned(), token);
        Ok(())
    })?;
    Ok(Secret::new(text))
}

/// Takes a token away; a running gateway refuses it from its next request on.
///
/// # Errors
/// There is no such token, or the file cannot be changed; nothing is changed then.
pub fn remove(data_dir: &Path, name: &str) -> Result<(), TokensError> {
    change(data_dir, |tokens| match tokens.0.remove(name) {
        Some(_) => Ok(()),
        None => Err(TokensError::Unknown { name: name.to_owned() }),
    })
}

impl TokenFile {
    /// # Errors
    /// The file is there and cannot be read or is not ours.
    pub fn open(data_dir: &Path) -> Result<Self, TokensError> {
        let stamp = Stamp::of(data_dir);
        let tokens = Arc::new(Tokens::load(data_dir)?);
        Ok(Self { data_dir: data_dir.to_owned(), seen: Mutex::new(Seen { stamp, tokens }) })
    }

    /// As [`TokenFile::open`], but a damaged file lets nobody in until it is mended, and stops nothing else.
    ///
    /// # Errors
    /// The file is there and the system does not read it.
    pub fn open_anyway(data_dir: &Path) -> Result<Self, TokensError> {
        let stamp = Stamp::of(data_dir);
        match Self::open(data_dir) {
            Err(error @ TokensError::Damaged { .. }) => {
                tracing::error!("{error}; the API lets nobody in until it is removed and tokens are made anew");
                let tokens = Arc::default();
                Ok(Self { data_dir: data_dir.to_owned(), seen: Mutex::new(Seen { stamp, tokens }) })
            }
            opened => opened,
        }
    }

    /// The tokens as the file holds them; costs one `stat` where it did not change. A file that became
    /// unreadable leaves the tokens as they were, and is said once.
    pub fn tokens(&self) -> Arc<Tokens> {
        let stamp = Stamp::of(&self.data_dir);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.stamp != stamp {
            seen.stamp = stamp;
            match Tokens::load(&self.data_dir) {
                Ok(tokens) => seen.tokens = Arc::new(tokens),
                Err(error) => tracing::warn!("{error}; the {} tokens read before stay valid", seen.tokens.len()),
            }
        }
        Arc::clone(&seen.tokens)
    }
}

const FILE: &str = "tokens.json";
const NEW_FILE: &str = "tokens.json.new";
const LOCK_FILE: &str = "tokens.lock";
const PREFIX: &str = "lamp_";
const VERSION: u32 = 1;
const LOCK_RETRY: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    tokens: Arc<Tokens>,
}

/// Tells one state of the file from another: every write is a new inode with a new change time.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(data_dir: &Path) -> Option<Self> {
        fs::metadata(data_dir.join(FILE)).ok().map(|meta| Self {
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    tokens: Vec<StoredToken>,
}

#[derive(Serialize, Deserialize)]
struct StoredToken {
    name: String,
    scopes: BTreeSet<Scope>,
    sha256: String,
    created: Timestamp,
}

fn change(data_dir: &Path, edit: impl FnOnce(&mut Tokens) -> Result<(), TokensError>) -> Result<(), TokensError> {
    let failed = |doing| move |error| TokensError::Io { path: data_dir.to_owned(), doing, error };
    DirBuilder::new().recursive(true).mode(0o750).create(data_dir).map_err(failed("create"))?;
    let home = fs::metadata(data_dir).map_err(failed("read"))?;
    let _held_until_return = lock(data_dir, &home)?;
    let mut tokens = Tokens::load(data_dir)?;
    edit(&mut tokens)?;
    write(data_dir, &home, &tokens)
}

fn lock(data_dir: &Path, home: &Metadata) -> Result<File, TokensError> {
    let path = data_dir.join(LOCK_FILE);
    let failed = |doing| {
        let path = path.clone();
        move |error| TokensError::Io { path, doing, error }
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open (is this the user that owns the data folder?)"))?;
    give_to_owner(&file, &path, home).map_err(failed("give to the owner of the data folder"))?;
    let tries = TOKENS_LOCK_WAIT.as_millis() / LOCK_RETRY.as_millis();
    for _ in 0..tries {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
    }
    Err(TokensError::Locked { path })
}

fn write(data_dir: &Path, home: &Metadata, tokens: &Tokens) -> Result<(), TokensError> {
    let (path, new) = (data_dir.join(FILE), data_dir.join(NEW_FILE));
    let write_new = || {
        // One left behind by a power cut; the lock says that nobody is writing it.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&tokens.to_json()?)?;
        give_to_owner(&file, &new, home)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(data_dir)?.sync_all()
    };
    write_new().map_err(|error| TokensError::Io { path: path.clone(), doing: "write", error })
}

fn give_to_owner(file: &File, path: &Path, home: &Metadata) -> io::Result<()> {
    if file.metadata()?.uid() == home.uid() {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(home.uid()), Some(home.gid()))
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_321_560_123);

    fn read_only() -> BTreeSet<Scope> {
        BTreeSet::from([Scope::Read])
    }

    #[test]
    fn a_token_opens_what_its_scopes_name_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let text = add(dir.path(), "wall", read_only(), NOW).unwrap();
        let tokens = Tokens::load(dir.path()).unwrap();
        let token = tokens.verify(text.expose()).unwrap();
        assert_eq!((token.name.as_str(), token.created), ("wall", NOW));
        assert!(token.allows(Scope::Read) && !token.allows(Scope::Call) && !token.allows(Scope::Admin));
        let wrong = text.expose().replace(['0', '1', '2', '3'], "4");
        for presented in ["", "lamp_", wrong.as_str(), &text.expose()[..68], "wall"] {
            assert_eq!(tokens.verify(presented), None);
        }
    }

    #[test]
    fn admin_contains_the_other_scopes_and_call_does_not_contain_read() {
        let token =
            |scope| Token { name: "t".into(), scopes: BTreeSet::from([scope]), created: NOW, sha256: sha256("t") };
        let allowed = |scope| Scope::ALL.map(|asked| token(scope).allows(asked));
        assert_eq!(allowed(Scope::Read), [true, false, false]);
        assert_eq!(allowed(Scope::Call), [false, true, false]);
        assert_eq!(allowed(Scope::Admin), [true, true, true]);
    }

    #[test]
    fn the_file_holds_no_token_and_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let text = add(dir.path(), "wall", read_only(), NOW).unwrap();
        assert!(text.expose().starts_with("lamp_") && text.expose().len() == 69);
        let path = dir.path().join(FILE);
        let stored = fs::read_to_string(&path).unwrap();
        assert!(!stored.contains(text.expose()) && !stored.contains(&text.expose()[5..]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn names_are_plain_and_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "a b", "../x", "-x", "ü", &"x".repeat(33)] {
            let error = add(dir.path(), name, read_only(), NOW).unwrap_err();
            assert!(matches!(error, TokensError::BadName { .. }), "{name}: {error}");
        }
        add(dir.path(), "wall", read_only(), NOW).unwrap();
        let error = add(dir.path(), "wall", read_only(), NOW).unwrap_err();
        assert_eq!(error.to_string(), "a token named \"wall\" exists; remove it first, or take another name");
        assert_eq!(Tokens::load(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn one_token_past_the_bound_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut tokens = Tokens::default();
        for n in 0..TOKENS_MAX {
            let name = format!("t{n}");
            let token = Token { name: name.clone(), scopes: read_only(), created: NOW, sha256: sha256(&name) };
            tokens.0.insert(name, token);
        }
        write(dir.path(), &fs::metadata(dir.path()).unwrap(), &tokens).unwrap();
        assert!(matches!(add(dir.path(), "more", read_only(), NOW), Err(TokensError::Full)));
        assert_eq!(Tokens::load(dir.path()).unwrap(), tokens);
    }

    #[test]
    fn two_who_add_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let dir = dir.path();
                scope.spawn(move || {
                    for n in 0..5 {
                        add(dir, &format!("w{worker}-{n}"), read_only(), NOW).unwrap();
                    }
                });
            }
        });
        assert_eq!(Tokens::load(dir.path()).unwrap().len(), 20);
    }

    #[test]
    fn a_running_gateway_sees_tokens_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::open(dir.path()).unwrap();
        assert!(file.tokens().is_empty());
        let text = add(dir.path(), "wall", read_only(), NOW).unwrap();
        assert!(file.tokens().verify(text.expose()).is_some());
        let held = file.tokens();
        assert!(Arc::ptr_eq(&held, &file.tokens()), "an unchanged file is not read again");
        remove(dir.path(), "wall").unwrap();
        assert!(file.tokens().verify(text.expose()).is_none());
        assert!(matches!(remove(dir.path(), "wall"), Err(TokensError::Unknown { .. })));
    }

    #[test]
    fn a_file_damaged_while_running_leaves_the_tokens_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let text = add(dir.path(), "wall", read_only(), NOW).unwrap();
        let file = TokenFile::open(dir.path()).unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(file.tokens().verify(text.expose()).is_some());
        assert!(matches!(TokenFile::open(dir.path()), Err(TokensError::Damaged { .. })));
        assert!(matches!(add(dir.path(), "more", read_only(), NOW), Err(TokensError::Damaged { .. })));
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), "{");
    }

    #[test]
    fn a_file_of_another_version_is_not_guessed_at() {
        let token = |sha256: &str| {
            format!(r#"{{"name":"a","scopes":["read"],"sha256":"{sha256}","created":"2026-11-22T04:26:00Z"}}"#)
        };
        let (good, bad) = (token(&"0f".repeat(32)), token(&"+f".repeat(32)));
        let file = |version: u32, tokens: &str| format!(r#"{{"version":{version},"tokens":[{tokens}]}}"#);
        assert!(Tokens::parse(&file(1, &good)).is_ok());
        assert_eq!(Tokens::parse(&file(2, &good)).unwrap_err(), "version 2");
        assert_eq!(Tokens::parse(&file(1, &format!("{good},{good}"))).unwrap_err(), "token \"a\" twice");
        assert_eq!(Tokens::parse(&file(1, &bad)).unwrap_err(), "no SHA-256 at token \"a\"");
    }

    #[test]
    fn a_new_file_left_by_a_power_cut_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NEW_FILE), "half").unwrap();
        add(dir.path(), "wall", read_only(), NOW).unwrap();
        assert!(!dir.path().join(NEW_FILE).exists());
    }
}
