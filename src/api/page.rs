//! The readable page at `/api`, made from the OpenAPI document so that the two cannot disagree.
//!
//! Self-contained: no script, nothing fetched from elsewhere. Made once, at the first request.

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde_json::Value;

use super::routes::docs::OPENAPI;

/// What `type` of a problem document points at.
pub(super) const PROBLEMS: [(&str, &str, &str); 9] = [
    (
        "bad-request",
        "400",
        "A part of the request cannot be so; `detail` names it, what was expected and what was found.",
    ),
    (
        "unauthorized",
        "401",
        "No token, or one this gateway does not know. `lamplighter token add NAME --scope read` makes one.",
    ),
    ("forbidden", "403", "The token lacks the scope named in `scope`."),
    ("not-found", "404", "There is nothing of that name, or no such path."),
    ("method-not-allowed", "405", "The path is there, for another method; the header `Allow` names it."),
    ("trimmed", "410", "What follows `after` was trimmed by retention; `oldest` is the oldest seq kept."),
    ("too-large", "413", "The body is too long."),
    ("unavailable", "503", "A part of the gateway does not answer at this moment; try again after `Retry-After`."),
    ("broken", "500", "The gateway is at fault; its journal says more."),
];

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;\
    background:#fff}code{font:14px ui-monospace,monospace;background:#f3f3f3;padding:.1em .3em;border-radius:3px}\
    section{border-top:1px solid #ddd;padding:.5rem 0}h2 code{font-size:17px}table{border-collapse:collapse}\
    td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}.verb{text-transform:uppercase;font-weight:700;\
    margin-right:.5em}@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}code{background:#2a2a2a}\
    section{border-color:#444}}";

pub(super) fn html() -> &'static str {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| match serde_json::from_str(OPENAPI) {
        Ok(document) => render(&document),
        // A test reads the document, so this is never served.
        Err(fault) => format!("<!doctype html><title>Lamplighter</title><p>openapi.json does not parse: {fault}"),
    })
}

fn render(document: &Value) -> String {
    let mut page = String::with_capacity(32 * 1024);
    let title = text(&document["info"]["title"]);
    page.push_str("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width\">");
    line(&mut page, format_args!("<title>{title} API</title><style>{STYLE}</style><h1>{title} API</h1>"));
    line(&mut page, format_args!("<p>{}</p>", marked(&document["info"]["description"])));
    line(
        &mut page,
        format_args!("<p>Token: {}</p>", marked(&document["components"]["securitySchemes"]["bearer"]["description"])),
    );
    page.push_str(
        "<p>The same for programs: <a href=\"/api/v1/openapi.json\"><code>/api/v1/openapi.json</code></a></p>",
    );
    for (path, verbs) in document["paths"].as_object().into_iter().flatten() {
        for (verb, operation) in verbs.as_object().into_iter().flatten() {
            render_operation(&mut page, document, path, verb, operation);
        }
    }
    render_objects(&mut page, document);
    page.push_str("<h1>Problems</h1><p>Every refusal is <code>application/problem+json</code> (RFC 9457).</p><table>");
    for (name, status, meaning) in PROBLEMS {
        let meaning = marked(&Value::from(meaning));
        line(&mut page, format_args!("<tr id=\"problem-{name}\"><td><code>{status}</code><td>{name}<td>{meaning}"));
    }
    page.push_str("</table></html>\n");
    page
}

fn render_operation(page: &mut String, document: &Value, path: &str, verb: &str, operation: &Value) {
    let path = escaped(path);
    line(page, format_args!("<section><h2><span class=\"verb\">{verb}</span><code>{path}</code></h2>"));
    let scopes: Vec<String> = operation["security"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|way| way["bearer"].as_array()?.first())
        .map(|scope| format!("scope <code>{}</code>", text(scope)))
        .collect();
    let access = if scopes.is_empty() { "no token needed".to_owned() } else { scopes.join(", ") };
    let description = marked(&operation["description"]);
    line(page, format_args!("<p>{} ({access}). {description}</p>", marked(&operation["summary"])));
    let parameters: Vec<&Value> =
        operation["parameters"].as_array().into_iter().flatten().map(|it| resolved(document, it)).collect();
    if !parameters.is_empty() {
        page.push_str("<table>");
        for parameter in parameters {
            let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
            let words: Vec<String> = parameter["schema"]["enum"].as_array().into_iter().flatten().map(text).collect();
            let words = if words.is_empty() {
                String::new()
            } else {
                format!(": <code>{}</code>", words.join("</code>, <code>"))
            };
            let meaning = marked(&parameter["description"]);
            line(page, format_args!("<tr><td><code>{name}</code><td>{place}<td>{meaning}{words}"));
        }
        page.push_str("</table>");
    }
    page.push_str("<table>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let meaning = marked(&resolved(document, response)["description"]);
        line(page, format_args!("<tr><td><code>{}</code><td>{meaning}", escaped(status)));
    }
    page.push_str("</table></section>");
}

fn render_objects(page: &mut String, document: &Value) {
    page.push_str("<h1>Objects</h1>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        line(page, format_args!("<section><h2>{}</h2><p>{}</p><table>", escaped(name), marked(&schema["description"])));
        for (field, shape) in schema["properties"].as_object().into_iter().flatten() {
            let shape_name = escaped(&shape_name(shape));
            let meaning = marked(&shape["description"]);
            line(page, format_args!("<tr><td><code>{}</code><td>{shape_name}<td>{meaning}", escaped(field)));
        }
        page.push_str("</table></section>");
    }
}

/// A schema in a word or two.
fn shape_name(shape: &Value) -> String {
    if let Some(name) = shape["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return name.to_owned();
    }
    if let Some(words) = shape["enum"].as_array() {
        let words: Vec<&str> = words.iter().map(|word| word.as_str().unwrap_or("null")).collect();
        return words.join(" | ");
    }
    match &shape["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", shape_name(&shape["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}

fn resolved<'a>(document: &'a Value, it: &'a Value) -> &'a Value {
    let target = it["$ref"].as_str().and_then(|path| document.pointer(path.strip_prefix('#')?));
    target.unwrap_or(it)
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

/// Escaped, with what stands between backticks as code.
fn marked(value: &Value) -> String {
    let mut out = String::new();
    for (at, part) in text(value).split('`').enumerate() {
        match at % 2 {
            0 => out.push_str(part),
            _ => line(&mut out, format_args!("<code>{part}</code>")),
        }
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn line(page: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(what);
}
