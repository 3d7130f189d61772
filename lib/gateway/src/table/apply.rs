//! What conditions and updates mean, as functions of an item: DynamoDB's semantics, without a store.

use std::cmp::Ordering;

use super::value::{Item, Value};
use super::write::{Assigned, Change, Condition, Operand, Path, Subject, Update, check_number, check_size};
use super::{KEY, TableError, Terms};

impl Value {
    /// How two values compare; `None` where they are of two types, or of one without an order.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
            (Self::Number(left), Self::Number(right)) => Some(left.cmp(right)),
            (Self::Binary(left), Self::Binary(right)) => Some(left.cmp(right)),
            (
                Self::Text(_) | Self::Number(_) | Self::Binary(_) | Self::Bool(_) | Self::List(_) | Self::Set(_),
                Self::Text(_) | Self::Number(_) | Self::Binary(_) | Self::Bool(_) | Self::List(_) | Self::Set(_),
            ) => None,
        }
    }

    fn magnitude(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.encode_utf16().count()),
            Self::Binary(bytes) => Some(bytes.len()),
            Self::List(values) => Some(values.len()),
            Self::Set(members) => Some(members.len()),
            Self::Number(_) | Self::Bool(_) => None,
        }
    }
}

fn at<'a>(item: &'a Item, path: &Path) -> Option<&'a Value> {
    path.places.iter().try_fold(item.get(&path.name)?, |value, place| match value {
        Value::List(values) => values.get(*place),
        Value::Text(_) | Value::Number(_) | Value::Binary(_) | Value::Bool(_) | Value::Set(_) => None,
    })
}

/// Whether `condition` holds of the item under `key`.
pub(super) fn holds(condition: &Condition, key: &str, item: Option<&Item>) -> bool {
    let there = |path: &Path| match item {
        Some(_) if path.name == KEY => path.places.is_empty(),
        Some(item) => at(item, path).is_some(),
        None => false,
    };
    let compare = |subject: &Subject, with: &Value| -> Option<Ordering> {
        let item = item?;
        match subject {
            Subject::At(path) if path.name == KEY && path.places.is_empty() => Value::from(key).order(with),
            Subject::At(path) => at(item, path)?.order(with),
            Subject::Size(path) if path.name == KEY && path.places.is_empty() => sized(&Value::from(key), with),
            Subject::Size(path) => sized(at(item, path)?, with),
        }
    };
    match condition {
        Condition::Exists(path) => there(path),
        Condition::Missing(path) => !there(path),
        Condition::Equal(Subject::At(path), value) if path.name != KEY => {
            item.and_then(|item| at(item, path)) == Some(value)
        }
        Condition::Equal(subject, value) => compare(subject, value).is_some_and(Ordering::is_eq),
        Condition::Below(subject, value) => compare(subject, value).is_some_and(Ordering::is_lt),
        Condition::AtMost(subject, value) => compare(subject, value).is_some_and(Ordering::is_le),
        Condition::AtLeast(subject, value) => compare(subject, value).is_some_and(Ordering::is_ge),
        Condition::Between(subject, low, high) => {
            compare(subject, low).is_some_and(Ordering::is_ge) && compare(subject, high).is_some_and(Ordering::is_le)
        }
        Condition::And(left, right) => holds(left, key, item) && holds(right, key, item),
        Condition::Or(left, right) => holds(left, key, item) || holds(right, key, item),
    }
}

fn sized(value: &Value, with: &Value) -> Option<Ordering> {
    let size = i128::try_from(value.magnitude()?).ok()?;
    Value::Number(size).order(with)
}

/// What `update` makes of `old` on `terms`: a write to an item that is in no table.
///
/// # Errors
/// [`TableError::Refused`] where the condition does not hold, [`TableError::Invalid`] where the update makes no sense.
pub(crate) fn written(update: &Update, terms: &Terms, old: Option<&Item>) -> Result<Item, TableError> {
    update.check()?;
    if let Some(condition) = &terms.condition {
        condition.check()?;
        if !holds(condition, "", old) {
            return Err(TableError::Refused { old: old.cloned() });
        }
    }
    applied(update, "", old)
}

