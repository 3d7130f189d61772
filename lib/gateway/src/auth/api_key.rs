//! API keys: a header, looked up in the control table by its hash and then known for a while (state.md §11).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::caller::{Caller, Identity};
use super::flights::Flights;
use super::key::{self, Hash, Pepper};
use super::known::{Grant, Known, Word};
use super::record::Record;
use super::{Challenge, Denied, Method, Presented};
use crate::bulletin::Bulletin;
use crate::clock::{Clock, Timestamp};
use crate::edge::equal;
use crate::exchange::{After, Request};
use crate::forward::BoxFuture;
use crate::gateway::World;
use crate::secret::{Derived, Secret, Secrets};
use crate::table::{Item, Reading, Table, TableError, Which};

/// For how long a request waits for the table; the table's adapter gives up before.
const BOUND: Duration = Duration::from_millis(150);

/// An entry of `auth` that identifies by API keys.
pub struct ApiKeys {
    name: Arc<str>,
    header: HeaderName,
    /// The newest first.
    peppers: Vec<Derived<Pepper>>,
    bulletin: Arc<Bulletin>,
    known: Known,
    flights: Flights<Result<Word, String>>,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("name", &self.name)
            .field("header", &self.header)
            .field("peppers", &self.peppers)
            .finish_non_exhaustive()
    }
}

impl ApiKeys {
    /// What [`Caller::via`] says of callers with a key.
    const VIA: &str = "api_key";

    /// The entry `name`, whose keys come in `header` and are hashed with `peppers`, the newest first. Keys that are taken
    /// back are told by `bulletin`.
    pub fn new(name: &str, header: HeaderName, peppers: Vec<Arc<Secret>>, bulletin: Arc<Bulletin>) -> Self {
        let (known, flights) = (Known::default(), Flights::default());
        let peppers = peppers.into_iter().map(Pepper::derived).collect();
        Self { name: name.into(), header, peppers, bulletin, known, flights }
    }

    /// Its name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The header that carries a key.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// What keys are hashed with, the newest first; and why one of them is not among these, for the log.
    pub fn peppers(&self) -> (Vec<Arc<Pepper>>, Option<String>) {
        let (mut peppers, mut missing) = (Vec::with_capacity(self.peppers.len()), None);
        for pepper in &self.peppers {
            match pepper.get() {
                Ok(pepper) => peppers.push(pepper),
                Err(why) => missing = missing.or(Some(why)),
            }
        }
        (peppers, missing)
    }

    /// The secrets that its peppers are made of.
    pub fn secrets(&self) -> Secrets {
        Secrets::new(self.peppers.iter().map(|pepper| Arc::clone(pepper.secret())))
    }

    pub(super) fn bulletin(&self) -> &Bulletin {
        &self.bulletin
    }

    pub(super) async fn identify(
        &self,
        headers: &HeaderMap,
        table: &dyn Table,
        clock: &dyn Clock,
    ) -> Result<Caller, Denied> {
        let mut fields = headers.get_all(&self.header).iter();
        let field = fields.next().ok_or(Denied::Missing)?;
        if fields.next().is_some() {
            return Err(Denied::Invalid(format!("there is more than one {}", self.header)));
        }
        let text = key::check(field.as_bytes()).map_err(|why| Denied::Invalid(format!("{}: {why}", self.name)))?;
        let (peppers, missing) = self.peppers();
        let Some(newest) = peppers.first() else {
            return Err(Denied::Unchecked(self.unresolved(missing.as_deref())));
        };
        let hash = newest.hash(text);
        let mut known = self.known.get(&hash, clock.now());
        if matches!(known, Some(Ok(_)))
            && let Some(taken_back) = self.bulletin.taken_back(table, clock).await
        {
            self.known.take_back(&taken_back);
            known = self.known.get(&hash, clock.now());
        }
        let word = match known {
            Some(word) => word,
            None => {
                let hashes: Vec<Hash> = peppers.iter().map(|pepper| pepper.hash(text)).collect();
                let items = peppers.iter().zip(&hashes).map(|(pepper, hash)| pepper.item(hash)).collect();
                let sought = Sought { hash, hashes, items, missing };
                let asked = self.flights.share(hash, || self.ask(sought, table, clock));
                Box::pin(asked).await.map_err(Denied::Unchecked)?
            }
        };
        word.and_then(|grant| self.admit(grant, clock.now())).map_err(|why| Denied::Invalid(why.to_string()))
    }

