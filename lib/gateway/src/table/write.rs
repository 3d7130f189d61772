//! Updates and conditions as values, and what can be told of them before any item is seen.
//!
//! Every adapter checks a write here first, so that what is wrong with the write itself is the same everywhere and
//! comes before its condition is judged.

use super::value::{Item, LARGEST_NUMBER, Members, Name, Value};
use super::{KEY, LARGEST_ITEM, TableError};

/// The longest key, in bytes (DynamoDB's limit for a partition key).
const LONGEST_KEY: usize = 2048;

/// The most lists that a path leads into (DynamoDB's depth of a document).
const DEEPEST: usize = 31;

/// An attribute, or an element of an attribute that is a list, or of a list within.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The attribute's name.
    pub name: Name,
    /// The element's place in the list, from 0, then its place in that, and so on; none is the attribute itself.
    pub places: Vec<usize>,
}

impl Path {
    /// The element `index` of the list `name`.
    pub fn element(name: impl Into<Name>, index: usize) -> Self {
        Self { name: name.into(), places: vec![index] }
    }

    /// The element `index` of the list at this path.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.places.push(index);
        self
    }

    /// Whether one is the other or within it.
    fn overlaps(&self, other: &Self) -> bool {
        self.name == other.name && (self.places.starts_with(&other.places) || other.places.starts_with(&self.places))
    }

    fn check(&self) -> Result<(), TableError> {
        if self.places.len() > DEEPEST {
            return Err(TableError::invalid("a path is too deep"));
        }
        check_name(&self.name)
    }
}

impl From<&'static str> for Path {
    fn from(name: &'static str) -> Self {
        Self { name: name.into(), places: Vec::new() }
    }
}

impl From<String> for Path {
    fn from(name: String) -> Self {
        Self { name: name.into(), places: Vec::new() }
    }
}

/// What to change in an item. Every right-hand side reads the item as it was before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update {
    changes: Vec<Change>,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Sets an attribute, or an element of a list; an element past the list's end is appended.
    Set(Path, Assigned),
    /// Adds to a number; a missing attribute counts as 0.
    Add(Name, i128),
    /// Adds members to a set; a missing attribute counts as an empty one.
    Join(Name, Members),
    /// Removes an attribute or an element; what is not there need not be removed.
    Remove(Path),
}

/// What a [`Change::Set`] assigns.
#[derive(Debug, Clone, PartialEq)]
pub enum Assigned {
    /// One operand.
    Is(Operand),
    /// The sum of two numbers.
    Sum(Operand, Operand),
    /// The first number less the second.
    Difference(Operand, Operand),
}

/// One operand of an assignment.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A given value.
    Value(Value),
    /// What the item has at a path; invalid where it has nothing.
    At(Path),
    /// What the item has at a path, or else the other operand.
    IfNotExists(Path, Box<Self>),
    /// The first list with the second after it.
    ListAppend(Box<Self>, Box<Self>),
}

impl Operand {
    /// What the item has at `path`, or else `value`.
    pub fn at_or(path: impl Into<Path>, value: impl Into<Value>) -> Self {
        Self::IfNotExists(path.into(), Box::new(Self::Value(value.into())))
    }
}

impl<V: Into<Value>> From<V> for Operand {
    fn from(value: V) -> Self {
        Self::Value(value.into())
    }
}

impl<O: Into<Operand>> From<O> for Assigned {
    fn from(operand: O) -> Self {
        Self::Is(operand.into())
    }
}

impl FromIterator<Change> for Update {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        Self { changes: changes.into_iter().collect() }
    }
}

impl Update {
    /// An update that changes nothing; it still makes the item where there is none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also sets `path`.
    #[must_use]
    pub fn set(mut self, path: impl Into<Path>, to: impl Into<Assigned>) -> Self {
        self.changes.push(Change::Set(path.into(), to.into()));
        self
    }

    /// Also adds `number` to the attribute `name`.
    #[must_use]
    pub fn add(mut self, name: impl Into<Name>, number: i128) -> Self {
        self.changes.push(Change::Add(name.into(), number));
        self
    }

    /// Also adds `members` to the set `name`.
    #[must_use]
    pub fn join(mut self, name: impl Into<Name>, members: impl Into<Members>) -> Self {
        self.changes.push(Change::Join(name.into(), members.into()));
        self
    }

