//! The control plane of API keys: makes, lists, rotates and revokes them. The gateway itself never writes any of this.
//!
//! Two kinds of items in the control table: `ak#<pepper>#<hash>`, a key; and `kt#<tenant>`, the set of a tenant's
//! keys, since the table cannot be searched. The set is written first: a process that ends in between leaves a member
//! that names nothing, never a key that no list shows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::ApiKeys;
use super::key::{ApiKey, Pepper, base62};
use super::record::{REVOKED, Record, SCHEMA, attribute};
use crate::clock::{Clock, Timestamp};
use crate::limit::Plans;
use crate::table::{Condition, Item, KEY, Reading, Subject, Table, TableError, Terms, Update, Which};

/// How many keys a tenant may have. Those that are revoked or expired make room when it is needed.
pub const MOST_KEYS: usize = 1_000;

/// How many scopes a key may have.
pub const MOST_SCOPES: usize = 64;

const LONGEST_SCOPE: usize = 128;
const LONGEST_NAME: usize = 64;
const LONGEST_TENANT: usize = 128;

/// The set of `kt#<tenant>`.
const KEYS: &str = "ks";

/// The keys of one entry of the config's `auth`.
#[derive(Debug)]
pub struct Keyring<'a> {
    /// The entry.
    pub keys: &'a ApiKeys,
    /// The plans that a key may have. Where the config has none, a plan is a word for expressions, and any may be.
    pub plans: &'a Plans,
    /// Where they are kept.
    pub table: &'a dyn Table,
    /// For expiry.
    pub clock: &'a dyn Clock,
}

/// Random bytes of one key.
#[derive(Clone, Copy)]
pub struct Seed {
    /// Of its secret.
    pub secret: [u8; 32],
    /// Of its id.
    pub id: [u8; 12],
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}

/// What a key is to be.
#[derive(Debug, Clone)]
pub struct Order {
    /// The environment in its text: `live`, `test`.
    pub env: String,
    /// Whose it is.
    pub tenant: String,
    /// The plan; may be empty.
    pub plan: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// For how long it is good; `None` until it is revoked.
    pub lives: Option<Duration>,
}

/// How a key is rotated.
#[derive(Debug, Clone, Default)]
pub struct Renewal {
    /// For how long the old keys are still good.
    pub overlap: Duration,
    /// For how long the new one is; `None` for as long as the last one was.
    pub lives: Option<Duration>,
    /// The new one's plan; `None` for the last one's.
    pub plan: Option<String>,
}

/// A key that was made.
#[derive(Debug)]
pub struct Made {
    /// The key. It is kept nowhere.
    pub key: ApiKey,
    /// What is kept of it.
    pub entry: Entry,
}

/// What was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenBack {
    /// How many keys.
    pub keys: usize,
    /// Whether the bulletin tells of all: then they are refused within [`super::REVOKED_WITHIN`], else within
    /// [`super::REVOKED_AT_LAST`].
    pub told: bool,
}

/// What is known of a key that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The caller's id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Its plan; may be empty.
    pub plan: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// Whether it is good.
    pub state: State,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// When it ends, likewise.
    pub expires: Option<u64>,
    /// 1, and one more with each rotation.
    pub version: u64,
    /// How its text begins.
    pub shown: String,
    /// Its pepper, as the config calls it; `None` where the config has it no more.
    pub pepper: Option<String>,
}

/// Whether a key is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Active,
    /// It was.
    Expired,
    /// It was until someone took it back.
    Revoked,
}

