//! `types` and `links`: which events somebody is sent, as the API's filters say it.

use super::reader::{Item, Section};
use crate::event::LinkId;
use crate::event::filter::{EventFilter, TypeFilter};
use crate::limits::API_FILTERS_MAX;

/// Both lists; left out, they take everything. `known_links` are those that the file has.
pub(super) fn read(section: &Section<'_>, known_links: &[&str]) -> Option<EventFilter> {
    let types = list(section, "types", "types of events", |item| {
        let parsed = item.str().map(TypeFilter::parse);
        if let Some(Err(expected)) = &parsed {
            item.expected(expected.as_str());
        } else if parsed.is_none() {
            item.expected("a type of events");
        }
        parsed?.ok()
    });
    let links = list(section, "links", "links", |item| link(item, known_links));
    Some(EventFilter { types: types?, links: links? })
}

fn link(item: &Item<'_>, known: &[&str]) -> Option<LinkId> {
    let found = item.str().filter(|name| known.contains(name));
    if found.is_none() {
        let nearest = super::fault::nearest(item.str().unwrap_or_default(), known.iter().copied());
        let expected = match known {
            [] => "a link that is configured (there is none)".to_owned(),
            _ => format!("a link that is configured ({})", known.join(", ")),
        };
        item.expected_near(expected, nearest);
    }
    found.map(LinkId::new)
}

fn list<'d, T>(
    section: &Section<'d>,
    key: &'static str,
    of: &str,
    read: impl Fn(&Item<'d>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(item) = section.item(key) else { return Some(Vec::new()) };
    let read: Vec<Option<T>> = item.list_of(of, API_FILTERS_MAX)?.iter().map(read).collect();
    read.into_iter().collect()
}
