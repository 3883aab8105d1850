//! The query of a request, parsed once into types that cannot be wrong.
//!
//! Every parameter a path does not know is refused by name: a filter with a typing error must not look like a filter
//! that matches everything. Bounds: [`API_LIST_MAX`], [`API_FILTERS_MAX`]; past either, 400 naming the bound.

use axum::extract::Query;
use axum::http::Uri;
use serde::de::DeserializeOwned;

use super::error::Problem;
pub(super) use crate::event::filter::EventFilter;
use crate::event::filter::TypeFilter;
use crate::event::{LinkId, Seq};
use crate::limits::{API_FILTERS_MAX, API_LIST_DEFAULT, API_LIST_MAX};

/// The parameters of one request, all of them known to its path.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn parse(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let pairs = match Query::<Vec<(String, String)>>::try_from_uri(uri) {
            Ok(Query(pairs)) => pairs,
            Err(fault) => return Err(Problem::bad_request(format!("query: expected NAME=VALUE pairs, found {fault}"))),
        };
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(Self(pairs)),
            Some((name, _)) if known.is_empty() => {
                Err(Problem::bad_request(format!("query: this path takes no parameters, found `{name}`")))
            }
            Some((name, _)) => {
                let known = known.join("`, `");
                Err(Problem::bad_request(format!("query: expected any of `{known}`, found `{name}`")))
            }
        }
    }

    /// A parameter that may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut found = self.all(name);
        match (found.next(), found.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Problem::bad_request(format!("`{name}`: expected it once, found it more than once"))),
        }
    }

    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.one("limit")? else { return Ok(API_LIST_DEFAULT) };
        match text.parse::<usize>() {
            Ok(limit @ 1..=API_LIST_MAX) => Ok(limit),
            _ => Err(Problem::bad_request(format!("`limit`: expected 1 to {API_LIST_MAX}, found \"{text}\""))),
        }
    }

    pub(super) fn seq(&self, name: &str) -> Result<Option<Seq>, Problem> {
        self.one(name)?.map(|text| parse_seq(&format!("`{name}`"), text)).transpose()
    }

    pub(super) fn link(&self) -> Result<Option<LinkId>, Problem> {
        Ok(self.one("link")?.map(LinkId::new))
    }

    /// A state by its word in the interface.
    pub(super) fn state<T: DeserializeOwned>(&self, words: &[&str]) -> Result<Option<T>, Problem> {
        let Some(text) = self.one("state")? else { return Ok(None) };
        match serde_json::from_value(serde_json::Value::from(text)) {
            Ok(state) => Ok(Some(state)),
            Err(_) => {
                let words = words.join("`, `");
                Err(Problem::bad_request(format!("`state`: expected one of `{words}`, found \"{text}\"")))
            }
        }
    }

    /// A page of a list whose members are named `LINK/NAME`.
    pub(super) fn list(&self) -> Result<List, Problem> {
        let after = match self.one("after")? {
            None => None,
            Some(text) => match text.split_once('/') {
                Some((link, name)) => Some((LinkId::new(link), name.to_owned())),
                None => {
                    let detail = format!("`after`: expected LINK/NAME, as `next` of the page before, found \"{text}\"");
                    return Err(Problem::bad_request(detail));
                }
            },
        };
        Ok(List { link: self.link()?, after, limit: self.limit()? })
    }

    pub(super) fn events(&self) -> Result<EventFilter, Problem> {
        let types: Vec<TypeFilter> = self.all("type").map(type_filter).collect::<Result<_, _>>()?;
        let links: Vec<LinkId> = self.all("link").map(LinkId::new).collect();
        for (name, found) in [("type", types.len()), ("link", links.len())] {
            if found > API_FILTERS_MAX {
                let detail = format!("`{name}`: expected at most {API_FILTERS_MAX} of them, found {found}");
                return Err(Problem::bad_request(detail));
            }
        }
        Ok(EventFilter { types, links })
    }
}

/// A seq as text; `which` names where it was found.
pub(super) fn parse_seq(which: &str, text: &str) -> Result<Seq, Problem> {
    match text.parse::<u64>() {
        Ok(seq) => Ok(Seq(seq)),
        Err(_) => Err(Problem::bad_request(format!("{which}: expected a seq (0 or more), found \"{text}\""))),
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    pub link: Option<LinkId>,
    /// The last member of the page before.
    pub after: Option<(LinkId, String)>,
    pub limit: usize,
}

/// A type's filter, as a parameter gives it.
fn type_filter(text: &str) -> Result<TypeFilter, Problem> {
    TypeFilter::parse(text)
        .map_err(|expected| Problem::bad_request(format!("`type`: expected {expected}, found \"{text}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<EventFilter, Problem> {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        Params::parse(&uri, &["type", "link"])?.events()
    }

    #[test]
    fn a_type_ending_with_a_dot_takes_its_family_and_another_only_itself() {
        let calls = filter("type=call.&type=link.up").unwrap();
        assert!(calls.wants("call.held", None));
        assert!(calls.wants("link.up", None));
        assert!(!calls.wants("link.down", None));
        assert!(!calls.wants("callback.made", None));
    }

    #[test]
    fn a_link_filter_leaves_out_the_events_of_the_box_itself() {
        let one = filter("link=a&link=b").unwrap();
        assert!(one.wants("call.held", Some(&"b".into())));
        assert!(!one.wants("call.held", Some(&"c".into())));
        assert!(!one.wants("lamp.shown", None));
        assert!(filter("").unwrap().wants_all());
    }

    #[test]
    fn a_type_that_can_match_nothing_is_refused() {
        for query in ["type=", "type=call", "type=.call", "type=Call.held", "type=call.*"] {
            assert!(filter(query).is_err(), "{query}");
        }
        let many = vec!["type=call."; API_FILTERS_MAX + 1].join("&");
        assert!(filter(&many).is_err());
    }
}
