//! The arguments of a node, read as flags and not as text (W-54): a value that looks like a flag, or a path that holds the name of one, is
//! what it is.

/// At which stored snapshot the core is to begin.
pub(crate) const SNAPSHOT_HEIGHT: &str = "--snapshot.load-from-block-height";

/// The home of a node or of a data node.
pub(crate) const HOME: &str = "--home";

/// Where a flag stands: it takes one argument, `--flag=value`, or two, `--flag value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    at: usize,
    count: usize,
}

/// Flags of the core and the data node that take no value; every other flag without `=` takes the argument after it, unless that is a
/// flag itself.
const SWITCHES: [&str; 4] = ["--help", "-h", "--verbose", "--no-version-check"];

/// Every place of a flag, in their order.
fn places(arguments: &[String], flag: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(argument) = arguments.get(at) {
        // Everything after this is no flag.
        if argument == "--" {
            break;
        }
        let found = match argument.strip_prefix(flag) {
            Some("") => Some(1 + usize::from(takes_next(arguments, at))),
            Some(rest) if rest.starts_with('=') => Some(1),
            Some(_) | None => None,
        };
        if let Some(count) = found {
            places.push(Place { at, count });
            at += count;
            continue;
        }
        // The value of another flag is not looked at.
        let skipped = is_flag(argument) && !argument.contains('=') && takes_next(arguments, at);
        at += 1 + usize::from(skipped);
    }
    places
}

fn is_flag(argument: &str) -> bool {
    argument.len() > 1 && argument.starts_with('-')
}

fn takes_next(arguments: &[String], at: usize) -> bool {
    let flag = arguments.get(at).map(String::as_str).unwrap_or_default();
    let next = arguments.get(at + 1).map(String::as_str);
    !SWITCHES.contains(&flag) && next.is_some_and(|next| !is_flag(next) || is_negative(next))
}

fn is_negative(text: &str) -> bool {
    text.len() > 1 && text.starts_with('-') && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// The value of a flag, in both forms; nothing when the flag is not there. The last one counts, as for the programs themselves. A flag
/// at the very end has an empty one.
#[must_use]
pub(crate) fn value<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let place = places(arguments, flag).pop()?;
    if place.count == 2 {
        return arguments.get(place.at + 1).map(String::as_str);
    }
    let argument = arguments.get(place.at)?;
    Some(argument.split_once('=').map_or("", |(_, value)| value))
}

/// The arguments without a flag and its value, however often it is there.
#[must_use]
pub(crate) fn without(arguments: &[String], flag: &str) -> Vec<String> {
    let mut left = arguments.to_vec();
    for place in places(arguments, flag).into_iter().rev() {
        left.drain(place.at..place.at + place.count);
    }
    left
}

/// The arguments with which a core begins at a snapshot, whatever they said of it before (W-55).
#[must_use]
pub(crate) fn with_snapshot_height(arguments: &[String], height: u64) -> Vec<String> {
    let mut arguments = without(arguments, SNAPSHOT_HEIGHT);
    // Before a `--`, behind which nothing is a flag.
    let end = arguments.iter().position(|argument| argument == "--");
    let end = end.unwrap_or(arguments.len());
    arguments.splice(end..end, [SNAPSHOT_HEIGHT.to_owned(), height.to_string()]);
    arguments
}

/// The sub-command that the arguments begin with, flags before it passed over; nothing when there is none.
#[must_use]
pub(crate) fn command(arguments: &[String]) -> Option<&str> {
    let mut at = 0;
    while let Some(argument) = arguments.get(at) {
        if !is_flag(argument) {
            return Some(argument);
        }
        at += 1 + usize::from(!argument.contains('=') && takes_next(arguments, at));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn w_54_a_flag_is_found_in_both_forms_and_not_inside_other_words() {
        for (arguments, home) in [
            ("node --home /x", Some("/x")),
            ("node --home=/x --other", Some("/x")),
            ("node --home=", Some("")),
            ("node --home", Some("")),
            ("node --home --other", Some("")),
            ("node --tendermint-home /t", None),
            ("node --homes /t", None),
            ("node --note --home /x", Some("/x")),
            ("node --home /y --home=/x", Some("/x")),
            ("node --log=--home /x", None),
            ("node -- --home /x", None),
            ("node /a/--home /x", None),
            ("--home /srv/datanode/x node", Some("/srv/datanode/x")),
            ("", None),
        ] {
            assert_eq!(value(&words(arguments), HOME), home, "{arguments}");
        }
    }

    #[test]
    fn w_54_a_path_that_names_a_sub_command_is_none() {
        for (arguments, found) in [
            ("datanode start --home /x", Some("datanode")),
            ("start --home /srv/datanode", Some("start")),
            ("--home /srv/datanode start", Some("start")),
            ("--home=/srv/datanode datanode", Some("datanode")),
            ("--home=/srv/datanode", None),
            ("", None),
        ] {
            assert_eq!(command(&words(arguments)), found, "{arguments}");
        }
    }

    #[test]
    fn w_55_the_height_of_an_upgrade_replaces_a_configured_one() {
        let expected = "node --home /x --snapshot.load-from-block-height 77";
        for arguments in [
            "node --home /x",
            "node --home /x --snapshot.load-from-block-height 5",
            "node --snapshot.load-from-block-height=5 --home /x",
            "node --snapshot.load-from-block-height -1 --home /x --snapshot.load-from-block-height=6",
            "node --home /x --snapshot.load-from-block-height",
        ] {
            assert_eq!(
                with_snapshot_height(&words(arguments), 77),
                words(expected),
                "{arguments}"
            );
        }
        let behind = with_snapshot_height(&words("node -- rest"), 7);
        assert_eq!(behind, words("node --snapshot.load-from-block-height 7 -- rest"));
    }

    #[test]
    fn w_54_text_in_a_value_is_no_configured_height() {
        let arguments = words("node --note=--snapshot.load-from-block-height --home /x");
        assert_eq!(value(&arguments, SNAPSHOT_HEIGHT), None);
        assert_eq!(without(&arguments, SNAPSHOT_HEIGHT), arguments);
    }
}
