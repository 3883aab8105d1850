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
/// The longest pause between two looks at a primary that does not come back, or only seems to.
pub const LINK_PRIMARY_PROBE_MAX: Duration = Duration::from_secs(600);
/// A link that was up this long was good: the next retry starts from the shortest pause again.
pub const LINK_STEADY: Duration = Duration::from_secs(10);
/// A PBX that takes no byte of ours for this long is dropped as silent.
pub const LINK_WRITE_STALL_MAX: Duration = Duration::from_secs(10);
/// Events all links together may have handed over that the log has not taken; at it each link stops reading its socket
/// and waits its turn, so one that floods delays the others by no more than this many events.
pub const LINK_EVENTS_QUEUED_MAX: usize = 1024;
/// A link that tells so many events in so long a time, and waits for the log this part of it (one in so many), floods
/// the log; it is read as fast as the log takes them, and that is said once.
pub const LINK_FLOOD_EVENTS: usize = 4 * LINK_EVENTS_QUEUED_MAX;
pub const LINK_FLOOD_WINDOW: Duration = Duration::from_secs(1);
pub const LINK_FLOOD_WAIT_PART: u32 = 10;
/// A fault that lasts is said at each try at DEBUG, and again at WARN after this long.
pub const LINK_SAID_AGAIN: Duration = Duration::from_secs(600);
/// How long a link that ends on purpose waits for the log to take its last word.
pub const LINK_GOODBYE_WAIT: Duration = Duration::from_millis(500);
/// Service calls waiting at one link; one more is refused at once.
pub const LINK_SERVICES_QUEUED_MAX: usize = 64;
/// Service calls under way on one link; one more is refused at once.
pub const LINK_SERVICES_PENDING_MAX: usize = 128;
/// How much longer than a link's own deadline a service call is waited for, before it counts as unanswered.
pub const LINK_SERVICE_GRACE: Duration = Duration::from_secs(5);
/// HTTP requests of one link under way; one more fails at once.
pub const LINK_REQUESTS_MAX: usize = 8;
/// Bytes of an HTTP response to a link; a longer one counts as broken.
pub const LINK_RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one WebSocket message from a PBX; a longer one ends the connection as misbehaving.
pub const LINK_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Connections that push reports to one link at once; one more is closed.
pub const LINK_REPORT_CONNECTIONS_MAX: usize = 64;
/// Reports read and waiting for the session; at it connections wait.
pub const LINK_REPORTS_QUEUED_MAX: usize = 64;
/// Reports that wait for their events to be durable; at it no further one is taken.
pub const LINK_REPORTS_UNANSWERED_MAX: usize = 256;
/// Newest entries of the log, and their bytes, in which a link that listens looks for what it told before a restart; a
/// report that stands before them and comes again is told again.
pub const LINK_NATIVES_KNOWN_MAX: usize = 512;
pub const NATIVES_KNOWN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a pushed report's head, and of its body; a longer one is refused with 431 or 413.
pub const LINK_REPORT_HEAD_BYTES_MAX: usize = 16 * 1024;
pub const LINK_REPORT_BYTES_MAX: usize = 64 * 1024;
/// Time for a whole report to arrive; past it the connection is closed.
pub const LINK_REPORT_READ_MAX: Duration = Duration::from_secs(10);
/// Time for a report's events to become durable; past it the PBX gets 503 and sends it again.
pub const LINK_REPORT_ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of a PBX's message that an event keeps as its `native` object; the object of a longer one says how long it was.
pub const NATIVE_BYTES_MAX: usize = 32 * 1024;
/// Names of a link's messages counted as noise by name; past it further ones are counted together.
pub const NOISE_NAMES_MAX: usize = 256;

// ---- services ----------------------------------------------------------------------------------

