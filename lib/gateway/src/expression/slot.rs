//! What an expression reads of a request: one plain value, whether it is there, or a whole map.
//!
//! The check puts a name of ours in the place of each (`request.headers['x']` becomes one variable of that name), and
//! `cel` asks for a name when it comes to it: nothing is made of a request that is not looked at, and no map is
//! made to read one entry. The refused way was to give it `request` as a map of maps: ten times as slow.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelMapKey, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use http::HeaderMap;

use super::claims::{self, Claim};
use super::facts::{Facts, field};
use crate::digits::push_ip;

/// Room for most addresses.
const ADDRESS: usize = 16;

/// One plain text of a request, or of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    Literal(String),
    Method,
    Path,
    Host,
    Id,
    Ip,
    Scheme,
    Route,
    Param(String),
    Header(String),
    Query(String),
    Cookie(String),
    CallerId,
    CallerTenant,
    CallerPlan,
    CallerVia,
    ResponseHeader(String),
}

impl Access {
    /// Its value; `None` where the request has none.
    pub(super) fn text<'a>(&'a self, facts: &Facts<'a>) -> Option<Cow<'a, str>> {
        let text = match self {
            Self::Literal(text) => text,
            Self::Method => facts.method.as_str(),
            Self::Path => facts.path,
            Self::Host => facts.host,
            Self::Id => facts.id,
            Self::Scheme => facts.scheme.as_str(),
            Self::Route => facts.route,
            Self::Ip => {
                let mut text = String::with_capacity(ADDRESS);
                push_ip(&mut text, facts.ip);
                return Some(Cow::Owned(text));
            }
            Self::Header(name) => return field(facts.headers, name),
            Self::Query(name) => return facts.query_value(name),
            Self::ResponseHeader(name) => return field(facts.response?.headers, name),
            Self::Param(name) => facts.params.get(name)?,
            Self::Cookie(name) => facts.cookie(name)?,
            Self::CallerId => facts.caller?.id(),
            Self::CallerTenant => facts.caller?.tenant(),
            Self::CallerPlan => facts.caller?.plan(),
            Self::CallerVia => facts.caller?.via(),
        };
        Some(Cow::Borrowed(text))
    }
}

/// What part of the facts an expression may read, as far as policies ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Who calls.
    Caller,
    /// The client's address.
    Address,
    /// The upstream's answer.
    Response,
}

impl Access {
    fn part(&self) -> Option<Part> {
        match self {
            Self::CallerId | Self::CallerTenant | Self::CallerPlan | Self::CallerVia => Some(Part::Caller),
            Self::Ip => Some(Part::Address),
            Self::ResponseHeader(_) => Some(Part::Response),
            Self::Literal(_)
            | Self::Method
            | Self::Path
            | Self::Host
            | Self::Id
            | Self::Scheme
            | Self::Route
            | Self::Param(_)
            | Self::Header(_)
            | Self::Query(_)
            | Self::Cookie(_) => None,
        }
    }

    /// Whether it reads this.
    pub(super) fn reads(&self, part: Part) -> bool {
        self.part() == Some(part)
    }
}

/// What is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Params,
    Headers,
    Query,
    Cookies,
    Scopes,
    Groups,
    Claims,
    ResponseHeaders,
}

impl Whole {
    fn value<'a>(self, facts: &Facts<'a>) -> Option<Box<dyn Val + 'a>> {
        Some(match self {
            Self::Params => map(facts.params.iter().map(|(name, value)| (name.into(), value.into()))),
            Self::Headers => fields(facts.headers),
            Self::ResponseHeaders => fields(facts.response?.headers),
            Self::Query => map(facts.query_pairs()),
            Self::Cookies => map(facts.cookies().map(|(name, value)| (name.into(), value.into()))),
            Self::Scopes => list(facts.caller?.scopes()),
            Self::Groups => list(facts.caller?.groups()),
            Self::Claims => claims::map(facts.caller?.claims()),
        })
    }
}

