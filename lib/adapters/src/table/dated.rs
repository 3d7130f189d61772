//! The dates of the table's answers, for the clock to be held against (state.md §2).

use std::sync::Arc;

use aws_sdk_dynamodb::config::http::HttpRequest;
use aws_sdk_dynamodb::config::{IntoShared, RuntimeComponents, SharedHttpClient};
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use tollgate::clock::{Clock, Timestamp};

/// A client that tells `clock` of every `Date`.
#[derive(Debug)]
pub(super) struct Dated {
    client: SharedHttpClient,
    clock: Arc<dyn Clock>,
}

impl Dated {
    pub(super) fn shared(client: SharedHttpClient, clock: Arc<dyn Clock>) -> SharedHttpClient {
        Self { client, clock }.into_shared()
    }
}

impl HttpClient for Dated {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        Connector { connector, clock: Arc::clone(&self.clock) }.into_shared()
    }
}

#[derive(Debug)]
struct Connector {
    connector: SharedHttpConnector,
    clock: Arc<dyn Clock>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (clock, sent) = (Arc::clone(&self.clock), self.clock.now());
        let answer = self.connector.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            if let Some(date) = answer.headers().get("date").and_then(date) {
                clock.saw_date(date, sent, clock.now());
            }
            Ok(answer)
        })
    }
}

/// RFC 9110 §5.6.7; what is no date says nothing.
fn date(field: &str) -> Option<Timestamp> {
    let date = DateTime::from_str(field, DateTimeFormat::HttpDate).ok()?;
    u64::try_from(date.secs()).ok().map(Timestamp::from_secs)
}
