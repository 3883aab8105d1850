//! `[follow]`: this box is the second of its site, and the first is there.
//!
//! Source: the public interface, section 4, whose event stream is followed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::Problem;
use super::link::{Address, Scheme, TlsSettings, read_address, read_tls};
use super::reader::Section;
use crate::secret::Secret;

/// How the first is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// The first's LAN API, `http://HOST[:PORT]` or `https://HOST[:PORT]`; ports 8080 and 8443 unless given.
    pub url: Address,
    /// A token of the first with scope `read`.
    pub token: Secret,
    pub tls: TlsSettings,
    /// The first is silent for this long: this box leads. Default 15 s, 1 s to 1 h.
    pub take_over_after: Duration,
    /// The first answers and has all its links for this long: this box stands by again. Default 30 s, 1 s to 1 h.
    pub hand_back_after: Duration,
    /// Default `takeover`.
    pub links: FollowLinks,
}

/// When the links of the second connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowLinks {
    /// While it leads.
    Takeover,
    /// From the start; its log then has events of its own all the time.
    Always,
}

pub(super) const TAKE_OVER_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const TAKE_OVER_AFTER_DEFAULT: Duration = Duration::from_secs(15);
const HAND_BACK_AFTER_DEFAULT: Duration = Duration::from_secs(30);
const SCHEMES: &[(Scheme, u16)] = &[(Scheme::Http, 8080), (Scheme::Https, 8443)];

pub(super) fn read(section: Section<'_>) -> Option<Follow> {
    let url = match section.item("url") {
        Some(item) => read_address(&item, SCHEMES, "the LAN API speaks", "token").filter(|url| {
            let plain = url.path == "/";
            if !plain {
                let (expected, found) = ("an address without a path".to_owned(), format!("{:?}", url.path));
                item.fault(Problem::Value { expected, found, nearest: None });
            }
            plain
        }),
        None => {
            section.missing("url", "the first's LAN API, such as \"http://10.0.4.5:8080\"");
            None
        }
    };
    let token = section.secret(["token", "token_file", "token_env"]);
    let tls = read_tls(&section, url.as_ref().is_none_or(|url| url.scheme.is_secure()), "url is not https://");
    let span = |name, standard| section.item(name).map_or(Some(standard), |item| item.duration(TAKE_OVER_AFTER));
    let take_over_after = span("take_over_after", TAKE_OVER_AFTER_DEFAULT);
    let hand_back_after = span("hand_back_after", HAND_BACK_AFTER_DEFAULT);
    let links = section.item("links").map_or(Some(FollowLinks::Takeover), |item| {
        item.one_of(&[("takeover", FollowLinks::Takeover), ("always", FollowLinks::Always)])
    });
    section.finish();
    Some(Follow {
        url: url?,
        token: token?,
        tls: tls?,
        take_over_after: take_over_after?,
        hand_back_after: hand_back_after?,
        links: links?,
    })
}
