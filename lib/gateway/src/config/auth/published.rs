//! `keys` that an issuer publishes: `jwks_url` and `discover`.

use bytes::Bytes;

use crate::auth::Published;

use super::super::files::beside;
use super::super::read::Fields;
use super::Reader;

impl Reader<'_> {
    /// The keys at an address, or where the issuer's metadata says. Nothing of either is asked for here.
    pub(super) fn published(&mut self, fields: &mut Fields<'_>, issuer: Option<&str>, path: &str) -> Option<Published> {
        let ca_place = fields.take("ca").map(|node| node.place);
        let ca = self.trusted_authorities(fields, path);
        let (url, discover) = (fields.take("jwks_url"), fields.take("discover"));
        if let (Some(place), None, None) = (ca_place, url, discover) {
            self.problems.error(place, "`ca` goes with `jwks_url` and `discover`, which are asked for over TLS");
        }
        match (url, discover) {
            (Some(node), None) => {
                let url = self.fixed_text(node, "`jwks_url`")?;
                let keys = Published::at(&url, ca);
                if let Err(why) = &keys {
                    self.problems.error(node.place, format!("`jwks_url` \"{url}\" {why}"));
                }
                keys.ok()
            }
            (None, Some(node)) => {
                if !self.problems.boolean(node, "`discover`")? {
                    self.problems.error(node.place, "`discover: false` says nothing: leave it out");
                    return None;
                }
                let issuer = issuer?;
                let keys = Published::of(issuer, ca);
                if let Err(why) = &keys {
                    self.problems.error(node.place, format!("with `discover`, `issuer` \"{issuer}\" {why}"));
                }
                keys.ok()
            }
            (Some(_), Some(node)) => {
                self.problems.error(node.place, "`discover` finds what `jwks_url` says: write one of them");
                None
            }
            (None, None) => None,
        }
    }

    /// `ca`: the authorities to trust instead of the system's.
    pub(super) fn trusted_authorities(&mut self, fields: &mut Fields<'_>, path: &str) -> Option<Bytes> {
        let node = fields.take("ca")?;
        let file = self.problems.text(node, "`ca`")?;
        self.file(node, &beside(path, &file)).map(Bytes::from)
    }
}