/// What a name of ours stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    Text(Access),
    /// Whether there is one.
    Has(Access),
    /// A value of the claims, of whatever kind.
    Claim(Claim),
    /// Whether there is one.
    HasClaim(Claim),
    Status,
    Now,
    Whole(Whole),
}

impl Slot {
    fn reads(&self, part: Part) -> bool {
        match self {
            Self::Text(access) | Self::Has(access) => access.reads(part),
            Self::Status | Self::Whole(Whole::ResponseHeaders) => part == Part::Response,
            Self::Claim(_) | Self::HasClaim(_) | Self::Whole(Whole::Scopes | Whole::Groups | Whole::Claims) => {
                part == Part::Caller
            }
            Self::Now => false,
            Self::Whole(Whole::Params | Whole::Headers | Whole::Query | Whole::Cookies) => false,
        }
    }
}

/// The names of one expression. Few, so they are looked through.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<(String, Slot)>);

impl Slots {
    /// Keeps a name.
    pub(super) fn add(&mut self, name: &str, slot: Slot) {
        if self.get(name).is_none() {
            self.0.push((name.to_owned(), slot));
        }
    }

    /// What a name stands for.
    pub(super) fn get(&self, name: &str) -> Option<&Slot> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, slot)| slot)
    }

    /// Whether any of them reads this.
    pub(super) fn reads(&self, part: Part) -> bool {
        self.0.iter().any(|(_, slot)| slot.reads(part))
    }

    /// What is made before the expression is evaluated, since `cel` asks anew at each turn of a loop.
    pub(super) fn wholes<'a>(&'a self, facts: &Facts<'a>) -> impl Iterator<Item = (&'a str, Box<dyn Val + 'a>)> {
        self.0.iter().filter_map(move |(name, slot)| match slot {
            Slot::Whole(whole) => Some((name.as_str(), whole.value(facts)?)),
            Slot::Claim(claim) => {
                let value = claim.find(facts).filter(|value| claims::is_compound(value))?;
                Some((name.as_str(), claims::value(value)))
            }
            Slot::Text(_) | Slot::Has(_) | Slot::HasClaim(_) | Slot::Status | Slot::Now => None,
        })
    }
}

/// Answers `cel` out of one request.
pub(super) struct Lookup<'a> {
    pub(super) slots: &'a Slots,
    pub(super) facts: &'a Facts<'a>,
}

impl VariableResolver for Lookup<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        Some(match self.slots.get(variable)? {
            Slot::Text(access) => CowVal::owned(CelString::from(access.text(self.facts)?)),
            Slot::Has(access) => CowVal::owned(CelBool::from(access.text(self.facts).is_some())),
            Slot::Status => CowVal::owned(CelInt::from(i64::from(self.facts.response?.status.as_u16()))),
            Slot::Claim(claim) => {
                let value = claim.find(self.facts).filter(|value| !claims::is_compound(value))?;
                CowVal::from(claims::value(value))
            }
            Slot::HasClaim(claim) => CowVal::owned(CelBool::from(claim.find(self.facts).is_some())),
            Slot::Now => CowVal::owned(CelInt::from(i64::try_from(self.facts.now.secs()).ok()?)),
            Slot::Whole(_) => return None,
        })
    }
}

fn fields(headers: &HeaderMap) -> Box<dyn Val + '_> {
    map(headers.keys().filter_map(|name| Some((name.as_str().into(), field(headers, name.as_str())?))))
}

/// Of a repeated name the first value counts.
fn map<'a>(entries: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Box<dyn Val + 'a> {
    let mut map: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::new();
    for (name, value) in entries {
        map.entry(CelMapKey::String(name.into())).or_insert_with(|| Box::new(CelString::from(value)));
    }
    Box::new(CelMap::from(map))
}

fn list(items: &[String]) -> Box<dyn Val + '_> {
    let items = items.iter().map(|item| -> Box<dyn Val + '_> { Box::new(CelString::from(item.as_str())) });
    Box::new(CelList::from(items.collect::<Vec<_>>()))
}