/// Characters of one argument of a service call; a longer one is refused.
pub const SERVICE_TEXT_CHARS_MAX: usize = 1024;
/// Items of an argument that is a list; more are refused.
pub const SERVICE_MEMBERS_MAX: usize = 64;
/// Bytes of the dialect's own arguments; more are refused.
pub const SERVICE_NATIVE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a result that `service.result` keeps in the log; of a longer one it says the length, the caller gets it whole.
pub const SERVICE_RESULT_BYTES_MAX: usize = 64 * 1024;

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
/// Headers of an action, its name and ActionID included; Asterisk reads at most 128. One more and it is not sent.
pub const AMI_ACTION_HEADERS_MAX: usize = 120;
/// Actions awaiting their response; one more is refused at once.
pub const AMI_ACTIONS_PENDING_MAX: usize = 128;
/// Items of one list a service call asked for; past it the call fails and the rest of the list is left out.
pub const AMI_LIST_ITEMS_MAX: usize = 4096;
/// Time from connecting to the banner; past it the peer is silent, or no AMI.
pub const AMI_BANNER_WAIT: Duration = Duration::from_secs(10);
/// Time from the accepted login to `FullyBooted`; past it the link is dropped and tried again.
pub const AMI_BOOT_WAIT: Duration = Duration::from_secs(120);
/// All lists of a snapshot together; past it that try has failed, or is begun again where a storm delayed it.
pub const AMI_SNAPSHOT_WAIT: Duration = Duration::from_secs(120);
/// Tries at a snapshot; after the last the link is dropped as misbehaving.
pub const AMI_SNAPSHOT_TRIES: u32 = 2;
/// Least time between two snapshots of one connection; one asked for sooner waits.
pub const AMI_RESYNC_PAUSE: Duration = Duration::from_secs(30);
/// Keep-alive pings without an answer before the link counts as dead.
pub const AMI_PINGS_LOST_MAX: u32 = 2;
/// Time for the PBX to say goodbye after Logoff; past it we close without.
pub const AMI_GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// Bytes of the PBX's own words in an error.
pub const AMI_SAID_BYTES_MAX: usize = 160;
/// Channels followed on one PBX; past it the oldest is forgotten, counted, and a resync is asked for.
pub const AMI_CHANNELS_MAX: usize = 4096;
/// Endpoints, device states, queue members, agents followed on one PBX; past it new ones are counted and left out.
pub const AMI_DEVICES_MAX: usize = 4096;
/// Contacts followed for one endpoint; past it a further one is not followed.
pub const AMI_CONTACTS_MAX: usize = 32;
pub const AMI_QUEUES_MAX: usize = 512;
pub const AMI_MEMBERS_MAX: usize = 4096;
/// Connections remembered after their end, so that late news of them is no orphan; past it the oldest is forgotten.
pub const AMI_ENDED_MAX: usize = 256;
/// Bridges followed; past it the oldest is forgotten.
pub const AMI_BRIDGES_MAX: usize = 4096;
/// How long a call of ours that failed waits for the events of its channel, which Asterisk sends from another thread;
/// past it the failure is told without what they say.
pub const AMI_ORIGINATE_EVENTS_WAIT: Duration = Duration::from_millis(500);
/// Recordings of ours whose id is kept; one more is stopped without it, as the PBX sees fit.
pub const AMI_RECORDINGS_MAX: usize = 256;
/// Events kept while a snapshot is being gathered, and their bytes; past either they are told, the lists are asked again,
/// and what comes from then on is told as it comes.
pub const AMI_SNAPSHOT_EVENTS_MAX: usize = 4 * 1024;
pub const AMI_SNAPSHOT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of live events, fewer than sockets hold, behind which a list's answer may still wait; at each so many the list
/// gets its deadline again.
pub const AMI_STORM_BYTES: usize = 1024 * 1024;

// ---- olssoo ------------------------------------------------------------------------------------

/// Headers a site may add to a WebSocket handshake. More in a configuration is a fault of the configuration.
pub const LINK_HEADERS_MAX: usize = 16;
/// Bytes of one WebSocket message with its envelopes; a longer one is refused and counted.
pub const OLSSOO_FRAME_BYTES_MAX: usize = 512 * 1024;
/// Objects and lists inside each other in one message; a deeper one is refused and counted.
pub const OLSSOO_JSON_DEPTH_MAX: usize = 8;
/// Envelopes in one WebSocket message, as a repair finds them; what follows is refused and counted.
pub const OLSSOO_ENVELOPES_MAX: usize = 64;
/// Records of a call history that are passed on; further ones are left out.
pub const OLSSOO_HISTORY_MAX: usize = 1000;

// ---- OpenVox and Yeastar -----------------------------------------------------------------------

