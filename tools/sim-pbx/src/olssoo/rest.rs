//! The REST services: the plan, click to call, call records; and what may go wrong with them.
//!
//! Source: protocol 4.1; the shape of bodies is A17 (`status`, `data`, `message`).
//! Shape: pure; a request in, an answer out. Whoever serves it starts the call that a click asks for.
//! Not supported: `cos_id` has no effect, for the office has no classes of service; it is only remembered.
//! Bounds: [`ORDERS_MAX`], [`REMEMBERED_MAX`](crate::limits::REMEMBERED_MAX).

use std::collections::VecDeque;
use std::time::Duration;

use super::http::Request;
use super::json::Json;
use super::proxy::remember;
use super::records::{CdrQuery, Ledger};
use crate::limits::ORDERS_MAX;

/// What every request must carry.
#[derive(Clone)]
pub struct Licence {
    pub app_key: String,
    pub tenant: String,
}

impl std::fmt::Debug for Licence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Licence").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// A call that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Click {
    pub caller: String,
    pub callee: String,
    pub cos_id: String,
    pub cid_name: String,
    pub cid_number: String,
}

/// What goes wrong with the next request of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The request is done; the answer is 200 with this text instead of JSON.
    Unparsable(String),
    /// The request is not done; this status and this text.
    Failure(u16, String),
    /// The answer comes so much later.
    Slow(Duration),
    /// The request is done; no answer comes.
    NoAnswer,
    /// The request is done; the connection ends in the middle of the answer.
    Cut,
}

/// What is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
    pub delay: Duration,
    pub ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Whole,
    /// Half of it, then the connection ends.
    Cut,
    /// Nothing at all.
    Never,
}

impl Answer {
    fn json(status: u16, body: &Json) -> Self {
        let body = body.to_string();
        Self { status, content_type: "application/json", body, delay: Duration::ZERO, ending: Ending::Whole }
    }

    fn success(data: Json) -> Self {
        let members = vec![("status".to_owned(), Json::text("success")), ("data".to_owned(), data)];
        Self::json(200, &Json::Object(members))
    }

    /// An error with its `message`.
    pub fn error(status: u16, message: &str) -> Self {
        let members = vec![("status".to_owned(), Json::text("error")), ("message".to_owned(), Json::text(message))];
        Self::json(status, &Json::Object(members))
    }
}

/// The services.
#[derive(Debug)]
pub struct Rest {
    licence: Licence,
    pub ledger: Ledger,
    /// Records spell `src` and `dst`.
    pub short_names: bool,
    orders: VecDeque<(String, Oddity)>,
    received: VecDeque<Request>,
    clicks: VecDeque<Click>,
}

impl Rest {
    pub fn new(licence: Licence, ledger: Ledger) -> Self {
        let (orders, received, clicks) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { licence, ledger, short_names: false, orders, received, clicks }
    }

    /// The next request whose path ends so goes wrong.
    pub fn order(&mut self, path_end: &str, oddity: Oddity) {
        if self.orders.len() >= ORDERS_MAX {
            self.orders.pop_front();
        }
        self.orders.push_back((path_end.into(), oddity));
    }

    /// Requests received, the newest last; the oldest are forgotten.
    pub fn received(&self) -> impl Iterator<Item = &Request> {
        self.received.iter()
    }

    /// Clicks that were done, the newest last; the oldest are forgotten.
    pub fn clicks(&self) -> impl Iterator<Item = &Click> {
        self.clicks.iter()
    }

    /// Answers one request; `start` starts the call of a click, or says why it cannot.
    pub fn answer(&mut self, request: &Request, start: impl FnOnce(&Click) -> Result<(), String>) -> Answer {
        remember(&mut self.received, request.clone());
        let at = self.orders.iter().position(|(end, _)| request.path.ends_with(end.as_str()));
        let oddity = at.and_then(|at| self.orders.remove(at)).map(|(_, oddity)| oddity);
        if let Some(Oddity::Failure(status, body)) = oddity {
            let plain = Answer::error(status, "");
            return Answer { content_type: "text/plain; charset=utf-8", body, ..plain };
        }
        let answer = self.service(request, start);
        match oddity {
            Some(Oddity::Unparsable(body)) => Answer { status: 200, content_type: "text/html", body, ..answer },
            Some(Oddity::Slow(delay)) => Answer { delay, ..answer },
            Some(Oddity::NoAnswer) => Answer { ending: Ending::Never, ..answer },
            Some(Oddity::Cut) => Answer { ending: Ending::Cut, ..answer },
            Some(Oddity::Failure(..)) | None => answer,
        }
    }

