//! The server's own description of its answers (OpenAPI 3.1, whose schemas are
//! JSON Schema 2020-12), and whether answers conform to it.

use std::collections::HashMap;

use boon::{Compiler, SchemaIndex, Schemas, SchemeUrlLoader, ValidationError};
use http::Method;
use serde_json::{Value, json};

use crate::answer_log::LoggedAnswer;
use crate::client::Client;

const PATH: &str = "/openapi.json";

pub struct Document {
    operations: Vec<Operation>,
    /// The schemas of all bodies.
    schemas: Schemas,
}

struct Operation {
    method: Method,
    template: Vec<Segment>,
    /// By status, or "default".
    responses: HashMap<String, Response>,
}

enum Segment {
    Text(String),
    Parameter,
}

struct Response {
    /// By media type.
    content: HashMap<String, SchemaIndex>,
}

/// What an answer is to its description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conformity {
    Conforms,
    /// The description has no such route.
    Undescribed,
    Violates(String),
}

impl Document {
    /// `None` when the server has no description, or one that cannot be used.
    pub async fn fetch(client: &Client) -> Option<Self> {
        let answer = client.get(PATH).await.ok()?;
        (answer.status == 200).then(|| Self::parse(&answer.json()))?
    }

    fn parse(document: &Value) -> Option<Self> {
        let mut schemas = SchemaReader::new(document);
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object()? {
            for (method, operation) in item.as_object()? {
                // Other members, such as `parameters`, are no methods.
                let Ok(method) = Method::from_bytes(method.to_ascii_uppercase().as_bytes()) else { continue };
                let Some(responses) = operation["responses"].as_object() else { continue };
                let responses = responses
                    .iter()
                    .map(|(status, response)| {
                        Some((status.clone(), Response::parse(response, &mut schemas)?))
                    })
                    .collect::<Option<_>>()?;
                operations.push(Operation { method, template: segments(path), responses });
            }
        }
        Some(Self { operations, schemas: schemas.read })
    }

    pub fn has(&self, method: &Method, path: &str) -> bool {
        self.find(method, path).is_some()
    }

    fn find(&self, method: &Method, path: &str) -> Option<&Operation> {
        let path = path.split('?').next().unwrap_or(path);
        self.operations.iter().find(|operation| operation.method == *method && operation.matches(path))
    }

    pub fn judge(&self, seen: &LoggedAnswer) -> Conformity {
        // HEAD works where GET does, without the body.
        if seen.method == Method::HEAD {
            return Conformity::Undescribed;
        }
        let Some(operation) = self.find(&seen.method, &seen.path) else { return Conformity::Undescribed };
        let status = seen.status.as_str();
        let Some(response) = operation.responses.get(status).or_else(|| operation.responses.get("default"))
        else {
            return Conformity::Violates(format!("status {status} is not described"));
        };
        let kind = seen.content_type.as_deref().unwrap_or("none");
        let Some(&schema) = response.content.get(kind) else {
            return Conformity::Violates(format!("content type {kind} is not described for status {status}"));
        };
        let Ok(body) = serde_json::from_slice::<Value>(&seen.body) else {
            return Conformity::Violates("the body is no JSON".to_owned());
        };
        match self.schemas.validate(&body, schema) {
            Ok(()) => Conformity::Conforms,
            Err(err) => Conformity::Violates(describe(&err)),
        }
    }
}

impl Operation {
    fn matches(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        parts.len() == self.template.len()
            && parts.iter().zip(&self.template).all(|(part, segment)| match segment {
                Segment::Text(text) => part == text,
                Segment::Parameter => !part.is_empty(),
            })
    }
}

impl Response {
    fn parse(response: &Value, schemas: &mut SchemaReader<'_>) -> Option<Self> {
        let mut content = HashMap::new();
        for (kind, media) in response["content"].as_object().into_iter().flatten() {
            content.insert(kind.clone(), schemas.add(&media["schema"])?);
        }
        Some(Self { content })
    }
}

/// Reads the schemas of a document.
struct SchemaReader<'a> {
    document: &'a Value,
    compiler: Compiler,
    read: Schemas,
}

