//! `POST /cluster/cpu-intensive`: work that would block an event loop.

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, Responder, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared_protocol::WorkerRef;
use utoipa::ToSchema;

use super::Json;
use crate::body;
use crate::context::Context;
use crate::cpu::fibonacci;
use crate::error::Failure;
use crate::openapi::OPTIONAL;

const DEFAULT_N: u32 = 35;

/// What to compute; without a body, `n` is 35.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CpuRequest<'a> {
    /// Which Fibonacci number. The upper bound is set by CLUSTER_FIBONACCI_MAX.
    #[serde(borrow, default)]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 45, default = 35, example = 35)]
    n: Option<&'a RawValue>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CpuAnswer {
    worker: WorkerRef,
    calculation: Calculation,
    #[schema(example = "Fibonacci(35) = 9227465 calculated in 156ms by worker 3")]
    message: String,
}

#[derive(Serialize, ToSchema)]
struct Calculation {
    #[schema(example = 35)]
    input: u32,
    #[schema(example = 9_227_465)]
    result: u64,
    /// Computing time, without waiting for a free thread.
    #[schema(example = "156ms")]
    duration: String,
}

/// Computes a Fibonacci number the slow way, on a thread of a bounded pool.
#[utoipa::path(
    post, path = "/cluster/cpu-intensive", operation_id = "compute", tag = "cluster",
    request_body(content = inline(CpuRequest<'_>), description = OPTIONAL),
    responses(
        (status = 200, description = "The number", body = CpuAnswer),
        (status = 503, description = "Too many computations wait"),
    )
)]
pub(crate) async fn post(
    request: HttpRequest,
    context: web::Data<Context>,
    payload: web::Payload,
) -> Result<impl Responder, Failure> {
    let bytes = body::read(&request, payload, &context).await?;
    let asked = match bytes.is_empty() {
        true => CpuRequest::default(),
        false => body::parse(&bytes)?,
    };
    let max = context.fibonacci_max;
    let n = body::integer("n", asked.n, 0..=i64::from(max), i64::from(DEFAULT_N.min(max)))?;
    let n = n.and_then(|n| u32::try_from(n).ok()).unwrap_or(DEFAULT_N.min(max));
    let ticket = context.compute.submit(move || timed(n)).map_err(|_| {
        Failure::unavailable(
            "all computing threads of this worker are busy and its queue is full; try again soon",
        )
    })?;
    let (result, duration) =
        ticket.await.ok_or_else(|| Failure::unavailable("the computation was given up; try again"))?;
    let worker = context.worker();
    let duration = format!("{}ms", duration.as_millis());
    let message = format!("Fibonacci({n}) = {result} calculated in {duration} by worker {worker}");
    Ok(Json(CpuAnswer { worker, calculation: Calculation { input: n, result, duration }, message }))
}

fn timed(n: u32) -> (u64, Duration) {
    let began = Instant::now();
    let result = fibonacci(n);
    (result, began.elapsed())
}
