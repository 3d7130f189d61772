//! `client_certificate:`.

use std::sync::Arc;

use crate::auth::{Authorities, ClientCertificates, Method, Rule};
use crate::exchange::CertFrom;

use super::super::files::beside;
use super::super::read::Fields;
use super::super::tree::{Node, Value};
use super::Reader;

impl Reader<'_> {
    pub(super) fn client_certificate(&mut self, name: &str, node: &Node, path: &str) -> Option<Arc<dyn Method>> {
        let mut fields = Fields::of(node, "`client_certificate`", &mut self.problems)?;
        let authorities = fields.need("ca", &mut self.problems).and_then(|node| self.authorities(node, path));
        let from = fields.need("from", &mut self.problems).and_then(|node| self.handed_over_by(node));
        let allow = fields.need("allow", &mut self.problems).and_then(|node| self.allowed(node, Rule::parse));
        let granted = self.granted(&mut fields, true);
        fields.finish(&mut self.problems);
        Some(Arc::new(ClientCertificates::new(name, from?, authorities?, allow?, granted?)))
    }

    fn authorities(&mut self, node: &Node, path: &str) -> Option<Authorities> {
        let file = self.problems.text(node, "`ca`")?;
        let pem = self.file(node, &beside(path, &file))?;
        match Authorities::parse(&pem) {
            Ok(authorities) => Some(authorities),
            Err(why) => {
                self.problems.error(node.place, format!("\"{file}\" {why}"));
                None
            }
        }
    }

    /// `api_gateway`, `edge`, or `{alb: ARN, mode: passthrough}`.
    fn handed_over_by(&mut self, node: &Node) -> Option<CertFrom> {
        if let Value::Map(_) = node.value {
            return self.balancer(node);
        }
        let from = match self.problems.text(node, "`from`")?.as_str() {
            "api_gateway" => CertFrom::ApiGateway,
            "edge" => CertFrom::Edge,
            other => {
                let message =
                    format!("`from` \"{other}\" must be one of api_gateway, edge, {{alb: ARN of the target group}}");
                self.problems.error(node.place, message);
                return None;
            }
        };
        if from == CertFrom::Edge && !self.edge_certificate {
            let message =
                "`from: edge` needs `client_certificate` under `edge`, the header that the edge hands it over in";
            self.problems.error(node.place, message);
            return None;
        }
        Some(from)
    }

    fn balancer(&mut self, node: &Node) -> Option<CertFrom> {
        let mut fields = Fields::of(node, "`from`", &mut self.problems)?;
        let target_group = fields.need("alb", &mut self.problems).and_then(|node| {
            let arn = self.fixed_text(node, "`alb`")?;
            let fits =
                arn.starts_with("arn:aws") && arn.contains(":elasticloadbalancing:") && arn.contains(":targetgroup/");
            if !fits {
                self.problems.error(node.place, "`alb` must be the ARN of the target group that the gateway is in");
            }
            fits.then_some(arn)
        });
        let verified = match fields.take("mode") {
            Some(node) => self.problems.word(node, "`mode`", &[("verify", true), ("passthrough", false)]),
            None => Some(true),
        };
        fields.finish(&mut self.problems);
        Some(CertFrom::Alb { target_group: target_group?, verified: verified? })
    }
}