impl<'a> SchemaReader<'a> {
    fn new(document: &'a Value) -> Self {
        let mut compiler = Compiler::new();
        // A document may not make this program read files: no scheme has a loader.
        compiler.use_loader(Box::new(SchemeUrlLoader::new()));
        Self { document, compiler, read: Schemas::new() }
    }

    /// `None` when it is not a valid schema.
    fn add(&mut self, schema: &Value) -> Option<SchemaIndex> {
        // References are into the document, so its components come along.
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [schema],
            "components": self.document["components"],
        });
        let location = format!("body:/{}", self.read.size());
        self.compiler.add_resource(&location, schema).ok()?;
        self.compiler.compile(&location, &mut self.read).ok()
    }
}

/// Where the body violates its schema, and how: the first cause without causes of
/// its own.
fn describe(err: &ValidationError<'_, '_>) -> String {
    let mut cause = err;
    while let Some(first) = cause.causes.first() {
        cause = first;
    }
    format!("at {:?}: {}", cause.instance_location.to_string(), cause.kind)
}

fn segments(template: &str) -> Vec<Segment> {
    let segment = |part: &str| match part.starts_with('{') && part.ends_with('}') {
        true => Segment::Parameter,
        false => Segment::Text(part.to_owned()),
    };
    template.split('/').map(segment).collect()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn document() -> Document {
        Document::parse(&json!({
            "paths": {
                "/items/{key}": {"get": {"responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}},
                    "default": {"content": {"application/problem+json": {"schema": {"type": "object"}}}},
                }}},
                "/strict": {"get": {"responses": {"200": {"content": {"application/json": {"schema": true}}}}}},
            },
            "components": {"schemas": {"Item": {
                "type": "object", "required": ["n"], "properties": {"n": {"type": ["integer", "null"]}},
            }}},
        }))
        .unwrap()
    }

    fn judge(path: &str, status: u16, kind: &str, body: &str) -> Conformity {
        document().judge(&LoggedAnswer {
            method: Method::GET,
            path: path.to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            content_type: Some(kind.to_owned()),
            body: body.to_owned().into(),
        })
    }

    #[test]
    fn bodies_are_judged_by_their_schema() {
        let json = "application/json";
        assert_eq!(judge("/items/a%2Fb", 200, json, r#"{"n": 1}"#), Conformity::Conforms);
        assert_eq!(judge("/items/a", 200, json, r#"{"n": null}"#), Conformity::Conforms);
        for body in [r#"{"n": "1"}"#, "{}", "[]", "not json"] {
            assert!(matches!(judge("/items/a", 200, json, body), Conformity::Violates(_)), "{body}");
        }
    }

    #[test]
    fn a_violation_is_named_where_it_is() {
        let Conformity::Violates(why) = judge("/items/a", 200, "application/json", r#"{"n": "1"}"#) else {
            panic!("it conforms");
        };
        assert!(why.starts_with(r#"at "/n": "#), "{why}");
    }

    #[test]
    fn a_document_that_refers_to_a_file_cannot_be_used() {
        let schema = json!({"$ref": "file:///etc/hostname"});
        let response = json!({"content": {"application/json": {"schema": schema}}});
        let document = json!({"paths": {"/": {"get": {"responses": {"200": response}}}}});
        assert!(Document::parse(&document).is_none());
    }

    #[test]
    fn statuses_and_media_types_must_be_described() {
        assert_eq!(judge("/items/a", 404, "application/problem+json", "{}"), Conformity::Conforms);
        assert!(matches!(judge("/items/a", 404, "text/html", "{}"), Conformity::Violates(_)));
        assert!(matches!(judge("/strict", 404, "application/json", "{}"), Conformity::Violates(_)));
        assert_eq!(judge("/strict", 200, "application/json", "7"), Conformity::Conforms);
    }

    #[test]
    fn other_routes_are_none_of_its_business() {
        assert_eq!(judge("/items/", 200, "application/json", "{}"), Conformity::Undescribed);
        assert_eq!(judge("/items/a/b", 200, "application/json", "{}"), Conformity::Undescribed);
        assert!(document().has(&Method::GET, "/items/x?y=1"));
        assert!(!document().has(&Method::POST, "/items/x"));
        assert!(Document::parse(&json!({})).is_none());
    }
}
