//! Every bound of the simulators, each with what happens at it.

use std::time::Duration;

/// AMI connections at once; one more is closed before the banner.
pub const SESSIONS_MAX: usize = 256;
/// Bytes waiting for one reader; past it the connection is cut in mid-message, as Asterisk does after its write timeout.
pub const SESSION_OUTPUT_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Bytes of requests waiting while a refused login sleeps; past it the connection is cut.
pub const SESSION_INPUT_BYTES_MAX: usize = 64 * 1024;
/// Longest request line, as Asterisk's own buffer; a longer one fails the whole request.
pub const REQUEST_LINE_BYTES_MAX: usize = 1024;
/// Headers of one request; the rest is dropped, as Asterisk does.
pub const REQUEST_HEADERS_MAX: usize = 128;
/// List answers one session may have running; one more is refused with an error response.
pub const LISTINGS_MAX: usize = 64;
/// Calls at once; one more is refused.
pub const CALLS_MAX: usize = 1024;
/// Phones, queues, members of a queue in one office; more is refused when the office is built.
pub const PHONES_MAX: usize = 4096;
pub const QUEUES_MAX: usize = 64;
pub const MEMBERS_MAX: usize = 512;
/// Steps a day keeps planned; one more is left out.
pub const DAY_STEPS_MAX: usize = 4096;
/// Connections waiting to be accepted; more are refused by the system.
pub const LISTEN_QUEUE: u32 = 256;
/// Pause before a port that could not be taken is tried again.
pub const PORT_RETRY: Duration = Duration::from_millis(20);
/// Largest piece handed to a socket in one write.
pub const WRITE_BYTES: usize = 16 * 1024;
/// Bytes taken from a socket in one read.
pub const READ_BYTES: usize = 4 * 1024;
/// Events a flood may send a second.
pub const FLOOD_RATE_MAX: u32 = 1_000_000;
/// One-off troubles waiting for a connection; the oldest is dropped.
pub const TROUBLES_QUEUED_MAX: usize = 64;
/// A connection without login is closed after this, without a word.
pub const AUTH_TIMEOUT: Duration = Duration::from_secs(30);
/// A wrong password is answered after this.
pub const REFUSAL_DELAY: Duration = Duration::from_secs(1);
/// RTCP reports of a call in progress.
pub const RTCP_INTERVAL: Duration = Duration::from_secs(5);

/// Call events kept for the one who listens in; the oldest is lost, and with it a line of a call record.
pub const OVERHEARD_MAX: usize = 8192;

// ---- olssoo ----

/// Bytes of one AMI packet the proxy reads; a longer one is dropped, without a word.
pub const PACKET_BYTES_MAX: usize = 64 * 1024;
/// WebSocket clients at once; one more is closed after its handshake.
pub const PROXY_CLIENTS_MAX: usize = 64;
/// Bytes of frames waiting for one WebSocket client; past it the client is cut.
pub const CLIENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of requests waiting for AMI; past it a request is lost.
pub const UPSTREAM_BYTES_MAX: usize = 256 * 1024;
/// Frames, requests and packets remembered for a test to look at; the oldest is forgotten.
pub const REMEMBERED_MAX: usize = 4096;
/// Ordered refusals, answers and oddities waiting for their request; the oldest is dropped, or one more left out.
pub const ORDERS_MAX: usize = 64;
/// Pause before the proxy connects to a lost AMI again.
pub const AMI_RETRY: Duration = Duration::from_secs(1);
/// Largest WebSocket message a client may send; a larger one ends its connection.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a pipe between the proxy and a PBX in the same process; past it the writer waits.
pub const PIPE_BYTES: usize = 64 * 1024;
/// Bytes of one HTTP head; a longer one is answered 431 and the connection closed.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one HTTP body; a longer one is answered 413 and the connection closed.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Call records kept; the oldest is forgotten.
pub const RECORDS_MAX: usize = 4096;
/// Calls whose record is being written; the oldest is closed without an end.
pub const RECORDS_OPEN_MAX: usize = 2048;
/// Records one answer lists where the request names no limit.
pub const RECORDS_LISTED: usize = 100;
/// Frames taken for one client at a time; the rest waits in the proxy, where it is counted.
pub const FRAMES_AT_ONCE: usize = 64;
/// How long a client may take to answer a close frame; then the connection ends without it.
pub const CLOSE_WAIT: Duration = Duration::from_secs(5);

// ---- dialogues ----

/// Bytes of the other end that a dialogue has no step for yet; past it the dialogue fails.
pub const SCRIPT_INPUT_BYTES_MAX: usize = 1024 * 1024;
/// How long a dialogue waits for a line; then it fails.
pub const SCRIPT_PATIENCE: Duration = Duration::from_secs(60);
/// How much before the end of a quiet time a line may come and still count as after it.
pub const SCRIPT_SLACK: Duration = Duration::from_millis(50);

// ---- centrex ------------------------------------------------------------------------------------

