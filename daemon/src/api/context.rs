//! What happens around every request: its id, its span in the log, its metrics, and headers that every answer has.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::Shared;
use crate::error::Error;

/// The header with the request's id.
pub const REQUEST_ID: &str = "x-request-id";

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that is being answered.
pub fn request_id() -> Option<String> {
    CURRENT.try_with(String::clone).ok()
}

/// The client's address, which the context finds out once.
#[derive(Clone)]
pub struct ClientAddress(pub Option<IpAddr>);

/// The outermost layer.
pub async fn context(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = uuid::Uuid::new_v4().simple().to_string();
    // A socket for both kinds of addresses gives those of IPv4 another form.
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip().to_canonical());
    let client = client_address(peer, request.headers(), &app.trusted_proxies);
    request.extensions_mut().insert(ClientAddress(client));
    let method = request.method().clone();
    // The path as it was declared: ids would make the number of time series endless.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "none".to_owned());
    let span = tracing::info_span!("request", id, %method, route, client = client.map(tracing::field::display));
    let mut response = CURRENT
        .scope(id.clone(), next.run(request))
        .instrument(span.clone())
        .await;
    let elapsed = began.elapsed();
    let status = response.status();
    span.in_scope(|| tracing::info!(status = status.as_u16(), ms = elapsed.as_millis() as u64, "answered"));
    app.metrics.answered(&method, route, status, elapsed);
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The address that a request comes from. The header is believed only of a proxy that we trust, and of what it says only
/// the last address: everything before it was written by others.
fn client_address(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpAddr]) -> Option<IpAddr> {
    if !trusted.contains(&peer?) {
        return peer;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let forwarded = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    forwarded.map(|address: IpAddr| address.to_canonical()).or(peer)
}

/// The answer after a panic, which is a defect of ours and tells nobody anything.
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Error::Internal(format!("panic: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_tells_the_client_address() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 1.2.3.4"));
        let proxy = Some(ip("10.0.0.1"));
        assert_eq!(client_address(proxy, &headers, &[]), proxy);
        assert_eq!(client_address(proxy, &headers, &[ip("10.0.0.2")]), proxy);
        assert_eq!(client_address(proxy, &headers, &[ip("10.0.0.1")]), Some(ip("1.2.3.4")));
        assert_eq!(client_address(proxy, &HeaderMap::new(), &[ip("10.0.0.1")]), proxy);
        headers.append("x-forwarded-for", HeaderValue::from_static("::ffff:1.2.3.5"));
        assert_eq!(client_address(proxy, &headers, &[ip("10.0.0.1")]), Some(ip("1.2.3.5")));
        headers.append("x-forwarded-for", HeaderValue::from_static("nonsense"));
        assert_eq!(client_address(proxy, &headers, &[ip("10.0.0.1")]), proxy);
    }
}
