//! Loopback addresses that no other process uses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};

/// A loopback address of its own, `127.x.y.z`.
///
/// A port found free by binding port 0 could be taken by somebody else before its owner binds it, and a restarted node
/// needs the same port again. On an address drawn from 2^24 nobody else looks for ports.
#[derive(Debug, Clone, Copy)]
pub struct Loopback(Ipv4Addr);

impl Loopback {
    /// Draws an address.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn unique() -> Result<Self> {
        let mut octets = [0_u8; 3];
        getrandom::fill(&mut octets).context("draw a loopback address")?;
        // 127.0.0.0/16 and host numbers 0 and 255 are what people and other tools use.
        let [a, b, c] = octets;
        Ok(Self(Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254))))
    }

    /// Returns `count` different free ports on this address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn free_ports(&self, count: usize) -> Result<Vec<SocketAddr>> {
        let listeners = (0..count)
            .map(|_| TcpListener::bind((IpAddr::V4(self.0), 0)).with_context(|| format!("bind {}:0", self.0)))
            .collect::<Result<Vec<_>>>()?;
        listeners
            .iter()
            .map(|listener| listener.local_addr().context("read the bound address"))
            .collect()
    }
}
