//! `limits:` and the lists of limits on routes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::expression::{Part, Place as Stands};
use crate::limit::{Accuracy, Algorithm, Cost, FieldSet, Limit, LimitKey, OnStoreFailure, Rate, Shards, Used};
use crate::mode::Mode;

use super::Reader;
use super::files::Document;
use super::problem::Place;
use super::read::{Fields, items, nearest};
use super::tree::{Node, Value};

/// One use of a limit as written; without a mode of its own it has its route's.
#[derive(Clone)]
pub(crate) struct LimitUse {
    pub(crate) limit: Used,
    pub(crate) mode: Option<Mode>,
}

impl Reader<'_> {
    /// All limits of one file.
    pub(crate) fn read_limits(&mut self, document: &Document, on_store_failure: Option<OnStoreFailure>) {
        let Some(limits) = document.node.get("limits") else { return };
        for (key, node) in self.problems.entries(limits, "`limits`") {
            self.problems.name(&key.name, key.place, "the limit");
            if self.limits.contains_key(&key.name) {
                self.problems.error(key.place, format!("the limit \"{}\" is declared twice", key.name));
                continue;
            }
            let limit = if node.get("plan").is_some() {
                self.by_plan(&key.name, node).map(|plan| Used::Plan(Arc::new(plan)))
            } else {
                self.limit(&key.name, node, on_store_failure).map(|limit| Used::Limit(Arc::new(limit)))
            };
            self.limits.insert(key.name.clone(), limit);
        }
    }

    pub(crate) fn limit(&mut self, name: &str, node: &Node, default_failure: Option<OnStoreFailure>) -> Option<Limit> {
        let mut fields = Fields::of(node, "a limit", &mut self.problems)?;
        fields.later(&["quota"]);
        let rate = fields.need("rate", &mut self.problems).and_then(|node| self.rate(node));
        let by = fields.need("by", &mut self.problems).and_then(|node| self.limit_key(node));
        let algorithm = self.algorithm(&mut fields, rate);
        let cost = match fields.take("cost") {
            Some(node) => self.cost(node, algorithm.zip(rate)),
            None => Some(Cost::Fixed(1)),
        };
        let accuracy = match fields.take("accuracy") {
            Some(node) => {
                let words = [Accuracy::Leased, Accuracy::Exact, Accuracy::Local];
                self.problems.word(node, "`accuracy`", &words.map(|accuracy| (accuracy.as_str(), accuracy)))
            }
            None => Some(Accuracy::default()),
        };
        let shards = match fields.take("shards") {
            Some(node) => self.shards(node, algorithm.zip(rate), cost.as_ref(), accuracy),
            None => Some(Shards::default()),
        };
        let before_identify = match fields.take("before") {
            Some(node) => self.before(node, by.as_ref(), cost.as_ref()),
            None => Some(false),
        };
        let ipv6_prefix = match fields.take("ipv6_prefix") {
            Some(node) => self.ipv6_prefix(node, by.as_ref()).map(Some),
            None => Some(None),
        };
        let headers = match fields.take("headers") {
            Some(node) => {
                let words = [FieldSet::Standard, FieldSet::Legacy, FieldSet::Both];
                self.problems.word(node, "`headers`", &words.map(|headers| (headers.as_str(), headers)))
            }
            None => Some(FieldSet::default()),
        };
        let on_store_failure = match fields.take("on_store_failure") {
            Some(node) => self.read_on_store_failure(node),
            None => accuracy.map(|accuracy| default_failure.unwrap_or(OnStoreFailure::usual(accuracy))),
        };
        fields.finish(&mut self.problems);
        let limit = Limit::new(Arc::clone(&self.name), Arc::from(name), rate?.0, by?, on_store_failure?);
        let limit = limit.counted_by(algorithm?).costing(cost?).accurate(accuracy?).sharded(shards?);
        Some(limit.before_identify(before_identify?).counting_networks(ipv6_prefix?).told_in(headers?))
    }

    fn rate(&mut self, node: &Node) -> Option<(Rate, Place)> {
        let text = self.problems.text(node, "`rate`")?;
        match Rate::parse(&text) {
            Ok(rate) => Some((rate, node.place)),
            Err(why) => {
                self.problems.error(node.place, why);
                None
            }
        }
    }

    /// `auto`, or so many of which each can let a request pass.
    fn shards(
        &mut self,
        node: &Node,
        of: Option<(Algorithm, (Rate, Place))>,
        cost: Option<&Cost>,
        accuracy: Option<Accuracy>,
    ) -> Option<Shards> {
        let (algorithm, (rate, _)) = of?;
        if !algorithm.can_be_sharded() {
            self.belongs(Some(node), "shards", "token_bucket, and leaky_bucket without `queue`");
            return None;
        }
        if accuracy? == Accuracy::Local {
            self.belongs(Some(node), "shards", "limits that count in the table, not to `accuracy: local`");
            return None;
        }
        if matches!(&node.value, Value::Text(text) if text == "auto") {
            return Some(Shards::Auto);
        }
        let shards = match node.value {
            Value::Number(_) => self.problems.integer(node, "`shards`", 1, Shards::MOST.into())?,
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                let message = format!("`shards` must be auto, or a whole number from 1 to {}", Shards::MOST);
                self.problems.error(node.place, message);
                return None;
            }
        };
        let shards = u32::try_from(shards).ok().and_then(NonZeroU32::new)?;
        let burst = algorithm.most(rate);
        let (each, least) = (burst / u64::from(shards.get()), if let Cost::Fixed(cost) = cost? { *cost } else { 1 });
        if each < least {
            let message = format!(
                "each of {shards} shards would have {each} of the burst of {burst}, less than a request costs: {most} at most",
                most = (burst / least).max(1)
            );
            self.problems.error(node.place, message);
            return None;
        }
        Some(Shards::Fixed(shards))
    }

    /// `before: identify`, where nothing that the limit reads is known only later.
    fn before(&mut self, node: &Node, by: Option<&LimitKey>, cost: Option<&Cost>) -> Option<bool> {
        self.problems.word(node, "`before`", &[("identify", ())])?;
        let by = matches!(by?, LimitKey::By(by) if by.reads(Part::Caller));
        let cost = matches!(cost?, Cost::Of(cost) if cost.reads(Part::Caller));
        for (reads, what) in [(by, "by"), (cost, "cost")] {
            if reads {
                let message =
                    format!("`before: identify` is asked before anyone is known, and `{what}` reads `caller`");
                self.problems.error(node.place, message);
            }
        }
        (!by && !cost).then_some(true)
    }

    fn ipv6_prefix(&mut self, node: &Node, by: Option<&LimitKey>) -> Option<u8> {
        let prefix = self.problems.integer(node, "`ipv6_prefix`", 1, 128)?;
        if !matches!(by?, LimitKey::By(by) if by.reads(Part::Address)) {
            self.belongs(Some(node), "ipv6_prefix", "a `by` that reads `request.ip`");
            return None;
        }
        u8::try_from(prefix).ok()
    }

    /// `algorithm:` and the keys that belong to one or two of them.
    fn algorithm(&mut self, fields: &mut Fields<'_>, rate: Option<(Rate, Place)>) -> Option<Algorithm> {
        let written = fields.take("algorithm");
        let (burst, queue) = (fields.take("burst"), fields.take("queue"));
        let approximate = fields.take("approximate");
        let word = match written {
            Some(node) => self.problems.word(node, "`algorithm`", &WORDS)?,
            None => Word::TokenBucket,
        };
        if !matches!(word, Word::TokenBucket | Word::LeakyBucket) {
            self.belongs(burst, "burst", "token_bucket and leaky_bucket");
        }
        if !matches!(word, Word::LeakyBucket) {
            self.belongs(queue, "queue", "leaky_bucket");
        }
        if !matches!(word, Word::SlidingWindow) {
            self.belongs(approximate, "approximate", "sliding_window");
        }
        Some(match word {
            Word::TokenBucket => Algorithm::TokenBucket { burst: self.burst(burst, rate?.0.count, rate?.0)? },
            Word::LeakyBucket => {
                let queue = match queue {
                    Some(node) => self.queue(node)?,
                    None => Duration::ZERO,
                };
                // What queues is to leave one after the other (state.md §3.6).
                let usual = if queue.is_zero() { rate?.0.count } else { 1 };
                Algorithm::LeakyBucket { burst: self.burst(burst, usual, rate?.0)?, queue }
            }
            Word::FixedWindow => Algorithm::FixedWindow,
            Word::SlidingWindow => {
                let approximate = match approximate {
                    Some(node) => self.problems.boolean(node, "`approximate`")?,
                    None => false,
                };
                Algorithm::SlidingWindow { approximate }
            }
            Word::SlidingLog => {
                let (rate, place) = rate?;
                if rate.count > Algorithm::LARGEST_LOG {
                    let most = Algorithm::LARGEST_LOG;
                    let message = format!(
                        "a sliding_log keeps the time of each request, {most} at most: write `algorithm: sliding_window`"
                    );
                    self.problems.error(place, message);
                    return None;
                }
                Algorithm::SlidingLog
            }
        })
    }

    /// Complains of a key that is written where it means nothing.
    fn belongs(&mut self, written: Option<&Node>, key: &str, to: &str) {
        if let Some(node) = written {
            self.problems.error(node.place, format!("`{key}` belongs to {to}"));
        }
    }

    /// What takes longer to come back than [`Algorithm::LONGEST_WINDOW`] is a slip, and no item is kept for so long.
    fn burst(&mut self, written: Option<&Node>, usual: u64, rate: Rate) -> Option<u64> {
        let Some(node) = written else { return Some(usual) };
        let burst = self.problems.integer(node, "`burst`", 1, i64::MAX)?;
        let burst = u64::try_from(burst).ok()?;
        if (Algorithm::TokenBucket { burst }).window_secs(rate) > Algorithm::LONGEST_WINDOW.as_secs() {
            let days = Algorithm::LONGEST_WINDOW.as_secs() / 86_400;
            let message = format!("a `burst` of {burst} takes more than {days} days to come back at {rate}");
            self.problems.error(node.place, message);
            return None;
        }
        Some(burst)
    }

    fn queue(&mut self, node: &Node) -> Option<Duration> {
        let queue = self.problems.duration(node, "`queue`")?;
        if queue > Algorithm::LONGEST_QUEUE {
            let message = format!(
                "`queue` can be {:?} at most: waiting is billed and holds an environment",
                Algorithm::LONGEST_QUEUE
            );
            self.problems.error(node.place, message);
            return None;
        }
        Some(queue)
    }

    /// A number, or an expression. More than the limit ever has would never pass.
    fn cost(&mut self, node: &Node, of: Option<(Algorithm, (Rate, Place))>) -> Option<Cost> {
        if let Some((Algorithm::SlidingLog, _)) = of {
            let message = "each request is one entry of a sliding_log: for a `cost`, write `algorithm: sliding_window`";
            self.problems.error(node.place, message.to_owned());
            return None;
        }
        if !matches!(node.value, Value::Number(_)) {
            let cost = self.expression(node, "`cost`", Stands::Cost, &[])?;
            return Some(if cost.reads(Part::Response) { Cost::OfResponse(cost) } else { Cost::Of(cost) });
        }
        let cost = self.problems.integer(node, "`cost`", 1, i64::MAX).and_then(|cost| u64::try_from(cost).ok())?;
        let most = of.map_or(u64::MAX, |(algorithm, (rate, _))| algorithm.most(rate));
        if cost > most {
            self.problems.error(
                node.place,
                format!("`cost` is {cost} where the limit never has more than {most}: nothing would pass"),
            );
            return None;
        }
        Some(Cost::Fixed(cost))
    }

    pub(crate) fn limit_key(&mut self, node: &Node) -> Option<LimitKey> {
        let text = self.problems.text(node, "`by`")?;
        let by = match text.trim() {
            "global" => return Some(LimitKey::Global),
            "" => None,
            _ => Some(self.expression(node, "`by`", Stands::LimitKey, &[])?),
        };
        let by = by.filter(|by| by.constant() != Some(""));
        if by.is_none() {
            let message = "a constant empty `by` would put everyone into one bucket: write `by: global`";
            self.problems.error(node.place, message);
        }
        by.map(LimitKey::By)
    }

    pub(crate) fn read_on_store_failure(&mut self, node: &Node) -> Option<OnStoreFailure> {
        let words =
            [("local", OnStoreFailure::Local), ("open", OnStoreFailure::Open), ("closed", OnStoreFailure::Closed)];
        self.problems.word(node, "`on_store_failure`", &words)
    }

    /// `mode:` of a policy or a route, where it is written.
    pub(crate) fn mode(&mut self, fields: &mut Fields<'_>) -> Option<Mode> {
        let words = [Mode::Enforce, Mode::Shadow, Mode::Off].map(|mode| (mode.as_str(), mode));
        fields.take("mode").and_then(|node| self.problems.word(node, "`mode`", &words))
    }

    /// A route's list of limits: names, or `{use: name, mode: shadow}`.
    pub(crate) fn limit_uses(&mut self, node: &Node) -> Vec<LimitUse> {
        items(node).iter().filter_map(|item| self.limit_use(item)).collect()
    }

    fn limit_use(&mut self, node: &Node) -> Option<LimitUse> {
        let mut mode = None;
        let named = if let Value::Map(_) = node.value {
            let mut fields = Fields::of(node, "a limit's use", &mut self.problems)?;
            let named = fields.need("use", &mut self.problems);
            mode = self.mode(&mut fields);
            fields.finish(&mut self.problems);
            named?
        } else {
            node
        };
        let name = self.problems.text(named, "a limit")?;
        match self.limits.get(&name) {
            Some(limit) => limit.clone().map(|limit| LimitUse { limit, mode }),
            None => {
                let message = unknown("limit", &name, self.limits.keys());
                self.problems.error(named.place, message);
                None
            }
        }
    }
}

/// `unknown limit "x"…`, with what was likely meant or what there is.
pub(crate) fn unknown<'k>(what: &str, name: &str, known: impl Iterator<Item = &'k String> + Clone) -> String {
    if let Some(nearest) = nearest(name, known.clone().map(String::as_str)) {
        return format!("unknown {what} \"{name}\", did you mean \"{nearest}\"?");
    }
    let known: Vec<_> = known.map(String::as_str).collect();
    if known.is_empty() {
        format!("unknown {what} \"{name}\", none is declared")
    } else {
        format!("unknown {what} \"{name}\", there are {}", known.join(", "))
    }
}

/// What stands under `algorithm`.
#[derive(Clone, Copy)]
enum Word {
    TokenBucket,
    LeakyBucket,
    FixedWindow,
    SlidingWindow,
    SlidingLog,
}

const WORDS: [(&str, Word); 5] = [
    ("token_bucket", Word::TokenBucket),
    ("leaky_bucket", Word::LeakyBucket),
    ("fixed_window", Word::FixedWindow),
    ("sliding_window", Word::SlidingWindow),
    ("sliding_log", Word::SlidingLog),
];