impl State {
    /// A word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The config does not have the plan: whoever has the key would be refused.
    #[error("unknown plan \"{plan}\"")]
    UnknownPlan {
        /// The plan.
        plan: String,
    },
    /// The tenant has no such key.
    #[error("the tenant \"{tenant}\" has no key {id} that is active")]
    NotFound {
        /// The tenant.
        tenant: String,
        /// The id.
        id: String,
    },
    /// The tenant has as many keys as it may, all of them good.
    #[error("the tenant \"{tenant}\" has {MOST_KEYS} keys, which is the most: revoke some")]
    Full {
        /// The tenant.
        tenant: String,
    },
    /// The pepper that new keys are hashed with is not here.
    #[error("the pepper of `auth: {auth}`: {why}")]
    NoPepper {
        /// The entry of `auth`.
        auth: String,
        /// Why it is not, with its reference.
        why: String,
    },
    /// The table.
    #[error("the table: {0}")]
    Table(#[from] TableError),
}

/// A key that is there, and under what.
struct Kept {
    item: String,
    record: Record,
}

impl Keyring<'_> {
    /// Makes a key.
    ///
    /// # Errors
    /// Any [`KeyringError`] but `NotFound`.
    pub async fn create(&self, order: &Order, seed: Seed) -> Result<Made, KeyringError> {
        let id = format!("k{}", base62(seed.id.to_vec(), 17));
        self.issue(order, seed, id, 1).await
    }

    /// The keys of a tenant, the oldest first.
    ///
    /// # Errors
    /// The table's.
    pub async fn list(&self, tenant: &str) -> Result<Vec<Entry>, KeyringError> {
        let now = self.clock.now();
        let kept = self.kept(tenant).await?;
        Ok(kept.into_iter().map(|Kept { item, record }| self.entry(&item, record, now)).collect())
    }

    /// Makes a new key for the same caller. Those that it had end after the overlap, or when they would have anyway.
    ///
    /// # Errors
    /// Any [`KeyringError`].
    pub async fn rotate(&self, tenant: &str, id: &str, renewal: Renewal, seed: Seed) -> Result<Made, KeyringError> {
        let standing = self.active(tenant, id).await?;
        let last = standing.iter().map(|kept| &kept.record).max_by_key(|record| record.version);
        let last = last.ok_or_else(|| not_found(tenant, id))?;
        let Renewal { overlap, lives, plan } = renewal;
        let same = || last.expires.map(|expires| Duration::from_secs(expires.saturating_sub(last.created)));
        let order = Order {
            env: last.shown.split('_').nth(1).unwrap_or_default().to_owned(),
            tenant: tenant.to_owned(),
            plan: plan.unwrap_or_else(|| last.plan.clone()),
            scopes: last.scopes.clone(),
            lives: lives.or_else(same),
        };
        let made = self.issue(&order, seed, id.to_owned(), last.version + 1).await?;
        let end = self.clock.now().plus(overlap).secs();
        for Kept { item, record } in &standing {
            if record.expires.is_none_or(|expires| expires > end) {
                self.change(item, Update::new().set(attribute::EXPIRES, end)).await?;
            }
        }
        // Those that nobody is told of are read again in a minute.
        self.tell(standing.iter().map(|kept| &kept.record)).await;
        Ok(made)
    }

    /// Takes back what keys a caller has.
    ///
    /// # Errors
    /// `NotFound`, or the table's.
    pub async fn revoke(&self, tenant: &str, id: &str) -> Result<TakenBack, KeyringError> {
        let standing = self.active(tenant, id).await?;
        if standing.is_empty() {
            return Err(not_found(tenant, id));
        }
        for Kept { item, .. } in &standing {
            self.change(item, Update::new().set(attribute::STATUS, REVOKED)).await?;
        }
        let told = self.tell(standing.iter().map(|kept| &kept.record)).await;
        Ok(TakenBack { keys: standing.len(), told })
    }

    /// Has every environment forget what it knows of these keys; whether all could be told.
    async fn tell(&self, records: impl Iterator<Item = &Record>) -> bool {
        let mut told = true;
        for record in records {
            told &= self.keys.bulletin().take_back(&record.hash, self.table, self.clock.now()).await.is_ok();
        }
        told
    }

