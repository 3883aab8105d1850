//! `rest = { … }`: a Centrex's side channel over HTTPS.

use crate::config::link::NAME_CHARS;
use crate::config::link::address::{self, Address, Scheme};
use crate::config::reader::Item;
use crate::secret::Secret;

/// The REST services beside the Open API, protocol document 2.12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CentrexRest {
    /// `url`: `https://HOST[:PORT][/PATH]`, or `http://` where the way there is trusted: the password's hash goes over it,
    /// and is as good as the password. Default `https://centrex.uplus.co.kr/RestApi`.
    pub url: Address,
    /// `id`: the 070 number.
    pub id: String,
    /// `password`, `password_file` or `password_env`.
    pub password: Secret,
    /// `device`: what the link's events call that telephone. Default `id`.
    pub device: String,
}

const SCHEMES: &[(Scheme, u16)] = &[(Scheme::Https, 443), (Scheme::Http, 80)];
const HOST: &str = "centrex.uplus.co.kr";
const PATH: &str = "/RestApi";

pub(super) fn read(item: Item<'_>) -> Option<CentrexRest> {
    let section = item.section()?;
    let url = match section.item("url") {
        Some(item) => address::read(&item, SCHEMES, "centrex").filter(|url| {
            if url.path.contains('?') {
                item.expected("a path without a query: a method's name is put behind it");
            }
            !url.path.contains('?')
        }),
        None => Some(Address { scheme: Scheme::Https, host: HOST.to_owned(), port: 443, path: "/".to_owned() }),
    };
    let id = match section.item("id") {
        Some(item) => item.words(NAME_CHARS),
        None => {
            section.missing("id", "the 070 number");
            None
        }
    };
    let password = section.secret(["password", "password_file", "password_env"]);
    let device = section.item("device").map_or(Some(None), |item| item.words(NAME_CHARS).map(Some));
    section.finish();
    let mut url = url?;
    if url.path == "/" {
        PATH.clone_into(&mut url.path);
    }
    let (id, device) = (id?, device?);
    Some(CentrexRest { url, password: password?, device: device.unwrap_or_else(|| id.clone()), id })
}
