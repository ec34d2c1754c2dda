//! Which version a host begins with that has neither a state file nor a journal (W4).
//!
//! The launcher takes the highest version, also one that was staged for a month from now. Here that is left out where the chain
//! specifications prove it: a host that has the chain's first version knows when its eras began, and no era is shorter than its specified duration.

use std::time::SystemTime;

use super::chainspec::Activation;
use super::layout::Installed;

/// The highest version that could be started and whose era may have come.
pub(crate) fn choose(installed: &[Installed], now: SystemTime) -> Option<&Installed> {
    let latest = latest_era(installed, now);
    installed
        .iter()
        .filter(|version| version.not_startable.is_none())
        .filter(|version| match (version.era(), latest) {
            (Some(era), Some(latest)) => era <= latest,
            (Some(_), None) | (None, _) => true,
        })
        .max_by(|one, other| one.version.cmp(&other.version))
}

/// The chain cannot be further than this; nothing where the files do not tell.
fn latest_era(installed: &[Installed], now: SystemTime) -> Option<u64> {
    let protocols = || {
        installed
            .iter()
            .filter_map(|version| version.protocol.as_ref().ok())
    };
    let genesis = protocols()
        .filter_map(|protocol| match protocol.activation {
            Activation::Genesis(time) => Some(time),
            Activation::Era(_) => None,
        })
        .min()?;
    let shortest = protocols().filter_map(|protocol| protocol.era_duration).min()?;
    let elapsed = now.duration_since(genesis).unwrap_or_default();
    elapsed
        .as_millis()
        .checked_div(shortest.as_millis())
        .and_then(|eras| u64::try_from(eras).ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::adapter::casper::layout::tests::Host;

    fn chosen(host: &Host, now: SystemTime) -> Option<String> {
        choose(&host.survey(), now).map(|version| version.version.to_string())
    }

    #[test]
    fn casper_w4_a_version_of_an_era_to_come_is_not_begun_with() {
        let host = Host::with(&[("1.0.0", 0), ("1.1.0", 50), ("1.10.0", 100)]);
        let genesis = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let after = |hours: u64| genesis + Duration::from_secs(3600 * hours);
        // Without the chain's first version nothing tells which era it is: the highest, as the launcher does.
        assert_eq!(chosen(&host, after(0)).as_deref(), Some("1.10.0"));
        host.chainspec("1.0.0", "'2023-11-14T22:13:20Z'");
        for (hours, expected) in [
            (0, "1.0.0"),
            (49, "1.0.0"),
            (50, "1.1.0"),
            (99, "1.1.0"),
            (100, "1.10.0"),
        ] {
            assert_eq!(
                chosen(&host, after(hours)).as_deref(),
                Some(expected),
                "{hours} hours"
            );
        }
        let before = genesis - Duration::from_secs(1);
        assert_eq!(chosen(&host, before).as_deref(), Some("1.0.0"));
        // What cannot be started is not chosen, and what says nothing is not held back.
        std::fs::remove_file(host.info("1.10.0").binary).unwrap();
        assert_eq!(chosen(&host, after(1000)).as_deref(), Some("1.1.0"));
        host.chainspec("1.1.0", "'soon'");
        assert_eq!(chosen(&host, after(0)).as_deref(), Some("1.1.0"));
        assert_eq!(chosen(&Host::new(), after(0)), None);
    }
}
