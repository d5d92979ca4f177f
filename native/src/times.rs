//! Times: nanoseconds since 1970, and their texts in RFC 3339, in UTC with nine decimals.

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400;
/// The length of a text: `1970-01-01T00:00:00.000000000Z`.
pub const LENGTH: usize = 30;

/// Write the text of a time. All of them, up to the year 2554, have four digits for the year.
pub fn put(out: &mut Vec<u8>, nanoseconds: u64) {
    let (seconds, rest) = (nanoseconds / SECOND, nanoseconds % SECOND);
    let (year, month, day) = civil(seconds / DAY);
    let time = seconds % DAY;
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], time / 3600);
    digits(&mut text[14..16], time / 60 % 60);
    digits(&mut text[17..19], time % 60);
    digits(&mut text[20..29], rest);
    out.extend_from_slice(&text);
}

/// Return the nanoseconds of a text in exactly the form of `put`, `None` for any other text.
pub fn parse(text: &str) -> Option<u64> {
    let text: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
    for (at, mark) in
        [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (29, b'Z')]
    {
        if text[at] != mark {
            return None;
        }
    }
    let (year, month, day) = (number(&text[0..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute, second) =
        (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?);
    let rest = number(&text[20..29])?;
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day);
    if civil(days) != (year, month, day) {
        return None;
    }
    (days * DAY + hour * 3600 + minute * 60 + second).checked_mul(SECOND)?.checked_add(rest)
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in text {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    Some(value)
}

/// Return year, month and day for a number of days since 1970, in the Gregorian calendar.
///
/// The calendar's cycle of 400 years has 146,097 days; years are counted from the first of March,
/// so that the leap day is the last day of a year.
fn civil(days: u64) -> (u64, u64, u64) {
    let since_march_0000 = days + 719_468;
    let (era, in_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Return the number of days since 1970 of a day; the inverse of `civil` for days that exist.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, in_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let in_year = (153 * from_march + 2) / 5 + day.max(1) - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_parsed_to_the_time_that_it_was_made_from() {
        for time in (0..u64::MAX).step_by(86_399_999_999_999 * 7).chain([u64::MAX]) {
            let mut text = Vec::new();
            put(&mut text, time);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(parse(&text), Some(time), "{text}");
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for day in
            ["2025-02-29", "2026-04-31", "2026-13-01", "2026-00-10", "2026-01-00", "1900-01-01"]
        {
            assert_eq!(parse(&format!("{day}T00:00:00.000000000Z")), None, "{day}");
        }
        assert!(parse("2024-02-29T00:00:00.000000000Z").is_some());
    }
}
