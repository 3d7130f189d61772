//! The members of an event that are read, over all front doors, and which door an event's shape tells of.

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess};
use tollgate::clock::Timestamp;

use super::NotHttp;
use super::raw::{Lenient, Listed, Raw, ReadsMap, Single};

/// The front door that an event came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Front {
    /// A function URL, or an emulator of one: payload format 2.0, path and query byte for byte.
    #[default]
    FunctionUrl,
    /// An API Gateway HTTP API with payload format 2.0: the path is decoded and begins with the stage.
    HttpApi,
    /// An API Gateway HTTP API with payload format 1.0: as above, and the query is decoded too.
    HttpApiV1,
    /// An API Gateway REST API: the path as it was sent, the query decoded.
    RestApi,
    /// An Application Load Balancer: path and query as they were sent.
    LoadBalancer {
        /// Whether its target group has multi-value headers, both ways.
        lists: bool,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    #[serde(borrow)]
    version: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) raw_path: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) raw_query_string: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) cookies: Option<Vec<Option<Raw<'a>>>>,
    #[serde(borrow)]
    pub(super) headers: Option<Single<'a>>,
    #[serde(borrow)]
    pub(super) multi_value_headers: Option<Listed<'a>>,
    #[serde(borrow)]
    pub(super) http_method: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) path: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) query_string_parameters: Option<Single<'a>>,
    #[serde(borrow)]
    pub(super) multi_value_query_string_parameters: Option<Listed<'a>>,
    #[serde(borrow)]
    pub(super) request_context: Option<Context<'a>>,
    #[serde(borrow)]
    pub(super) body: Option<Raw<'a>>,
    pub(super) is_base64_encoded: Option<bool>,
    resource: Option<IgnoredAny>,
    // Marks of what is no request.
    route_arn: Option<IgnoredAny>,
    identity_source: Option<IgnoredAny>,
    method_arn: Option<IgnoredAny>,
    #[serde(rename = "Records")]
    records: Option<IgnoredAny>,
    #[serde(rename = "detail-type")]
    detail_type: Option<IgnoredAny>,
    #[serde(rename = "raw_path")]
    lattice_path: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Context<'a> {
    #[serde(borrow)]
    pub(super) domain_name: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) request_id: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) stage: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) http: Option<Http<'a>>,
    #[serde(borrow)]
    pub(super) protocol: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) identity: Option<Identity<'a>>,
    /// Payload format 2.0.
    pub(super) time_epoch: Option<Millis>,
    /// Payload format 1.0 and REST APIs.
    pub(super) request_time_epoch: Option<Millis>,
    #[serde(borrow)]
    pub(super) elb: Option<Elb<'a>>,
    /// Payload format 2.0: who ended TLS with a client's certificate.
    #[serde(borrow)]
    pub(super) authentication: Option<Authentication<'a>>,
    #[serde(borrow)]
    pub(super) authorizer: Option<Authorizer<'a>>,
    connection_id: Option<IgnoredAny>,
    service_arn: Option<IgnoredAny>,
    service_network_arn: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Http<'a> {
    #[serde(borrow)]
    pub(super) method: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) protocol: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) source_ip: Option<Raw<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Elb<'a> {
    #[serde(borrow)]
    pub(super) target_group_arn: Option<Raw<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Authentication<'a> {
    #[serde(borrow)]
    pub(super) client_cert: Option<Certificate<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate<'a> {
    #[serde(borrow)]
    pub(super) client_cert_pem: Option<Raw<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity<'a> {
    #[serde(borrow)]
    pub(super) source_ip: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) client_cert: Option<Certificate<'a>>,
    #[serde(borrow)]
    pub(super) user_arn: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) account_id: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) user: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) principal_org_id: Option<Raw<'a>>,
}

/// What an authorizer said. An authorizer of the user's own may say anything in any form, so only `iam` is looked at,
/// and only where it is a map: that the platform alone can write.
pub(super) struct Authorizer<'a>(pub(super) Option<Iam<'a>>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Iam<'a> {
    #[serde(borrow)]
    pub(super) user_arn: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) account_id: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) user_id: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) principal_org_id: Option<Raw<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Authorizer<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(Members)).map(Option::flatten).map(Self)
    }
}

/// The member `iam` of a map.
struct Members;

impl<'de> ReadsMap<'de> for Members {
    type Value = Option<Iam<'de>>;

    fn read_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut iam = None;
        while let Some(name) = map.next_key::<Raw<'de>>()? {
            if *name.0 == *b"iam" {
                iam = map.next_value_seed(Lenient(Said))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(iam)
    }
}

/// The members of `iam`.
struct Said;

impl<'de> ReadsMap<'de> for Said {
    type Value = Iam<'de>;

    fn read_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Iam::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Milliseconds since the epoch, or whatever else stands there: a time that cannot be read costs nothing else.
#[derive(Clone, Copy)]
pub(super) struct Millis(pub(super) Option<Timestamp>);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Told {
            Number(u64),
            Else(IgnoredAny),
        }
        Ok(match Told::deserialize(deserializer)? {
            Told::Number(millis) => Self(Some(Timestamp::from_millis(millis))),
            Told::Else(IgnoredAny) => Self(None),
        })
    }
}

impl Event<'_> {
    /// Which door it came through, by the marks that only the platform can set.
    ///
    /// # Errors
    /// What it is instead, or what it lacks.
    pub(super) fn front(&self) -> Result<Front, NotHttp> {
        let is = |why| Err(NotHttp { why });
        if self.route_arn.is_some() || self.identity_source.is_some() || self.method_arn.is_some() {
            return is("it asks an authorizer");
        }
        if self.records.is_some() {
            return is("it has `Records`, as those of queues, buckets and streams have");
        }
        if self.detail_type.is_some() {
            return is("it is of an event bus or a schedule");
        }
        if self.lattice_path.is_some() {
            return is("it is of VPC Lattice");
        }
        let Some(context) = &self.request_context else {
            return is("there is no `requestContext`");
        };
        if context.service_arn.is_some() || context.service_network_arn.is_some() {
            return is("it is of VPC Lattice");
        }
        if context.connection_id.is_some() {
            return is("it is of a WebSocket API");
        }
        match (self.version.as_ref().map(|version| &*version.0), &context.elb) {
            (None, Some(_)) => Ok(Front::LoadBalancer { lists: self.multi_value_headers.is_some() }),
            (Some(_), Some(_)) => is("it has both a `version` and a `requestContext.elb`"),
            (Some(b"2.0"), None) if context.is_function_url() => Ok(Front::FunctionUrl),
            (Some(b"2.0"), None) => Ok(Front::HttpApi),
            (Some(b"1.0"), None) => Ok(Front::HttpApiV1),
            (None, None) if self.resource.is_some() => Ok(Front::RestApi),
            (Some(_), None) => is("its `version` is neither 1.0 nor 2.0"),
            (None, None) => is("it has neither `version` nor `resource` nor `requestContext.elb`"),
        }
    }
}

impl Context<'_> {
    /// Whether the domain is a function URL's, or an emulator's.
    fn is_function_url(&self) -> bool {
        let domain = self.domain_name.as_ref().map_or(&b""[..], |domain| &domain.0);
        domain == b"localhost"
            || (domain.ends_with(b".on.aws") && domain.windows(LABEL.len()).any(|label| label == LABEL))
    }
}

const LABEL: &[u8] = b".lambda-url.";