/// Parties of one report; a report with more is counted as no report of this family.
pub const OPENVOX_PARTIES_MAX: usize = 32;
/// Bytes of a number, an id or a word in a report; a report with a longer one is counted as none of this family.
pub const OPENVOX_TEXT_BYTES_MAX: usize = 128;
/// Calls followed on one PBX; past it the oldest is ended as far as we know, and a resync is asked for.
pub const OPENVOX_CALLS_MAX: usize = 2048;
/// Ids that name one call; past it the oldest but its root is forgotten.
pub const OPENVOX_CALL_IDS_MAX: usize = 32;
/// Extensions and trunk sides of one call; past it a further one is left out.
pub const OPENVOX_CALL_PARTIES_MAX: usize = 64;
/// Calls remembered after their end, so that a late report of one does not begin another; past it the oldest is forgotten.
pub const OPENVOX_ENDED_MAX: usize = 1024;
/// How long an ended call is remembered.
pub const OPENVOX_ENDED_KEPT: Duration = Duration::from_secs(600);
/// A call nobody answered, and one that was answered, without a report for so long: its end was lost, and is told.
pub const OPENVOX_SETUP_QUIET_MAX: Duration = Duration::from_secs(600);
pub const OPENVOX_CALL_QUIET_MAX: Duration = Duration::from_secs(24 * 3600);
/// After a transfer, for the report of who got the call; past it the call ends as any other does.
pub const OPENVOX_TRANSFER_WAIT: Duration = Duration::from_secs(30);
/// Extensions followed on one PBX; past it new ones are counted and left out.
pub const OPENVOX_DEVICES_MAX: usize = 4096;
/// Reports remembered to tell a repeat; past it the oldest is forgotten.
pub const OPENVOX_SEEN_MAX: usize = 1024;
/// How long after a restart a report that the log has counts as sent again: a PBX repeats for seconds to minutes.
pub const OPENVOX_ANSWERS_LOST_MAX: Duration = Duration::from_secs(300);
/// Call records kept for `get-call-history`; past it the oldest is forgotten.
pub const OPENVOX_RECORDS_MAX: usize = 1000;
/// Bytes of a call record kept as the PBX wrote it; of a longer one only what it means is kept.
pub const OPENVOX_RECORD_BYTES_MAX: usize = 4096;
/// Extensions asked for in one poll for hold; those past it are asked for in the next.
pub const OPENVOX_POLL_MAX: usize = 32;
/// After a login refused for its password, or while locked out, nothing is sent for so long: PBXs lock an address out
/// for this long after five.
pub const OPENVOX_LOGIN_PAUSE: Duration = Duration::from_secs(600);
/// Requests of the control API under way; one more waits.
pub const OPENVOX_REQUESTS_MAX: usize = 6;
/// Least time between two lists asked for because the PBX's configuration changed; one asked for sooner waits.
pub const OPENVOX_RESYNC_PAUSE: Duration = Duration::from_secs(5);
/// Bytes of the PBX's own words in an error.
pub const OPENVOX_SAID_BYTES_MAX: usize = 160;

// ---- NEXUSCUBE ---------------------------------------------------------------------------------

/// Characters of a login id, as the document has it; a longer one is a fault of the configuration.
pub const NEXUSCUBE_LOGIN_ID_CHARS_MAX: usize = 24;
/// Characters of a device, an agent, a number called; a longer one is refused, as the document has it.
pub const NEXUSCUBE_NAME_CHARS_MAX: usize = 64;
/// Characters of user-to-user data, and of extended user and campaign data each; longer is refused.
pub const NEXUSCUBE_UUI_CHARS_MAX: usize = 256;
pub const NEXUSCUBE_ATTACH_CHARS_MAX: usize = 1024;
/// A connection's reference (`c1`, `c2`) in a request: 1 to this; another is refused, as the document has it.
pub const NEXUSCUBE_REFERENCE_MAX: u32 = 32_766;
/// Bytes of one JSON message; a longer one is refused and counted. The fields of the largest event take 4 KiB.
pub const NEXUSCUBE_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// JSON objects in one WebSocket message; what follows is refused and counted. The document has one.
pub const NEXUSCUBE_OBJECTS_MAX: usize = 64;
/// Refused messages in a row before the link is dropped as misbehaving: the peer speaks something else.
pub const NEXUSCUBE_REFUSED_IN_A_ROW_MAX: u32 = 16;
/// Characters of the peer's own words in an error.
pub const NEXUSCUBE_SAID_CHARS_MAX: usize = 160;
/// Devices and queues monitored on one link. More in a configuration is a fault of it; one more monitor is refused.
pub const NEXUSCUBE_MONITORS_MAX: usize = 4096;
/// Monitors added or removed at once; the next waits for an answer.
pub const NEXUSCUBE_MONITORS_AT_ONCE: usize = 16;
/// Pause before a monitor that was refused is asked for again; doubles up to the second.
pub const NEXUSCUBE_MONITOR_RETRY_MIN: Duration = Duration::from_secs(5);
pub const NEXUSCUBE_MONITOR_RETRY_MAX: Duration = Duration::from_secs(300);
/// Requests that wait since one like them (same name, same device) is under way; one more is refused at once.
pub const NEXUSCUBE_REQUESTS_WAITING_MAX: usize = 256;
/// A second loss of the login within so long ends the connection: logging in again did not help.
pub const NEXUSCUBE_LOGIN_KEPT_MIN: Duration = Duration::from_secs(60);
/// How long the proxy may stay without its CTI server; then the connection is ended and a fresh login finds the truth.
pub const NEXUSCUBE_CTI_LOST_MAX: Duration = Duration::from_secs(120);
/// How often a proxy that answered "middleware not connected" is asked again.
pub const NEXUSCUBE_CTI_PROBE: Duration = Duration::from_secs(5);
/// Pings without a sign of life before the link counts as dead.
pub const NEXUSCUBE_PINGS_LOST_MAX: u32 = 2;
/// Time for the answer to a logout; past it we close without.
pub const NEXUSCUBE_GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// Events remembered to tell repeats; past it the oldest is forgotten.
pub const NEXUSCUBE_SEEN_MAX: usize = 4096;
/// Connections followed on one link; past it the oldest is cleared, with `resync`.
pub const NEXUSCUBE_CONNECTIONS_MAX: usize = 4096;
/// Connections remembered after their end, so that late news of them is no orphan, and for how long; past either the
/// oldest is forgotten.
pub const NEXUSCUBE_ENDED_MAX: usize = 1024;
pub const NEXUSCUBE_ENDED_KEPT: Duration = Duration::from_secs(600);
/// A connection without any event for so long has ended unseen; it is cleared, with `resync`.
pub const NEXUSCUBE_CALL_SILENT_MAX: Duration = Duration::from_secs(12 * 3600);
/// Former references of one connection; past it the oldest is forgotten.
pub const NEXUSCUBE_REFERENCES_MAX: usize = 8;
/// Devices, agents and queues told of on one link; past it news of further ones are kept as the PBX's own messages.
pub const NEXUSCUBE_OBJECTS_TOLD_MAX: usize = 8192;

