//! `POST /cluster/crash`: shows what the cluster does about a dead worker.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared_protocol::WorkerId;
use utoipa::ToSchema;

use crate::body;
use crate::context::Context;
use crate::crash::{Connection, CrashMode};
use crate::error::Failure;
use crate::openapi::OPTIONAL;

/// How to die; without a body, `mode` is `exit`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrashRequest<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = Option<CrashMode>)]
    mode: Option<&'a RawValue>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CrashAnswer {
    #[schema(example = "Worker 3 (PID: 12343) is crashing... it should restart automatically")]
    message: String,
    #[schema(value_type = u32)]
    worker_id: WorkerId,
    pid: u32,
}

/// Answers, and then dies.
#[utoipa::path(
    post, path = "/cluster/crash", operation_id = "crash", tag = "operation",
    request_body(content = inline(CrashRequest<'_>), description = OPTIONAL),
    responses(
        (status = 200, description = "It will die as soon as this has been sent", body = CrashAnswer),
        (status = 403, description = "Not enabled (CLUSTER_CRASH_ENABLED)"),
    )
)]
pub(crate) async fn post(
    request: HttpRequest,
    context: web::Data<Context>,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    if !context.crash_enabled {
        let detail = "crashing is not enabled; start with CLUSTER_CRASH_ENABLED=true to allow it";
        return Err(Failure::new(StatusCode::FORBIDDEN, detail));
    }
    let bytes = body::read(&request, payload, &context).await?;
    let asked = match bytes.is_empty() {
        true => CrashRequest::default(),
        false => body::parse(&bytes)?,
    };
    let mode = mode(asked.mode)?;
    let worker = context.worker();
    let connection = request.conn_data::<Connection>().expect("the server makes one for each connection");
    connection
        .arm(mode, &context.hang)
        .map_err(|err| Failure::unavailable(format!("could not prepare the crash: {err}")))?;
    tracing::warn!(?mode, "crashing, as asked");
    let message =
        format!("Worker {worker} (PID: {}) is crashing... it should restart automatically", worker.pid);
    let mut response =
        super::json(StatusCode::OK, &CrashAnswer { message, worker_id: worker.id, pid: worker.pid });
    response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    Ok(response)
}

fn mode(value: Option<&RawValue>) -> Result<CrashMode, Failure> {
    let Some(value) = value.map(RawValue::get) else { return Ok(CrashMode::default()) };
    serde_json::from_str(value).map_err(|_| {
        let value = body::quoted(value);
        Failure::bad_request(format!("mode must be \"exit\", \"abort\" or \"hang\"; it was {value}"))
    })
}
