//! Who the front door says is calling: a client certificate that it ended TLS with, and whose signature it checked.
//!
//! API Gateway says both in `requestContext`, where no client can write. A load balancer hands certificates over in
//! fields; those of other front doors' events are the client's own, and are not looked at.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tollgate::exchange::{CertFrom, ClientCert, IamIdentity};

use super::raw::Raw;
use super::shape::{Certificate, Context, Front};

pub(super) fn of(
    front: Front,
    context: &mut Context<'_>,
    headers: &HeaderMap,
) -> (Option<ClientCert>, Option<IamIdentity>) {
    match front {
        Front::FunctionUrl | Front::HttpApi => {
            let certificate = context.authentication.take().and_then(|said| said.client_cert);
            let iam = context.authorizer.take().and_then(|said| said.0);
            let iam = iam.and_then(|iam| signed(iam.user_arn, iam.account_id, iam.user_id, iam.principal_org_id));
            (certificate.and_then(in_context), iam)
        }
        Front::HttpApiV1 | Front::RestApi => {
            let Some(said) = &mut context.identity else { return (None, None) };
            let certificate = said.client_cert.take().and_then(in_context);
            let parts = (said.user_arn.take(), said.account_id.take(), said.user.take(), said.principal_org_id.take());
            (certificate, signed(parts.0, parts.1, parts.2, parts.3))
        }
        Front::LoadBalancer { .. } => {
            let target_group = context.elb.take().and_then(|elb| elb.target_group_arn);
            (target_group.and_then(|target_group| in_fields(target_group.text(), headers)), None)
        }
    }
}

fn in_context(said: Certificate<'_>) -> Option<ClientCert> {
    let pem = said.client_cert_pem?.0;
    let text = Bytes::from(pem.into_owned());
    (!text.is_empty()).then_some(ClientCert { from: CertFrom::ApiGateway, text })
}

/// A listener that verifies says `-Leaf`, one that passes through says the whole chain, and neither says the other: a
/// request with both has one from the client, and nobody knows which.
fn in_fields(target_group: String, headers: &HeaderMap) -> Option<ClientCert> {
    let leaf = headers.get_all("x-amzn-mtls-clientcert-leaf").iter().map(|value| (value, true));
    let chain = headers.get_all("x-amzn-mtls-clientcert").iter().map(|value| (value, false));
    let mut said = leaf.chain(chain);
    let (value, verified) = said.next().filter(|_| said.next().is_none())?;
    let text = Bytes::copy_from_slice(HeaderValue::as_bytes(value));
    Some(ClientCert { from: CertFrom::Alb { target_group, verified }, text })
}

fn signed(
    arn: Option<Raw<'_>>,
    account: Option<Raw<'_>>,
    user_id: Option<Raw<'_>>,
    organization: Option<Raw<'_>>,
) -> Option<IamIdentity> {
    let text = |said: Option<Raw<'_>>| said.map(Raw::text).unwrap_or_default();
    let arn = text(arn);
    (!arn.is_empty()).then(|| IamIdentity {
        arn,
        account: text(account),
        user_id: text(user_id),
        organization: text(organization),
    })
}
