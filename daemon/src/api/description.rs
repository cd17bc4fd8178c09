//! What the description of the API has beyond its routes: the token, and the headers that answers have.

use axum::http::Method;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Header, OpenApi, RefOr};

use super::{context, sync};

/// The token that routes ask for.
pub struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Adds the headers that no single route is responsible for.
pub fn add_headers(openapi: &mut OpenApi) {
    for (path, item) in &mut openapi.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            for (status, response) in operation.iter_mut().flat_map(responses) {
                let id = header("To be found in the daemon's log.", ObjectBuilder::new());
                response.headers.insert(context::REQUEST_ID.to_owned(), id);
                if status.starts_with('2') && sync::is_change(&method, path) {
                    let states = ObjectBuilder::new().enum_values(Some(["in_sync", "partial", "pending", "failed"]));
                    let state = header("Whether all changes are in force in all active data sources.", states);
                    response.headers.insert(sync::HEADER.to_owned(), state);
                }
            }
        }
    }
}

fn responses(operation: &mut Operation) -> impl Iterator<Item = (&String, &mut Response)> {
    let responses = operation.responses.responses.iter_mut();
    responses.filter_map(|(status, response)| match response {
        RefOr::T(response) => Some((status, response)),
        RefOr::Ref(_) => None,
    })
}

fn header(description: &str, schema: ObjectBuilder) -> RefOr<Header> {
    let schema: Object = schema.schema_type(Type::String).build();
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(description))
        .build()
        .into()
}