    async fn issue(&self, order: &Order, seed: Seed, id: String, version: u64) -> Result<Made, KeyringError> {
        order.check()?;
        self.check_plan(&order.plan)?;
        let pepper = self.pepper()?;
        let key = ApiKey::new(&order.env, seed.secret).ok_or_else(|| {
            KeyringError::Invalid(format!("\"{}\" must be 1 to 16 lower-case letters or digits", order.env))
        })?;
        let hash = pepper.hash(key.reveal());
        let (item, now) = (pepper.item(&hash), self.clock.now());
        let record = Record {
            hash,
            auth: self.keys.name().to_owned(),
            id,
            tenant: order.tenant.clone(),
            plan: order.plan.clone(),
            scopes: order.scopes.clone(),
            active: true,
            expires: order.lives.map(|lives| now.plus(lives).secs()),
            created: now.secs(),
            version,
            shown: key.shown(),
        };
        self.enlist(&order.tenant, &item).await?;
        self.table.put(Which::Control, &item, record.item(), &Terms::when(Condition::missing(KEY))).await?;
        Ok(Made { key, entry: self.entry(&item, record, now) })
    }

    fn check_plan(&self, plan: &str) -> Result<(), KeyringError> {
        if plan.is_empty() || self.plans.is_empty() || self.plans.contains_key(plan) {
            return Ok(());
        }
        Err(KeyringError::UnknownPlan { plan: plan.to_owned() })
    }

    fn pepper(&self) -> Result<Arc<Pepper>, KeyringError> {
        let (peppers, missing) = self.keys.peppers();
        match (peppers.first(), missing) {
            (Some(pepper), None) => Ok(Arc::clone(pepper)),
            // The newest may be the one that is missing, and a key hashed with an old one would end with it.
            (_, missing) => {
                Err(KeyringError::NoPepper { auth: self.keys.name().to_owned(), why: missing.unwrap_or_default() })
            }
        }
    }

    /// Adds an item to those of a tenant.
    async fn enlist(&self, tenant: &str, item: &str) -> Result<(), KeyringError> {
        let index = index_of(tenant);
        let update = Update::new().set(attribute::SCHEMA, SCHEMA).join(KEYS, BTreeSet::from([item.to_owned()]));
        let room = Condition::missing(KEYS).or(Condition::below(Subject::Size(KEYS.into()), MOST_KEYS as u64));
        let terms = Terms::when(room).idempotent();
        match self.table.update(Which::Control, &index, &update, &terms).await {
            Err(TableError::Refused { .. }) => {
                self.make_room(tenant).await?;
                self.table.update(Which::Control, &index, &update, &terms).await.map(drop).map_err(
                    |error| match error {
                        TableError::Refused { .. } => KeyringError::Full { tenant: tenant.to_owned() },
                        error @ (TableError::Throttled { .. }
                        | TableError::Unavailable { .. }
                        | TableError::Invalid { .. }) => error.into(),
                    },
                )
            }
            done => Ok(done.map(drop)?),
        }
    }

    /// Drops the keys of a tenant that are over.
    async fn make_room(&self, tenant: &str) -> Result<(), KeyringError> {
        let (index, now) = (index_of(tenant), self.clock.now().secs());
        let members = self.members(tenant).await?;
        let (mut stay, mut go) = (BTreeSet::new(), Vec::new());
        for (member, record) in self.records(&members).await? {
            match record {
                Some(record) if record.active && !record.is_expired(now) => drop(stay.insert(member)),
                _ => go.push(member),
            }
        }
        let same = Terms::when(Condition::equal(KEYS, members));
        let mut item = Item::new().with(attribute::SCHEMA, SCHEMA);
        if !stay.is_empty() {
            item.insert(KEYS, stay);
        }
        self.table.put(Which::Control, &index, item, &same).await?;
        for member in go {
            self.table.delete(Which::Control, &member, &Terms::default().idempotent()).await?;
        }
        Ok(())
    }

    async fn change(&self, item: &str, update: Update) -> Result<(), KeyringError> {
        let terms = Terms::when(Condition::exists(KEY)).idempotent();
        self.table.update(Which::Control, item, &update, &terms).await?;
        Ok(())
    }

