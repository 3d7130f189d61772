//! The core's values as DynamoDB's: attributes, and expressions with a placeholder for every name and value, so that
//! no name need be a word DynamoDB likes.

use std::collections::HashMap;
use std::fmt::Write;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use tollgate::table::{
    Assigned, Change, Condition, Item, KEY, Members, Operand, Path, Subject, TableError, Update, Value,
};

/// An item's key, as an attribute map.
pub(super) fn key(name: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([(KEY.to_owned(), AttributeValue::S(name.to_owned()))])
}

/// `item` under the key `name`, as an attribute map.
pub(super) fn attributes(name: &str, item: Item) -> HashMap<String, AttributeValue> {
    let mut attributes = key(name);
    attributes.extend(item.into_iter().map(|(name, value)| (name.into_owned(), attribute(&value))));
    attributes
}

/// The item that an attribute map is, without its key.
pub(super) fn item(attributes: HashMap<String, AttributeValue>) -> Result<Item, TableError> {
    attributes
        .into_iter()
        .filter(|(name, _)| name != KEY)
        .map(|(name, attribute)| Ok((name.into(), value(attribute)?)))
        .collect()
}

fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Text(text) => AttributeValue::S(text.clone()),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::Binary(bytes) => AttributeValue::B(Blob::new(bytes.as_ref())),
        Value::Bool(truth) => AttributeValue::Bool(*truth),
        Value::List(values) => AttributeValue::L(values.iter().map(attribute).collect()),
        Value::Set(Members::Texts(texts)) => AttributeValue::Ss(texts.iter().cloned().collect()),
        Value::Set(Members::Numbers(numbers)) => AttributeValue::Ns(numbers.iter().map(i128::to_string).collect()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK's enum may grow")]
fn value(attribute: AttributeValue) -> Result<Value, TableError> {
    Ok(match attribute {
        AttributeValue::S(text) => Value::Text(text),
        AttributeValue::N(text) => Value::Number(number(&text)?),
        AttributeValue::B(bytes) => Value::Binary(bytes.into_inner().into()),
        AttributeValue::Bool(truth) => Value::Bool(truth),
        AttributeValue::L(attributes) => {
            Value::List(attributes.into_iter().map(value).collect::<Result<_, TableError>>()?)
        }
        AttributeValue::Ss(texts) => Value::Set(Members::Texts(texts.into_iter().collect())),
        AttributeValue::Ns(texts) => {
            Value::Set(Members::Numbers(texts.iter().map(|text| number(text)).collect::<Result<_, _>>()?))
        }
        _ => return Err(TableError::invalid("an attribute is of a type that is not ours")),
    })
}

fn number(text: &str) -> Result<i128, TableError> {
    text.parse().map_err(|_| TableError::invalid("a number is not whole or too large"))
}

/// The placeholders of one request's expressions, and what they stand for.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<String>,
    values: Vec<AttributeValue>,
}

type Map<T> = Option<HashMap<String, T>>;

impl Names {
    /// What the placeholders stand for; none where there are none.
    pub(super) fn maps(self) -> (Map<String>, Map<AttributeValue>) {
        let names = self.names.into_iter().enumerate().map(|(place, name)| (format!("#{place}"), name)).collect();
        let values = self.values.into_iter().enumerate().map(|(place, value)| (format!(":{place}"), value)).collect();
        (some(names), some(values))
    }

    /// `update` as an update expression; `None` where it changes nothing.
    pub(super) fn update(&mut self, update: &Update) -> Result<Option<String>, TableError> {
        update.check()?;
        let (mut set, mut add, mut remove) = (String::new(), String::new(), String::new());
        for change in update.changes() {
            match change {
                Change::Set(path, to) => {
                    begin(&mut set, "SET ");
                    self.path(&mut set, path);
                    set.push('=');
                    self.assigned(&mut set, to);
                }
                Change::Add(name, number) => {
                    begin(&mut add, "ADD ");
                    self.name(&mut add, name);
                    add.push(' ');
                    self.value(&mut add, &Value::Number(*number));
                }
                Change::Join(name, members) => {
                    begin(&mut add, "ADD ");
                    self.name(&mut add, name);
                    add.push(' ');
                    self.value(&mut add, &Value::Set(members.clone()));
                }
                Change::Remove(path) => {
                    begin(&mut remove, "REMOVE ");
                    self.path(&mut remove, path);
                }
            }
        }
        let parts: Vec<_> = [set, add, remove].into_iter().filter(|part| !part.is_empty()).collect();
        Ok(if parts.is_empty() { None } else { Some(parts.join(" ")) })
    }

    /// `condition` as a condition expression.
    pub(super) fn condition(&mut self, condition: &Condition) -> Result<String, TableError> {
        condition.check()?;
        let mut out = String::new();
        self.write_condition(&mut out, condition);
        Ok(out)
    }

    fn write_condition(&mut self, out: &mut String, condition: &Condition) {
        match condition {
            Condition::Exists(path) => self.call(out, "attribute_exists", path),
            Condition::Missing(path) => self.call(out, "attribute_not_exists", path),
            Condition::Equal(subject, value) => self.compare(out, subject, "=", value),
            Condition::Below(subject, value) => self.compare(out, subject, "<", value),
            Condition::AtMost(subject, value) => self.compare(out, subject, "<=", value),
            Condition::AtLeast(subject, value) => self.compare(out, subject, ">=", value),
            Condition::Between(subject, low, high) => {
                self.compare(out, subject, " BETWEEN ", low);
                out.push_str(" AND ");
                self.value(out, high);
            }
            Condition::And(left, right) => self.both(out, left, " AND ", right),
            Condition::Or(left, right) => self.both(out, left, " OR ", right),
        }
    }