// ---- Centrex -----------------------------------------------------------------------------------

/// A first body that may still be longer in the other byte order is waited for up to this length; a longer reading is wrong.
pub const CENTREX_FIRST_BODY_BYTES_MAX: usize = 2048;
/// Bytes of the PBX's own words in an error.
pub const CENTREX_SAID_BYTES_MAX: usize = 160;
/// Fields of one event; the last takes what is left.
pub const CENTREX_FIELDS_MAX: usize = 1024;
/// Records of one list that a command asked for; further ones are left out.
pub const CENTREX_RECORDS_MAX: usize = 4096;
/// Bytes of one object of the JSON form; a longer one is refused.
pub const CENTREX_JSON_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one command without its header; a longer one is not sent.
pub const CENTREX_COMMAND_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a command's template; a longer one is a fault of the configuration.
pub const CENTREX_TEMPLATE_BYTES_MAX: usize = 1024;
/// Bytes of a result in several messages; at it what came so far is taken as the whole.
pub const CENTREX_RESULT_BYTES_MAX: usize = 1024 * 1024;
/// Commands outstanding or waiting for one of their verb; one more is refused at once.
pub const CENTREX_COMMANDS_PENDING_MAX: usize = 128;
/// Refused bodies in a row before the link is dropped as misbehaving: the settings do not fit this PBX.
pub const CENTREX_REFUSED_IN_A_ROW_MAX: u32 = 16;
/// Extensions asked for in one command of a poll; more are asked for in the next.
pub const CENTREX_POLL_PEERS_MAX: usize = 32;
/// Polls without an answer before what they told counts as unknown.
pub const CENTREX_POLLS_LOST_MAX: u32 = 3;
/// Extensions whose events are republished on one link; past it a further one is known by its events only.
pub const CENTREX_OWN_MAX: usize = 256;
/// Calls in progress followed on one link; past it the oldest is told as cleared.
pub const CENTREX_CALLS_MAX: usize = 512;
/// Ids, and channels, of one call; past it the second oldest is forgotten.
pub const CENTREX_CALL_IDS_MAX: usize = 64;
/// Consultations of one call at once; a further one is not followed.
pub const CENTREX_CONSULTATIONS_MAX: usize = 4;
/// Conferences followed, and members of one; a further one is no canonical event.
pub const CENTREX_CONFERENCES_MAX: usize = 64;
pub const CENTREX_MEMBERS_MAX: usize = 64;
/// How long neighbouring ids mean the same call; after it only equal ones do.
pub const CENTREX_ADJACENT_MAX: Duration = Duration::from_secs(180);
/// How long the ids of an ended call are remembered, so that a late end of it ends no other; and of how many calls.
pub const CENTREX_CLOSED_KEPT: Duration = Duration::from_secs(600);
pub const CENTREX_CLOSED_MAX: usize = 512;
/// A ring without any further news of it this long is over: its end was lost.
pub const CENTREX_RING_MAX: Duration = Duration::from_secs(600);
/// A call without any news of it this long is over: its end was lost.
pub const CENTREX_CALL_SILENT_MAX: Duration = Duration::from_secs(8 * 3600);
/// Characters of a text message; a longer one is refused.
pub const CENTREX_SMS_CHARS_MAX: usize = 200;
/// Bytes of a text message over the REST side, in CP949; a longer one is refused.
pub const CENTREX_REST_TEXT_BYTES_MAX: usize = 720;
/// Servers that an OAM answer may name: a main one and two backups; further ones are left out.
pub const CENTREX_OAM_ADDRESSES_MAX: usize = 3;

// ---- log ---------------------------------------------------------------------------------------