    /// Also removes `path`.
    #[must_use]
    pub fn remove(mut self, path: impl Into<Path>) -> Self {
        self.changes.push(Change::Remove(path.into()));
        self
    }

    /// Its changes, in the order written, which does not matter.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    pub(super) fn into_changes(self) -> impl Iterator<Item = Change> {
        self.changes.into_iter()
    }

    /// Whether it makes sense whatever the item.
    ///
    /// # Errors
    /// [`TableError::Invalid`]: paths overlap, the key would change, a name or a set is empty, a number has over 38
    /// digits, a sum of what is no number, a list of what is no list.
    pub fn check(&self) -> Result<(), TableError> {
        let mut seen: Vec<&Path> = Vec::with_capacity(self.changes.len());
        let mut named = Vec::new();
        for change in &self.changes {
            let path = match change {
                Change::Set(path, to) => {
                    to.check()?;
                    path
                }
                Change::Remove(path) => path,
                Change::Add(name, number) => {
                    check_value(&Value::Number(*number))?;
                    named.push(name);
                    continue;
                }
                Change::Join(name, members) => {
                    if let Some(fault) = members.fault() {
                        return Err(TableError::invalid(fault));
                    }
                    named.push(name);
                    continue;
                }
            };
            path.check()?;
            check_changed(&path.name)?;
            if seen.iter().any(|other| other.overlaps(path)) {
                return Err(TableError::invalid(format!("two changes of {}", path.name)));
            }
            seen.push(path);
        }
        for (place, name) in named.iter().enumerate() {
            check_changed(name)?;
            if seen.iter().any(|other| other.name == **name) || named.iter().skip(place + 1).any(|other| other == name)
            {
                return Err(TableError::invalid(format!("two changes of {name}")));
            }
        }
        Ok(())
    }
}

impl Assigned {
    fn check(&self) -> Result<(), TableError> {
        match self {
            Self::Is(operand) => operand.check(),
            Self::Sum(left, right) | Self::Difference(left, right) => {
                for operand in [left, right] {
                    operand.check()?;
                    if matches!(operand, Operand::ListAppend(..))
                        || matches!(operand, Operand::Value(value) if !matches!(value, Value::Number(_)))
                    {
                        return Err(TableError::invalid("a sum takes numbers"));
                    }
                }
                Ok(())
            }
        }
    }
}

impl Operand {
    fn check(&self) -> Result<(), TableError> {
        match self {
            Self::Value(value) => check_value(value),
            Self::At(path) => path.check(),
            Self::IfNotExists(path, other) => {
                path.check()?;
                other.check()
            }
            Self::ListAppend(first, second) => {
                for operand in [first, second] {
                    operand.check()?;
                    if matches!(&**operand, Self::Value(value) if !matches!(value, Value::List(_))) {
                        return Err(TableError::invalid("list_append takes lists"));
                    }
                }
                Ok(())
            }
        }
    }
}

/// What must hold of an item. Whatever is compared with a missing attribute, or with one of another type, does not
/// hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// There is something at the path.
    Exists(Path),
    /// There is nothing at the path.
    Missing(Path),
    /// The two are the same, lists and sets in depth.
    Equal(Subject, Value),
    /// The subject is below the value.
    Below(Subject, Value),
    /// The subject is the value or below.
    AtMost(Subject, Value),
    /// The subject is the value or above.
    AtLeast(Subject, Value),
    /// The subject is between the two, both included.
    Between(Subject, Value, Value),
    /// Both hold.
    And(Box<Self>, Box<Self>),
    /// At least one holds.
    Or(Box<Self>, Box<Self>),
}

/// What a condition compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// What is at a path. Texts and bytes are ordered by their bytes.
    At(Path),
    /// How much is at a path: elements of a list, members of a set, bytes, UTF-16 units of a text; other types have no
    /// size.
    Size(Path),
}

impl<P: Into<Path>> From<P> for Subject {
    fn from(path: P) -> Self {
        Self::At(path.into())
    }
}

impl Condition {
    /// There is something at `path`; of [`KEY`]: there is an item.
    pub fn exists(path: impl Into<Path>) -> Self {
        Self::Exists(path.into())
    }

    /// There is nothing at `path`; of [`KEY`]: there is no item.
    pub fn missing(path: impl Into<Path>) -> Self {
        Self::Missing(path.into())
    }

