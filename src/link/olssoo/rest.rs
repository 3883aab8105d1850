//! The REST side: requests, and what their responses say.
//!
//! Source: the protocol document, section 4.1. Headers `app-key` and `tenant` go with every request; parameters of the
//! one POST go as multipart in the manual's sample and as "formdata" in its text, so the form is the site's to choose.
//! Responses are not documented (A17): an object with `status` and `data` is expected, an unreadable 2xx is a success of
//! unknown content unless the site is strict, 401 and 403 are about the key, anything else says why under `message`.
//! Bounds: [`OLSSOO_HISTORY_MAX`] records, [`AMI_SAID_BYTES_MAX`] bytes of a response's own words.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{Rest, RestForm};
use crate::limits::{AMI_SAID_BYTES_MAX, OLSSOO_HISTORY_MAX};
use crate::link::service::ServiceFault;
use crate::link::session::{HttpRequest, HttpResponse, RequestId};

/// A field of a form or query.
pub(super) type Field = (&'static str, String);

/// `GET core/current_plan`: whether the key is good.
pub(super) fn current_plan(rest: &Rest, id: RequestId, deadline: Duration) -> HttpRequest {
    request(rest, id, "GET", "/core/current_plan", deadline)
}

/// `POST core/click_to_call`; `boundary` stands in no field by chance.
pub(super) fn click_to_call(
    rest: &Rest,
    id: RequestId,
    fields: &[Field],
    boundary: &str,
    deadline: Duration,
) -> HttpRequest {
    let mut request = request(rest, id, "POST", "/core/click_to_call", deadline);
    match rest.form {
        RestForm::Multipart => {
            request.headers.push(("Content-Type", format!("multipart/form-data; boundary={boundary}")));
            request.body = multipart(fields, boundary).into_bytes();
        }
        RestForm::Urlencoded => {
            request.headers.push(("Content-Type", "application/x-www-form-urlencoded".into()));
            request.body = query(fields).into_bytes();
        }
        RestForm::Query => {
            request.target.push('?');
            request.target.push_str(&query(fields));
        }
    }
    request
}

/// `GET cdr`.
pub(super) fn cdr(rest: &Rest, id: RequestId, fields: &[Field], deadline: Duration) -> HttpRequest {
    let mut request = request(rest, id, "GET", "/cdr", deadline);
    request.target.push('?');
    request.target.push_str(&query(fields));
    request
}

/// What a response says; `None` where it is a success that cannot be read.
pub(super) fn read(rest: &Rest, response: &HttpResponse) -> Result<Option<Value>, ServiceFault> {
    let body: Option<Value> = serde_json::from_slice(&response.body).ok();
    let word = body.as_ref().and_then(|body| body.get("status")).and_then(Value::as_str).unwrap_or_default();
    let code = Some(response.status.to_string());
    let said = || message(rest, body.as_ref(), response.status);
    match response.status {
        401 | 403 => {
            let said = format!("{}; check app_key and tenant of the link's rest", said());
            Err(ServiceFault::Refused { said, pbx_code: code })
        }
        200..300 if rest.strict && word.is_empty() => {
            let said = "the response is no JSON object with `status`, as strict of the link's rest expects; the PBX may \
                        have done it all the same";
            Err(ServiceFault::Refused { said: said.to_owned(), pbx_code: None })
        }
        200..300 if !word.eq_ignore_ascii_case("error") => Ok(body),
        200..300 => Err(ServiceFault::Refused { said: said(), pbx_code: None }),
        _ => Err(ServiceFault::Refused { said: said(), pbx_code: code }),
    }
}

/// `calls` of a history's response, as every dialect tells them; the records as they came are their `native`.
pub(super) fn history(device: Option<&str>, answer: Option<Value>) -> Value {
    let Some(answer) = answer else {
        return json!({ "calls": [], "native": { "unreadable": true } });
    };
    match records(&answer) {
        Some(records) => {
            let calls: Vec<Value> =
                records.iter().take(OLSSOO_HISTORY_MAX).map(|record| call_record(device, record)).collect();
            json!({ "calls": calls })
        }
        None => json!({ "calls": [], "native": answer }),
    }
}

fn request(rest: &Rest, id: RequestId, method: &'static str, what: &str, deadline: Duration) -> HttpRequest {
    let base = rest.url.path.trim_end_matches('/');
    HttpRequest {
        id,
        server: rest.url.clone(),
        method,
        target: format!("{base}{what}"),
        headers: vec![
            ("app-key", rest.app_key.expose().to_owned()),
            ("tenant", rest.tenant.clone()),
            ("Accept", "application/json".to_owned()),
        ],
        body: Vec::new(),
        deadline,
    }
}

fn multipart(fields: &[Field], boundary: &str) -> String {
    let mut body = String::new();
    for (name, value) in fields {
        let _ = write!(body, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    let _ = write!(body, "--{boundary}--\r\n");
    body
}

fn query(fields: &[Field]) -> String {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
    pairs.join("&")
}

/// A comma stays as it is, since the manual's lists are written so.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The response's own words, one line, without the key.
fn message(rest: &Rest, body: Option<&Value>, status: u16) -> String {
    let texts = ["message", "error", "detail"].map(|name| body.and_then(|body| body.get(name)).and_then(Value::as_str));
    let Some(text) = texts.into_iter().flatten().find(|text| !text.is_empty()) else { return format!("HTTP {status}") };
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let mut text = text.replace(rest.app_key.expose(), "***");
    let mut end = text.len().min(AMI_SAID_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// The list of records, wherever the response keeps it.
fn records(answer: &Value) -> Option<&[Value]> {
    let is_list = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_object));
    let inside = |value: &Value| value.as_object()?.values().position(is_list);
    if is_list(answer) {
        return answer.as_array().map(Vec::as_slice);
    }
    for place in [answer.get("data"), Some(answer)].into_iter().flatten() {
        if is_list(place) {
            return place.as_array().map(Vec::as_slice);
        }
        if place.get("calldate").is_some() {
            return Some(std::slice::from_ref(place));
        }
        if let Some(list) = inside(place).and_then(|at| place.as_object()?.values().nth(at)) {
            return list.as_array().map(Vec::as_slice);
        }
    }
    None
}

fn call_record(device: Option<&str>, record: &Value) -> Value {
    let text = |names: &[&str]| {
        names.iter().find_map(|name| match record.get(*name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        })
    };
    let seconds = |name: &str| text(&[name]).and_then(|text| text.trim().parse::<u64>().ok());
    let (calling, called) = (text(&["source", "src"]), text(&["destination", "dst"]));
    let direction = match text(&["calltype", "call_type"]).as_deref() {
        Some("1" | "internal") => Some("internal"),
        Some("2" | "incoming") => Some("inbound"),
        Some("3" | "outgoing") => Some("outbound"),
        _ if device.is_some() && device == calling.as_deref() => Some("outbound"),
        _ if device.is_some() && device == called.as_deref() => Some("inbound"),
        _ => None,
    };
    json!({
        "time": text(&["calldate"]),
        "device": device,
        "calling": calling,
        "called": called,
        "direction": direction,
        "duration_s": seconds("duration"),
        "talk_s": seconds("billsec"),
        "result": text(&["disposition"]),
        "native": record,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Scheme};
    use crate::secret::Secret;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn rest(form: RestForm) -> Rest {
        Rest {
            url: Address { scheme: Scheme::Https, host: "pbx".into(), port: 443, path: "/api/v2".into() },
            app_key: Secret::new("hunter2"),
            tenant: "t1".into(),
            strict: false,
            form,
            cos_id: "1".into(),
            cid_name: None,
            cid_number: None,
            correlate: Duration::from_secs(30),
        }
    }

    fn fields() -> Vec<Field> {
        vec![("caller", "0164".into()), ("callee", "0216682471".into()), ("cid_name", "김 a&b".into())]
    }

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse { status, content_type: None, body: body.into() }
    }

    #[test]
    fn every_request_carries_key_and_tenant_and_shows_neither() {
        let rest = rest(RestForm::Multipart);
        let plan = current_plan(&rest, RequestId(1), DEADLINE);
        assert_eq!((plan.method, plan.target.as_str()), ("GET", "/api/v2/core/current_plan"));
        assert!(plan.headers.contains(&("app-key", "hunter2".into())));
        assert!(plan.headers.contains(&("tenant", "t1".into())));
        assert!(!format!("{plan:?} {rest:?}").contains("hunter2"));
    }

    #[test]
    fn a_call_goes_in_each_form() {
        let multipart = click_to_call(&rest(RestForm::Multipart), RequestId(1), &fields(), "b0", DEADLINE);
        assert_eq!((multipart.method, multipart.target.as_str()), ("POST", "/api/v2/core/click_to_call"));
        assert!(multipart.headers.contains(&("Content-Type", "multipart/form-data; boundary=b0".into())));
        assert_eq!(
            String::from_utf8(multipart.body).unwrap(),
            "--b0\r\nContent-Disposition: form-data; name=\"caller\"\r\n\r\n0164\r\n\
             --b0\r\nContent-Disposition: form-data; name=\"callee\"\r\n\r\n0216682471\r\n\
             --b0\r\nContent-Disposition: form-data; name=\"cid_name\"\r\n\r\n김 a&b\r\n--b0--\r\n"
        );
        let encoded = "caller=0164&callee=0216682471&cid_name=%EA%B9%80%20a%26b";
        let form = click_to_call(&rest(RestForm::Urlencoded), RequestId(1), &fields(), "b0", DEADLINE);
        assert_eq!(form.body, encoded.as_bytes());
        let query = click_to_call(&rest(RestForm::Query), RequestId(1), &fields(), "b0", DEADLINE);
        assert_eq!(query.target, format!("/api/v2/core/click_to_call?{encoded}"));
        assert!(query.body.is_empty());
    }

    #[test]
    fn a_list_in_a_query_keeps_its_commas() {
        let fields = [("extensions", "0164,1001".into()), ("search", "a b".into())];
        let request = cdr(&rest(RestForm::Multipart), RequestId(1), &fields, DEADLINE);
        assert_eq!(request.target, "/api/v2/cdr?extensions=0164,1001&search=a%20b");
    }

    #[test]
    fn responses_of_any_shape_are_understood() {
        let rest = rest(RestForm::Multipart);
        let read = |status, body: &str| read(&rest, &response(status, body));
        assert_eq!(read(200, r#"{"status":"success","data":1}"#).unwrap(), Some(json!({"status":"success","data":1})));
        assert_eq!(read(204, "").unwrap(), None);
        assert_eq!(read(200, "<html>").unwrap(), None);
        let said = |status, body: &str| read(status, body).unwrap_err().to_string();
        assert_eq!(said(200, r#"{"status":"error","message":"no cos"}"#), "the PBX refused: no cos");
        assert_eq!(said(500, "oops"), "the PBX refused: HTTP 500");
        assert_eq!(
            said(401, r#"{"message":"key hunter2\nis bad"}"#),
            "the PBX refused: key *** is bad; check app_key and tenant of the link's rest"
        );
        let long = said(422, &json!({ "message": "길".repeat(400) }).to_string());
        assert!(long.len() < AMI_SAID_BYTES_MAX + 32, "{}", long.len());
    }

    #[test]
    fn a_strict_site_takes_no_response_of_another_shape() {
        let rest = Rest { strict: true, ..rest(RestForm::Multipart) };
        assert!(read(&rest, &response(200, r#"{"status":"success","data":[]}"#)).is_ok());
        for body in ["", "<html>", "[]", r#"{"data":[]}"#, r#"{"status":1}"#] {
            let said = read(&rest, &response(200, body)).unwrap_err().to_string();
            assert!(said.contains("`status`") && said.contains("strict of the link's rest"), "{body}: {said}");
        }
    }

    #[test]
    fn a_history_is_found_in_whatever_holds_it() {
        let record = json!({"calldate":"2020-10-28 10:20:30","src":"0164","dst":"0216682471","disposition":"ANSWERED",
            "duration":"31","billsec":25,"linkedid":"1603849222.51437"});
        let call = json!({"time":"2020-10-28 10:20:30","device":"0164","calling":"0164","called":"0216682471",
            "direction":"outbound","duration_s":31,"talk_s":25,"result":"ANSWERED","native":record});
        for answer in [
            json!([record]),
            json!({"status":"success","data":[record]}),
            json!({"status":"success","data":{"total":1,"records":[record]}}),
            json!({"records":[record]}),
            json!({"data":record}),
        ] {
            assert_eq!(history(Some("0164"), Some(answer)), json!({ "calls": [call] }));
        }
        let typed = history(None, Some(json!([{"source":"1","destination":"2","calltype":2}])));
        assert_eq!(typed["calls"][0]["direction"], "inbound");
        assert_eq!(typed["calls"][0]["time"], Value::Null);
        assert_eq!(history(None, None)["calls"], json!([]));
        let odd = json!({"status":"success","data":"none"});
        assert_eq!(history(None, Some(odd.clone())), json!({"calls": [], "native": odd}));
    }

    #[test]
    fn a_history_past_its_bound_is_cut() {
        let records = vec![json!({"src":"1"}); OLSSOO_HISTORY_MAX + 1];
        let calls = history(None, Some(Value::Array(records)));
        assert_eq!(calls["calls"].as_array().unwrap().len(), OLSSOO_HISTORY_MAX);
    }
}
