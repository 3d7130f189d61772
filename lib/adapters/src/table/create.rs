//! Makes the two tables where they are missing, for local runs; on AWS they belong to the template.

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, Config};
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use tollgate::table::KEY;

use super::DynamoTable;

/// How often a table is looked at until it is active, and how far apart; AWS takes some seconds.
const LOOKS: u32 = 120;
const PAUSE: Duration = Duration::from_millis(250);

/// Why the tables could not be made.
#[derive(Debug, thiserror::Error)]
#[error("table {table}: {detail}")]
pub struct CreateError {
    /// The table's name.
    pub table: String,
    /// What happened.
    pub detail: String,
}

impl DynamoTable {
    /// Makes the two tables where they are missing, as state.md §14 has them: on demand, `pk` alone as key, and in the
    /// hot one expiry by `x`. Several processes may do so at once. Waits until both can be used, some seconds on AWS.
    ///
    /// # Errors
    /// The endpoint cannot be reached, or refuses.
    pub async fn create_tables(&self) -> Result<(), CreateError> {
        for (table, expires) in [(&self.hot, true), (&self.control, false)] {
            let failed = |detail: String| CreateError { table: table.clone(), detail };
            if self.status(table).await.map_err(failed)?.is_none() {
                self.create(table).await.map_err(failed)?;
            }
            self.wait_for(table).await.map_err(failed)?;
            if expires {
                self.expire(table).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    async fn status(&self, table: &str) -> Result<Option<TableStatus>, String> {
        match self.client.describe_table().table_name(table).customize().config_override(patient()).send().await {
            Ok(described) => Ok(described.table.and_then(|table| table.table_status)),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(DisplayErrorContext(&error).to_string()),
        }
    }

    async fn create(&self, table: &str) -> Result<(), String> {
        let text = |error: aws_sdk_dynamodb::error::BuildError| error.to_string();
        let attribute = AttributeDefinition::builder().attribute_name(KEY).attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder().attribute_name(KEY).key_type(KeyType::Hash);
        let create = self
            .client
            .create_table()
            .table_name(table)
            .attribute_definitions(attribute.build().map_err(text)?)
            .key_schema(key.build().map_err(text)?)
            .billing_mode(BillingMode::PayPerRequest);
        match create.customize().config_override(patient()).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
            Err(error) => Err(DisplayErrorContext(&error).to_string()),
        }
    }

    async fn wait_for(&self, table: &str) -> Result<(), String> {
        for _ in 0..LOOKS {
            if self.status(table).await? == Some(TableStatus::Active) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err("does not become active".to_owned())
    }

    async fn expire(&self, table: &str) -> Result<(), String> {
        if self.expires(table).await? {
            return Ok(());
        }
        let by = TimeToLiveSpecification::builder().enabled(true).attribute_name("x");
        let by = by.build().map_err(|error| error.to_string())?;
        let update = self.client.update_time_to_live().table_name(table).time_to_live_specification(by);
        match update.customize().config_override(patient()).send().await {
            Ok(_) => Ok(()),
            // Another process was first.
            Err(_) if self.expires(table).await? => Ok(()),
            Err(error) => Err(DisplayErrorContext(&error).to_string()),
        }
    }

    async fn expires(&self, table: &str) -> Result<bool, String> {
        let describe = self.client.describe_time_to_live().table_name(table);
        let described = describe.customize().config_override(patient()).send().await;
        let status = described
            .map_err(|error| DisplayErrorContext(&error).to_string())?
            .time_to_live_description
            .and_then(|description| description.time_to_live_status);
        Ok(matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)))
    }
}

/// Nobody's request waits here.
fn patient() -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(10))
        .build();
    Config::builder().timeout_config(timeouts).retry_config(RetryConfig::standard())
}