    /// `subject` = `value`.
    pub fn equal(subject: impl Into<Subject>, value: impl Into<Value>) -> Self {
        Self::Equal(subject.into(), value.into())
    }

    /// `subject` < `value`.
    pub fn below(subject: impl Into<Subject>, value: impl Into<Value>) -> Self {
        Self::Below(subject.into(), value.into())
    }

    /// `subject` <= `value`.
    pub fn at_most(subject: impl Into<Subject>, value: impl Into<Value>) -> Self {
        Self::AtMost(subject.into(), value.into())
    }

    /// `subject` >= `value`.
    pub fn at_least(subject: impl Into<Subject>, value: impl Into<Value>) -> Self {
        Self::AtLeast(subject.into(), value.into())
    }

    /// `low` <= `subject` <= `high`.
    pub fn between(subject: impl Into<Subject>, low: impl Into<Value>, high: impl Into<Value>) -> Self {
        Self::Between(subject.into(), low.into(), high.into())
    }

    /// This and `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    /// This or `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::Or(Box::new(self), Box::new(other))
    }

    /// Whether it makes sense whatever the item.
    ///
    /// # Errors
    /// [`TableError::Invalid`]: a name is empty, an order of what has none, bounds of two types or the wrong way round.
    pub fn check(&self) -> Result<(), TableError> {
        match self {
            Self::Exists(path) | Self::Missing(path) => path.check(),
            Self::Equal(subject, value) => {
                subject.check()?;
                check_value(value)
            }
            Self::Below(subject, value) | Self::AtMost(subject, value) | Self::AtLeast(subject, value) => {
                subject.check()?;
                check_ordered(value)
            }
            Self::Between(subject, low, high) => {
                subject.check()?;
                check_ordered(low)?;
                check_ordered(high)?;
                match low.order(high) {
                    Some(order) if order.is_le() => Ok(()),
                    Some(_) => Err(TableError::invalid("the bounds of between are the wrong way round")),
                    None => Err(TableError::invalid("the bounds of between have two types")),
                }
            }
            Self::And(left, right) | Self::Or(left, right) => {
                left.check()?;
                right.check()
            }
        }
    }
}

impl Subject {
    fn check(&self) -> Result<(), TableError> {
        match self {
            Self::At(path) | Self::Size(path) => path.check(),
        }
    }
}

/// Whether `key` can be a key.
///
/// # Errors
/// [`TableError::Invalid`]: it is empty or over 2,048 bytes.
pub fn check_key(key: &str) -> Result<(), TableError> {
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(TableError::invalid("a key has 1 to 2048 bytes"));
    }
    Ok(())
}

/// Whether `item` can be stored under `key`.
///
/// # Errors
/// [`TableError::Invalid`]: it names the key's attribute, is over 400 KB, or holds what cannot be stored.
pub fn check_item(key: &str, item: &Item) -> Result<(), TableError> {
    for (name, value) in item.iter() {
        check_changed(name)?;
        check_value(value)?;
    }
    check_size(key, item)
}

/// Whether `item` is small enough to be stored under `key`.
pub(super) fn check_size(key: &str, item: &Item) -> Result<(), TableError> {
    if item.size(key) > LARGEST_ITEM {
        return Err(TableError::invalid("the item is larger than 400 KB"));
    }
    Ok(())
}

/// Whether `number` has at most 38 digits.
pub(super) fn check_number(number: i128) -> Result<i128, TableError> {
    if number.unsigned_abs() > LARGEST_NUMBER.unsigned_abs() {
        return Err(TableError::invalid("a number has more than 38 digits"));
    }
    Ok(number)
}

fn check_value(value: &Value) -> Result<(), TableError> {
    value.fault().map_or(Ok(()), |fault| Err(TableError::invalid(fault)))
}

fn check_ordered(value: &Value) -> Result<(), TableError> {
    match value {
        Value::Text(_) | Value::Number(_) | Value::Binary(_) => check_value(value),
        Value::Bool(_) | Value::List(_) | Value::Set(_) => {
            Err(TableError::invalid("only texts, numbers and bytes have an order"))
        }
    }
}

fn check_name(name: &str) -> Result<(), TableError> {
    if name.is_empty() {
        return Err(TableError::invalid("an attribute's name is empty"));
    }
    Ok(())
}

fn check_changed(name: &str) -> Result<(), TableError> {
    if name == KEY {
        return Err(TableError::invalid("the key cannot be changed"));
    }
    check_name(name)
}