/// Entries in one group commit; at it the batch is flushed without waiting for the commit interval.
pub const LOG_BATCH_ENTRIES_MAX: usize = 1024;
/// Entries sequenced and waiting for the store; at it the log takes no more events until a batch is flushed.
pub const LOG_UNFLUSHED_ENTRIES_MAX: usize = 16 * LOG_BATCH_ENTRIES_MAX;
/// Their bytes; at it the log takes no more either.
pub const LOG_UNFLUSHED_BYTES_MAX: usize = 16 * 1024 * 1024;
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
/// Time for sled to open and read one epoch; past it the epoch counts as damaged. A slow card under load is no damage.
pub const LOG_EPOCH_OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Damaged epochs kept aside for a person to look at; past it the oldest is removed.
pub const LOG_QUARANTINE_EPOCHS_MAX: usize = 4;
/// A wall clock that goes forward by more than this in one step is doubted: ages do not count by it.
pub const LOG_CLOCK_STEP_MAX: Duration = Duration::from_secs(3600);
/// Running time after which a doubted clock that kept its pace is believed.
pub const LOG_CLOCK_DOUBT: Duration = Duration::from_secs(24 * 3600);
/// A file that holds nothing; where the partition is full it is removed, so that the log can go on and make room.
pub const LOG_BALLAST_BYTES: u64 = 8 * 1024 * 1024;
/// Down to this the log gives way to others that fill its partition; below it only by what every consumer has read.
pub const LOG_DISK_KEPT_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes on disk for one of an entry's; `log compact` writes an epoch anew that takes more.
pub const LOG_COMPACT_FACTOR: u64 = 4;
/// How often a log that waits for room looks for it.
pub const LOG_FULL_RETRY: Duration = Duration::from_millis(500);
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
pub const ENTRIES_QUEUED_MAX: usize = 1024;
/// Flushed batches on their way to the API's view; at it the log's flusher waits.
pub const DURABLE_BATCHES_QUEUED_MAX: usize = 8;
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
/// Entries the lamp stage applies before it looks at its lamps; a longer backlog only costs intermediate colours.
pub const LAMP_ENTRIES_AT_ONCE: usize = 64;
/// First pause before a broken output is tried again; doubles up to [`LAMP_RETRY_MAX`].
pub const LAMP_RETRY_MIN: Duration = LAMP_RECONCILE;
pub const LAMP_RETRY_MAX: Duration = Duration::from_secs(30);
/// An output that was asked to show something and says nothing for this long is broken.
pub const LAMP_ANSWER_MAX: Duration = Duration::from_secs(2);
/// Every output with a level to read is looked at once in so many of [`LAMP_RECONCILE`].
pub const LAMP_CHECK_ROUNDS: usize = 10;
/// Threads for outputs, one a bus (a GPIO chip, the LEDs); the buses past it share the last.
pub const LAMP_BUSES_MAX: usize = 8;
/// At the end every lamp goes dark; outputs that take longer are left as they are.
pub const LAMP_OFF_GRACE: Duration = Duration::from_millis(500);
/// Bytes of a sysfs attribute we read; a longer one is not a number.
pub const LAMP_ATTRIBUTE_BYTES_MAX: u64 = 64;

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
/// From the first byte awaited to the end of a request's head; past it the connection is closed, an idle one too.
pub const API_HEADER_READ_MAX: Duration = Duration::from_secs(15);
/// Bytes of a request's head; a longer one is refused with 431 and the connection closed.
pub const API_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes kept of one connection in each direction; at it the handler, or the peer, waits.
pub const API_CONNECTION_BYTES_MAX: usize = 64 * 1024;
/// After the stop signal, for answers under way; past it their connections are dropped.
pub const API_STOP_GRACE: Duration = Duration::from_secs(1);
/// Reads of the log at once for API clients; one more waits. Bounds the memory that answers take.
pub const API_LOG_READS_MAX: usize = 4;
/// Entries one `events` request looks at when its filters match few; at it the answer is short and `next` goes on.
pub const API_EVENTS_SCAN_MAX: usize = 20_000;
/// Values of `type`, and of `link`, in one request; one more is refused with 400. Of `types`, and of `links`, in a
/// configuration; one more is a fault of it.
pub const API_FILTERS_MAX: usize = 32;
/// How long a part (view, lamps) may take to answer; past it the request gets 503.
pub const API_PART_ANSWER_MAX: Duration = Duration::from_secs(2);
/// Rates are counted over one to two of these.
pub const API_RATE_WINDOW: Duration = Duration::from_secs(10);
/// Encoded bytes kept for live streams, beside [`STREAM_LAG_MAX`]; at it the oldest go, and who still needed them is cut off.
pub const STREAM_LAG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries in one step of a stream, live or catching up from the log.
pub const STREAM_BATCH_ENTRIES_MAX: usize = 256;
/// Bytes after which such a step takes no more entries.
pub const STREAM_BATCH_BYTES: usize = 64 * 1024;
/// Queries waiting at the API's view; one more waits in its handler.
pub const VIEW_QUERIES_QUEUED_MAX: usize = 256;
/// Tokens of one gateway; one more is refused.
pub const TOKENS_MAX: usize = 256;
/// Bytes of the token file; a larger one is not ours and is refused.
pub const TOKENS_BYTES_MAX: u64 = 1024 * 1024;
/// How long a change of the tokens waits for another process's change; past it the change is refused.
pub const TOKENS_LOCK_WAIT: Duration = Duration::from_secs(5);
/// Addresses the API listens on. More is a fault of the configuration.
pub const API_LISTENERS_MAX: usize = 16;

