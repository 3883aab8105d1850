//! Every bound of the service, in one place, each with what happens at it.
//!
//! A limit is ours and lives here; a setting is the site's and lives in [`crate::config`].

use std::time::Duration;

// ---- links -------------------------------------------------------------------------------------

/// PBX links one gateway keeps. More in a configuration is a fault of the configuration.
pub const LINKS_MAX: usize = 16;
/// Addresses of one link, primary first. More is a fault of the configuration.
pub const LINK_ADDRESSES_MAX: usize = 8;
/// Bytes taken from a socket in one read.
pub const LINK_READ_BYTES: usize = 64 * 1024;
/// Bytes waiting to be written to a PBX; past it the peer does not read and the link is dropped as misbehaving.
pub const LINK_WRITE_BYTES_MAX: usize = 256 * 1024;
/// Time for name lookup, TCP connect and TLS handshake together; past it the address counts as unreachable.
pub const LINK_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First pause after a lost link; doubles up to [`LINK_RETRY_MAX`], each with jitter.
pub const LINK_RETRY_MIN: Duration = Duration::from_millis(500);
pub const LINK_RETRY_MAX: Duration = Duration::from_secs(30);
/// Pause after the PBX refused the credentials: a wrong password is not hammered.
pub const LINK_REFUSED_RETRY_MIN: Duration = Duration::from_secs(30);
pub const LINK_REFUSED_RETRY_MAX: Duration = Duration::from_secs(300);
/// On a backup address: how often the primary is tried again.
pub const LINK_PRIMARY_PROBE: Duration = Duration::from_secs(60);
/// Events a link may have handed over that the log has not taken; at it the link stops reading its socket.
pub const LINK_EVENTS_QUEUED_MAX: usize = 1024;
/// Service calls waiting at one link; one more is refused at once.
pub const LINK_SERVICES_QUEUED_MAX: usize = 64;

// ---- AMI ---------------------------------------------------------------------------------------

/// Longest AMI line. The longest recorded value is 4,000 bytes; past this the message is refused and counted.
pub const AMI_LINE_BYTES_MAX: usize = 16 * 1024;
/// Longest AMI message, `Command` output included; past this it is refused and counted.
pub const AMI_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Headers of one AMI message; past this it is refused and counted.
pub const AMI_HEADERS_MAX: usize = 4096;
/// Bytes of a banner before its line end; past it the peer is not an AMI.
pub const AMI_BANNER_BYTES_MAX: usize = 256;
/// Refused messages in a row before the link is dropped as misbehaving: the peer speaks something else.
pub const AMI_REFUSED_IN_A_ROW_MAX: u32 = 16;
/// Longest line we send. Asterisk's own buffer holds about 1 KiB.
pub const AMI_ACTION_LINE_BYTES_MAX: usize = 1000;
/// Actions awaiting their response; one more is refused at once.
pub const AMI_ACTIONS_PENDING_MAX: usize = 128;
/// Channels followed on one PBX; past it the oldest is forgotten, counted, and a resync is asked for.
pub const AMI_CHANNELS_MAX: usize = 4096;
/// Endpoints, device states, queue members, agents followed on one PBX; past it new ones are counted and left out.
pub const AMI_DEVICES_MAX: usize = 4096;
pub const AMI_QUEUES_MAX: usize = 512;
pub const AMI_MEMBERS_MAX: usize = 4096;
/// Bridges followed; past it the oldest is forgotten.
pub const AMI_BRIDGES_MAX: usize = 4096;
/// Events kept while a snapshot is being gathered; past it the snapshot is started again.
pub const AMI_SNAPSHOT_EVENTS_MAX: usize = 16 * 1024;

// ---- log ---------------------------------------------------------------------------------------

/// Entries in one group commit; at it the batch is flushed without waiting for the commit interval.
pub const LOG_BATCH_ENTRIES_MAX: usize = 1024;
/// Entries sequenced and waiting for the store; at it the log takes no more events until a batch is flushed.
pub const LOG_UNFLUSHED_ENTRIES_MAX: usize = 16 * LOG_BATCH_ENTRIES_MAX;
/// Longest entry; a longer event loses its `native` object, and says so in it.
pub const LOG_ENTRY_BYTES_MAX: usize = 512 * 1024;
/// A record: its data, its names, its header. A longer length on disk is damage.
pub const LOG_RECORD_BYTES_MAX: usize = 2 * LOG_ENTRY_BYTES_MAX;
/// Bytes in one group commit; at it the batch is flushed without waiting for the commit interval.
pub const LOG_BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Entries packed into one value of sled; at it the next value begins.
pub const LOG_VALUE_ENTRIES_MAX: usize = 16;
/// Bytes of one value of sled; at it the next value begins, and a longer record goes on in further values. sled keeps
/// up to 17 values in a page, and a page over 128 KiB becomes a file of its own that sled does not sync.
pub const LOG_VALUE_BYTES_MAX: usize = 6 * 1024;
/// First pause after a commit that failed; doubles up to [`LOG_RETRY_MAX`]. Nothing is dropped meanwhile.
pub const LOG_RETRY_MIN: Duration = Duration::from_millis(100);
pub const LOG_RETRY_MAX: Duration = Duration::from_secs(5);
/// A commit that has not come back for this long makes the log unhealthy; it is waited for all the same.
pub const LOG_COMMIT_SLOW: Duration = Duration::from_secs(10);
/// How often retention looks, besides at the begin of each epoch.
pub const LOG_RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// Seqs a restart may skip after damage to the newest epoch: how far ahead of the log numbers are reserved on disk.
pub const LOG_SEQ_RESERVED: u64 = 16 * 1024;
/// Sealed epochs kept in memory for readers; at it the least recently read one is let go.
pub const LOG_EPOCHS_READ_MAX: usize = 2;
/// Time for sled to open and read one epoch; past it the epoch counts as damaged.
pub const LOG_EPOCH_OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Damaged epochs kept aside for a person to look at; past it the oldest is removed.
pub const LOG_QUARANTINE_EPOCHS_MAX: usize = 4;
/// Bytes of a consumer's name; a longer one is refused.
pub const LOG_CONSUMER_NAME_BYTES_MAX: usize = 64;
/// Payload of one epoch (a sled directory of its own); at it the next epoch begins.
pub const LOG_EPOCH_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// sled's cache for one open epoch.
pub const LOG_CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Named consumers with a durable cursor; one more is refused.
pub const LOG_CONSUMERS_MAX: usize = 64;
/// Entries a reader takes from the store in one go.
pub const LOG_READ_ENTRIES_MAX: usize = 1000;
/// Bytes a reader takes from the store in one go.
pub const LOG_READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries applied between two state checkpoints.
pub const STATE_CHECKPOINT_ENTRIES: u64 = 10_000;

