//! Settings of the host: what belongs to where the gateway runs and not to its routes (config.md, *Host settings*).
//!
//! Read through a look-up that the caller passes in. Only a binary's `main.rs` hands over the environment; tests hand
//! over values.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;

use tollgate::clock::{Clock, IN_STEP, SystemClock, UNKNOWN, Watched};

use crate::aws::Endpoints;
use crate::door::health::HEALTH_PATH;
use crate::door::lambda::{LambdaSettings, ResponseMode};
use crate::table::DynamoSettings;
use crate::telemetry::LogLevel;

/// The host's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `TOLLGATE_CONFIG`: the route config, `/opt/gateway.yaml` where nothing is said.
    pub config: PathBuf,
    /// `TOLLGATE_HOT_TABLE`: the table of limits, leases and cached answers, `tollgate-hot` where nothing is said.
    pub hot_table: String,
    /// `TOLLGATE_CONTROL_TABLE`: the table of keys, tenants and switches, `tollgate-control` where nothing is said.
    pub control_table: String,
    /// `TOLLGATE_DYNAMODB_ENDPOINT`: where DynamoDB is, where it is not the region's own.
    pub dynamodb_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_SSM` and `AWS_ENDPOINT_URL_SECRETS_MANAGER`, as every AWS program takes them: where secrets are,
    /// where it is not the region's own.
    pub secrets: Endpoints,
    /// `TOLLGATE_LOG`: which exchanges are logged.
    pub log: LogLevel,
    /// `TOLLGATE_RESPONSE_MODE`: `buffered` or `stream`.
    pub response_mode: ResponseMode,
    /// `AWS_LAMBDA_RUNTIME_API`, set by the platform; `None` anywhere else.
    pub runtime_api: Option<String>,
    /// `AWS_LAMBDA_MAX_CONCURRENCY`, set by the platform where one process is handed many events at once; else 1.
    pub concurrency: NonZeroUsize,
    /// `TOLLGATE_RESERVED_CONCURRENCY`: how many environments there may be, this one included; `None` where nothing, or 0, is
    /// said.
    pub environments: Option<NonZeroU32>,
    /// `TOLLGATE_LISTEN`: serve plain HTTP there instead of Lambda's events.
    pub listen: Option<SocketAddr>,
    /// `TOLLGATE_HEALTH_PATH`: where a container's host or a load balancer asks whether the gateway serves,
    /// `/.tollgate/health` where nothing is said.
    pub health: String,
}

/// By which door requests come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoorSettings {
    /// Events of the Runtime API.
    Lambda(LambdaSettings),
    /// Plain HTTP on a socket.
    Web(WebSettings),
}

/// What the plain web server needs to know of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The health path.
    pub health: String,
}

/// A setting that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value:?}, expected {expected}")]
pub struct BadSetting {
    /// The variable's name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What it may be.
    pub expected: &'static str,
}

/// Every setting that cannot be taken, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSettings(pub Vec<BadSetting>);

impl std::error::Error for BadSettings {}

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl Settings {
    /// Reads the settings through `lookup`. A variable that is empty counts as not set.
    ///
    /// # Errors
    /// Every setting that cannot be taken.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, BadSettings> {
        let get = |name: &'static str| lookup(name).filter(|value| !value.is_empty());
        let mut problems = Vec::new();
        let mut choice = |name, expected, known: bool, value: Option<&String>| {
            if let Some(value) = value.filter(|_| !known) {
                problems.push(BadSetting { name, value: value.clone(), expected });
            }
        };

        let mode = get("TOLLGATE_RESPONSE_MODE");
        let response_mode = match mode.as_deref() {
            None | Some("buffered") => Some(ResponseMode::Buffered),
            Some("stream") => Some(ResponseMode::Stream),
            Some(_) => None,
        };
        choice("TOLLGATE_RESPONSE_MODE", "one of buffered, stream", response_mode.is_some(), mode.as_ref());

        let level = get("TOLLGATE_LOG");
        let log = match level.as_deref() {
            None | Some("all") => Some(LogLevel::All),
            Some("errors") => Some(LogLevel::Errors),
            Some("off") => Some(LogLevel::Off),
            Some(_) => None,
        };
        choice("TOLLGATE_LOG", "one of all, errors, off", log.is_some(), level.as_ref());

        let listen = get("TOLLGATE_LISTEN");
        let address = listen.as_deref().and_then(|address| address.parse().ok());
        choice("TOLLGATE_LISTEN", "an address and a port, like 0.0.0.0:8080", address.is_some(), listen.as_ref());

        let health = get("TOLLGATE_HEALTH_PATH");
        let is_path = health.as_deref().is_none_or(|path| path.starts_with('/') && !path.contains(['?', '#', ' ']));
        choice("TOLLGATE_HEALTH_PATH", "a path like /health", is_path, health.as_ref());

        let reserved = get("TOLLGATE_RESERVED_CONCURRENCY");
        let environments = reserved.as_deref().map_or(Ok(0), str::parse::<u32>).map(NonZeroU32::new);
        let expected = "a whole number, like the function's reserved concurrency, or 0";
        choice("TOLLGATE_RESERVED_CONCURRENCY", expected, environments.is_ok(), reserved.as_ref());

        // The platform's own, so that an odd one costs concurrency and not the start.
        let concurrency = get("AWS_LAMBDA_MAX_CONCURRENCY").and_then(|most| most.parse::<NonZeroUsize>().ok());

        if !problems.is_empty() {
            return Err(BadSettings(problems));
        }
        Ok(Self {
            config: get("TOLLGATE_CONFIG").unwrap_or_else(|| "/opt/gateway.yaml".to_owned()).into(),
            hot_table: get("TOLLGATE_HOT_TABLE").unwrap_or_else(|| "tollgate-hot".to_owned()),
            control_table: get("TOLLGATE_CONTROL_TABLE").unwrap_or_else(|| "tollgate-control".to_owned()),
            dynamodb_endpoint: get("TOLLGATE_DYNAMODB_ENDPOINT"),
            secrets: Endpoints::of(get),
            log: log.unwrap_or_default(),
            response_mode: response_mode.unwrap_or_default(),
            runtime_api: get("AWS_LAMBDA_RUNTIME_API"),
            environments: environments.ok().flatten().or(address.map(|_| NonZeroU32::MIN)),
            concurrency: concurrency.map_or(NonZeroUsize::MIN, |most| most.min(MOST_AT_ONCE)),
            listen: address,
            health: health.unwrap_or_else(|| HEALTH_PATH.to_owned()),
        })
    }

    /// The one clock of this process. Lambda keeps its environments' in step; of another host's nothing is known.
    pub fn clock(&self) -> Arc<dyn Clock> {
        let in_step = self.listen.is_none() && self.runtime_api.is_some();
        Arc::new(Watched::new(SystemClock, if in_step { IN_STEP } else { UNKNOWN }))
    }

    /// Where the tables are, timed by `clock`. An endpoint of its own takes the credentials of the environment like AWS's.
    pub fn table(&self, clock: Arc<dyn Clock>) -> DynamoSettings {
        DynamoSettings {
            clock,
            hot: self.hot_table.clone(),
            control: self.control_table.clone(),
            endpoint: self.dynamodb_endpoint.clone(),
            ..DynamoSettings::default()
        }
    }

    /// What the Lambda door needs; `None` where there is no Runtime API.
    pub fn lambda(&self) -> Option<LambdaSettings> {
        let (api, health) = (self.runtime_api.clone()?, self.health.clone());
        Some(LambdaSettings { api, mode: self.response_mode, concurrency: self.concurrency, health })
    }

    /// The door: where to listen wins over the Runtime API; `None` where there is neither.
    pub fn door(&self) -> Option<DoorSettings> {
        match self.listen {
            Some(listen) => Some(DoorSettings::Web(WebSettings { listen, health: self.health.clone() })),
            None => self.lambda().map(DoorSettings::Lambda),
        }
    }

    /// Whether one request at a time is served, as on classic Lambda: then a runtime of one thread costs least.
    pub fn one_at_a_time(&self) -> bool {
        self.listen.is_none() && self.concurrency.get() == 1
    }
}

/// Lanes to the Runtime API. AWS allows an environment 1,600 requests at once (Lambda Managed Instances).
const MOST_AT_ONCE: NonZeroUsize = NonZeroUsize::new(1_600).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, BadSettings> {
        Settings::read(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn what_is_not_set_or_empty_has_its_default() {
        let settings = read(&[("TOLLGATE_CONFIG", ""), ("TOLLGATE_LOG", "")]).unwrap();
        assert_eq!(
            settings,
            Settings {
                config: "/opt/gateway.yaml".into(),
                hot_table: "tollgate-hot".to_owned(),
                control_table: "tollgate-control".to_owned(),
                dynamodb_endpoint: None,
                secrets: Endpoints::default(),
                log: LogLevel::All,
                response_mode: ResponseMode::Buffered,
                runtime_api: None,
                concurrency: NonZeroUsize::MIN,
                environments: None,
                listen: None,
                health: "/.tollgate/health".to_owned(),
            }
        );
        assert_eq!(settings.door(), None);
    }

    #[test]
    fn every_setting_is_read() {
        let settings = read(&[
            ("TOLLGATE_CONFIG", "routes.yaml"),
            ("TOLLGATE_HOT_TABLE", "hot"),
            ("TOLLGATE_CONTROL_TABLE", "control"),
            ("TOLLGATE_DYNAMODB_ENDPOINT", "http://127.0.0.1:8000"),
            ("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:8001"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:8002"),
            ("TOLLGATE_LOG", "errors"),
            ("TOLLGATE_RESPONSE_MODE", "stream"),
            ("TOLLGATE_HEALTH_PATH", "/up"),
            ("TOLLGATE_RESERVED_CONCURRENCY", "100"),
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
            ("AWS_LAMBDA_MAX_CONCURRENCY", "64"),
        ])
        .unwrap();
        assert_eq!(settings.config, PathBuf::from("routes.yaml"));
        assert_eq!((settings.hot_table.as_str(), settings.control_table.as_str()), ("hot", "control"));
        assert_eq!(settings.dynamodb_endpoint.as_deref(), Some("http://127.0.0.1:8000"));
        assert_eq!(settings.secrets.ssm.as_deref(), Some("http://127.0.0.1:8001"));
        assert_eq!(settings.secrets.secretsmanager.as_deref(), Some("http://127.0.0.1:8002"));
        assert_eq!(settings.log, LogLevel::Errors);
        let lambda = LambdaSettings {
            api: "127.0.0.1:9001".to_owned(),
            mode: ResponseMode::Stream,
            concurrency: NonZeroUsize::new(64).unwrap(),
            health: "/up".to_owned(),
        };
        assert_eq!(settings.door(), Some(DoorSettings::Lambda(lambda)));
        assert!(!settings.one_at_a_time());
        assert_eq!(settings.environments, NonZeroU32::new(100));
    }

    #[test]
    fn nothing_and_0_reserve_no_concurrency_and_a_web_server_is_on_its_own() {
        for said in ["", "0"] {
            assert_eq!(read(&[("TOLLGATE_RESERVED_CONCURRENCY", said)]).unwrap().environments, None);
        }
        let web = read(&[("TOLLGATE_LISTEN", "127.0.0.1:8080")]).unwrap();
        assert_eq!(web.environments, NonZeroU32::new(1));
        for wrong in ["-1", "1.5", "many", " 3", "4294967296"] {
            assert!(read(&[("TOLLGATE_RESERVED_CONCURRENCY", wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lambda_keeps_its_clocks_in_step_and_of_others_nothing_is_known() {
        let api = ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001");
        let listen = ("TOLLGATE_LISTEN", "0.0.0.0:8080");
        for (set, error) in [(&[api][..], IN_STEP), (&[listen], UNKNOWN), (&[api, listen], UNKNOWN)] {
            assert_eq!(read(set).unwrap().clock().error(), error);
        }
    }

    #[test]
    fn where_to_listen_wins_over_the_runtime_api() {
        let settings = read(&[("TOLLGATE_LISTEN", "0.0.0.0:8080"), ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")]);
        let web = WebSettings { listen: "0.0.0.0:8080".parse().unwrap(), health: "/.tollgate/health".to_owned() };
        assert_eq!(settings.unwrap().door(), Some(DoorSettings::Web(web)));
    }

    #[test]
    fn an_odd_concurrency_of_the_platform_is_one_and_a_huge_one_is_bounded() {
        for (said, at_once) in [("0", 1), ("-1", 1), ("many", 1), ("1", 1), ("8", 8), ("100000", 1_600)] {
            let settings = read(&[("AWS_LAMBDA_MAX_CONCURRENCY", said)]).unwrap();
            assert_eq!((settings.concurrency.get(), settings.one_at_a_time()), (at_once, at_once == 1));
        }
    }

    #[test]
    fn all_wrong_values_are_told_at_once_with_what_would_be_right() {
        let problems = read(&[
            ("TOLLGATE_LOG", "loud"),
            ("TOLLGATE_RESPONSE_MODE", "streaming"),
            ("TOLLGATE_LISTEN", "8080"),
            ("TOLLGATE_HEALTH_PATH", "health"),
            ("TOLLGATE_RESERVED_CONCURRENCY", "all"),
        ])
        .unwrap_err();
        assert_eq!(
            problems.to_string(),
            "TOLLGATE_RESPONSE_MODE is \"streaming\", expected one of buffered, stream\n\
             TOLLGATE_LOG is \"loud\", expected one of all, errors, off\n\
             TOLLGATE_LISTEN is \"8080\", expected an address and a port, like 0.0.0.0:8080\n\
             TOLLGATE_HEALTH_PATH is \"health\", expected a path like /health\n\
             TOLLGATE_RESERVED_CONCURRENCY is \"all\", expected a whole number, like the function's reserved \
             concurrency, or 0"
        );
    }
}
