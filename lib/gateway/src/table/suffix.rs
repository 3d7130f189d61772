//! Several owners of one item: each has its attributes under names of its own, which end in its suffix.

use super::value::{Item, Name, Value};
use super::write::{Assigned, Change, Condition, Operand, Path, Subject, Update};

impl Path {
    fn owned(self, suffix: &str) -> Self {
        Self { name: owned(self.name, suffix), places: self.places }
    }
}

fn owned(name: Name, suffix: &str) -> Name {
    let mut name = name.into_owned();
    name.push_str(suffix);
    name.into()
}

impl Operand {
    fn owned(self, suffix: &str) -> Self {
        match self {
            Self::Value(value) => Self::Value(value),
            Self::At(path) => Self::At(path.owned(suffix)),
            Self::IfNotExists(path, or) => Self::IfNotExists(path.owned(suffix), Box::new(or.owned(suffix))),
            Self::ListAppend(one, other) => {
                Self::ListAppend(Box::new(one.owned(suffix)), Box::new(other.owned(suffix)))
            }
        }
    }
}

impl Change {
    fn owned(self, suffix: &str) -> Self {
        match self {
            Self::Set(path, Assigned::Is(operand)) => {
                Self::Set(path.owned(suffix), Assigned::Is(operand.owned(suffix)))
            }
            Self::Set(path, Assigned::Sum(one, other)) => {
                Self::Set(path.owned(suffix), Assigned::Sum(one.owned(suffix), other.owned(suffix)))
            }
            Self::Set(path, Assigned::Difference(one, other)) => {
                Self::Set(path.owned(suffix), Assigned::Difference(one.owned(suffix), other.owned(suffix)))
            }
            Self::Add(name, number) => Self::Add(owned(name, suffix), number),
            Self::Join(name, members) => Self::Join(owned(name, suffix), members),
            Self::Remove(path) => Self::Remove(path.owned(suffix)),
        }
    }
}

impl Update {
    /// The same, of the owner with this suffix.
    #[must_use]
    pub(crate) fn owned(self, suffix: &str) -> Self {
        if suffix.is_empty() {
            return self;
        }
        self.into_changes().map(|change| change.owned(suffix)).collect()
    }

    /// The same without what it sets `name` to, where that is a number.
    pub(crate) fn without(self, name: &str) -> (Self, Option<i128>) {
        let mut number = None;
        let rest = self.into_changes().filter(|change| match change {
            Change::Set(path, Assigned::Is(Operand::Value(Value::Number(set)))) if path.name == name => {
                number = Some(*set);
                false
            }
            Change::Set(..) | Change::Add(..) | Change::Join(..) | Change::Remove(..) => true,
        });
        (rest.collect(), number)
    }

    /// The changes of both.
    #[must_use]
    pub(crate) fn with_those_of(self, other: Self) -> Self {
        self.into_changes().chain(other.into_changes()).collect()
    }
}

impl Subject {
    fn owned(self, suffix: &str) -> Self {
        match self {
            Self::At(path) => Self::At(path.owned(suffix)),
            Self::Size(path) => Self::Size(path.owned(suffix)),
        }
    }
}

impl Condition {
    /// The same, of the owner with this suffix.
    #[must_use]
    pub(crate) fn owned(self, suffix: &str) -> Self {
        let both = |one: Box<Self>, other: Box<Self>| (Box::new(one.owned(suffix)), Box::new(other.owned(suffix)));
        match self {
            Self::Exists(path) => Self::Exists(path.owned(suffix)),
            Self::Missing(path) => Self::Missing(path.owned(suffix)),
            Self::Equal(subject, value) => Self::Equal(subject.owned(suffix), value),
            Self::Below(subject, value) => Self::Below(subject.owned(suffix), value),
            Self::AtMost(subject, value) => Self::AtMost(subject.owned(suffix), value),
            Self::AtLeast(subject, value) => Self::AtLeast(subject.owned(suffix), value),
            Self::Between(subject, low, high) => Self::Between(subject.owned(suffix), low, high),
            Self::And(one, other) => {
                let (one, other) = both(one, other);
                Self::And(one, other)
            }
            Self::Or(one, other) => {
                let (one, other) = both(one, other);
                Self::Or(one, other)
            }
        }
    }
}

impl Item {
    /// What of it belongs to the owner with this suffix, under the names that it knows.
    pub(crate) fn of_owner(&self, suffix: &str) -> Self {
        let own =
            |(name, value): (&str, &Value)| Some((Name::from(name.strip_suffix(suffix)?.to_owned()), value.clone()));
        self.iter().filter_map(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Terms;
    use crate::table::written;

    #[test]
    fn owners_of_one_item_do_not_see_each_other() {
        let one = || Update::new().add("n", 1).set("t", Assigned::Sum(Operand::at_or("t", 5), 2.into())).remove("old");
        let update = one().owned(".a").with_those_of(one().owned(".b"));
        let few = |suffix| Condition::missing("n").or(Condition::at_most("n", 1)).owned(suffix);
        let terms = Terms::when(few(".a").and(few(".b")));
        let before = Item::new().with("n.b", 1).with("old.a", 7).with("n", 9);
        let item = written(&update, &terms, Some(&before)).unwrap();
        assert_eq!(item.of_owner(".a"), Item::new().with("n", 1).with("t", 7));
        assert_eq!(item.of_owner(".b"), Item::new().with("n", 2).with("t", 7));
        assert!(written(&update, &terms, Some(&item)).is_err(), "one of them is full, so neither takes any");
    }
}
