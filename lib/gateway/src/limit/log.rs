//! The sliding log (state.md §3.4): `l` holds the times of the last requests, in milliseconds. While there are fewer
//! than the limit, one more is appended; after that the newest takes the place of the oldest, which must be out of the
//! window. So any two that many places apart are a window apart, and no window sees more than the limit.

use std::sync::Arc;

use super::algorithm::{Ask, Meter, SKEW, Seen, Taking, expiry, length, moment, nanos};
use super::rate::Rate;
use crate::clock::Timestamp;
use crate::table::{Condition, Item, Operand, Path, Subject, Terms, Update, Value};

const MILLI: i128 = 1_000_000;

#[derive(Debug)]
pub(super) struct Log {
    limit: usize,
    /// The window's length in nanoseconds.
    window: i128,
}

impl Log {
    pub(super) fn new(rate: Rate) -> Self {
        let limit = usize::try_from(rate.count).unwrap_or(usize::MAX);
        Self { limit, window: length(rate.per.duration()) }
    }

    /// What a request writes: late rather than early.
    fn stamp(ask: &Ask) -> i128 {
        (nanos(ask.at) + length(SKEW) + MILLI - 1).div_euclid(MILLI)
    }

    /// What is out of the window by every clock.
    fn cut(&self, ask: &Ask) -> i128 {
        (nanos(ask.at) - length(SKEW) - self.window).div_euclid(MILLI)
    }

    /// When what was stamped so is out of the window.
    fn out(&self, stamp: i128) -> Timestamp {
        moment(stamp * MILLI + self.window + length(SKEW))
    }
}

fn list() -> Path {
    "l".into()
}

impl Meter for Log {
    fn over(&self, ask: &Ask, seen: &Seen) -> Option<Timestamp> {
        let Seen::Log { gate: Some(gate), .. } = seen else { return None };
        (*gate > self.cut(ask)).then(|| self.out(*gate))
    }

    fn attempt(&self, ask: &Ask, seen: &Seen) -> Arc<Taking> {
        let stamp = Self::stamp(ask);
        let update = Update::new().set("x", expiry(self.out(stamp)));
        if let Seen::Log { len, gate: Some(_), .. } = seen {
            // As long as the limit, unless that was lowered: then what is too many goes as well.
            let gate = len.saturating_sub(self.limit);
            let slide = update.set(Path::element("l", *len), stamp);
            let slide = (0..=gate).fold(slide, |slide, index| slide.remove(Path::element("l", index)));
            let as_long = Condition::equal(Subject::Size(list()), u64::try_from(*len).unwrap_or(u64::MAX));
            let out = Condition::at_most(Path::element("l", gate), self.cut(ask));
            return Arc::new((slide, Terms::when(as_long.and(out))));
        }
        let before = Operand::at_or("l", Vec::<Value>::new());
        let after = Operand::from(vec![Value::Number(stamp)]);
        let fill = update.set("l", Operand::ListAppend(Box::new(before), Box::new(after)));
        let most = u64::try_from(self.limit).unwrap_or(u64::MAX);
        let room = Condition::missing("l").or(Condition::below(Subject::Size(list()), most));
        Arc::new((fill, Terms::when(room)))
    }

    fn read(&self, ask: &Ask, item: &Item) -> Option<Seen> {
        let times = match item.get("l") {
            None => return Some(Seen::Nothing),
            Some(Value::List(times)) => times,
            Some(Value::Text(_) | Value::Number(_) | Value::Binary(_) | Value::Bool(_) | Value::Set(_)) => return None,
        };
        let (cut, mut recent, mut gate, mut last) = (self.cut(ask), 0, None, 0);
        for (index, time) in times.iter().enumerate() {
            let Value::Number(time) = time else { return None };
            recent += usize::from(*time > cut);
            if times.len().checked_sub(self.limit) == Some(index) {
                gate = Some(*time);
            }
            last = *time;
        }
        Some(Seen::Log { len: times.len(), gate, recent, last })
    }

