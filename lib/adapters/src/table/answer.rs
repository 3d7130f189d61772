//! DynamoDB's errors as the port's meanings.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use tollgate::table::{TableError, ThrottleReason};

use super::render::item;

/// An operation's error, which may be that a condition failed.
pub(super) trait Conditional: ProvideErrorMetadata + Error + Send + Sync + 'static {
    /// The failed condition.
    fn refusal(self) -> Result<ConditionalCheckFailedException, Self>
    where
        Self: Sized;
}

macro_rules! conditional {
    ($($error:ident),+) => {
        $(impl Conditional for $error {
            fn refusal(self) -> Result<ConditionalCheckFailedException, Self> {
                match self {
                    Self::ConditionalCheckFailedException(refusal) => Ok(refusal),
                    other => Err(other),
                }
            }
        })+
    };
}

conditional!(PutItemError, UpdateItemError, DeleteItemError);

impl Conditional for GetItemError {
    fn refusal(self) -> Result<ConditionalCheckFailedException, Self> {
        Err(self)
    }
}

impl Conditional for BatchGetItemError {
    fn refusal(self) -> Result<ConditionalCheckFailedException, Self> {
        Err(self)
    }
}

/// What an error means.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK's enum may grow")]
pub(super) fn error<E: Conditional>(error: SdkError<E>) -> TableError {
    let maybe_done = may_have_been_done(&error);
    let body = error.raw_response().and_then(|response| response.body().bytes()).map(<[u8]>::to_vec);
    let service = match error {
        SdkError::ServiceError(service) => service.into_err(),
        other => return unavailable(maybe_done, other),
    };
    let other = match service.refusal() {
        Ok(refusal) => return refused(refusal.item),
        Err(other) => other,
    };
    match other.code() {
        Some("ValidationException" | "SerializationException" | "ItemCollectionSizeLimitExceededException") => {
            TableError::invalid(other.message().unwrap_or("not said why"))
        }
        Some("ProvisionedThroughputExceededException" | "ThrottlingException") => {
            TableError::Throttled { reason: reason(&body.unwrap_or_default()) }
        }
        Some("RequestLimitExceeded") => TableError::Throttled { reason: ThrottleReason::Account },
        _ => unavailable(maybe_done, other),
    }
}

fn refused(old: Option<HashMap<String, AttributeValue>>) -> TableError {
    match old.map(item).transpose() {
        Ok(old) => TableError::Refused { old },
        Err(odd) => odd,
    }
}

/// The reason as `ThrottlingReasons` has it: `TableWriteKeyRangeThroughputExceeded` and the like. Of several, the one
/// that the most depends on.
fn reason(body: &[u8]) -> ThrottleReason {
    let says = |word: &str| body.windows(word.len()).any(|part| part == word.as_bytes());
    if says("AccountLimitExceeded\"") {
        ThrottleReason::Account
    } else if says("MaxOnDemandThroughputExceeded\"") || says("ProvisionedThroughputExceeded\"") {
        ThrottleReason::Table
    } else if says("KeyRangeThroughputExceeded\"") {
        ThrottleReason::KeyRange
    } else {
        ThrottleReason::Unknown
    }
}

/// Only what never left, or was answered with the caller's fault, certainly was not done.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK's enum may grow")]
fn may_have_been_done<E>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(service) => !service.raw().status().is_client_error(),
        SdkError::DispatchFailure(failure) => !failure.as_connector_error().is_some_and(|error| never_left(error)),
        _ => true,
    }
}

fn never_left(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let sent = error.downcast_ref::<hyper_util::client::legacy::Error>();
        if sent.is_some_and(hyper_util::client::legacy::Error::is_connect) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn unavailable(maybe_done: bool, error: impl Error + Send + Sync + 'static) -> TableError {
    TableError::Unavailable {
        maybe_done,
        detail: DisplayErrorContext(&error).to_string(),
        source: Some(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(kind: &str, reasons: &[&str]) -> String {
        let reasons: Vec<_> = reasons
            .iter()
            .map(|reason| format!(r#"{{"reason":"{reason}","resource":"arn:aws:dynamodb:eu-west-1:1:table/hot"}}"#))
            .collect();
        let reasons = reasons.join(",");
        format!(
            r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{kind}","message":"m","ThrottlingReasons":[{reasons}]}}"#
        )
    }

    #[test]
    fn every_reason_that_aws_gives_is_one_of_ours() {
        for kind in ["ThrottlingException", "ProvisionedThroughputExceededException"] {
            for of in ["TableRead", "TableWrite", "IndexRead", "IndexWrite"] {
                for (why, ours) in [
                    ("KeyRangeThroughputExceeded", ThrottleReason::KeyRange),
                    ("ProvisionedThroughputExceeded", ThrottleReason::Table),
                    ("MaxOnDemandThroughputExceeded", ThrottleReason::Table),
                    ("AccountLimitExceeded", ThrottleReason::Account),
                    ("SomethingNew", ThrottleReason::Unknown),
                ] {
                    let told = body(kind, &[&format!("{of}{why}")]);
                    assert_eq!(reason(told.as_bytes()), ours, "{told}");
                    assert_eq!(
                        reason(told.replace("ThrottlingReasons", "throttlingReasons").as_bytes()),
                        ours,
                        "{told}"
                    );
                }
            }
            assert_eq!(reason(body(kind, &[]).as_bytes()), ThrottleReason::Unknown, "{kind}");
        }
        assert_eq!(reason(b""), ThrottleReason::Unknown);
    }

    #[test]
    fn of_several_reasons_the_one_that_all_keys_suffer_from_counts() {
        let (key, table) = ("TableWriteKeyRangeThroughputExceeded", "TableWriteMaxOnDemandThroughputExceeded");
        let account = "TableWriteAccountLimitExceeded";
        for (reasons, ours) in [
            (&[key, key][..], ThrottleReason::KeyRange),
            (&[key, table], ThrottleReason::Table),
            (&[table, account], ThrottleReason::Account),
            (&[account, key], ThrottleReason::Account),
        ] {
            assert_eq!(reason(body("ThrottlingException", reasons).as_bytes()), ours, "{reasons:?}");
        }
    }
}
