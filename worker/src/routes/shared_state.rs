//! `/cluster/shared-state`: values that all workers see.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, Responder, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared_protocol::{StoreKind, WorkerRef};
use utoipa::ToSchema;

use super::Json;
use crate::body;
use crate::context::Context;
use crate::error::Failure;
use crate::openapi::OPTIONAL;

mod key;

/// Longest time to live: ten years.
const MAX_TTL_SECONDS: i64 = 10 * 365 * 24 * 60 * 60;

/// What to store.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StoreRequest<'a> {
    /// 1 to 256 bytes, no control characters.
    #[serde(borrow, default, deserialize_with = "body::present")]
    #[schema(value_type = String, required, min_length = 1, max_length = 256, example = "myKey")]
    key: Option<&'a RawValue>,
    /// Any JSON value, of at most 128 levels. Its text is kept as it is.
    #[serde(borrow, default, deserialize_with = "body::present")]
    #[schema(value_type = serde_json::Value, required)]
    value: Option<&'a RawValue>,
    /// The value is gone after so many seconds; without it, it stays.
    #[serde(borrow, default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 315_360_000)]
    ttl_seconds: Option<&'a RawValue>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct StoreAnswer<'a> {
    worker: WorkerRef,
    /// `stored_in_redis` or `stored_in_embedded`.
    action: &'static str,
    #[schema(example = "cluster:myKey")]
    key: &'a str,
    #[schema(value_type = serde_json::Value)]
    value: &'a RawValue,
    message: String,
}

/// Stores a value.
#[utoipa::path(
    post, path = "/cluster/shared-state", operation_id = "store", tag = "state",
    request_body = inline(StoreRequest<'_>),
    responses((status = 200, description = "Stored", body = StoreAnswer<'_>))
)]
pub(crate) async fn store(
    request: HttpRequest,
    context: web::Data<Context>,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    let bytes = body::read(&request, payload, &context).await?;
    let asked: StoreRequest<'_> = body::parse(&bytes)?;
    let key = key::from_json(asked.key)?;
    let value = asked.value.ok_or_else(|| {
        Failure::bad_request("value is missing; the body must be like {\"key\": \"myKey\", \"value\": 42}")
    })?;
    body::check(value).map_err(|err| Failure::bad_request(format!("value cannot be stored: {err}")))?;
    let ttl = body::integer("ttlSeconds", asked.ttl_seconds, 1..=MAX_TTL_SECONDS, 60)?;
    let ttl = ttl.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    context.store.set(&key, value, ttl).await?;
    let answer = StoreAnswer {
        worker: context.worker(),
        action: match context.store.kind() {
            StoreKind::Redis => "stored_in_redis",
            StoreKind::Embedded => "stored_in_embedded",
        },
        key: key.stored(),
        value,
        message: format!("This value is now shared across all workers via {}", context.store_name()),
    };
    Ok(super::json(StatusCode::OK, &answer))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct GetAnswer {
    worker: WorkerRef,
    #[schema(example = "cluster:myKey")]
    key: String,
    /// `null` when there is none.
    #[schema(value_type = serde_json::Value)]
    value: Option<Box<RawValue>>,
    found: bool,
    message: String,
}

/// Reads a value.
#[utoipa::path(
    get, path = "/cluster/shared-state/{key}", operation_id = "get", tag = "state",
    params(("key" = String, Path, description = "1 to 256 bytes once decoded; / is written as %2F")),
    responses(
        (status = 200, description = "The value", body = GetAnswer),
        (status = 404, description = "There is none", body = GetAnswer),
    )
)]
pub(crate) async fn get(request: HttpRequest, context: web::Data<Context>) -> Result<HttpResponse, Failure> {
    let key = key::from_path(&request)?;
    let value = context.store.get(&key).await?;
    let worker = context.worker();
    let (status, message) = match &value {
        Some(_) => (StatusCode::OK, format!("Retrieved from {} by worker {worker}", context.store_name())),
        None => (StatusCode::NOT_FOUND, format!("No value under {key} in {}", context.store_name())),
    };
    let found = value.is_some();
    Ok(super::json(status, &GetAnswer { worker, key: key.to_string(), value, found, message }))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct DeleteAnswer {
    worker: WorkerRef,
    #[schema(example = "cluster:myKey")]
    key: String,
    /// False when there was nothing to delete.
    deleted: bool,
}

/// Deletes a value.
#[utoipa::path(
    delete, path = "/cluster/shared-state/{key}", operation_id = "delete", tag = "state",
    params(("key" = String, Path, description = "1 to 256 bytes once decoded; / is written as %2F")),
    responses((status = 200, description = "It is not there any more", body = DeleteAnswer))
)]
pub(crate) async fn delete(
    request: HttpRequest,
    context: web::Data<Context>,
) -> Result<impl Responder, Failure> {
    let key = key::from_path(&request)?;
    let deleted = context.store.delete(&key).await?;
    Ok(Json(DeleteAnswer { worker: context.worker(), key: key.to_string(), deleted }))
}

/// What to add; without a body, `by` is 1.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncrementRequest<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = Option<i64>, default = 1)]
    by: Option<&'a RawValue>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct IncrementAnswer {
    worker: WorkerRef,
    #[schema(example = "cluster:myKey")]
    key: String,
    /// The sum.
    #[schema(example = 42)]
    value: i64,
}

/// Adds to a stored integer, as one step for all workers; a missing one counts
/// from 0. After a 503 it is unknown whether it was added.
#[utoipa::path(
    post, path = "/cluster/shared-state/{key}/increment", operation_id = "increment", tag = "state",
    params(("key" = String, Path, description = "1 to 256 bytes once decoded; / is written as %2F")),
    request_body(content = inline(IncrementRequest<'_>), description = OPTIONAL),
    responses(
        (status = 200, description = "Added", body = IncrementAnswer),
        (status = 409, description = "The stored value is no integer, or the sum would not fit into 64 bits"),
    )
)]
pub(crate) async fn increment(
    request: HttpRequest,
    context: web::Data<Context>,
    payload: web::Payload,
) -> Result<impl Responder, Failure> {
    let key = key::from_path(&request)?;
    let bytes = body::read(&request, payload, &context).await?;
    let asked = match bytes.is_empty() {
        true => IncrementRequest::default(),
        false => body::parse(&bytes)?,
    };
    let by = body::integer("by", asked.by, i64::MIN..=i64::MAX, 1)?.unwrap_or(1);
    let value = context.store.increment(&key, by).await?;
    Ok(Json(IncrementAnswer { worker: context.worker(), key: key.to_string(), value }))
}