/// Centrex connections at once; one more is closed without a word.
pub const CENTREX_SESSIONS_MAX: usize = 256;
/// Longest body of a frame: the header's length is an unsigned 16-bit number. A longer message is cut to it.
pub const CENTREX_BODY_BYTES_MAX: usize = 65_535;
/// Bytes of a client that do not make a frame yet; past it the connection is closed.
pub const CENTREX_INPUT_BYTES_MAX: usize = 4 * (CENTREX_BODY_BYTES_MAX + 4);
const _: () = assert!(CENTREX_INPUT_BYTES_MAX > CENTREX_BODY_BYTES_MAX + 4, "a whole frame fits");
/// Messages waiting for one reader; past it the connection is closed.
pub const CENTREX_MESSAGES_WAITING_MAX: usize = 16 * 1024;
/// Commands kept for a test to look at; the oldest is dropped.
pub const COMMANDS_KEPT_MAX: usize = 1024;
/// Answers that wait for their time; one more is said at once.
pub const DEFERRED_MAX: usize = 256;
/// Channel names laid down for channels to come; one more is left out.
pub const CHANNEL_NAMES_MAX: usize = 256;
/// Calls and text messages kept for the lists; the oldest is dropped.
pub const HISTORY_MAX: usize = 1000;
pub const MESSAGES_KEPT_MAX: usize = 1000;
/// Recipients, and bytes in CP949, of a text over the Centrex REST services; past either it is refused by code.
pub const REST_RECIPIENTS_MAX: usize = 10;
pub const REST_TEXT_BYTES_MAX: usize = 720;
/// Text messages on one page of the list.
pub const MESSAGES_PAGE: usize = 10;
/// Conference rooms at once, members and invited of one room; one more is refused.
pub const ROOMS_MAX: usize = 64;
pub const ROOM_MEMBERS_MAX: usize = 64;
/// Peers one command may name; the rest is left out.
pub const PEERS_MAX: usize = 256;
/// Longest text message, in characters; a longer one is refused.
pub const SMS_CHARACTERS_MAX: usize = 200;
/// How long conference events are held back to go out glued together, at most.
pub const GLUE_WAIT: Duration = Duration::from_millis(200);
/// Longest JSON line or WebSocket text a client may send; past it the connection is closed.
pub const JSON_INPUT_BYTES_MAX: usize = 64 * 1024;
/// How long the client of a JSON push may take to answer; past it the push is dropped and the next one tried.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer to a JSON push that are read; the rest is left.
pub const PUSH_ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Devices of one NEXUSCUBE office; more is left out when the office is built.
pub const NEXUS_DEVICES_MAX: usize = 4096;
/// Monitors of one NEXUSCUBE session; one more is refused with 1307.
pub const NEXUS_MONITORS_MAX: usize = 4096;
/// Longest NEXUSCUBE request; a longer one closes the connection with 1009.
pub const NEXUS_REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Parties of one call; one more is refused with 1308.
pub const NEXUS_PARTIES_MAX: usize = 6;
/// Forwardings one call may follow; past it the call fails.
pub const FORWARDINGS_MAX: usize = 3;
/// What was ordered for coming requests; the oldest is dropped.
pub const ORDERS_QUEUED_MAX: usize = 256;
/// Timers of one PBX; one more is left out.
pub const TIMERS_MAX: usize = 8192;
/// Extra copies of an event that may be ordered.
pub const REPEATS_MAX: u8 = 8;
/// Pongs waiting for one writer; a further one takes the place of the last.
pub const PONGS_QUEUED_MAX: usize = 16;
/// Bytes of messages glued together at most.
pub const GLUED_BYTES_MAX: usize = 256 * 1024;
/// A connection that is closed with a close frame is read so long at most before it goes.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Extensions of one OpenVox office; more is left out when the office is built.
pub const EXTENSIONS_MAX: usize = 4096;
/// Logins at once; one more ends the oldest.
pub const TOKENS_MAX: usize = 64;
/// Sources whose wrong logins are counted; one more forgets the first.
pub const WRONG_SOURCES_MAX: usize = 256;
/// Reports waiting to be sent; the oldest is lost, as the real thing's are.
pub const PUSHES_QUEUED_MAX: usize = 4096;
/// Reports sent at once; further ones wait.
pub const PUSHES_IN_FLIGHT_MAX: usize = 16;
/// Answers to reports kept for a test to look at; the oldest is dropped.
pub const PUSHES_KEPT_MAX: usize = 1024;
/// Head of a request or an answer; past it the connection is closed.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Body of a request of the control API; past it the connection is closed.
pub const HTTP_BODY_BYTES_MAX: usize = 64 * 1024;
/// A report that is not answered in this time counts as unanswered.
pub const PUSH_ANSWER_TIME: Duration = Duration::from_secs(5);
/// Control connections at once; one more is closed unread.
pub const API_CONNECTIONS_MAX: usize = 256;
