//! The description of the API, made from the routes themselves.

use std::sync::LazyLock;

use actix_web::web::Bytes;
use shared_protocol::problem::{CONTENT_TYPE, Problem};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, Header, Ref, RefOr, Required, ResponseBuilder, Type, schema::ObjectBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::routes;

/// Built on first use, which is not at start.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let text = Api::openapi().to_json().expect("the description is made of text and numbers");
    Bytes::from(text)
});

pub(crate) fn document() -> Bytes {
    DOCUMENT.clone()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cluster worker",
        description = "The HTTP API of a bundled worker, the same alone and through the balancer.\n\n\
            Every answer carries x-worker-id and x-request-id; a request's own x-request-id is kept when it has \
            1 to 128 letters, digits or -_.:/+=. Every error is an RFC 9457 problem. Request bodies are JSON \
            objects of at most 1 MiB; a field that is not described here is refused, so that a misspelt one \
            shows. HEAD works where GET does.",
    ),
    paths(
        routes::info::get,
        routes::workers::get,
        routes::cpu_intensive::post,
        routes::shared_state::store,
        routes::shared_state::get,
        routes::shared_state::delete,
        routes::shared_state::increment,
        routes::local_state::get,
        routes::crash::post,
        routes::memory::get,
        routes::health::get,
        routes::openapi::get,
    ),
    components(schemas(Problem)),
    modifiers(&Common),
)]
struct Api;

/// The description of a body that may be left out. The attribute has no other
/// way to say so than a body of `null`, which is refused.
pub(crate) const OPTIONAL: &str = "May be left out";

/// Adds to each operation what holds for all: errors as problems, and headers.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for item in api.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
                describe_problems(operation);
                if let Some(RefOr::T(body)) = &mut operation.request_body
                    && body.description.as_deref() == Some(OPTIONAL)
                {
                    body.required = Some(Required::False);
                }
            }
        }
    }
}

fn describe_problems(operation: &mut Operation) {
    let problem = || RefOr::T(Content::new(Some(Ref::from_schema_name(Problem::name()))));
    let text = || RefOr::T(Header::new(ObjectBuilder::new().schema_type(Type::String).build()));
    let rest = ResponseBuilder::new().description("Any other error").build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(rest));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        response.headers.insert("x-worker-id".to_owned(), text());
        response.headers.insert("x-request-id".to_owned(), text());
        if response.content.is_empty() {
            response.content.insert(CONTENT_TYPE.to_owned(), problem());
        }
        if status == "503" {
            response.headers.insert("retry-after".to_owned(), text());
        }
    }
}
