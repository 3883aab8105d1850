//! Republished events that are pushed to us: one HTTP POST, its body as any other JSON of this form (A16).
//!
//! Who may push is the site's: networks, and a secret path; a report from elsewhere changes nothing.

use subtle::ConstantTimeEq;

use crate::clock::Instant;
use crate::config::{CentrexForm, CentrexJson, Network};
use crate::link::centrex::json::{self, Item};
use crate::link::session::{Output, Report, ReportId};

use super::{Session, State};

impl Session {
    pub(super) fn take_report(&mut self, id: ReportId, report: &Report, now: Instant) {
        let CentrexForm::Json(site) = &self.site.form else {
            return self.answer(id, 404, "this link takes no reports");
        };
        if !may_push(site, report) {
            self.tally.suspect += 1;
            return self.answer(id, 403, "not from here");
        }
        if report.method != "POST" {
            return self.answer(id, 405, "expected POST");
        }
        if matches!(self.state, State::Over) {
            return self.answer(id, 503, "the link is down; send it again");
        }
        self.heard = Some(now);
        let items = json::read_whole(&report.body, self.site.strict);
        let refused = items.iter().find_map(|item| match item {
            Item::Refused(found) => Some(found.clone()),
            Item::Wrapped(_) => None,
        });
        let empty = items.is_empty();
        for item in items {
            self.handle_item(item, now);
        }
        // What could be read is done; sending it all again would tell it twice.
        match refused {
            Some(found) => self.answer(id, 400, &found),
            None if empty => self.answer(id, 400, "expected an object, found nothing"),
            None => self.answer(id, 200, "ok"),
        }
    }

    /// After the events that the report caused.
    fn answer(&mut self, report: ReportId, status: u16, words: &str) {
        self.flush();
        let body = format!("{words}\n").into_bytes();
        self.outputs.push_back(Output::Answer { report, status, body });
    }
}

fn may_push(site: &CentrexJson, report: &Report) -> bool {
    // Without a list the listener is a loopback one, or the configuration would have been refused.
    let allowed = Network::allows(&site.allow, report.peer);
    let path = report.target.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let known = site.path_secret.as_ref().is_none_or(|secret| {
        let secret = secret.expose().trim_matches('/').as_bytes();
        let tail = path.len().checked_sub(secret.len()).map(|at| path.as_bytes().split_at(at));
        tail.is_some_and(|(before, tail)| before.ends_with(b"/") && bool::from(secret.ct_eq(tail)))
    });
    allowed && known
}
