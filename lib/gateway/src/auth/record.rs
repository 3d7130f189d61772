//! What the control table holds of a key: everything but the key.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::key::Hash;
use crate::table::{Item, Value};

/// The schema of the items that are written here. A reader that meets another one lets nobody in.
pub(super) const SCHEMA: i128 = 1;

/// The attributes of `ak#<pepper>#<hash>`, short since they are stored with every key.
pub(super) mod attribute {
    pub(in crate::auth) const SCHEMA: &str = "z";
    pub(in crate::auth) const HASH: &str = "h";
    pub(in crate::auth) const AUTH: &str = "au";
    pub(in crate::auth) const ID: &str = "id";
    pub(in crate::auth) const TENANT: &str = "tn";
    pub(in crate::auth) const PLAN: &str = "pl";
    pub(in crate::auth) const SCOPES: &str = "sc";
    pub(in crate::auth) const STATUS: &str = "st";
    /// Seconds since the epoch; absent where the key does not expire.
    pub(in crate::auth) const EXPIRES: &str = "ex";
    pub(in crate::auth) const CREATED: &str = "ct";
    pub(in crate::auth) const VERSION: &str = "v";
    pub(in crate::auth) const SHOWN: &str = "nm";
}

pub(super) const ACTIVE: &str = "active";
pub(super) const REVOKED: &str = "revoked";

/// A key as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) hash: Hash,
    /// The entry of the config's `auth` that it belongs to.
    pub(super) auth: String,
    /// The caller's id: a key and those it is rotated to have the same.
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) plan: String,
    pub(super) scopes: BTreeSet<String>,
    pub(super) active: bool,
    pub(super) expires: Option<u64>,
    pub(super) created: u64,
    /// 1, and one more with each rotation.
    pub(super) version: u64,
    pub(super) shown: String,
}

impl Record {
    pub(super) fn item(&self) -> Item {
        let mut item = Item::new()
            .with(attribute::SCHEMA, SCHEMA)
            .with(attribute::HASH, Bytes::copy_from_slice(&self.hash))
            .with(attribute::AUTH, self.auth.as_str())
            .with(attribute::ID, self.id.as_str())
            .with(attribute::TENANT, self.tenant.as_str())
            .with(attribute::PLAN, self.plan.as_str())
            .with(attribute::STATUS, if self.active { ACTIVE } else { REVOKED })
            .with(attribute::CREATED, self.created)
            .with(attribute::VERSION, self.version)
            .with(attribute::SHOWN, self.shown.as_str());
        if !self.scopes.is_empty() {
            item.insert(attribute::SCOPES, self.scopes.clone());
        }
        if let Some(expires) = self.expires {
            item.insert(attribute::EXPIRES, expires);
        }
        item
    }

    /// `None` where the item is of another schema, or lacks what it must have. Whatever its status is, but active, is
    /// not active.
    pub(super) fn read(item: &Item) -> Option<Self> {
        let text = |name| item.text(name).map(str::to_owned);
        let number = |name| item.number(name).and_then(|number| u64::try_from(number).ok());
        if item.number(attribute::SCHEMA) != Some(SCHEMA) {
            return None;
        }
        let expires = match item.get(attribute::EXPIRES) {
            Some(_) => Some(number(attribute::EXPIRES)?),
            None => None,
        };
        Some(Self {
            hash: match item.get(attribute::HASH)? {
                Value::Binary(bytes) => bytes.as_ref().try_into().ok()?,
                Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::List(_) | Value::Set(_) => return None,
            },
            auth: text(attribute::AUTH)?,
            id: text(attribute::ID)?,
            tenant: text(attribute::TENANT)?,
            plan: text(attribute::PLAN)?,
            scopes: match item.get(attribute::SCOPES) {
                None => BTreeSet::new(),
                Some(_) => item.texts(attribute::SCOPES)?.clone(),
            },
            active: item.text(attribute::STATUS)? == ACTIVE,
            expires,
            created: number(attribute::CREATED)?,
            version: number(attribute::VERSION)?,
            shown: text(attribute::SHOWN)?,
        })
    }

    pub(super) fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            hash: [1; 32],
            auth: "partners".to_owned(),
            id: "k1".to_owned(),
            tenant: "acme".to_owned(),
            plan: "pro".to_owned(),
            scopes: ["a".to_owned(), "b".to_owned()].into(),
            active: true,
            expires: Some(2),
            created: 1,
            version: 3,
            shown: "gwk_live_abcd".to_owned(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let bare = Record { scopes: BTreeSet::new(), expires: None, active: false, ..record() };
        for record in [record(), bare] {
            assert_eq!(Record::read(&record.item()), Some(record));
        }
    }

    #[test]
    fn an_item_of_another_schema_or_with_a_part_missing_or_of_another_type_is_no_record() {
        assert_eq!(Record::read(&record().item().with(attribute::SCHEMA, 2)), None);
        for (name, _) in record().item().iter() {
            let without: Item = record().item().into_iter().filter(|(other, _)| other != name).collect();
            let optional = [attribute::SCOPES, attribute::EXPIRES].contains(&name);
            assert_eq!(Record::read(&without).is_some(), optional, "without {name}");
            let odd = Record::read(&record().item().with(name.to_owned(), true));
            assert_eq!(odd, None, "{name} is true");
        }
    }

    #[test]
    fn a_status_that_is_not_known_is_not_active() {
        let read = Record::read(&record().item().with(attribute::STATUS, "paused"));
        assert!(read.is_some_and(|record| !record.active));
    }
}
