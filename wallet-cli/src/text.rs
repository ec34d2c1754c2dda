//! What a person reads: safe for a terminal, aligned, in words.

use std::fmt::Write as _;
use std::time::Duration;

/// Text from the network, made harmless: what could move the cursor, hide or reorder text is shown as an escape.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_tricky(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

fn is_tricky(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Rows under a head, in columns wide enough for all; the columns in `right` are numbers.
pub(crate) fn table(head: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut row = String::new();
        for ((index, width), cell) in widths.iter().enumerate().zip(cells) {
            if right.contains(&index) {
                let _ = write!(row, "{cell:>width$}  ");
            } else {
                let _ = write!(row, "{cell:<width$}  ");
            }
        }
        text.push_str(row.trim_end());
        text.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Names and values, one pair a line. An empty name continues the line above.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        let line = format!("{name:<width$}  {value}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How far away a height is, with the time it takes when the block interval is known.
pub(crate) fn distance(now: u64, height: u64, interval: Option<Duration>) -> String {
    if height <= now {
        let blocks = now.saturating_sub(height);
        return match blocks {
            0 => "the last block".to_owned(),
            1 => "1 block ago".to_owned(),
            _ => format!("{blocks} blocks ago"),
        };
    }
    let blocks = height.saturating_sub(now);
    let unit = if blocks == 1 { "block" } else { "blocks" };
    let time = interval.and_then(|interval| {
        let seconds = interval.as_millis().checked_mul(u128::from(blocks))? / 1000;
        u64::try_from(seconds).ok()
    });
    match time {
        Some(seconds) => format!("in {blocks} {unit}, about {} from now", duration(seconds)),
        None => format!("in {blocks} {unit}"),
    }
}

/// A time in its two largest units: nobody plans by the second a week ahead.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A time on the command line.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a time like 500ms, 90s or 2min".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_play_tricks() {
        assert_eq!(printable("plain – ünïcode ✓"), "plain – ünïcode ✓");
        assert_eq!(printable("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(printable("a\rb\u{202e}c"), "a\\u{d}b\\u{202e}c");
        assert_eq!(
            printable("x\u{e0041}\u{e0042}\u{200b}"),
            "x\\u{e0041}\\u{e0042}\\u{200b}"
        );
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["bcd".to_owned(), "1000".to_owned()],
        ];
        assert_eq!(
            table(&["name", "power"], &[1], &rows),
            "name  power\na         1\nbcd    1000\n"
        );
        assert_eq!(
            pairs(&[
                ("a", "1".to_owned()),
                ("bcd", "2".to_owned()),
                ("", "3".to_owned())
            ]),
            "a    1\nbcd  2\n     3\n"
        );
    }

    #[test]
    fn distances_are_in_words() {
        let half_second = Some(Duration::from_millis(500));
        for (now, height, interval, expected) in [
            (10, 10, None, "the last block"),
            (11, 10, None, "1 block ago"),
            (20, 10, half_second, "10 blocks ago"),
            (9, 10, None, "in 1 block"),
            (0, 10, half_second, "in 10 blocks, about 5 s from now"),
            (0, 200, half_second, "in 200 blocks, about 1 min 40 s from now"),
            (
                0,
                20_000,
                half_second,
                "in 20000 blocks, about 2 h 46 min from now",
            ),
            (
                0,
                1_000_000,
                half_second,
                "in 1000000 blocks, about 5 d 18 h from now",
            ),
            (
                0,
                u64::MAX,
                half_second,
                "in 18446744073709551615 blocks, about 106751991167300 d 15 h from now",
            ),
            (0, u64::MAX, Some(Duration::MAX), "in 18446744073709551615 blocks"),
        ] {
            assert_eq!(distance(now, height, interval), expected);
        }
    }
}
