//! DynamoDB for tests: an embedded engine on loopback in this process, or the endpoint that
//! `TOLLGATE_DYNAMODB_ENDPOINT` names (DynamoDB Local, or AWS itself).

use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use tollgate_adapters::table::{DynamoSettings, DynamoTable, StaticCredentials, Timeouts};

/// The endpoint all tests of this process share; its two tables have their usual names. Another process may use it as
/// long as this one lives.
pub(crate) fn endpoint() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| option_env_endpoint().unwrap_or_else(start))
}

#[expect(clippy::disallowed_methods, reason = "tests have no main of their own to read it")]
fn option_env_endpoint() -> Option<String> {
    std::env::var("TOLLGATE_DYNAMODB_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty())
}

/// An engine of its own, empty, as long as this process lives; its endpoint.
pub(crate) fn start() -> String {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()).await;
        });
    });
    told.recv().unwrap()
}

/// Settings for an endpoint, with patience: the machine that runs the tests may be busy.
pub(crate) fn settings(endpoint: &str) -> DynamoSettings {
    DynamoSettings {
        endpoint: Some(endpoint.to_owned()),
        credentials: endpoint.starts_with("http://").then(StaticCredentials::dummy),
        timeouts: PATIENT,
        ..DynamoSettings::default()
    }
}

const PATIENT: Timeouts = {
    let long = Duration::from_secs(20);
    Timeouts { connect: long, attempt: long, operation: long, behind: long, sending: long }
};

/// A client of the shared endpoint, with its tables made.
pub(crate) async fn table() -> Arc<DynamoTable> {
    let table = DynamoTable::connect(settings(endpoint())).await;
    table.create_tables().await.unwrap();
    table
}