// ---- webhooks ----------------------------------------------------------------------------------

/// Webhooks of one gateway. More is a fault of the configuration: each may hold a thread that waits for a name server.
pub const WEBHOOKS_MAX: usize = 8;
/// First pause after an attempt that was not acknowledged; doubles up to [`WEBHOOK_RETRY_MAX`], each with jitter.
pub const WEBHOOK_RETRY_MIN: Duration = Duration::from_secs(1);
pub const WEBHOOK_RETRY_MAX: Duration = Duration::from_secs(600);
/// The longest pause that a receiver may ask for; a longer one counts as this.
pub const WEBHOOK_RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Entries, and their bytes, that a webhook takes from the log in one go; the rest stays there.
pub const WEBHOOK_READ_ENTRIES_MAX: usize = 256;
pub const WEBHOOK_READ_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an answer that are read and dropped; with a longer one the connection is closed.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Time for the rest of an answer whose head is there; past it the connection is closed.
pub const WEBHOOK_ANSWER_REST_MAX: Duration = Duration::from_millis(500);
/// A connection that nothing was sent over for so long is closed.
pub const WEBHOOK_IDLE_MAX: Duration = Duration::from_secs(30);
/// Deliveries after which a cursor is stored; fewer are stored after [`WEBHOOK_CURSOR_WAIT`]. So many at most are sent
/// again after a power cut.
pub const WEBHOOK_CURSOR_DELIVERIES: u32 = 64;
pub const WEBHOOK_CURSOR_WAIT: Duration = Duration::from_secs(1);
/// How long a webhook that ends waits for the answer under way; past it the event is sent again at the next start.
pub const WEBHOOK_STOP_WAIT: Duration = Duration::from_secs(1);
/// A fault that lasts is said at each try at DEBUG, and again at WARN after this long.
pub const WEBHOOK_SAID_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// How soon a cursor that could not be registered, and a log that did not read, are tried again.
pub const WEBHOOK_LOG_RETRY: Duration = Duration::from_secs(5);
/// Characters of a receiver's own words that are said.
pub const WEBHOOK_SAID_CHARS_MAX: usize = 160;
/// Bytes of a webhook's path and query; a longer one is a fault of the configuration.
pub const WEBHOOK_TARGET_BYTES_MAX: usize = 1024;
// ---- uplink ------------------------------------------------------------------------------------

