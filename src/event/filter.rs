//! Which events a consumer wants: a client of the API, a receiver that is called.
//!
//! Shape: a type as `call.held`, or a family with its dot as `call.`; links by name. What takes them bounds their number
//! by [`API_FILTERS_MAX`](crate::limits::API_FILTERS_MAX).

use super::LinkId;

/// Any of the types, and any of the links; an empty list wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub types: Vec<TypeFilter>,
    pub links: Vec<LinkId>,
}

/// One type, or a family of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeFilter {
    Exactly(String),
    /// Ends with the dot.
    Family(String),
}

impl EventFilter {
    pub fn wants_all(&self) -> bool {
        self.types.is_empty() && self.links.is_empty()
    }

    pub fn wants(&self, kind: &str, link: Option<&LinkId>) -> bool {
        (self.types.is_empty() || self.types.iter().any(|filter| filter.matches(kind)))
            && (self.links.is_empty() || link.is_some_and(|link| self.links.contains(link)))
    }
}

impl TypeFilter {
    /// # Errors
    /// What is expected, where the text could match nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if text.is_empty() || text.starts_with('.') || !text.chars().all(fits) {
            return Err("a type as `call.held` or a family with its dot as `call.`".to_owned());
        }
        if !text.contains('.') {
            return Err(format!("a type as `call.held`, or `{text}.` for the family"));
        }
        Ok(if text.ends_with('.') { Self::Family(text.to_owned()) } else { Self::Exactly(text.to_owned()) })
    }

    fn matches(&self, kind: &str) -> bool {
        match self {
            Self::Exactly(name) => kind == name,
            Self::Family(family) => kind.starts_with(family.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_takes_its_types_and_a_link_only_its_own_events() {
        let types = ["call.", "link.up"].map(|text| TypeFilter::parse(text).unwrap()).into();
        let filter = EventFilter { types, links: vec!["a".into()] };
        let link = LinkId::new("a");
        assert!(filter.wants("call.held", Some(&link)) && filter.wants("link.up", Some(&link)));
        assert!(!filter.wants("callback.made", Some(&link)) && !filter.wants("link.upper", Some(&link)));
        assert!(!filter.wants("call.held", Some(&"b".into())) && !filter.wants("call.held", None));
        assert!(EventFilter::default().wants("log.lost", None) && EventFilter::default().wants_all());
    }
}
