//! `allow`: who may push reports to a link that listens.
//!
//! Shape: an address (`10.0.4.2`) or a network (`10.0.4.0/24`); an IPv4 peer of a socket for both families is known as
//! either.

use std::net::IpAddr;

use crate::config::reader::Section;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether a list lets this peer in; without any network it lets everyone.
    pub fn allows(list: &[Self], peer: IpAddr) -> bool {
        list.is_empty() || list.iter().any(|network| network.contains(peer))
    }

    pub fn contains(&self, peer: IpAddr) -> bool {
        match (self.first, peer.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(peer)) => begin_alike(first.to_bits(), peer.to_bits(), 32, self.bits),
            (IpAddr::V6(first), IpAddr::V6(peer)) => begin_alike(first.to_bits(), peer.to_bits(), 128, self.bits),
            _ => false,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, bits) = text.split_once('/').map_or((text, None), |(first, bits)| (first, Some(bits)));
        let first: IpAddr = first.parse().ok()?;
        let first = first.to_canonical();
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most)?
            }
            Some(_) => return None,
        };
        Some(Self { first, bits })
    }
}

fn begin_alike<T: Into<u128>>(one: T, other: T, width: u32, bits: u8) -> bool {
    let differ: u128 = one.into() ^ other.into();
    differ.checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

/// A list of one at least, where it is given; none where it is not.
pub(super) fn allow(section: &Section<'_>) -> Option<Vec<Network>> {
    const OF: &str = "addresses or networks";
    let Some(item) = section.item("allow") else { return Some(Vec::new()) };
    let items = item.list(OF)?;
    if items.is_empty() {
        item.expected(format!("a list of {OF}, with one at least"));
        return None;
    }
    let expected = r#"an IP address or a network, such as "10.0.4.2" or "10.0.4.0/24""#;
    let networks: Vec<Option<Network>> = items.iter().map(|item| item.parsed(expected, Network::parse)).collect();
    networks.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, peer: &str) -> bool {
        Network::parse(network).unwrap().contains(peer.parse().unwrap())
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        assert!(holds("10.0.4.0/24", "10.0.4.255") && !holds("10.0.4.0/24", "10.0.5.0"));
        assert!(holds("10.0.4.0/24", "::ffff:10.0.4.1"), "a socket of both families");
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fd00::/8", "fd12::1") && holds("::/0", "2001:db8::1"));
        assert!(holds("10.0.4.2", "10.0.4.2") && !holds("10.0.4.2", "10.0.4.3"));
        for bad in ["10.0.4.0/33", "10.0.4.0/", "10.0.4.0/+8", "10.0.4", "", "x/8", "fd00::/129"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_empty_list_lets_everyone_in() {
        let peer = "203.0.113.9".parse().unwrap();
        assert!(Network::allows(&[], peer));
        assert!(!Network::allows(&[Network::parse("10.0.4.0/24").unwrap()], peer));
    }
}
