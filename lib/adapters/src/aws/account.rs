//! Region and credentials, found where every AWS program looks for them, once and not before they are needed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::OnceCell;
use tollgate::clock::{Clock, Timestamp};

use crate::table::StaticCredentials;

/// Credentials are asked for anew this long before they end.
const AHEAD: Duration = Duration::from_secs(120);

/// Credentials without an end are asked for anew this often.
const UNENDING: Duration = Duration::from_secs(900);

/// After a failure nothing is asked for this long: whoever needs credentials meanwhile shares the failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The account that this program acts in.
pub struct Account {
    clock: Arc<dyn Clock>,
    sdk: OnceCell<SdkConfig>,
    held: Mutex<Held>,
    turn: tokio::sync::Mutex<()>,
}

/// What is known of the credentials, until when.
#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Good(Credentials, Timestamp),
    Failed(String, Timestamp),
}

impl Account {
    /// The account of the environment. `sdk` is what is already known of it; else nothing is looked up until it is needed.
    pub fn new(sdk: Option<SdkConfig>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let sdk = OnceCell::new_with(sdk);
        Arc::new(Self { clock, sdk, held: Mutex::default(), turn: tokio::sync::Mutex::default() })
    }

    /// An account that is known already: these credentials, in this region.
    pub fn given(credentials: StaticCredentials, region: &str, clock: Arc<dyn Clock>) -> Arc<Self> {
        let StaticCredentials { access_key_id, secret_access_key, session_token } = credentials;
        let credentials = Credentials::new(access_key_id, secret_access_key, session_token, None, "given");
        let sdk = SdkConfig::builder()
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        Self::new(Some(sdk), clock)
    }

    /// The time that signatures are made at.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The region.
    ///
    /// # Errors
    /// There is none.
    pub async fn region(&self) -> Result<&str, String> {
        let region = self.sdk().await.region();
        region.map(AsRef::as_ref).ok_or_else(|| "no region is set: AWS_REGION says which".to_owned())
    }

    async fn sdk(&self) -> &SdkConfig {
        // Boxed, since it is large and hardly ever runs.
        self.sdk.get_or_init(|| Box::pin(aws_config::defaults(BehaviorVersion::latest()).load())).await
    }

    /// Credentials that are good for a while yet.
    ///
    /// # Errors
    /// Why there are none, for the log.
    pub(super) async fn credentials(&self) -> Result<Credentials, String> {
        if let Some(known) = self.known() {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known() {
            return known;
        }
        let provider = self.sdk().await.credentials_provider();
        let provider = provider.ok_or_else(|| "this environment has no credentials".to_owned())?;
        let provided = provider.provide_credentials().await.map_err(|error| chain(&error));
        let now = self.clock.now();
        let held = match &provided {
            Ok(credentials) => Held::Good(credentials.clone(), good_until(credentials, now)),
            Err(why) => Held::Failed(why.clone(), now.plus(PAUSE)),
        };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        provided
    }

    fn known(&self) -> Option<Result<Credentials, String>> {
        let now = self.clock.now();
        match &*self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Held::Good(credentials, until) if now < *until => Some(Ok(credentials.clone())),
            Held::Failed(why, until) if now < *until => Some(Err(why.clone())),
            Held::Nothing | Held::Good(..) | Held::Failed(..) => None,
        }
    }
}

fn good_until(credentials: &Credentials, now: Timestamp) -> Timestamp {
    let end = credentials.expiry().and_then(|end| end.duration_since(UNIX_EPOCH).ok());
    end.map_or(now.plus(UNENDING), |end| Timestamp::default().plus(end.saturating_sub(AHEAD)))
}

/// As the SDK's types have it.
pub(super) fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(at.nanos())
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}