    /// The keys of a caller that can be used, now or until they expire.
    async fn active(&self, tenant: &str, id: &str) -> Result<Vec<Kept>, KeyringError> {
        let mut kept = self.kept(tenant).await?;
        kept.retain(|Kept { record, .. }| record.id == id && record.active);
        Ok(kept)
    }

    /// The keys of a tenant in this entry of `auth`, the oldest first.
    async fn kept(&self, tenant: &str) -> Result<Vec<Kept>, KeyringError> {
        let records = self.records(&self.members(tenant).await?).await?;
        let mut kept: Vec<_> =
            records.into_iter().filter_map(|(item, record)| Some(Kept { item, record: record? })).collect();
        kept.retain(|Kept { record, .. }| record.auth == self.keys.name());
        kept.sort_by(|a, b| {
            (a.record.created, &a.record.id, a.record.version).cmp(&(b.record.created, &b.record.id, b.record.version))
        });
        Ok(kept)
    }

    async fn members(&self, tenant: &str) -> Result<BTreeSet<String>, KeyringError> {
        let index = index_of(tenant);
        let read = self.table.get_many(Which::Control, &[&index], Reading::Strong).await?;
        let item = read.into_iter().flatten().next();
        Ok(item.as_ref().and_then(|item| item.texts(KEYS)).cloned().unwrap_or_default())
    }

    async fn records(&self, members: &BTreeSet<String>) -> Result<Vec<(String, Option<Record>)>, KeyringError> {
        if members.is_empty() {
            return Ok(Vec::new());
        }
        let items: Vec<&str> = members.iter().map(String::as_str).collect();
        let read = self.table.get_many(Which::Control, &items, Reading::Strong).await?;
        Ok(members.iter().cloned().zip(read.iter().map(|item| item.as_ref().and_then(Record::read))).collect())
    }

    fn entry(&self, item: &str, record: Record, now: Timestamp) -> Entry {
        let version = item.split('#').nth(1).unwrap_or_default();
        let (peppers, _) = self.keys.peppers();
        let pepper = peppers.iter().find(|pepper| pepper.version() == version);
        let state = match (record.active, record.is_expired(now.secs())) {
            (false, _) => State::Revoked,
            (true, true) => State::Expired,
            (true, false) => State::Active,
        };
        let Record { id, tenant, plan, scopes, created, expires, version, shown, .. } = record;
        let pepper = pepper.map(|pepper| pepper.reference().to_owned());
        Entry { id, tenant, plan, scopes, state, created, expires, version, shown, pepper }
    }
}

impl Order {
    fn check(&self) -> Result<(), KeyringError> {
        let wrong = |why: String| Err(KeyringError::Invalid(why));
        let printable = |text: &str| text.bytes().all(|b| (b' '..=b'~').contains(&b));
        let Self { tenant, plan, scopes, .. } = self;
        if tenant.is_empty() || tenant.len() > LONGEST_TENANT || !printable(tenant) {
            return wrong(format!("the tenant {tenant:?} must be 1 to {LONGEST_TENANT} ASCII characters"));
        }
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if plan.len() > LONGEST_NAME || !plan.bytes().all(named) {
            return wrong(format!("the plan {plan:?} must be up to {LONGEST_NAME} letters, digits, `-`, `_` or `.`"));
        }
        // RFC 6749 §3.3: printable ASCII without spaces, quotes and backslashes.
        let scope_fits = |scope: &&String| {
            (1..=LONGEST_SCOPE).contains(&scope.len())
                && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        };
        if let Some(scope) = scopes.iter().find(|scope| !scope_fits(scope)) {
            return wrong(format!("the scope {scope:?} must be 1 to {LONGEST_SCOPE} ASCII characters without spaces"));
        }
        if scopes.len() > MOST_SCOPES {
            return wrong(format!("{} scopes are more than {MOST_SCOPES}", scopes.len()));
        }
        Ok(())
    }
}

fn not_found(tenant: &str, id: &str) -> KeyringError {
    KeyringError::NotFound { tenant: tenant.to_owned(), id: id.to_owned() }
}

fn index_of(tenant: &str) -> String {
    format!("kt#{tenant}")
}