/// The item as it is after `update`, which was checked.
pub(super) fn applied(update: &Update, key: &str, old: Option<&Item>) -> Result<Item, TableError> {
    let nothing = Item::new();
    let old = old.unwrap_or(&nothing);
    let mut new = old.clone();
    let mut elements: Vec<(&Path, Value)> = Vec::new();
    let mut removed: Vec<&Path> = Vec::new();
    for change in update.changes() {
        match change {
            Change::Set(path, to) => {
                let value = assigned(to, old)?;
                if path.places.is_empty() {
                    new.insert(path.name.clone(), value);
                } else {
                    elements.push((path, value));
                }
            }
            Change::Add(name, number) => match old.get(name) {
                None => new.insert(name.clone(), *number),
                Some(Value::Number(before)) => new.insert(name.clone(), sum(*before, *number)?),
                Some(Value::Text(_) | Value::Binary(_) | Value::Bool(_) | Value::List(_) | Value::Set(_)) => {
                    return Err(wrong_type(name));
                }
            },
            Change::Join(name, members) => match old.get(name) {
                None => new.insert(name.clone(), Value::Set(members.clone())),
                Some(Value::Set(before)) => {
                    let joined = before.joined(members).ok_or_else(|| wrong_type(name))?;
                    new.insert(name.clone(), Value::Set(joined));
                }
                Some(Value::Text(_) | Value::Binary(_) | Value::Bool(_) | Value::List(_) | Value::Number(_)) => {
                    return Err(wrong_type(name));
                }
            },
            Change::Remove(path) => removed.push(path),
        }
    }
    set_elements(elements, old, &mut new)?;
    remove(removed, old, &mut new)?;
    check_size(key, &new)?;
    Ok(new)
}

/// Elements past the end are appended in the order of their places, so the places are taken in order.
fn set_elements(mut elements: Vec<(&Path, Value)>, old: &Item, new: &mut Item) -> Result<(), TableError> {
    elements.sort_by(|(path, _), (other, _)| path.places.cmp(&other.places));
    for (path, value) in elements {
        let list = list_of(path, old, new)?;
        match path.places.last().and_then(|index| list.get_mut(*index)) {
            Some(element) => *element = value,
            None => list.push(value),
        }
    }
    Ok(())
}

/// Places are those of the item as it was, so elements go from the last to the first.
fn remove(mut removed: Vec<&Path>, old: &Item, new: &mut Item) -> Result<(), TableError> {
    removed.sort_by(|path, other| other.places.cmp(&path.places));
    for path in removed {
        let Some(index) = path.places.last().copied() else {
            new.remove(&path.name);
            continue;
        };
        let was_there = at(old, path).is_some();
        let list = list_of(path, old, new)?;
        if was_there && index < list.len() {
            list.remove(index);
        }
    }
    Ok(())
}

/// The list in which the element at `path` is, which must have been there before.
fn list_of<'a>(path: &Path, old: &Item, new: &'a mut Item) -> Result<&'a mut Vec<Value>, TableError> {
    let wrong = || TableError::invalid(format!("{} is no list", path.name));
    let (_, above) = path.places.split_last().ok_or_else(wrong)?;
    let list = Path { name: path.name.clone(), places: above.to_vec() };
    if !matches!(at(old, &list), Some(Value::List(_))) {
        return Err(wrong());
    }
    let mut values = new.get_mut(&path.name).and_then(elements_of).ok_or_else(wrong)?;
    for place in above {
        values = values.get_mut(*place).and_then(elements_of).ok_or_else(wrong)?;
    }
    Ok(values)
}

const fn elements_of(value: &mut Value) -> Option<&mut Vec<Value>> {
    match value {
        Value::List(values) => Some(values),
        Value::Text(_) | Value::Number(_) | Value::Binary(_) | Value::Bool(_) | Value::Set(_) => None,
    }
}

fn assigned(to: &Assigned, old: &Item) -> Result<Value, TableError> {
    let number = |operand: &Operand| match operand_value(operand, old)? {
        Value::Number(number) => Ok(number),
        Value::Text(_) | Value::Binary(_) | Value::Bool(_) | Value::List(_) | Value::Set(_) => {
            Err(TableError::invalid("a sum takes numbers"))
        }
    };
    match to {
        Assigned::Is(operand) => operand_value(operand, old),
        Assigned::Sum(left, right) => Ok(sum(number(left)?, number(right)?)?.into()),
        Assigned::Difference(left, right) => Ok(sum(number(left)?, -number(right)?)?.into()),
    }
}

fn operand_value(operand: &Operand, old: &Item) -> Result<Value, TableError> {
    match operand {
        Operand::Value(value) => Ok(value.clone()),
        Operand::At(path) => {
            at(old, path).cloned().ok_or_else(|| TableError::invalid(format!("the item has no {}", path.name)))
        }
        Operand::IfNotExists(path, other) => match at(old, path) {
            Some(value) => Ok(value.clone()),
            None => operand_value(other, old),
        },
        Operand::ListAppend(first, second) => match (operand_value(first, old)?, operand_value(second, old)?) {
            (Value::List(mut first), Value::List(second)) => {
                first.extend(second);
                Ok(Value::List(first))
            }
            (
                Value::Text(_) | Value::Number(_) | Value::Binary(_) | Value::Bool(_) | Value::List(_) | Value::Set(_),
                _,
            ) => Err(TableError::invalid("list_append takes lists")),
        },
    }
}

/// Both have at most 38 digits, so the sum fits an `i128`.
fn sum(left: i128, right: i128) -> Result<i128, TableError> {
    check_number(left.saturating_add(right))
}

fn wrong_type(name: &str) -> TableError {
    TableError::invalid(format!("{name} is of another type"))
}
