//! Where a limit's counts are in the table, and into how many items they are divided (state.md §3.7, §4.7).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::algorithm::Meter;
use super::bucket::Bucket;
use super::key::Stem;
use super::rate::Rate;
use super::share::share;
use super::{Accuracy, Algorithm, Cost, Limit, LimitKey, Shards};
use crate::clock::Timestamp;

/// Grants a second that one item is spared from taking more than (state.md §4.2).
const GRANTS: u64 = 500;

/// What one shard is good for, in tokens a second (state.md §4.7).
const PER_SHARD: u64 = 25_000;

/// Writes a second that one shard is spared from seeing more than, of environments that each ask once a lease.
const WRITES: u64 = 400;

/// What one environment of Lambda's can serve a second, about, and how many of them an account has where nothing is
/// said. Only the config decides how a count is divided: two hosts that divided it otherwise would each give all of it.
const PER_ENVIRONMENT: u64 = 20;
const USUAL: u64 = 1_000;

/// The smallest part of a burst, and of a rate by the second, that is worth a shard of its own.
const LEAST_SHARD: u64 = 50;

/// How a limit's counts are in the table, and how they are asked there.
#[derive(Debug)]
pub(super) struct Division {
    pub(super) items: Items,
    pub(super) meter: Box<dyn Meter>,
    /// The smallest lease worth a write.
    pub(super) quantum: u64,
    /// Of the part that this environment has of it while the table does not answer, or where it counts alone.
    pub(super) local_meter: Box<dyn Meter>,
}

/// Where they are.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) stem: Stem,
    /// How its attributes end; nothing where its items are its own.
    pub(super) suffix: String,
    pub(super) with_via: bool,
    /// Into how many items each key's count is divided.
    pub(super) shards: u32,
}

impl Division {
    pub(super) fn of(limit: &Limit, environments: Option<NonZeroU32>) -> Self {
        let (rate, algorithm) = (limit.rate, limit.algorithm);
        let burst = algorithm.most(rate);
        let shards = Self::shards(limit);
        let meter: Box<dyn Meter> =
            if shards > 1 { Box::new(Bucket::shard(rate, burst, shards)) } else { algorithm.meter(rate) };
        let local_meter: Box<dyn Meter> = match environments {
            // Its share is a bucket, whatever the whole is.
            Some(environments) if environments.get() > 1 && limit.accuracy != Accuracy::Local => {
                Box::new(Bucket::local(&share(rate, burst, environments)))
            }
            Some(_) | None => algorithm.meter(rate),
        };
        Self {
            items: Items::of(&limit.config, &limit.name, rate, &limit.by, algorithm, shards),
            quantum: (rate.count / rate.per.secs()).div_ceil(GRANTS * u64::from(shards)).max(1),
            meter,
            local_meter,
        }
    }

    /// As many as the writes of so many environments need (state.md §4.7), each with enough of the burst to be worth it.
    fn shards(limit: &Limit) -> u32 {
        let (rate, burst) = (limit.rate, limit.algorithm.most(limit.rate));
        if !limit.algorithm.can_be_sharded() || limit.accuracy == Accuracy::Local {
            return 1;
        }
        if let Shards::Fixed(shards) = limit.shards {
            return shards.get();
        }
        let per_second = rate.count / rate.per.secs();
        let environments = (per_second / PER_ENVIRONMENT).min(USUAL);
        let lease = limit.algorithm.meter(rate).longest_lease(Timestamp::default()).as_millis().max(1);
        let shards = (u128::from(environments) * 1_000).div_ceil(u128::from(WRITES) * lease);
        let needed = u64::try_from(shards).unwrap_or(u64::MAX).max(per_second.div_ceil(PER_SHARD));
        let cost = if let Cost::Fixed(cost) = limit.cost { cost } else { burst };
        // A shard of a slow limit would be asked for less than it can give.
        let bearable = (burst / LEAST_SHARD.max(cost)).min(per_second / LEAST_SHARD).min(u64::from(Shards::MOST));
        u32::try_from(needed.min(bearable)).unwrap_or(1).max(1)
    }
}

impl Items {
    /// Limits that count by the same expression share an item a subject, so that one write asks them all (state.md §3.7).
    /// Not those of a single item for everyone, which would only make it hotter, nor logs, which fill theirs, nor quotas,
    /// which have one a period.
    fn of(config: &str, name: &str, rate: Rate, by: &LimitKey, algorithm: Algorithm, shards: u32) -> Self {
        let mut kind = algorithm.kind(rate);
        if shards > 1 {
            kind.push_str(&format!("#{shards}"));
        }
        let (stem, suffix) = match by {
            LimitKey::By(by)
                if shards == 1 && !matches!(algorithm, Algorithm::SlidingLog | Algorithm::Quota { .. }) =>
            {
                (Stem::shared(config, by.source()), Stem::suffix(name, &kind))
            }
            LimitKey::Global | LimitKey::By(_) | LimitKey::Caller => (Stem::new(config, name, &kind), String::new()),
        };
        let with_via = matches!(by, LimitKey::By(by) if reads_caller_id(by.source()));
        Self { stem, suffix, with_via, shards }
    }
}

/// Tells limits that share items for how long what each of them writes must be kept.
pub(crate) fn share_items(limits: &[&Arc<Limit>]) {
    for limit in limits {
        let LimitKey::By(by) = &limit.by else { continue };
        let same = limits.iter().filter(|other| matches!(&other.by, LimitKey::By(of) if of.source() == by.source()));
        let longest = same.map(|other| other.algorithm.horizon(other.rate)).max().unwrap_or(0);
        limit.horizon.store(longest, Ordering::Relaxed);
    }
}

/// A number below `most`, by these bits.
pub(super) fn nth(bits: u64, most: u32) -> u32 {
    let spread = u128::from(bits.wrapping_mul(0x9E37_79B9_7F4A_7C15)) * u128::from(most);
    u32::try_from(spread >> 64).unwrap_or(0)
}

/// Whether a key may hold `caller.id`, which counts together with how the caller was identified.
pub(super) fn reads_caller_id(source: &str) -> bool {
    let source: String = source.chars().filter(|letter| !letter.is_whitespace()).collect();
    source.contains("caller.id") || source.contains("caller[")
}
