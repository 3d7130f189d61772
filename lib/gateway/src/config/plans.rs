//! `plans:`, and the limits that are the caller's plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limit::{Accuracy, Algorithm, ByPlan, Limit, LimitKey, OnStoreFailure, Per, Plan, Plans, Rate, Used, Zone};
use crate::mode::Mode;

use super::Reader;
use super::files::Document;
use super::limits::{LimitUse, unknown};
use super::problem::Place;
use super::read::{Fields, items, nearest};
use super::tree::{Node, Value};

impl Reader<'_> {
    /// All plans of one file.
    pub(crate) fn read_plans(&mut self, document: &Document, on_store_failure: Option<OnStoreFailure>) {
        let Some(plans) = document.node.get("plans") else { return };
        for (key, node) in self.problems.entries(plans, "`plans`") {
            self.problems.name(&key.name, key.place, "the plan");
            if self.plans.contains_key(&key.name) {
                self.problems.error(key.place, format!("the plan \"{}\" is declared twice", key.name));
                continue;
            }
            let plan = self.plan(&key.name, node, on_store_failure);
            self.plans.insert(key.name.clone(), plan.map(Arc::new));
        }
    }

    fn plan(&mut self, name: &str, node: &Node, on_store_failure: Option<OnStoreFailure>) -> Option<Plan> {
        let mut fields = Fields::of(node, "a plan", &mut self.problems)?;
        let (limits, quota) = (fields.take("limits"), fields.take("quota"));
        let written = fields.take("time_zone");
        if let (Some(node), None) = (written, quota) {
            self.problems.warn(node.place, "a `time_zone` without a `quota` changes nothing");
        }
        let zone = written.map_or(Some(Zone::UTC), |node| self.time_zone(node));
        let mut all = Some(Vec::new());
        for (nth, node) in limits.map(items).unwrap_or_default().iter().enumerate() {
            let name = if nth == 0 { format!("plan:{name}") } else { format!("plan:{name}:{}", nth + 1) };
            let limit = self.plan_limit(&name, node, on_store_failure);
            all = all.zip(limit).map(|(mut all, limit)| {
                all.push(Arc::new(limit));
                all
            });
        }
        if let Some(node) = quota {
            let quota = self.quota(name, node, zone);
            all = all.zip(quota).map(|(mut all, quota)| {
                all.push(Arc::new(quota));
                all
            });
        }
        fields.finish(&mut self.problems);
        Some(Plan { name: Arc::from(name), limits: all? })
    }

    fn plan_limit(&mut self, name: &str, node: &Node, on_store_failure: Option<OnStoreFailure>) -> Option<Limit> {
        if let Some(by_plan) = node.get("plan") {
            self.problems.error(by_plan.place, "a limit of a plan cannot be by plan: write its `rate`");
            return None;
        }
        let limit = self.limit(name, node, on_store_failure)?;
        if limit.before_identify {
            let place = node.get("before").map_or(node.place, |before| before.place);
            self.problems.error(place, "the limit of a plan cannot come before the caller is known");
            return None;
        }
        Some(limit)
    }

    /// `quota:` of a plan. A hard one fails closed where nothing else is said: it is what is paid for (state.md §13.1).
    fn quota(&mut self, plan: &str, node: &Node, zone: Option<Zone>) -> Option<Limit> {
        let mut fields = Fields::of(node, "a quota", &mut self.problems)?;
        let limit = fields.need("limit", &mut self.problems).and_then(|node| self.quota_limit(node));
        let per = fields.need("per", &mut self.problems).and_then(|node| {
            let periods = [Per::Hour, Per::Day, Per::Week, Per::Month].map(|per| (period(per), per));
            self.problems.word(node, "`per`", &periods)
        });
        let by = match fields.take("by") {
            Some(node) => self.limit_key(node),
            None => Some(LimitKey::Caller),
        };
        let soft = match fields.take("soft") {
            Some(node) => self.problems.boolean(node, "`soft`"),
            None => Some(false),
        };
        let on_store_failure = match fields.take("on_store_failure") {
            Some(node) => self.quota_without_table(node, soft == Some(true)),
            None if soft == Some(true) => Some(OnStoreFailure::Open),
            None => Some(OnStoreFailure::Closed),
        };
        fields.finish(&mut self.problems);
        let rate = Rate { count: limit?, per: per? };
        let name = Arc::from(format!("plan:{plan}:quota"));
        let quota = Limit::new(Arc::clone(&self.name), name, rate, by?, on_store_failure?);
        Some(quota.counted_by(Algorithm::Quota { zone: zone?, soft: soft? }).of_plan(plan).accurate(Accuracy::Exact))
    }

    fn quota_without_table(&mut self, node: &Node, soft: bool) -> Option<OnStoreFailure> {
        let read = self.read_on_store_failure(node)?;
        if soft && read == OnStoreFailure::Closed {
            self.problems.error(node.place, "a soft quota refuses nothing: its `on_store_failure` is open or local");
            return None;
        }
        Some(read)
    }

    fn quota_limit(&mut self, node: &Node) -> Option<u64> {
        if matches!(&node.value, Value::Number(number) if number == "0") {
            self.problems.error(node.place, "a quota of 0 lets nothing pass: its `limit` must be at least 1");
            return None;
        }
        self.problems.integer(node, "`limit`", 1, i64::MAX).and_then(|limit| u64::try_from(limit).ok())
    }

    fn time_zone(&mut self, node: &Node) -> Option<Zone> {
        let name = self.problems.text(node, "`time_zone`")?;
        let found = Zone::find(&name);
        if let Some(zone) = found.filter(|zone| zone.name() == name) {
            return Some(zone);
        }
        let meant = found.map(Zone::name).or_else(|| nearest(&name, Zone::names()));
        let message = match meant {
            Some(meant) => format!("unknown `time_zone` \"{name}\", did you mean \"{meant}\"?"),
            None => format!("unknown `time_zone` \"{name}\": write an IANA name, like Europe/Berlin or UTC"),
        };
        self.problems.error(node.place, message);
        None
    }

    /// `{plan: true, default: free}`.
    pub(crate) fn by_plan(&mut self, name: &str, node: &Node) -> Option<ByPlan> {
        let mut fields = Fields::of(node, "a limit by plan", &mut self.problems)?;
        let plan = fields.take_even_null("plan");
        let by_plan = plan.is_some_and(|node| self.is_true(node));
        let default = match fields.take("default") {
            Some(node) => self.known_plan(node).map(Some),
            None => Some(None),
        };
        let place = fields.place();
        fields.finish(&mut self.problems);
        if by_plan && self.plans.is_empty() {
            self.problems.error(place, "`plan: true` needs `plans`, and none is declared");
        }
        let by_plan = by_plan.then(|| ByPlan { name: Arc::from(name), plans: self.whole_plans(), default: None });
        Some(ByPlan { default: default?, ..by_plan? })
    }

    fn is_true(&mut self, node: &Node) -> bool {
        let truth = matches!(node.value, Value::Bool(true));
        if !truth {
            self.problems.error(node.place, "`plan` must be true: leave it out for a limit with a `rate` of its own");
        }
        truth
    }

    fn known_plan(&mut self, node: &Node) -> Option<Arc<Plan>> {
        let name = self.problems.text(node, "a plan")?;
        if let Some(plan) = self.plans.get(&name) {
            return plan.clone();
        }
        let message = unknown("plan", &name, self.plans.keys());
        self.problems.error(node.place, message);
        None
    }

    /// The plans that are right. Where one is not, the config is not used.
    pub(crate) fn whole_plans(&self) -> Plans {
        let whole = self.plans.iter().filter_map(|(name, plan)| Some((name.clone(), plan.clone()?)));
        Arc::new(whole.collect::<BTreeMap<_, _>>())
    }

    /// Warns where nobody proves who calls, and so nobody has a plan.
    pub(crate) fn warn_of_plans_nobody_has(&mut self, place: Place, uses: &[LimitUse], mode: Mode) {
        for used in uses {
            if let Used::Plan(plan) = &used.limit
                && plan.default.is_none()
                && used.mode.unwrap_or(mode) != Mode::Off
            {
                let message = format!(
                    "with `auth: none` nobody has a plan: without a `default` the limit \"{}\" refuses everyone",
                    plan.name
                );
                self.problems.warn(place, message);
            }
        }
    }
}

/// As `per:` has it.
const fn period(per: Per) -> &'static str {
    match per {
        Per::Second | Per::Minute | Per::Hour => "hour",
        Per::Day => "day",
        Per::Week => "week",
        Per::Month => "month",
    }
}
