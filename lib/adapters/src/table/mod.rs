//! The shared table on DynamoDB.
//!
//! [`DynamoTable`] renders the core's updates and conditions to expressions and answers into its errors; it decides
//! nothing. The SDK's own retries are off: whether a write may be sent twice is the write's to say (its [`Terms`]).

mod answer;
mod create;
mod dated;
mod health;
mod pool;
mod render;
mod send;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region, StalledStreamProtectionConfig};
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure,
};
use tollgate::clock::{Clock, SystemClock};
use tollgate::forward::BoxFuture;
use tollgate::table::{
    Item, KEY, Reading, Table, TableError, Terms, ThrottleReason, Update, Which, check_item, check_key,
};

use dated::Dated;
use health::Health;
use pool::Pool;
use render::{Names, attributes, item, key};
use send::Sending;

pub use create::CreateError;

/// For the connection that [`DynamoTable::warm`] makes.
const WARM: Duration = Duration::from_millis(300);

/// The region where only an endpoint is given: emulators take any.
const ANY_REGION: &str = "us-east-1";

/// The most keys of one `BatchGetItem`.
const BATCH: usize = 100;

/// Where the tables are.
#[derive(Debug, Clone)]
pub struct DynamoSettings {
    /// The hot table's name.
    pub hot: String,
    /// The control table's name.
    pub control: String,
    /// An endpoint of its own (`http://…`, `https://…`) instead of AWS's.
    pub endpoint: Option<String>,
    /// The region; `None` asks the environment, as every AWS program does.
    pub region: Option<String>,
    /// Credentials; `None` asks the environment, as every AWS program does.
    pub credentials: Option<StaticCredentials>,
    /// How long to wait for it.
    pub timeouts: Timeouts,
    /// Tells whether the environment was frozen since the last call, and hears the dates of the table's answers.
    pub clock: Arc<dyn Clock>,
}

/// How long to wait for the table: on a request's way, and for what is written behind the response (state.md §13.2).
/// Both use one client, whose own retries are off, so neither takes anything of the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For connecting, TLS included.
    pub connect: Duration,
    /// For the first sending of what may be sent again.
    pub attempt: Duration,
    /// For a whole call on a request's way, as its caller sees it.
    pub operation: Duration,
    /// For a whole call behind the response, which is one sending.
    pub behind: Duration,
    /// A sending on a request's way lives on for this long, counted from its start, when its caller gave up: so a slow
    /// handshake ends in a connection for the next call instead of being begun anew by each.
    pub sending: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(250),
            attempt: Duration::from_millis(60),
            operation: Duration::from_millis(130),
            behind: Duration::from_millis(250),
            sending: Duration::from_millis(500),
        }
    }
}

impl Default for DynamoSettings {
    fn default() -> Self {
        Self {
            hot: "tollgate-hot".to_owned(),
            control: "tollgate-control".to_owned(),
            endpoint: None,
            region: None,
            credentials: None,
            timeouts: Timeouts::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Credentials given as they are.
#[derive(Clone)]
pub struct StaticCredentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The session's token, of temporary credentials.
    pub session_token: Option<String>,
}

impl StaticCredentials {
    /// Credentials that no one checks, for emulators.
    pub fn dummy() -> Self {
        Self { access_key_id: "local".to_owned(), secret_access_key: "local".to_owned(), session_token: None }
    }
}

impl fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticCredentials").finish_non_exhaustive()
    }
}

/// The two tables on DynamoDB, or on whatever speaks its protocol.
pub struct DynamoTable {
    client: Client,
    hot: String,
    control: String,
    timeouts: Timeouts,
    health: Health,
    sdk: Option<SdkConfig>,
}

impl fmt::Debug for DynamoTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoTable").field("hot", &self.hot).field("control", &self.control).finish_non_exhaustive()
    }
}

