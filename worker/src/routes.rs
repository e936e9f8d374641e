//! The routes of the API: one file per resource, one line per route here.

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Responder, Route, guard};
use serde::Serialize;

use crate::error::Failure;

pub(crate) mod cpu_intensive;
pub(crate) mod crash;
pub(crate) mod health;
pub(crate) mod info;
pub(crate) mod local_state;
pub(crate) mod memory;
pub(crate) mod openapi;
pub(crate) mod shared_state;
pub(crate) mod workers;

pub(crate) const HEALTH_PATH: &str = "/health";
pub(crate) const WORKERS_PATH: &str = "/cluster/workers";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(crate) fn configure(app: &mut ServiceConfig) {
    // Looked through in this order.
    app.service(resource("/cluster/info", "GET, HEAD").route(get().to(info::get)))
        .service(resource(HEALTH_PATH, "GET, HEAD").route(get().to(health::get)))
        .service(resource("/cluster/shared-state", "POST").route(web::post().to(shared_state::store)))
        .service(
            resource("/cluster/shared-state/{key:[^/]*}", "GET, HEAD, DELETE")
                .route(get().to(shared_state::get))
                .route(web::delete().to(shared_state::delete)),
        )
        .service(
            resource("/cluster/shared-state/{key:[^/]*}/increment", "POST")
                .route(web::post().to(shared_state::increment)),
        )
        .service(resource("/cluster/local-state", "GET, HEAD").route(get().to(local_state::get)))
        .service(resource("/cluster/cpu-intensive", "POST").route(web::post().to(cpu_intensive::post)))
        .service(resource("/cluster/memory", "GET, HEAD").route(get().to(memory::get)))
        .service(resource(WORKERS_PATH, "GET, HEAD").route(get().to(workers::get)))
        .service(resource("/cluster/crash", "POST").route(web::post().to(crash::post)))
        .service(resource("/openapi.json", "GET, HEAD").route(get().to(openapi::get)))
        .default_service(web::to(no_such_route));
}

/// A resource that answers other methods than those in `allow` with 405.
pub(crate) fn resource(path: &str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move |method: Method| async move {
        Err::<HttpResponse, _>(Failure::method_not_allowed(method.as_str(), allow))
    }))
}

/// GET, and HEAD as its answer without a body.
pub(crate) fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn no_such_route(request: HttpRequest) -> Result<HttpResponse, Failure> {
    let path = crate::body::quoted(request.path());
    let hint = match path.starts_with("/cluster/shared-state/") {
        true => "in a key, write / as %2F",
        false => "GET /openapi.json lists all routes",
    };
    Err(Failure::new(StatusCode::NOT_FOUND, format!("there is no route {path}; {hint}")))
}

/// An answer with `body` as JSON.
fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    json_text(
        status,
        serde_json::to_vec(body).expect("bodies are structs with text keys and always serialise"),
    )
}

/// An answer with `text`, which is JSON.
pub(crate) fn json_text(status: StatusCode, text: impl Into<Bytes>) -> HttpResponse {
    let mut response = HttpResponse::with_body(status, text.into()).map_into_boxed_body();
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A body that answers with 200 and itself as JSON.
struct Json<T>(T);

impl<T: Serialize> Responder for Json<T> {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        json(StatusCode::OK, &self.0)
    }
}