    fn both(&mut self, out: &mut String, left: &Condition, word: &str, right: &Condition) {
        out.push('(');
        self.write_condition(out, left);
        out.push_str(word);
        self.write_condition(out, right);
        out.push(')');
    }

    fn compare(&mut self, out: &mut String, subject: &Subject, with: &str, value: &Value) {
        match subject {
            Subject::At(path) => self.path(out, path),
            Subject::Size(path) => self.call(out, "size", path),
        }
        out.push_str(with);
        self.value(out, value);
    }

    fn call(&mut self, out: &mut String, function: &str, path: &Path) {
        out.push_str(function);
        out.push('(');
        self.path(out, path);
        out.push(')');
    }

    fn assigned(&mut self, out: &mut String, to: &Assigned) {
        match to {
            Assigned::Is(operand) => self.operand(out, operand),
            Assigned::Sum(left, right) => {
                self.operand(out, left);
                out.push('+');
                self.operand(out, right);
            }
            Assigned::Difference(left, right) => {
                self.operand(out, left);
                out.push('-');
                self.operand(out, right);
            }
        }
    }

    fn operand(&mut self, out: &mut String, operand: &Operand) {
        match operand {
            Operand::Value(value) => self.value(out, value),
            Operand::At(path) => self.path(out, path),
            Operand::IfNotExists(path, other) => {
                out.push_str("if_not_exists(");
                self.path(out, path);
                out.push(',');
                self.operand(out, other);
                out.push(')');
            }
            Operand::ListAppend(first, second) => {
                out.push_str("list_append(");
                self.operand(out, first);
                out.push(',');
                self.operand(out, second);
                out.push(')');
            }
        }
    }

    fn path(&mut self, out: &mut String, path: &Path) {
        self.name(out, &path.name);
        for index in &path.places {
            // Writing to a string cannot fail.
            _ = write!(out, "[{index}]");
        }
    }

    fn name(&mut self, out: &mut String, name: &str) {
        let place = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        _ = write!(out, "#{place}");
    }

    fn value(&mut self, out: &mut String, value: &Value) {
        _ = write!(out, ":{}", self.values.len());
        self.values.push(attribute(value));
    }
}

fn some<T>(map: HashMap<String, T>) -> Map<T> {
    if map.is_empty() { None } else { Some(map) }
}

fn begin(clause: &mut String, word: &str) {
    clause.push_str(if clause.is_empty() { word } else { "," });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_window_renders_to_the_expressions_of_the_design() {
        let mut names = Names::default();
        let update = Update::new().add("w9", 1).set("x", 77).remove("w7").remove("w6");
        let condition = Condition::missing("w9").or(Condition::at_most("w9", 4));
        assert_eq!(names.update(&update).unwrap().unwrap(), "SET #1=:1 ADD #0 :0 REMOVE #2,#3");
        assert_eq!(names.condition(&condition).unwrap(), "(attribute_not_exists(#0) OR #0<=:2)");
        let (names, values) = names.maps();
        let name = |placeholder: &str| names.as_ref().unwrap()[placeholder].clone();
        assert_eq!([name("#0"), name("#1"), name("#2"), name("#3")], ["w9", "x", "w7", "w6"]);
        let values = values.unwrap();
        assert_eq!(
            [&values[":0"], &values[":1"], &values[":2"]].map(|value| value.as_n().unwrap().as_str()),
            ["1", "77", "4"]
        );
    }

    #[test]
    fn nesting_and_elements_are_written_out() {
        let mut names = Names::default();
        let list = Operand::ListAppend(Box::new(Operand::at_or("l", vec![])), Box::new(Operand::At("m".into())));
        let update = Update::new()
            .set("l", list)
            .set(Path::element("e", 3), Assigned::Difference(5.into(), Operand::At("n".into())))
            .set("f", Operand::At(Path::element("e", 0).at(1)));
        let rendered = "SET #0=list_append(if_not_exists(#0,:0),#1),#2[3]=:1-#3,#4=#2[0][1]";
        assert_eq!(names.update(&update).unwrap().unwrap(), rendered);
        let size = Condition::equal(Subject::Size("l".into()), 3);
        let condition = size.and(Condition::between(Path::element("l", 0), 1, 2));
        assert_eq!(names.condition(&condition).unwrap(), "(size(#0)=:2 AND #0[0] BETWEEN :3 AND :4)");
    }

    #[test]
    fn an_empty_update_has_no_expression_and_no_placeholders() {
        let mut names = Names::default();
        assert_eq!(names.update(&Update::new()).unwrap(), None);
        assert!(matches!(names.maps(), (None, None)));
    }

    #[test]
    fn attributes_that_are_not_ours_are_invalid() {
        for odd in [
            AttributeValue::N("1.5".to_owned()),
            AttributeValue::Null(true),
            AttributeValue::M(HashMap::new()),
            AttributeValue::Ns(vec!["1.5".to_owned()]),
            AttributeValue::Bs(vec![Blob::new([1])]),
        ] {
            let read = item(HashMap::from([("a".to_owned(), odd.clone())]));
            assert!(matches!(read, Err(TableError::Invalid { .. })), "{odd:?}");
        }
    }
}