impl DynamoTable {
    /// Makes the client; no call goes to the table yet (see [`Self::warm`]). Roots of trust are read only where the
    /// endpoint is not plain HTTP, and once.
    pub async fn connect(settings: DynamoSettings) -> Arc<Self> {
        let DynamoSettings { hot, control, endpoint, region, credentials, timeouts, clock } = settings;
        let plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let pool = Pool::new(plain, Arc::clone(&clock)).shared();
        let region = region.or_else(|| (endpoint.is_some() && credentials.is_some()).then(|| ANY_REGION.to_owned()));
        let mut sdk = None;
        let mut config = match (credentials, region) {
            (Some(credentials), Some(region)) => Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(region))
                .credentials_provider(given(credentials)),
            (credentials, region) => {
                let found = from_environment(credentials, region, (!plain).then(|| pool.clone())).await;
                aws_sdk_dynamodb::config::Builder::from(&*sdk.insert(found))
            }
        };
        let sending = TimeoutConfig::builder()
            .connect_timeout(timeouts.connect)
            .operation_attempt_timeout(timeouts.sending)
            .build();
        if endpoint.is_some() {
            config.set_endpoint_url(endpoint);
        }
        let config = config
            .http_client(Dated::shared(pool, Arc::clone(&clock)))
            .retry_config(RetryConfig::disabled())
            .timeout_config(sending)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Arc::new(Self { client: Client::from_conf(config), hot, control, timeouts, health: Health::new(clock), sdk })
    }

    /// What was found of this environment's region and credentials, where that was looked for.
    pub fn sdk(&self) -> Option<&SdkConfig> {
        self.sdk.as_ref()
    }

    /// Makes a connection ahead of the first request, by one read of an item that is not there. Waits 300 ms at most,
    /// and whatever comes of it is no error: the first request finds out for itself.
    pub async fn warm(&self) {
        let read = self.client.get_item().table_name(&self.hot).key(KEY, AttributeValue::S("rl#".to_owned()));
        _ = tokio::time::timeout(WARM, tokio::spawn(read.send())).await;
    }

    fn name(&self, which: Which) -> &str {
        match which {
            Which::Hot => &self.hot,
            Which::Control => &self.control,
        }
    }

    async fn get_one(
        &self,
        which: Which,
        key: &str,
        reading: Reading,
        sending: Sending,
    ) -> Result<Option<Item>, TableError> {
        let read = self
            .client
            .get_item()
            .table_name(self.name(which))
            .key(KEY, AttributeValue::S(key.to_owned()))
            .consistent_read(reading == Reading::Strong);
        let answer = self.send(sending, || read.clone().send()).await?;
        answer.item.map(item).transpose()
    }

    /// Reads up to [`BATCH`] distinct keys.
    async fn get_batch(
        &self,
        which: Which,
        keys: &[&str],
        reading: Reading,
        sending: Sending,
        found: &mut HashMap<String, Item>,
    ) -> Result<(), TableError> {
        let asked = |keys: Vec<HashMap<String, AttributeValue>>| {
            KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(reading == Reading::Strong).build()
        };
        let mut wanted: Vec<_> = keys.iter().map(|name| key(name)).collect();
        // What one call leaves unread, the next reads; a table that leaves something unread twice is overloaded.
        for _ in 0..2 {
            let asked = asked(wanted).map_err(|error| TableError::invalid(error.to_string()))?;
            let read = self.client.batch_get_item().request_items(self.name(which), asked);
            let answer = self.send(sending, || read.clone().send()).await?;
            for attributes in answer.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                if let Some(AttributeValue::S(name)) = attributes.get(KEY) {
                    found.insert(name.clone(), item(attributes)?);
                }
            }
            wanted = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, left)| left.keys).collect();
            if wanted.is_empty() {
                return Ok(());
            }
        }
        Err(TableError::Throttled { reason: ThrottleReason::Unknown })
    }
}

fn given(credentials: StaticCredentials) -> Credentials {
    let StaticCredentials { access_key_id, secret_access_key, session_token } = credentials;
    Credentials::new(access_key_id, secret_access_key, session_token, None, "settings")
}

/// What is not given comes from where every AWS program looks for it.
async fn from_environment(
    credentials: Option<StaticCredentials>,
    region: Option<String>,
    client: Option<aws_sdk_dynamodb::config::SharedHttpClient>,
) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(client) = client {
        loader = loader.http_client(client);
    }
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(credentials) = credentials {
        loader = loader.credentials_provider(given(credentials));
    }
    loader.load().await
}

impl Table for DynamoTable {
    fn get_many<'a>(
        &'a self,
        which: Which,
        keys: &'a [&'a str],
        reading: Reading,
    ) -> BoxFuture<'a, Result<Vec<Option<Item>>, TableError>> {
        Box::pin(async move {
            keys.iter().try_for_each(|key| check_key(key))?;
            let sending = Sending::read();
            if let [key] = keys {
                return Ok(vec![self.get_one(which, key, reading, sending).await?]);
            }
            let mut distinct = keys.to_vec();
            distinct.sort_unstable();
            distinct.dedup();
            let mut found = HashMap::with_capacity(distinct.len());
            for batch in distinct.chunks(BATCH) {
                self.get_batch(which, batch, reading, sending, &mut found).await?;
            }
            Ok(keys.iter().map(|key| found.get(*key).cloned()).collect())
        })
    }

    fn put<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        item: Item,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<(), TableError>> {
        Box::pin(async move {
            check_key(key)?;
            check_item(key, &item)?;
            let mut names = Names::default();
            let condition = terms.condition.as_ref().map(|condition| names.condition(condition)).transpose()?;
            let (names, values) = names.maps();
            let put = self
                .client
                .put_item()
                .table_name(self.name(which))
                .set_item(Some(attributes(key, item)))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(OnFailure::AllOld);
            self.send(Sending::of(terms), || put.clone().send()).await.map(drop)
        })
    }

    fn update<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        update: &'a Update,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<Item, TableError>> {
        Box::pin(async move {
            check_key(key)?;
            let mut names = Names::default();
            let expression = names.update(update)?;
            let condition = terms.condition.as_ref().map(|condition| names.condition(condition)).transpose()?;
            let (names, values) = names.maps();
            let update = self
                .client
                .update_item()
                .table_name(self.name(which))
                .key(KEY, AttributeValue::S(key.to_owned()))
                .set_update_expression(expression)
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .return_values(ReturnValue::AllNew)
                .return_values_on_condition_check_failure(OnFailure::AllOld);
            let answer = self.send(Sending::of(terms), || update.clone().send()).await?;
            item(answer.attributes.unwrap_or_default())
        })
    }

    fn delete<'a>(&'a self, which: Which, key: &'a str, terms: &'a Terms) -> BoxFuture<'a, Result<(), TableError>> {
        Box::pin(async move {
            check_key(key)?;
            let mut names = Names::default();
            let condition = terms.condition.as_ref().map(|condition| names.condition(condition)).transpose()?;
            let (names, values) = names.maps();
            let delete = self
                .client
                .delete_item()
                .table_name(self.name(which))
                .key(KEY, AttributeValue::S(key.to_owned()))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(OnFailure::AllOld);
            self.send(Sending::of(terms), || delete.clone().send()).await.map(drop)
        })
    }
}
