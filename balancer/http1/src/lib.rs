//! HTTP/1.1 messages as bytes: what is well formed, where a head ends, how a body
//! is framed. Pure functions without I/O and without any dependency.
//!
//! The crate knows the fields that RFC 9110 and RFC 9112 give a meaning to for every
//! recipient. Fields that mean something to its caller are a [`CustomField`].
//!
//! Invariant: what is accepted here has one meaning only. Whatever two programs could
//! read differently is refused, because that is how requests are smuggled.
//!
//! ```text
//! error, syntax ◄── connection, kind, framing ◄── semantics ◄── field ◄── request, response
//!                  chunked, kind ◄── trailers
//! ```

pub mod chunked;
mod connection;
mod error;
mod field;
mod framing;
mod kind;
mod line;
mod request;
mod response;
pub mod scan;
mod semantics;
mod syntax;
mod target;
pub mod trailers;

pub use error::HttpError;
pub use field::{Field, FieldBuffer, Fields};
pub use framing::Framing;
pub use kind::{CustomField, FieldKind};
pub use request::RequestHead;
pub use response::ResponseHead;
pub use syntax::is_token;
pub use target::Target;
