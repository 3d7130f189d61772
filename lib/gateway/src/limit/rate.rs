//! Rates as the config writes them: `N/s`, `N/min`, `N/h`, `N/day`.

use std::fmt;
use std::time::Duration;

const FORMS: &str = "a count and a unit: N/s, N/min, N/h or N/day";

/// So many requests in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many requests; at least 1.
    pub count: u64,
    /// In what time.
    pub per: Per,
}

/// The time a rate or a quota is given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// One second.
    Second,
    /// 60 seconds.
    Minute,
    /// 3,600 seconds.
    Hour,
    /// 86,400 seconds; windows of a day are days of UTC, and the days of a quota those of its calendar.
    Day,
    /// Of quotas alone: from Monday (ISO 8601).
    Week,
    /// Of quotas alone: a month of the calendar.
    Month,
}

impl Per {
    /// Its length.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.secs())
    }

    /// Its length in seconds; a month is at most so long.
    pub const fn secs(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 31 * 86_400,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

impl Rate {
    /// Reads a rate as the config writes it.
    ///
    /// # Errors
    /// A message that says what would be right, ready to stand after `file:line:col: `.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("rate {text:?} must be {FORMS}");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let per = [Per::Second, Per::Minute, Per::Hour, Per::Day]
            .into_iter()
            .find(|per| per.as_str() == unit)
            .ok_or_else(wrong)?;
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        match count.parse() {
            Ok(0) => Err(format!("rate {text:?} lets nothing pass: its count must be at least 1")),
            Ok(count) => Ok(Self { count, per }),
            Err(_) => Err(format!("rate {text:?} is too large: its count must be at most {}", u64::MAX)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_and_a_unit() {
        for (text, count, secs) in
            [("5/min", 5, 60), ("1/s", 1, 1), ("100000/h", 100_000, 3600), ("007/day", 7, 86_400)]
        {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate.count, rate.per.duration()), (count, Duration::from_secs(secs)), "{text}");
        }
        assert_eq!(Rate::parse("5/min").unwrap().to_string(), "5/min");
    }

    #[test]
    fn a_wrong_rate_is_told_what_is_right() {
        for text in
            ["", "5", "5/", "/s", "5/m", "5/minute", "5 /min", "5/ min", "-5/s", "+5/s", "5.5/s", "5/min/s", "٥/s"]
        {
            let message = Rate::parse(text).unwrap_err();
            assert_eq!(message, format!("rate {text:?} must be a count and a unit: N/s, N/min, N/h or N/day"));
        }
        assert_eq!(Rate::parse("0/s").unwrap_err(), "rate \"0/s\" lets nothing pass: its count must be at least 1");
        let message = Rate::parse("18446744073709551616/s").unwrap_err();
        assert_eq!(
            message,
            "rate \"18446744073709551616/s\" is too large: its count must be at most 18446744073709551615"
        );
    }
}
