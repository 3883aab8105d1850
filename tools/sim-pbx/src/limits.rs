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
/// Received commands kept for a test to look at; the oldest is dropped.
pub const COMMANDS_KEPT_MAX: usize = 512;
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