    fn service(&mut self, request: &Request, start: impl FnOnce(&Click) -> Result<(), String>) -> Answer {
        if request.header("app-key") != Some(self.licence.app_key.as_str()) {
            return Answer::error(401, "app-key is missing or wrong");
        }
        if request.header("tenant") != Some(self.licence.tenant.as_str()) {
            return Answer::error(403, "tenant is missing or not of this app-key");
        }
        let Some(path) = request.path.strip_prefix("/api/v2") else { return Answer::error(404, "no such service") };
        match (path, request.method.as_str()) {
            ("/core/current_plan", "GET") => {
                let plan = [("name", Json::text("integration")), ("tenant", Json::text(&self.licence.tenant))];
                Answer::success(Json::Object(plan.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
            }
            ("/core/click_to_call", "POST") => self.click(&request.fields(), start),
            ("/cdr", "GET") => self.cdr(&request.fields()),
            ("/core/current_plan" | "/core/click_to_call" | "/cdr", _) => Answer::error(405, "method not allowed"),
            _ => Answer::error(404, "no such service"),
        }
    }

    fn click(&mut self, fields: &[(String, String)], start: impl FnOnce(&Click) -> Result<(), String>) -> Answer {
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value).to_owned();
        let click = Click {
            caller: field("caller"),
            callee: field("callee"),
            cos_id: field("cos_id"),
            cid_name: field("cid_name"),
            cid_number: field("cid_number"),
        };
        for (name, value) in [("caller", &click.caller), ("callee", &click.callee), ("cos_id", &click.cos_id)] {
            if value.is_empty() {
                return Answer::error(400, &format!("{name} is required"));
            }
        }
        if fields.iter().any(|(_, value)| value.contains(char::is_control)) {
            return Answer::error(400, "a field holds a control character");
        }
        match start(&click) {
            Ok(()) => {
                remember(&mut self.clicks, click);
                Answer::success(Json::Object(Vec::new()))
            }
            Err(why) => Answer::error(400, &why),
        }
    }

    fn cdr(&self, fields: &[(String, String)]) -> Answer {
        match CdrQuery::read(fields) {
            Ok(query) => {
                let found = self.ledger.search(&query);
                let offset = self.ledger.utc_offset_s;
                Answer::success(Json::List(
                    found.into_iter().map(|record| record.json(offset, self.short_names)).collect(),
                ))
            }
            Err(why) => Answer::error(400, &why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest() -> Rest {
        let licence = Licence { app_key: "key".into(), tenant: "office".into() };
        Rest::new(licence, Ledger::new(Vec::new(), 0))
    }

    fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request {
        let mut text = format!("{method} {target} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        text.extend(headers.iter().map(|(key, value)| format!("{key}: {value}\r\n")));
        Request::take(&mut format!("{text}\r\n{body}").into_bytes()).unwrap().unwrap()
    }

    const GOOD: [(&str, &str); 2] = [("app-key", "key"), ("Tenant", "office")];

    #[test]
    fn a_wrong_key_is_401_and_a_wrong_tenant_403_with_a_message() {
        let mut rest = rest();
        let mut status = |headers: &[(&str, &str)]| {
            let answer = rest.answer(&request("GET", "/api/v2/core/current_plan", headers, ""), |_| Ok(()));
            assert_eq!(answer.body.contains("message"), answer.status != 200);
            answer.status
        };
        assert_eq!(status(&[]), 401);
        assert_eq!(status(&[("app-key", "x"), ("tenant", "office")]), 401);
        assert_eq!(status(&[("app-key", "key")]), 403);
        assert_eq!(status(&GOOD), 200);
    }

    #[test]
    fn a_click_may_be_a_query_or_a_form() {
        let mut rest = rest();
        let path = "/api/v2/core/click_to_call";
        let form = [GOOD[0], GOOD[1], ("content-type", "application/x-www-form-urlencoded")];
        let fields = "caller=0164&callee=0216682471&cos_id=1";
        let asked = [
            request("POST", &format!("{path}?{fields}"), &GOOD, ""),
            request("POST", path, &form, &format!("{fields}&cid_name=%ED%99%8D")),
        ];
        for request in &asked {
            assert_eq!(rest.answer(request, |_| Ok(())).status, 200);
        }
        let clicks: Vec<&Click> = rest.clicks().collect();
        assert_eq!((clicks[0].caller.as_str(), clicks[0].callee.as_str()), ("0164", "0216682471"));
        assert_eq!(clicks[1].cid_name, "홍");
        let missing = request("POST", path, &form, "caller=0164");
        let answer = rest.answer(&missing, |_| Ok(()));
        assert_eq!(answer.body, r#"{"status":"error","message":"callee is required"}"#);
        let refused = rest.answer(&asked[0], |click| Err(format!("{} is no extension", click.caller)));
        assert_eq!((refused.status, refused.body.contains("0164 is no extension")), (400, true));
    }

    #[test]
    fn an_ordered_oddity_happens_once_to_its_path() {
        let mut rest = rest();
        rest.order("/cdr", Oddity::Unparsable("<html>".into()));
        rest.order("/current_plan", Oddity::Failure(500, "boom".into()));
        let (plan, cdr) =
            (request("GET", "/api/v2/core/current_plan", &GOOD, ""), request("GET", "/api/v2/cdr", &GOOD, ""));
        let mut answer = |request| {
            let answer = rest.answer(request, |_| Ok(()));
            (answer.status, answer.body)
        };
        assert_eq!(answer(&plan), (500, "boom".into()));
        assert_eq!(answer(&cdr), (200, "<html>".into()));
        assert_eq!(answer(&cdr), (200, r#"{"status":"success","data":[]}"#.into()));
        assert_eq!(answer(&plan).0, 200);
    }
}
