//! Negative controls: ways to break the limiter that the checker must see. They change updates between the limiter and
//! the table, so that the code under test stays as it is.

use tollgate::table::{Assigned, Change, Condition, Operand, Path, Subject, Terms, Update, Value};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Nothing.
    Honest,
    /// What comes back is taken back whether or not others wrote meanwhile (against state.md §4.6).
    UnconditionalReturns,
    /// A lease is debited when it is granted instead of at its last moment (against state.md §4.2).
    LeasesDebitedAtOnce,
}

impl Control {
    /// What is sent instead, by an environment whose clock says `now`; `None` leaves it as it is.
    pub(crate) fn distort(self, update: &Update, terms: &Terms, now: i128) -> Option<(Update, Terms)> {
        match self {
            Self::Honest => None,
            Self::UnconditionalReturns => {
                gives_back(update).then(|| (update.clone(), Terms { condition: None, ..terms.clone() }))
            }
            Self::LeasesDebitedAtOnce => {
                let condition = terms.condition.as_ref()?;
                let ahead = first(condition, idle_from).map_or(0, |from| from - now);
                let update =
                    update.changes().iter().fold(Update::new(), |update, change| earlier(update, change, ahead));
                Some((update, Terms { condition: Some(from_now(condition, now)), ..terms.clone() }))
            }
        }
    }
}

/// Whether it gives tokens of a bucket back.
fn gives_back(update: &Update) -> bool {
    tat_of(update).is_some_and(|to| matches!(to, Assigned::Difference(..)))
}

fn tat_of(update: &Update) -> Option<&Assigned> {
    update.changes().iter().find_map(|change| match change {
        Change::Set(path, to) if is_tat(path) => Some(to),
        Change::Set(..) | Change::Add(..) | Change::Join(..) | Change::Remove(_) => None,
    })
}

/// From when on a request counts that takes one token for itself, by its environment's clock: the moment from which its
/// bucket is debited. A request that retries is judged by the moment of its first try. `None` where the update takes no
/// token, or a lease, of which each token counts when it is spent.
pub fn counts_from(update: &Update, terms: &Terms, token: i128) -> Option<i128> {
    let from = first(terms.condition.as_ref()?, debited_from)?;
    let taken = match tat_of(update)? {
        Assigned::Is(Operand::Value(Value::Number(to))) => to - from,
        Assigned::Sum(_, Operand::Value(Value::Number(more))) => *more,
        Assigned::Is(_) | Assigned::Sum(..) | Assigned::Difference(..) => return None,
    };
    (taken <= token).then_some(from)
}

/// What `of` finds first in a condition's parts.
fn first(condition: &Condition, of: fn(&Condition) -> Option<i128>) -> Option<i128> {
    if let Condition::And(left, right) | Condition::Or(left, right) = condition {
        return first(left, of).or_else(|| first(right, of));
    }
    of(condition)
}

/// The moment from which an idle bucket's tokens are taken.
fn idle_from(condition: &Condition) -> Option<i128> {
    if let Condition::AtMost(subject, Value::Number(from)) = condition
        && of_tat(subject)
    {
        return Some(*from);
    }
    None
}

/// The moment from which a bucket is debited.
fn debited_from(condition: &Condition) -> Option<i128> {
    if let Condition::Between(subject, Value::Number(from), _) = condition
        && of_tat(subject)
    {
        return Some(*from);
    }
    idle_from(condition)
}

fn is_tat(path: &Path) -> bool {
    path.name.starts_with("tat")
}

fn of_tat(subject: &Subject) -> bool {
    matches!(subject, Subject::At(path) if is_tat(path))
}

fn from_now(condition: &Condition, now: i128) -> Condition {
    if let Condition::And(left, right) = condition {
        return from_now(left, now).and(from_now(right, now));
    }
    if let Condition::Or(left, right) = condition {
        return from_now(left, now).or(from_now(right, now));
    }
    if let Condition::Between(subject, Value::Number(low), high) = condition
        && of_tat(subject)
    {
        return Condition::between(subject.clone(), now.min(*low), high.clone());
    }
    if let Condition::AtMost(subject, _) = condition
        && of_tat(subject)
    {
        return Condition::at_most(subject.clone(), now);
    }
    condition.clone()
}

fn earlier(update: Update, change: &Change, by: i128) -> Update {
    match change {
        Change::Set(path, Assigned::Is(Operand::Value(Value::Number(to)))) if is_tat(path) => {
            update.set("tat", to - by)
        }
        Change::Set(path, to) => update.set(path.clone(), to.clone()),
        Change::Add(name, number) => update.add(name.clone(), *number),
        Change::Join(name, members) => update.join(name.clone(), members.clone()),
        Change::Remove(path) => update.remove(path.clone()),
    }
}