/// Entries that may be sent beyond the durable cursor; at it sending waits for the disk. After a restart so many entries
/// behind the cursor count as sent before.
pub const UPLINK_AHEAD_ENTRIES_MAX: u64 = 1024;
/// The cursor is stored once so many entries are acknowledged beyond it, or after [`UPLINK_CURSOR_PAUSE`].
pub const UPLINK_CURSOR_ENTRIES: u64 = 256;
/// The longest an acknowledged entry stays beyond the durable cursor; each store costs the disk a few pages.
pub const UPLINK_CURSOR_PAUSE: Duration = Duration::from_secs(1);
/// Messages without their acknowledgement, at most, whatever the configuration and the broker allow.
pub const UPLINK_IN_FLIGHT_MAX: u16 = 1024;
/// Entries of one message, where they are batched. More in a configuration is a fault of the configuration.
pub const UPLINK_BATCH_ENTRIES_MAX: u16 = 500;
/// Bytes of events at which a batch takes no more of them.
pub const UPLINK_BATCH_BYTES: usize = 128 * 1024;
/// Entries taken from the log in one read; twice as many wait to be sent at most.
pub const UPLINK_READ_ENTRIES: usize = 500;
/// Bytes taken from the log in one read; a longer entry is taken alone.
pub const UPLINK_READ_BYTES: usize = 256 * 1024;
/// Bytes the broker has not taken yet, at which no further message is made.
pub const UPLINK_UNSENT_BYTES: usize = 128 * 1024;
/// Bytes of a packet we take from a broker; it is told so, and one that sends a longer one is dropped.
pub const UPLINK_PACKET_BYTES_MAX: u32 = 320 * 1024;
/// Bytes of a topic that calls a service or waits for its answer; a longer one is passed over.
pub const UPLINK_TOPIC_BYTES_MAX: usize = 512;
/// From a connection that stands to the broker's CONNACK; past it the broker is silent.
pub const UPLINK_CONNACK_WAIT: Duration = Duration::from_secs(10);
/// Service calls under way; one more is refused with a problem. The broker is told to keep no more of them unacknowledged.
pub const UPLINK_CALLS_MAX: usize = 16;
/// Answers that wait for a place among the unacknowledged messages; one more is dropped, counted and said.
pub const UPLINK_ANSWERS_QUEUED_MAX: usize = 64;
/// First pause after the broker refused a message for the moment; doubles up to [`UPLINK_REFUSED_RETRY_MAX`].
pub const UPLINK_REFUSED_RETRY_MIN: Duration = Duration::from_secs(1);
pub const UPLINK_REFUSED_RETRY_MAX: Duration = Duration::from_secs(60);
/// A message this short that a broker calls too large is refused for some other reason: it is kept and tried again.
pub const UPLINK_SHORT_MESSAGE_BYTES: u32 = 1024;
/// Pause after the broker refused a message for good: only a person changes that.
pub const UPLINK_FORBIDDEN_RETRY_MIN: Duration = Duration::from_secs(30);
pub const UPLINK_FORBIDDEN_RETRY_MAX: Duration = Duration::from_secs(300);
/// Pause after the log did not read, or the cursor could not be stored.
pub const UPLINK_DISK_RETRY: Duration = Duration::from_secs(1);
/// At a stop: for sending what is left and its acknowledgements; past it the rest waits for the next start.
pub const UPLINK_STOP_DRAIN: Duration = Duration::from_millis(1200);
/// At a stop: for the broker to acknowledge that we are offline, and for the cursor to be stored.
pub const UPLINK_STOP_GOODBYE: Duration = Duration::from_millis(400);
/// At a stop: for the log to flush what the links told last, before the uplink sends it.
pub const UPLINK_STOP_SETTLE: Duration = Duration::from_millis(500);
/// Lines for the journal that wait to be written; one more is left out.
pub const UPLINK_SAID_QUEUED_MAX: usize = 32;

// ---- process -----------------------------------------------------------------------------------

/// From the stop signal to the end of the process, whatever hangs.
pub const SHUTDOWN_GRACE: Duration = Duration::from_millis(4500);
/// Bytes of a configuration file; a larger one is refused.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// Faults told of one configuration; past it the last one says that there are more.
pub const CONFIG_FAULTS_MAX: usize = 1000;
/// Items of a list in the configuration (trunks, event names). More is a fault of the configuration.
pub const CONFIG_LIST_ITEMS_MAX: usize = 256;
/// Bytes of a secret; a longer one is a fault of the configuration, since it would not fit a login's line.
pub const SECRET_BYTES_MAX: usize = 512;

// ---- following ---------------------------------------------------------------------------------

/// Bytes of an answer of the first that the second reads; a longer one counts as none.
pub const FOLLOW_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// The first is asked how it is this many times within `take_over_after`, so that one answer lost is no silence.
pub const FOLLOW_POLLS: u32 = 5;
/// The longest pause between two such questions, however patient the site is.
pub const FOLLOW_POLL_MAX: Duration = Duration::from_secs(5);
/// A stream of the first without a byte, keep-alives included, for this long is asked for again.
pub const FOLLOW_STREAM_SILENCE_MAX: Duration = Duration::from_secs(40);
/// Copied entries that wait for the disk together; at it the first's stream is not read on.
pub const FOLLOW_BATCH_ENTRIES_MAX: usize = 1024;
/// Bytes of those; likewise.
pub const FOLLOW_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// First pause before a stream that ended is asked for again; doubles up to [`FOLLOW_RETRY_MAX`].
pub const FOLLOW_RETRY_MIN: Duration = Duration::from_millis(100);
pub const FOLLOW_RETRY_MAX: Duration = Duration::from_secs(5);
/// A copy whose disk refuses is tried again after this long.
pub const FOLLOW_DISK_RETRY: Duration = Duration::from_secs(10);
/// Copies of logs that the first has no more; at it the oldest is removed.
pub const FOLLOW_COPIES_ASIDE_MAX: usize = 1;
/// How long the uplink of a box that hands back may take to send its last; past it the first leads all the same.
pub const FOLLOW_HAND_BACK_MAX: Duration = Duration::from_secs(10);
/// How long a lease is the holder's, from when it sent its last renewal that the broker gave back.
pub const LEASE_TTL: Duration = Duration::from_secs(6);
/// How much longer another waits: what the rates of two clocks may differ in that time, and far more.
pub const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// How often a holder renews; two renewals may be lost before it stops.
pub const LEASE_RENEW: Duration = Duration::from_secs(2);
/// How long what stands retained may be on its way behind the answer to the subscription.
pub const LEASE_RETAINED_WAIT: Duration = Duration::from_secs(1);
/// Renewals that are waited for; the oldest is given up, and counts for nothing.
pub const LEASE_UNHEARD_MAX: usize = 8;
/// Bytes of a lease as the broker gives it; a longer one is none.
pub const LEASE_BYTES_MAX: usize = 4096;

