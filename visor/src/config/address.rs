//! An address that may hold a secret.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// The address of a webhook. Whoever knows it may post: its path and query often are a token. Shown and logged as scheme and host only.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct WebAddress(String);

impl WebAddress {
    /// The whole address, for nothing but a request to it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for WebAddress {
    fn from(address: String) -> Self {
        Self(address)
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return formatter.write_str("…");
        };
        let (authority, path) = rest
            .find(['/', '?', '#', '\\'])
            .map_or((rest, ""), |at| rest.split_at(at));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        write!(formatter, "{scheme}://{host}")?;
        match path {
            "" | "/" => formatter.write_str(path),
            _ => formatter.write_str("/…"),
        }
    }
}

impl fmt::Debug for WebAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{self}\"")
    }
}

impl Serialize for WebAddress {
    /// As it is shown: what is written out is read by people.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_a_secret() {
        for (address, shown) in [
            ("", ""),
            ("https://example.org", "https://example.org"),
            ("https://example.org/", "https://example.org/"),
            (
                "http://user:password@example.org:8080/hook",
                "http://example.org:8080/…",
            ),
            (
                "https://hooks.example.org/T0/B0/token",
                "https://hooks.example.org/…",
            ),
            ("https://example.org?token=1", "https://example.org/…"),
            ("https://example.org#token", "https://example.org/…"),
            ("token", "…"),
        ] {
            let address = WebAddress::from(address.to_owned());
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("{shown:?}"));
            assert_eq!(serde_json::to_string(&address).unwrap(), format!("{shown:?}"));
        }
    }
}
