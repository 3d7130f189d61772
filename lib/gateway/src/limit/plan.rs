//! Plans: the limits and the quota that a caller's plan brings, found when the caller is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::taken::Taken;
use super::{Limit, Limits};
use crate::auth::Caller;
use crate::mode::{Mode, Shadowed};
use crate::refusal::Refusal;

/// What callers of one plan may take.
#[derive(Debug)]
pub struct Plan {
    /// Its name, unique in the config.
    pub name: Arc<str>,
    /// Its limits in the order they are asked, its quota last.
    pub limits: Vec<Arc<Limit>>,
}

/// The plans of a config by name.
pub type Plans = Arc<BTreeMap<String, Arc<Plan>>>;

/// A limit that is whatever the caller's plan has.
#[derive(Debug, Clone)]
pub struct ByPlan {
    /// Its name, unique among the limits of the config.
    pub name: Arc<str>,
    /// All plans.
    pub plans: Plans,
    /// The plan of callers who have none that the config has.
    pub default: Option<Arc<Plan>>,
}

impl ByPlan {
    /// The caller's plan.
    ///
    /// # Errors
    /// The refusal of a caller who has none, where there is no default.
    pub fn of(&self, caller: &Caller) -> Result<&Arc<Plan>, Refusal> {
        let plan = self.plans.get(caller.plan()).or(self.default.as_ref());
        plan.ok_or_else(|| Refusal::PlanUnknown { plan: caller.plan().to_owned() })
    }
}

/// What a route uses: a limit, or those of the caller's plan.
#[derive(Debug, Clone)]
pub enum Used {
    /// One limit, shared by all its uses.
    Limit(Arc<Limit>),
    /// The caller's plan.
    Plan(Arc<ByPlan>),
}

impl Used {
    /// The name it has in the config.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Limit(limit) => &limit.name,
            Self::Plan(plan) => &plan.name,
        }
    }

    /// The limit, where it is one.
    pub fn limit(&self) -> Option<&Arc<Limit>> {
        match self {
            Self::Limit(limit) => Some(limit),
            Self::Plan(_) => None,
        }
    }

    /// Whether a route that uses this does not use the other as well: it is the same, or both are the caller's plan,
    /// whose limits would count twice.
    pub fn replaces(&self, other: &Self) -> bool {
        self.name() == other.name() || matches!((self, other), (Self::Plan(_), Self::Plan(_)))
    }
}

impl From<Arc<Limit>> for Used {
    fn from(limit: Arc<Limit>) -> Self {
        Self::Limit(limit)
    }
}

/// The limits that a caller's request is asked for.
#[derive(Debug, Default)]
pub(super) struct InForce<'l> {
    pub(super) limits: Vec<(&'l Arc<Limit>, Mode)>,
    plan: Option<Arc<str>>,
    shadowed: Shadowed,
}

impl Limits {
    /// The limits that are not off, those of the caller's plan in its place.
    ///
    /// # Errors
    /// The refusal of a caller without a plan, where one is needed.
    pub(super) fn in_force(&self, caller: &Caller) -> Result<InForce<'_>, Refusal> {
        let mut in_force = InForce { limits: Vec::with_capacity(self.0.len() + 1), ..InForce::default() };
        for used in self.0.iter().filter(|used| used.mode != Mode::Off) {
            match &used.limit {
                Used::Limit(limit) => in_force.limits.push((limit, used.mode)),
                Used::Plan(by_plan) => {
                    if let Some(plan) = used.mode.ask(&mut in_force.shadowed, || by_plan.of(caller))? {
                        in_force.limits.extend(plan.limits.iter().map(|limit| (limit, used.mode)));
                        in_force.plan = Some(Arc::clone(&plan.name));
                    }
                }
            }
        }
        Ok(in_force)
    }
}

impl InForce<'_> {
    /// What the limits said, together with what was found out before they were asked.
    pub(super) fn with(self, taken: Taken) -> Taken {
        let Self { plan, mut shadowed, .. } = self;
        shadowed.append(taken.shadowed);
        Taken { plan, shadowed, ..taken }
    }
}
