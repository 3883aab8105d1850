//! What the public interface says a lamp looks like in each state.

use serde_json::Value;

/// Panics where a lamp's pattern is not the one its state calls for.
pub(crate) fn pattern_of(state: &str, pattern: &Value) {
    let (hue, effect) = match state {
        "lost" => ("blue", "pulse"),
        "ringing" => ("amber", "blink"),
        "on-hold" => ("red", "blink"),
        "in-call" => ("red", "solid"),
        "dialing" => ("red", "pulse"),
        "working-after-call" => ("amber", "solid"),
        "not-ready" => ("purple", "solid"),
        "available" => ("green", "solid"),
        "logged-off" | "unregistered" => ("any", "off"),
        other => panic!("no lamp state is called `{other}`"),
    };
    assert_eq!(pattern["effect"], effect, "a lamp that shows `{state}`: {pattern}");
    assert!(hue == "any" || hue_of(pattern) == hue, "a lamp that shows `{state}` is {hue}: {pattern}");
}

/// The name a person would give to a pattern's colour, which is `#rrggbb`.
pub(crate) fn hue_of(pattern: &Value) -> &'static str {
    let colour = pattern["colour"].as_str().unwrap_or_default();
    let part = |at: usize| colour.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or_default();
    let (red, green, blue) = (part(1), part(3), part(5));
    let strongest = red.max(green).max(blue);
    let lit = |value: u8| value > strongest / 2;
    match (lit(red), lit(green), lit(blue)) {
        (true, false, false) => "red",
        (true, true, false) => "amber",
        (true, false, true) | (false, false, true) if red > strongest / 3 => "purple",
        (false, true, false) => "green",
        (false, _, true) => "blue",
        (true, true, true) => "white",
        _ => "unnamed",
    }
}