    /// Only while it is the newest: what it took the place of was out of the window and is not missed.
    fn give_back(&self, _: &Ask, seen: &Seen) -> Taking {
        let (len, last) = if let Seen::Log { len, last, .. } = seen { (*len, *last) } else { (0, 0) };
        let newest = Path::element("l", len.saturating_sub(1));
        let mine = Condition::equal(Subject::Size(list()), u64::try_from(len).unwrap_or(u64::MAX))
            .and(Condition::equal(newest.clone(), last));
        (Update::new().remove(newest), Terms::when(mine))
    }

    fn values(&self) -> usize {
        self.limit.saturating_add(2)
    }

    fn most(&self) -> u64 {
        u64::try_from(self.limit).unwrap_or(u64::MAX)
    }

    fn left(&self, _: &Ask, seen: &Seen) -> u64 {
        let recent = if let Seen::Log { recent, .. } = seen { *recent } else { 0 };
        u64::try_from(self.limit.saturating_sub(recent)).unwrap_or(u64::MAX)
    }

    fn full_at(&self, ask: &Ask, seen: &Seen) -> Timestamp {
        if let Seen::Log { last, .. } = seen { self.out(*last) } else { ask.at }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limit::Per;

    fn log(limit: u64) -> Log {
        Log::new(Rate { count: limit, per: Per::Second })
    }

    fn ask(ms: u64) -> Ask {
        Ask { at: Timestamp::from_millis(100_000 + ms), cost: 1, patience: Duration::ZERO, ..Ask::default() }
    }

    fn item(times: &[i128]) -> Item {
        Item::new().with("l", times.iter().map(|time| Value::Number(100_000 + time)).collect::<Vec<_>>())
    }

    #[test]
    fn a_log_is_filled_and_then_slides() {
        let seen = log(3).read(&ask(500), &item(&[5, 105])).unwrap();
        let (fill, terms) = &*log(3).attempt(&ask(500), &seen);
        let push = Operand::ListAppend(
            Box::new(Operand::at_or("l", Vec::<Value>::new())),
            Box::new(vec![Value::Number(100_505)].into()),
        );
        assert_eq!(*fill, Update::new().set("x", 101 + 1 + 120).set("l", push));
        assert_eq!(*terms, Terms::when(Condition::missing("l").or(Condition::below(Subject::Size(list()), 3))));

        let seen = log(3).read(&ask(1_010), &item(&[5, 105, 505])).unwrap();
        let (slide, terms) = &*log(3).attempt(&ask(1_010), &seen);
        let design = Update::new().set("x", 102 + 1 + 120).set(Path::element("l", 3), 101_015);
        assert_eq!(*slide, design.remove(Path::element("l", 0)));
        let full = Condition::equal(Subject::Size(list()), 3);
        assert_eq!(*terms, Terms::when(full.and(Condition::at_most(Path::element("l", 0), 100_005))));
    }

    #[test]
    fn the_oldest_must_be_out_of_the_window_by_every_clock() {
        let seen = log(3).read(&ask(500), &item(&[5, 105, 505])).unwrap();
        let until = Timestamp::from_millis(101_010);
        assert_eq!(log(3).over(&ask(500), &seen), Some(until));
        let at = |at| log(3).over(&Ask { at, ..ask(0) }, &seen);
        assert_eq!(at(until), None);
        assert_eq!(at(until.minus(Duration::from_nanos(1))), Some(until));
    }

    #[test]
    fn a_lowered_limit_drops_what_is_too_many() {
        let seen = log(2).read(&ask(1_200), &item(&[5, 105, 155, 505])).unwrap();
        let (slide, terms) = &*log(2).attempt(&ask(1_200), &seen);
        let design = Update::new().set("x", 102 + 1 + 120).set(Path::element("l", 4), 101_205);
        let design = (0..3).fold(design, |design, index| design.remove(Path::element("l", index)));
        assert_eq!(*slide, design);
        let full = Condition::equal(Subject::Size(list()), 4);
        assert_eq!(*terms, Terms::when(full.and(Condition::at_most(Path::element("l", 2), 100_195))));
    }

    #[test]
    fn what_is_no_log_makes_no_sense() {
        for value in [Value::from(1), Value::List(vec![Value::from("a")])] {
            assert_eq!(log(3).read(&ask(0), &Item::new().with("l", value)), None);
        }
        assert_eq!(log(3).read(&ask(0), &Item::new()), Some(Seen::Nothing));
    }
}