const _: () = assert!(LEASE_RENEW.as_millis() * 2 < LEASE_TTL.as_millis(), "a renewal may be lost");

/// Names in the address of an event: `/GATEWAY/LINK`, and a type or a subject; a longer one makes the event none of the first's.
pub const FOLLOW_NAME_BYTES_MAX: usize = 1024;

const _: () =
    assert!(STREAM_KEEP_ALIVE.as_millis() * 2 < FOLLOW_STREAM_SILENCE_MAX.as_millis(), "a quiet stream is not broken");

// ---- command line ------------------------------------------------------------------------------

/// Bytes of an answer the command line takes from a gateway; past it the command fails and says so.
pub const CLI_ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Time for a gateway to answer a command; past it the gateway counts as unreachable.
pub const CLI_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a PBX behind a gateway to do what it was asked; longer than the longest deadline of a link.
pub const CLI_SERVICE_TIMEOUT: Duration = Duration::from_secs(150);
/// First pause before a followed stream is asked for again; doubles up to [`CLI_RETRY_MAX`].
pub const CLI_RETRY_MIN: Duration = Duration::from_millis(250);
pub const CLI_RETRY_MAX: Duration = Duration::from_secs(10);
/// A followed stream without a byte, keep-alives included, for this long is asked for again.
pub const CLI_STREAM_SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest line of a followed stream; past it the stream is broken and asked for again.
pub const STREAM_LINE_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(LINK_EVENTS_QUEUED_MAX <= LOG_UNFLUSHED_ENTRIES_MAX, "a full queue fits the log's own");
const _: () =
    assert!(UPLINK_CURSOR_ENTRIES * 2 <= UPLINK_AHEAD_ENTRIES_MAX, "the cursor is stored before sending waits for it");
const _: () = assert!((UPLINK_BATCH_ENTRIES_MAX as u64) <= UPLINK_AHEAD_ENTRIES_MAX, "a batch fits beyond the cursor");
const _: () = assert!(UPLINK_BATCH_ENTRIES_MAX as usize <= UPLINK_READ_ENTRIES, "a batch is one read at most");
const _: () = assert!(UPLINK_BATCH_BYTES <= UPLINK_READ_BYTES, "a batch is never waited for in vain");
const _: () =
    assert!(API_BODY_BYTES_MAX < UPLINK_PACKET_BYTES_MAX as usize, "arguments that are too long are heard and refused");
const _: () = assert!(LOG_BATCH_BYTES_MAX <= LOG_UNFLUSHED_BYTES_MAX, "a batch is never waited for in vain");
const _: () = assert!(NATIVE_BYTES_MAX < LOG_ENTRY_BYTES_MAX, "a native object fits its entry");
const _: () = assert!(NEXUSCUBE_MESSAGE_BYTES_MAX <= LINK_FRAME_BYTES_MAX, "a message fits its frame");
const _: () = assert!(AMI_LINE_BYTES_MAX <= AMI_MESSAGE_BYTES_MAX, "a line fits its message");
const _: () = assert!(AMI_MESSAGE_BYTES_MAX < LOG_ENTRY_BYTES_MAX, "a message fits its entry");
const _: () = assert!(SECRET_BYTES_MAX < AMI_ACTION_LINE_BYTES_MAX, "a secret fits a login's line");
const _: () = assert!(LOG_ENTRY_BYTES_MAX < STREAM_LINE_BYTES_MAX, "an entry fits a stream's line");
const _: () = assert!(17 * LOG_VALUE_BYTES_MAX < 120 * 1024, "a full page of sled is no file of its own");
const _: () =
    assert!(LOG_RECORD_BYTES_MAX / LOG_VALUE_BYTES_MAX < u16::MAX as usize, "a record's parts can be counted");
const _: () = assert!(LOG_BATCH_BYTES_MAX as u64 <= LOG_EPOCH_BYTES_MAX, "a batch fits an epoch");
const _: () = assert!(WEBHOOK_READ_ENTRIES_MAX <= LOG_READ_ENTRIES_MAX, "a webhook's page is one read");
const _: () = assert!(WEBHOOKS_MAX < LOG_CONSUMERS_MAX, "every webhook has its cursor");
const _: () = assert!(API_LIST_MAX <= LOG_READ_ENTRIES_MAX, "a list answer is one read");
const _: () =
    assert!(OPENVOX_REQUESTS_MAX <= LINK_REQUESTS_MAX, "no request of a control API is turned away for another");
