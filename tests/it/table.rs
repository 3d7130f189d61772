//! The shared table on DynamoDB: the contract, and that it answers as memory does.

use std::sync::Arc;

use tollgate::table::Table;

use crate::dynamo;

async fn dynamo_table() -> Arc<dyn Table> {
    dynamo::table().await
}

tollgate::table_contract!(dynamo_table);
