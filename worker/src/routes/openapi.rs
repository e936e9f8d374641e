//! `GET /openapi.json`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use crate::openapi::document;

/// This description.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenApi", tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(crate) async fn get() -> HttpResponse {
    let mut response = HttpResponse::with_body(StatusCode::OK, document()).map_into_boxed_body();
    response.headers_mut().insert(actix_web::http::header::CONTENT_TYPE, super::JSON);
    response
}
