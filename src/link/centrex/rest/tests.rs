use super::*;
use crate::config::{Address, Scheme};
use crate::secret::Secret;

/// The SHA-512 of `abc`, as FIPS 180 prints it.
const OF_ABC: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                      2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

fn rest(password: &str) -> CentrexRest {
    CentrexRest {
        url: Address { scheme: Scheme::Https, host: "rest".into(), port: 443, path: "/RestApi/".into() },
        id: "07012345678".into(),
        password: Secret::new(password),
        device: "3321".into(),
    }
}

fn read_text(status: u16, body: &str) -> Result<Answer, ServiceFault> {
    read(&rest("hunter2"), &HttpResponse { status, content_type: None, body: body.into() })
}

#[test]
fn a_request_is_a_form_with_the_hash_of_the_password() {
    let fields = vec![("destnumber".to_owned(), "02 1&2".to_owned())];
    let request = request(&rest("abc"), RequestId(1), "clickdial", &fields, Duration::from_secs(1));
    assert_eq!((request.method, request.target.as_str()), ("POST", "/RestApi/clickdial"));
    let body = String::from_utf8(request.body.clone()).unwrap();
    assert_eq!(body, format!("id=07012345678&pass={OF_ABC}&destnumber=02%201%262"));
    assert!(!format!("{request:?}").contains(OF_ABC));
}

#[test]
fn every_code_is_carried_with_its_meaning() {
    for (code, words) in [
        ("1001", "bad request"),
        ("1002", "bad request"),
        ("4001", "bad request"),
        ("1003", "check id and password"),
        ("1004", "check id and password"),
        ("1007", "check id and password"),
        ("1008", "check id and password"),
        ("1005", "no permission"),
        ("2002", "no permission"),
        ("3002", "too long"),
        ("3003", "too many recipients"),
        ("3004", "quota"),
        ("4004", "no channel"),
        ("7777", "not known"),
    ] {
        let fault = read_text(200, &json!({"SVC_RT": code, "DATAS": null}).to_string()).unwrap_err();
        assert!(fault.to_string().contains(words), "{code}: {fault}");
        let (ServiceFault::Refused { pbx_code, .. } | ServiceFault::WrongState { pbx_code, .. }) = fault else {
            panic!("{code}: {fault}")
        };
        assert_eq!(pbx_code.as_deref(), Some(code));
    }
    assert!(read_text(200, r#"{"SVC_RT":0}"#).is_ok(), "as a number too");
}

#[test]
fn what_is_no_answer_may_have_been_done() {
    for body in ["", "<html>", "[]", "{}", r#"{"SVC_RT":null}"#, r#"{"SVC_RT":["0000"]}"#] {
        let fault = read_text(200, body).unwrap_err().to_string();
        assert!(fault.contains("may have done it"), "{body}: {fault}");
    }
    let fault = read_text(403, "").unwrap_err();
    assert!(matches!(&fault, ServiceFault::Refused { pbx_code: Some(code), .. } if code == "403"), "{fault}");
    let long = read_text(200, &json!({"SVC_RT": "9".repeat(100_000)}).to_string()).unwrap_err().to_string();
    assert!(long.len() < 600, "{}", long.len());
}

#[test]
fn neither_password_nor_hash_comes_back() {
    let body = json!({"SVC_RT": "0000", "DATAS": [{"echo": [hash(&rest("hunter2")), "pass hunter2"]}]}).to_string();
    let shown = read_text(200, &body).unwrap().native().to_string();
    assert!(!shown.contains("hunter2") && !shown.contains(&hash(&rest("hunter2"))), "{shown}");
}

#[test]
fn calls_are_those_of_the_span_and_know_their_direction() {
    let body = json!({"SVC_RT": "0000", "LISTINFO": {"page": 1}, "DATAS": [
        {"NO": 1, "TIME": "2020-10-28 10:20:30", "SRC": "07012345678", "DST": "0212345678", "DURATION": "31",
            "BILLSEC": 25, "STATUS": "OK", "KIND": "x"},
        {"NO": 2, "TIME": "2020-10-28 09:00:00", "SRC": "0101111", "DST": "3321", "DURATION": 4, "STATUS": "NO ANSWER"},
        {"NO": 3, "TIME": "2020-10-27 23:59:59", "SRC": "a", "DST": "b"},
        {"NO": 4, "SRC": "c", "DST": "d"},
        "no record",
    ]});
    let answer = read_text(200, &body.to_string()).unwrap();
    // 09:00 in Korea is midnight in Greenwich.
    let arguments = Arguments {
        from: Some("2020-10-28T00:00:00Z".into()),
        until: Some("2020-10-28T01:20:30Z".into()),
        ..Arguments::default()
    };
    let calls = answer.calls(&rest("p"), false, &span(&arguments).unwrap());
    assert_eq!(
        calls["calls"][0],
        json!({"time": "2020-10-28 10:20:30", "device": "3321", "calling": "07012345678", "called": "0212345678",
            "direction": "outbound", "duration_s": 31, "talk_s": 25, "result": "OK", "native": body["DATAS"][0]})
    );
    assert_eq!(calls["calls"][1]["direction"], "inbound");
    assert_eq!(calls["calls"][2]["native"]["NO"], 4, "a record without a time is shown: {calls}");
    assert_eq!(calls["calls"].as_array().unwrap().len(), 3);
    assert_eq!(calls["native"]["LISTINFO"]["page"], 1);
    assert_eq!(answer.calls(&rest("p"), true, &[None, None])["calls"][2]["direction"], "inbound");
    let bad = Arguments { from: Some("yesterday".into()), ..Arguments::default() };
    assert!(span(&bad).is_err());
}

#[test]
fn a_list_is_an_array_one_object_or_nothing_and_has_its_bound() {
    let of = |datas: Value| {
        let answer = read_text(200, &json!({"SVC_RT": "0000", "DATAS": datas}).to_string()).unwrap();
        answer.messages()["messages"].as_array().unwrap().len()
    };
    assert_eq!((of(Value::Null), of(json!("x")), of(json!({"SRC": "1"})), of(json!([{}, {}]))), (0, 0, 1, 2));
    assert_eq!(of(Value::Array(vec![json!({}); CENTREX_RECORDS_MAX + 1])), CENTREX_RECORDS_MAX);
}

#[test]
fn a_text_is_counted_in_the_bytes_of_its_charset() {
    let of = |text: String| text_of(&text).map(|_| ()).map_err(|fault| fault.to_string());
    assert!(of("가".repeat(360)).is_ok());
    assert!(of("가".repeat(361)).unwrap_err().contains("at most 720 bytes"));
}

fn text_of(text: &str) -> Result<String, ServiceFault> {
    let arguments = Arguments { text: Some(text.to_owned()), ..Arguments::default() };
    super::text(&arguments).map(str::to_owned)
}

#[test]
fn further_fields_are_texts_and_never_the_account() {
    let of = |fields: Value| {
        let native = json!({"fields": fields}).as_object().unwrap().clone();
        further(&Arguments { native, ..Arguments::default() })
    };
    assert_eq!(of(json!({"page": 2, "x": "y"})).unwrap(), [("page".into(), "2".into()), ("x".into(), "y".into())]);
    for fields in
        [json!({"id": "1"}), json!({"PASS": "1"}), json!({"a&b": "1"}), json!({"": "1"}), json!({"a": []}), json!([])]
    {
        assert!(of(fields.clone()).is_err(), "{fields}");
    }
}
