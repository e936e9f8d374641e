//! The bounds of one HTTP/2 connection, which are no settings: they keep it from being
//! misused, and no honest client meets them.

use std::time::Duration;

use balancer_http1::scan::MAX_HEAD;

/// Requests at a time. RFC 9113, section 6.5.2, asks for 100 at least; nginx has 128.
const MAX_STREAMS: u32 = 128;
/// Bytes of one request's body that may be on their way here unread. It bounds the speed
/// of an upload to so much per round trip: at 50 ms, 20 Mbit/s.
const STREAM_WINDOW: u32 = 128 << 10;
/// The same for all requests of a connection, and so the memory that its bodies can hold.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one response that wait for the client to read its socket.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes of a header list. A list is counted with 32 bytes for each field, so that one
/// that fits here fits into the longest head of an HTTP/1.1 request.
const MAX_HEADER_LIST: u32 = MAX_HEAD as u32;
/// Bytes of the table that the fields of requests are compressed with: the protocol's own
/// default (RFC 9113, section 6.5.2).
const HEADER_TABLE: u32 = 4_096;
/// Streams that the client may reset before they were seen here (CVE-2023-44487).
const MAX_UNSEEN_RESETS: usize = 64;
/// Streams that the client may make the balancer reset by errors of its own in the life of
/// a connection (CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 128;
/// Streams that were reset here and are remembered for a while, as frames for them may be
/// on their way.
const MAX_REMEMBERED_RESETS: usize = 64;

/// Requests that a client may give up one after the other, and so many more each second:
/// somebody who scrolls through a page of pictures gives up as many as there can be at a
/// time, but does not go on with it (CVE-2023-44487).
pub(super) const RESETS: u64 = 2 * MAX_STREAMS as u64;
pub(super) const RESETS_PER_SECOND: u64 = 16;
/// Bytes of frames that carry nothing of a request that a client may send one after the
/// other, and so many more each second, beside what its traffic allows: about 200 pings a
/// second (CVE-2019-9512, 9513, 9515, 9518).
pub(super) const IDLE_FRAMES: u64 = 64 << 10;
pub(super) const IDLE_FRAMES_PER_SECOND: u64 = 4 << 10;

/// How long the shutdown waits for a client to confirm that it sends no further requests.
/// Within it, what was on its way arrives; a client that does not answer is not waited for.
pub(super) const CONFIRMATION: Duration = Duration::from_millis(250);

/// What the connection is made with.
pub(super) fn builder() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .header_table_size(HEADER_TABLE)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .enable_connect_protocol();
    builder
}
