//! Names of releases and of version folders, checked before they become paths (W-53).

use std::path::{Component, Path};

/// The longest name of a release. None is nearly as long, and a folder can be called so everywhere.
const MAX_TAG: usize = 100;

/// Whether a text is a release's name: `v1.2.3`, the `v` being optional, by the strict rules of semantic versions. Such a text holds no
/// separator and is no `..`, so it is safe as a folder's name.
#[must_use]
pub(crate) fn is_release_tag(text: &str) -> bool {
    let version = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (version, build) = match version.split_once('+') {
        Some((version, build)) => (version, Some(build)),
        None => (version, None),
    };
    let (numbers, pre_release) = match version.split_once('-') {
        Some((numbers, pre_release)) => (numbers, Some(pre_release)),
        None => (version, None),
    };
    let number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    let identifier = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= MAX_TAG
        && numbers.split('.').count() == 3
        && numbers.split('.').all(number)
        && pre_release.is_none_or(|part| {
            part.split('.')
                .all(|part| identifier(part) && (!is_digits(part) || number(part)))
        })
        && build.is_none_or(|part| part.split('.').all(identifier))
}

/// The three numbers of a release; nothing when it is none. A pre-release has those of its release.
#[must_use]
pub(crate) fn numbers(tag: &str) -> Option<[u64; 3]> {
    if !is_release_tag(tag) {
        return None;
    }
    let version = tag.strip_prefix(['v', 'V']).unwrap_or(tag);
    let mut parts = version.split(['-', '+']).next()?.split('.');
    let mut next = || parts.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

/// What `upgradeFolders` may lead to.
pub(crate) const FOLDER_EXPECTED: &str = "the name of a folder in the home, without separators";

/// The folder of the home that a text names; nothing when it leads elsewhere, or is a name that visor uses itself.
#[must_use]
pub(crate) fn folder_name(text: &str) -> Option<String> {
    let mut parts = Path::new(text)
        .components()
        .filter(|part| *part != Component::CurDir);
    let name = match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => name.to_str()?,
        _ => return None,
    };
    let taken = ["current", "current.part", "staging", "backups"].contains(&name);
    (!taken && name.len() <= MAX_TAG && !name.contains(char::is_control)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w_53_a_tag_is_a_strict_version_and_never_a_path() {
        for tag in [
            "v0.80.0",
            "V0.80.0",
            "0.80.0",
            "v1.2.3-rc.1",
            "v0.79.0-preview.1+build.007",
            "v1.0.0-0a",
            "v99.99.9",
        ] {
            assert!(is_release_tag(tag), "{tag}");
        }
        let long = format!("v1.0.0-{}", "x".repeat(100));
        for tag in [
            "",
            "v",
            "v1",
            "v1.2",
            "v1.2.3.4",
            "v01.2.3",
            "v1.2.3-01",
            "v1.2.3-",
            "v1.2.3+",
            "v1.2.3-a..b",
            "0.78.0.preview.1",
            "vv1.2.3",
            "v1.2.3/../../etc",
            "../v1.2.3",
            "v1.2.3-a/b",
            "v1.2.3\0",
            "v1.2.3 ",
            "v1.2.x",
            "vX.X.X",
            "genesis",
            &long,
        ] {
            assert!(!is_release_tag(tag), "{tag}");
        }
    }

    #[test]
    fn the_numbers_of_a_release_are_compared_as_numbers() {
        assert_eq!(numbers("v0.80.12-rc.1+x"), Some([0, 80, 12]));
        assert!(numbers("v0.9.0") < numbers("v0.10.0"));
        assert_eq!(numbers("genesis"), None);
        assert_eq!(numbers("v99999999999999999999.0.0"), None);
    }

    #[test]
    fn w_53_a_folder_is_one_name_in_the_home() {
        for (text, name) in [
            ("v0.80.0", Some("v0.80.0")),
            ("./next", Some("next")),
            ("next/", Some("next")),
            ("vX.X.X", Some("vX.X.X")),
            ("", None),
            (".", None),
            ("..", None),
            ("../x", None),
            ("/x", None),
            ("a/b", None),
            ("a/..", None),
            ("a\nb", None),
            ("current", None),
            ("staging", None),
        ] {
            assert_eq!(folder_name(text).as_deref(), name, "{text}");
        }
    }
}
