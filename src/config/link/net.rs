//! Who may push reports to a listener: addresses (`10.0.4.2`) and networks (`10.0.4.0/24`).

use std::net::IpAddr;

/// An address, or a network of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    address: IpAddr,
    bits: u8,
}

impl Net {
    /// An IPv4 peer of a socket for both families comes as an IPv6 address, and is the same.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(peer)) => same_bits(net.to_bits(), peer.to_bits(), 32, self.bits),
            (IpAddr::V6(net), IpAddr::V6(peer)) => same_bits(net.to_bits(), peer.to_bits(), 128, self.bits),
            _ => false,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let address = address.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most)?
            }
            Some(_) => return None,
        };
        Some(Self { address, bits })
    }
}

fn same_bits<T: Into<u128>>(one: T, other: T, width: u32, bits: u8) -> bool {
    let differ: u128 = one.into() ^ other.into();
    differ.checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let net = Net::parse("10.0.4.0/24").unwrap();
        assert!(net.contains("10.0.4.255".parse().unwrap()));
        assert!(net.contains("::ffff:10.0.4.1".parse().unwrap()), "a socket of both families");
        assert!(!net.contains("10.0.5.0".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        assert!(Net::parse("0.0.0.0/0").unwrap().contains("203.0.113.9".parse().unwrap()));
        assert!(Net::parse("fd00::/8").unwrap().contains("fd12::1".parse().unwrap()));
        assert!(Net::parse("::/0").unwrap().contains("2001:db8::1".parse().unwrap()));
        assert!(!Net::parse("0.0.0.0/0").unwrap().contains("::1".parse().unwrap()));
        assert!(!Net::parse("10.0.4.2").unwrap().contains("10.0.4.3".parse().unwrap()));
        for bad in ["10.0.4.0/33", "10.0.4.0/", "10.0.4.0/+8", "10.0.4", "10.0.4/24", "10.0.4.0/-1", "", "x/8", "host"]
        {
            assert_eq!(Net::parse(bad), None, "{bad}");
        }
    }
}
