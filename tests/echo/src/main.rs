//! The bare `lambda_http` function that the gateway's cost is measured against. Nothing ships with it.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(echo)).await
}

async fn echo(request: Request) -> Result<Response<Body>, Error> {
    let told = serde_json::json!({ "method": request.method().as_str(), "path": request.uri().path() });
    Ok(Response::builder().header("content-type", "application/json").body(Body::from(told.to_string()))?)
}
