//! How much in how long: `5/min`.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;

/// A rate: a count within a calendar-aligned time (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u64,
    per: Per,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
    Hour,
    Day,
}

impl Rate {
    /// Reads `N/s`, `N/min`, `N/h` or `N/day`.
    ///
    /// # Errors
    /// Words that follow the text as written.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "must be a count within a time, like 10/s, 100/min, 1000/h or 5000/day";
        let (count, per) = text.split_once('/').ok_or(FORM)?;
        let count: u64 = count.trim().parse().map_err(|_| FORM)?;
        let per = match per.trim() {
            "s" => Per::Second,
            "min" => Per::Minute,
            "h" => Per::Hour,
            "day" => Per::Day,
            _ => return Err(FORM.to_owned()),
        };
        if count == 0 {
            return Err("lets nothing through: it must be at least 1".to_owned());
        }
        if count > MOST {
            return Err(format!("must not be above {MOST}"));
        }
        Ok(Self { count, per })
    }

    /// How much.
    pub const fn count(self) -> u64 {
        self.count
    }

    /// In how long.
    pub const fn per(self) -> Duration {
        Duration::from_secs(match self.per {
            Per::Second => 1,
            Per::Minute => 60,
            Per::Hour => 3600,
            Per::Day => 86_400,
        })
    }

    /// The window that a moment lies in, counted from the epoch.
    pub fn window(self, now: Timestamp) -> u64 {
        now.secs() / self.per().as_secs()
    }

    /// When a window ends.
    pub fn end(self, window: u64) -> Timestamp {
        Timestamp::from_secs((window + 1).saturating_mul(self.per().as_secs()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Second => "s",
            Per::Minute => "min",
            Per::Hour => "h",
            Per::Day => "day",
        };
        write!(f, "{}/{per}", self.count)
    }
}

const MOST: u64 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_alike() {
        for text in ["10/s", "5/min", "1000/h", "1/day"] {
            assert_eq!(Rate::parse(text).map(|rate| rate.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "5", "0/s", "-1/s", "5/minute", "1.5/s", "/s", "99999999999999999/s"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn windows_are_aligned_to_the_calendar() {
        let rate = Rate::parse("5/min").expect("a rate");
        let window = rate.window(Timestamp::from_secs(119));
        assert_eq!(window, 1);
        assert_eq!(rate.end(window), Timestamp::from_secs(120));
        assert_eq!(rate.window(rate.end(window)), 2);
    }
}