// ---- state -------------------------------------------------------------------------------------

/// Entries handed to the lamps before they are flushed; at it the log waits (the lamp stage never blocks).
pub const ENTRIES_QUEUED_MAX: usize = 4096;
/// Flushed batches on their way to the API's view; at it the log's flusher waits.
pub const DURABLE_BATCHES_QUEUED_MAX: usize = 64;
/// Connections followed in one link's state; past it the oldest is dropped and counted.
pub const STATE_CONNECTIONS_MAX: usize = 8192;
/// Devices, agents, queues of one link's state; past it new ones are counted and left out.
pub const STATE_OBJECTS_MAX: usize = 8192;

// ---- lamps -------------------------------------------------------------------------------------

/// Lamps of one gateway. More in a configuration is a fault of the configuration.
pub const LAMPS_MAX: usize = 512;
/// How often what is shown is compared with what is wanted, and a broken output tried again.
pub const LAMP_RECONCILE: Duration = Duration::from_secs(1);
/// How long `identify` blinks.
pub const LAMP_IDENTIFY: Duration = Duration::from_secs(15);
/// How long `test` shows each pattern.
pub const LAMP_TEST_STEP: Duration = Duration::from_millis(1000);
/// Commands (test, identify) waiting at the lamp stage; one more is refused.
pub const LAMP_COMMANDS_QUEUED_MAX: usize = 64;
/// Time between two looks at a pattern that moves (40 frames a second).
pub const LAMP_FRAME: Duration = Duration::from_millis(25);

// ---- API ---------------------------------------------------------------------------------------

/// Connections to the API at once; one more waits in the listen queue.
pub const API_CONNECTIONS_MAX: usize = 2048;
/// Items in a list answer: default and most.
pub const API_LIST_DEFAULT: usize = 100;
pub const API_LIST_MAX: usize = 1000;
/// Bytes of a request body; a larger one is refused with 413.
pub const API_BODY_BYTES_MAX: usize = 256 * 1024;
/// Entries a live stream may fall behind; past it the slow client is cut off and resumes by seq.
pub const STREAM_LAG_MAX: usize = 4096;
/// A comment on a quiet stream, so that both ends notice a dead connection.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A client that takes no byte for this long is cut off.
pub const API_WRITE_STALL_MAX: Duration = Duration::from_secs(20);
/// Queries waiting at the API's view; one more waits in its handler.
pub const VIEW_QUERIES_QUEUED_MAX: usize = 256;
/// Tokens of one gateway; one more is refused.
pub const TOKENS_MAX: usize = 256;

// ---- process -----------------------------------------------------------------------------------

/// From the stop signal to the end of the process, whatever hangs.
pub const SHUTDOWN_GRACE: Duration = Duration::from_millis(4500);
/// Bytes of a configuration file; a larger one is refused.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

const _: () =
    assert!(LINKS_MAX * LINK_EVENTS_QUEUED_MAX <= LOG_UNFLUSHED_ENTRIES_MAX, "a full house fits the log's own queue");
const _: () = assert!(AMI_LINE_BYTES_MAX <= AMI_MESSAGE_BYTES_MAX, "a line fits its message");
const _: () = assert!(AMI_MESSAGE_BYTES_MAX < LOG_ENTRY_BYTES_MAX, "a message fits its entry");
const _: () = assert!(17 * LOG_VALUE_BYTES_MAX < 120 * 1024, "a full page of sled is no file of its own");
const _: () =
    assert!(LOG_RECORD_BYTES_MAX / LOG_VALUE_BYTES_MAX < u16::MAX as usize, "a record's parts can be counted");
const _: () = assert!(LOG_BATCH_BYTES_MAX as u64 <= LOG_EPOCH_BYTES_MAX, "a batch fits an epoch");
const _: () = assert!(API_LIST_MAX <= LOG_READ_ENTRIES_MAX, "a list answer is one read");