    /// A key that is known may have expired since.
    fn admit(&self, grant: Grant, now: Timestamp) -> Result<Caller, Arc<str>> {
        match grant.expires {
            Some(expires) if expires <= now.secs() => {
                Err(format!("{}: the key {} expired", self.name, grant.caller.id()).into())
            }
            _ => Ok(grant.caller),
        }
    }

    /// What the table says of a key, or what it said while that is good enough.
    async fn ask(&self, sought: Sought, table: &dyn Table, clock: &dyn Clock) -> Result<Word, String> {
        let Sought { hash, hashes, items, missing } = sought;
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        let asked_at = clock.now();
        let read = tokio::time::timeout(BOUND, self.read(&hashes, &items, table)).await;
        let away = match read {
            Ok(Ok(items)) => {
                let word = self.judge(&items, &hashes, missing.as_deref())?;
                self.known.keep(hash, &word, asked_at);
                return Ok(word);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {BOUND:?}"),
        };
        let outlasts = self.known.outlasts(&hash, clock.now());
        outlasts.map(Ok).ok_or_else(|| format!("{}: the table did not answer, {away}", self.name))
    }

    /// The items of a key. One that was taken back lately is read strongly, since another read may miss it.
    async fn read(&self, hashes: &[Hash], items: &[&str], table: &dyn Table) -> Result<Vec<Option<Item>>, TableError> {
        let listed = || {
            let last = self.bulletin.last();
            hashes.iter().any(|hash| last.lists(hash))
        };
        if !listed() {
            let read = table.get_many(Which::Control, items, Reading::Eventual).await?;
            if !listed() {
                return Ok(read);
            }
        }
        table.get_many(Which::Control, items, Reading::Strong).await
    }

    /// # Errors
    /// Why what was read tells nothing of the key.
    fn judge(&self, items: &[Option<Item>], hashes: &[Hash], missing: Option<&str>) -> Result<Word, String> {
        let name = &self.name;
        let refused = |why: String| Ok(Err(why.into()));
        let Some((item, hash)) = items.iter().zip(hashes).find_map(|(item, hash)| Some((item.as_ref()?, hash))) else {
            // It may be one of those that the pepper which is not here was used for.
            return match missing {
                Some(_) => Err(self.unresolved(missing)),
                None => refused(format!("{name}: no such key")),
            };
        };
        let Some(record) = Record::read(item) else {
            return Err(format!("{name}: the item of a key cannot be read by this version"));
        };
        if !equal(&record.hash, hash) {
            return refused(format!("{name}: the item of the key {} is another key's", record.id));
        }
        if *record.auth != **name {
            return refused(format!("{name}: the key {} is one of {}", record.id, record.auth));
        }
        if !record.active {
            return refused(format!("{name}: the key {} is revoked", record.id));
        }
        let Record { id, tenant, plan, scopes, expires, .. } = record;
        let scopes = scopes.into_iter().collect();
        let caller = Caller::of(Identity { via: Self::VIA, id, tenant, plan, scopes, ..Identity::default() });
        Ok(Ok(Grant { caller, stored: *hash, expires }))
    }

    fn unresolved(&self, missing: Option<&str>) -> String {
        format!("{}: the pepper {}", self.name, missing.unwrap_or("is none"))
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> (usize, usize) {
        self.known.counts()
    }
}

/// What a key is looked up by: its hash under each pepper, and the items that would hold it.
struct Sought {
    hash: Hash,
    hashes: Vec<Hash>,
    items: Vec<String>,
    missing: Option<String>,
}

impl Method for ApiKeys {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        world: &'a World,
        after: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        self.bulletin.renew_later(world, after);
        Box::pin(self.identify(asked.headers, &*world.table, &*world.clock))
    }

    fn strip(&self, request: &mut Request) {
        request.headers.remove(&self.header);
    }

    fn challenge(&self) -> Challenge {
        Challenge::Scheme("ApiKey")
    }

    fn describe(&self) -> String {
        let peppers: Vec<_> = self.peppers.iter().map(|pepper| pepper.secret().reference()).collect();
        format!("api_key in {}, pepper {}", self.header, peppers.join(" and "))
    }
}
