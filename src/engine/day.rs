//! Calendar days as the storage layer counts them, and their ISO form for messages.

use std::fmt;

/// A proleptic Gregorian day, counted from 2000-01-01 (day 0), as PostgreSQL's `date` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// The day `days` earlier, or the earliest representable one.
    pub fn minus_days(self, days: u32) -> Day {
        Day(self.0.saturating_sub(i32::try_from(days).unwrap_or(i32::MAX)))
    }

    /// Year, month (1-12) and day of month (1-31). Years before 1 AD count 0, -1, ...
    pub fn civil(self) -> (i64, u32, u32) {
        // Days since 0000-03-01, so that a leap day ends its year (Hinnant, "chrono-compatible
        // low-level date algorithms").
        let shifted = i64::from(self.0) + 730_425;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month as u32, day as u32)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        if year > 0 {
            write!(f, "{year:04}-{month:02}-{day:02}")
        } else {
            write!(f, "{:04}-{month:02}-{day:02} BC", 1 - year)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_print_as_iso_dates() {
        for (day, text) in [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (-1, "1999-12-31"),
            (6_939, "2018-12-31"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (2_145_031_948, "5874897-12-31"),
        ] {
            assert_eq!(Day(day).to_string(), text);
        }
    }

    #[test]
    fn subtraction_stops_at_the_first_day() {
        assert_eq!(Day(10).minus_days(189), Day(-179));
        assert_eq!(Day(i32::MIN + 5).minus_days(u32::MAX), Day(i32::MIN));
    }
}
