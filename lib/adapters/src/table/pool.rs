//! The table's connections, dropped after a freeze.
//!
//! A frozen environment does not notice that the other side closed its idle connections, and would send the first
//! requests after it into them. So when the wall clock moved further than requests are apart in a busy environment,
//! there is a new pool.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::{IntoShared, RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpConnector};
use tollgate::clock::{Clock, Timestamp};

/// Since the last use, by the wall clock.
const FROZEN: Duration = Duration::from_secs(4);

pub(super) struct Pool {
    plain: bool,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
}

struct Held {
    client: SharedHttpClient,
    used: Timestamp,
}

impl Pool {
    /// Connections without TLS where `plain`; roots are not even read then.
    pub(super) fn new(plain: bool, clock: Arc<dyn Clock>) -> Self {
        let held = Mutex::new(Held { client: connections(plain), used: clock.now() });
        Self { plain, clock, held }
    }

    pub(super) fn shared(self) -> SharedHttpClient {
        self.into_shared()
    }

    fn current(&self) -> SharedHttpClient {
        let now = self.clock.now();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(held.used) > FROZEN || held.used.since(now) > FROZEN {
            held.client = connections(self.plain);
        }
        held.used = now;
        held.client.clone()
    }
}

fn connections(plain: bool) -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    if plain {
        return builder.build_http();
    }
    builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
}

impl HttpClient for Pool {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        self.current().http_connector(settings, components)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("plain", &self.plain).finish_non_exhaustive()
    }
}
