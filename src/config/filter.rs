//! `types` and `links`: which events somebody is sent, as the API's filters say it.

use super::fault::Problem;
use super::reader::Section;
use crate::event::LinkId;
use crate::limits::API_FILTERS_MAX;

/// Any of the types, and any of the links; an empty list takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `call.held`, or a family with its dot: `call.`.
    pub types: Vec<String>,
    /// A link's events; the box's own belong to none.
    pub links: Vec<LinkId>,
}

impl Filter {
    pub fn wants(&self, kind: &str, link: Option<&LinkId>) -> bool {
        let of_type = |wanted: &String| if wanted.ends_with('.') { kind.starts_with(wanted) } else { kind == wanted };
        (self.types.is_empty() || self.types.iter().any(of_type))
            && (self.links.is_empty() || link.is_some_and(|link| self.links.contains(link)))
    }
}

/// Both lists; left out, they take everything.
pub(super) fn read(section: &Section<'_>) -> Option<Filter> {
    let types = list(section, "types", "a type as \"call.held\", or a family with its dot as \"call.\"", is_type);
    let links = list(section, "links", "the name of a link", super::is_name);
    Some(Filter { types: types?, links: links?.iter().map(LinkId::new).collect() })
}

fn list(
    section: &Section<'_>,
    key: &'static str,
    expected: &str,
    fits: impl Fn(&str) -> bool,
) -> Option<Vec<String>> {
    let Some(item) = section.item(key) else { return Some(Vec::new()) };
    let items = item.list_of(key, API_FILTERS_MAX)?;
    let mut found: Vec<String> = Vec::new();
    for item in &items {
        let Some(text) = item.parsed(expected, |text| fits(text).then(|| text.to_owned())) else { continue };
        if found.contains(&text) {
            item.fault(Problem::Conflict { what: format!("names {text:?} twice") });
        }
        found.push(text);
    }
    (found.len() == items.len()).then_some(found)
}

fn is_type(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    text.contains('.') && !text.starts_with('.') && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_takes_its_types_and_a_link_only_its_own_events() {
        let filter = Filter { types: vec!["call.".into(), "link.up".into()], links: vec!["a".into()] };
        let link = LinkId::new("a");
        assert!(filter.wants("call.held", Some(&link)) && filter.wants("link.up", Some(&link)));
        assert!(!filter.wants("callback.made", Some(&link)) && !filter.wants("link.upper", Some(&link)));
        assert!(!filter.wants("call.held", Some(&"b".into())) && !filter.wants("call.held", None));
        assert!(Filter::default().wants("log.lost", None));
    }
}
