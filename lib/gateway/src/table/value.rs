//! What an item holds.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// The largest magnitude of a number: 38 digits, as DynamoDB has them. Whoever counts must stay below; an update that
/// passes it is a mistake of its maker.
pub const LARGEST_NUMBER: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

/// An attribute's name. Short ones: they are billed and stored with every item.
pub type Name = Cow<'static, str>;

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text; may be empty.
    Text(String),
    /// A whole number within ±[`LARGEST_NUMBER`].
    Number(i128),
    /// Bytes; may be empty.
    Binary(Bytes),
    /// True or false.
    Bool(bool),
    /// A list of values of any type; may be empty.
    List(Vec<Self>),
    /// A set; never empty.
    Set(Members),
}

/// The members of a set, all of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// Texts.
    Texts(BTreeSet<String>),
    /// Whole numbers within ±[`LARGEST_NUMBER`].
    Numbers(BTreeSet<i128>),
}

impl Members {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// These and `others`; `None` where those are of another type.
    pub(super) fn joined(&self, others: &Self) -> Option<Self> {
        match (self, others) {
            (Self::Texts(these), Self::Texts(those)) => Some(Self::Texts(these | those)),
            (Self::Numbers(these), Self::Numbers(those)) => Some(Self::Numbers(these | those)),
            (Self::Texts(_), Self::Numbers(_)) | (Self::Numbers(_), Self::Texts(_)) => None,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.iter().map(String::len).sum(),
            Self::Numbers(numbers) => numbers.iter().map(|number| number_size(*number)).sum(),
        }
    }

    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            _ if self.is_empty() => Some("a set is empty"),
            Self::Texts(_) => None,
            Self::Numbers(numbers) => numbers.iter().find_map(|number| number_fault(*number)),
        }
    }
}

/// Approximately.
fn number_size(number: i128) -> usize {
    let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits.div_ceil(2) + 1 + usize::from(number < 0)
}

fn number_fault(number: i128) -> Option<&'static str> {
    (number.unsigned_abs() > LARGEST_NUMBER.unsigned_abs()).then_some("a number has more than 38 digits")
}

impl Value {
    /// Its size in bytes as DynamoDB counts it (numbers approximately).
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Number(number) => number_size(*number),
            Self::Binary(bytes) => bytes.len(),
            Self::Bool(_) => 1,
            Self::List(values) => 3 + values.iter().map(|value| 1 + value.size()).sum::<usize>(),
            Self::Set(members) => members.size(),
        }
    }

    /// What is wrong with it as a value to store, if anything is.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Number(number) => number_fault(*number),
            Self::Set(members) => members.fault(),
            Self::List(values) => values.iter().find_map(Self::fault),
            Self::Text(_) | Self::Binary(_) | Self::Bool(_) => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i128> for Value {
    fn from(number: i128) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<Self>> for Value {
    fn from(values: Vec<Self>) -> Self {
        Self::List(values)
    }
}

impl From<BTreeSet<String>> for Members {
    fn from(texts: BTreeSet<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<BTreeSet<i128>> for Members {
    fn from(numbers: BTreeSet<i128>) -> Self {
        Self::Numbers(numbers)
    }
}

impl<S> From<BTreeSet<S>> for Value
where
    BTreeSet<S>: Into<Members>,
{
    fn from(members: BTreeSet<S>) -> Self {
        Self::Set(members.into())
    }
}

/// An item: its attributes by name, without its key, which whoever asked knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Item(BTreeMap<Name, Value>);

impl Item {
    /// An item without attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with the attribute `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: impl Into<Name>, value: impl Into<Value>) -> Self {
        self.insert(name, value);
        self
    }

    /// Sets the attribute `name` to `value`.
    pub fn insert(&mut self, name: impl Into<Name>, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    /// The attribute `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The attribute `name`, where it is a number.
    pub fn number(&self, name: &str) -> Option<i128> {
        match self.get(name) {
            Some(Value::Number(number)) => Some(*number),
            Some(Value::Text(_) | Value::Binary(_) | Value::Bool(_) | Value::List(_) | Value::Set(_)) | None => None,
        }
    }

    /// The attribute `name`, where it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            Some(Value::Number(_) | Value::Binary(_) | Value::Bool(_) | Value::List(_) | Value::Set(_)) | None => None,
        }
    }

    /// The attribute `name`, where it is a set of texts.
    pub fn texts(&self, name: &str) -> Option<&BTreeSet<String>> {
        match self.get(name) {
            Some(Value::Set(Members::Texts(texts))) => Some(texts),
            Some(
                Value::Set(Members::Numbers(_))
                | Value::Text(_)
                | Value::Number(_)
                | Value::Binary(_)
                | Value::Bool(_)
                | Value::List(_),
            )
            | None => None,
        }
    }

    /// Every attribute, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// How many attributes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its size in bytes under `key`, names included.
    pub(super) fn size(&self, key: &str) -> usize {
        super::KEY.len() + key.len() + self.0.iter().map(|(name, value)| name.len() + value.size()).sum::<usize>()
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.get_mut(name)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

impl FromIterator<(Name, Value)> for Item {
    fn from_iter<I: IntoIterator<Item = (Name, Value)>>(attributes: I) -> Self {
        Self(attributes.into_iter().collect())
    }
}

impl IntoIterator for Item {
    type Item = (Name, Value);
    type IntoIter = std::collections::btree_map::IntoIter<Name, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
