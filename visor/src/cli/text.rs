//! Text for people: times, and the words of others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime_serde::re::humantime;

/// Milliseconds since 1970 by the host's clock.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970 as `2026-11-21T10:00:00.000Z`.
pub(super) fn time(unix_ms: u64) -> String {
    // The year 9999 is the last that has such a form; a clock beyond it is shown as that.
    let latest = Duration::from_secs(253_402_300_799);
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms).min(latest);
    humantime::format_rfc3339_millis(time).to_string()
}

/// Text of others, made harmless for a terminal: what could move the cursor, hide or reorder text is shown as an escape.
pub(super) fn harmless(text: &str) -> String {
    let tricky = |character: char| {
        character.is_control()
            || matches!(character,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if tricky(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc_and_no_clock_is_too_wrong_for_them() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_795_255_200_123), "2026-11-21T10:00:00.123Z");
        assert!(time(u64::MAX).starts_with("9999-12-31"));
    }

    #[test]
    fn what_could_move_the_cursor_is_shown_as_an_escape() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{202e}c"), "a\\u{1b}[2Jb\\u{202e}c");
    }
}
