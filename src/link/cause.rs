//! Causes: why a call ended or failed, in one set of words for every PBX.
//!
//! Source: the protocol document, section 8.1. The PBX's own number stays beside the word; where it says words only,
//! the number is 0.

use crate::event::Cause;

/// A Q.850 number: AMI's `Cause`, Centrex' `HCAUSE`.
pub(super) fn q850(code: u32) -> Cause {
    let text = match code {
        16 | 31 => "NormalClearing",
        17 => "Busy",
        18 | 19 => "NoAnswer",
        21 => "Rejected",
        1 | 28 => "NotFound",
        3 | 20 | 27 => "Unreachable",
        34 | 38 | 41 | 42 | 44 | 58 => "Congestion",
        50 | 52 | 54 | 57 => "Restricted",
        26 => "AnsweredElsewhere",
        102 => "Timeout",
        _ => "Unknown",
    };
    Cause { code, text: text.to_owned() }
}

/// A CSTA event cause: NEXUSCUBE's `call.cause`. 16 is not Q.850's 16.
pub(super) fn csta(code: u32) -> Cause {
    let text = match code {
        48 => "NormalClearing",
        3 | 33 => "Busy",
        10 => "NoAnswer",
        5 => "Rejected",
        13 | 50 => "NotFound",
        21 => "Unreachable",
        20 | 30 => "Congestion",
        14 => "DoNotDisturb",
        35 => "Restricted",
        11 => "AnsweredElsewhere",
        28 | 32 | 52 => "Transferred",
        56 => "Timeout",
        _ => "Unknown",
    };
    Cause { code, text: text.to_owned() }
}

/// A SIP status, or the words of an OpenVox or Yeastar report: `480`, `486 Busy Here`, `DND`.
pub(super) fn reason(said: &str) -> Cause {
    let said = said.trim();
    let digits = said.bytes().take_while(u8::is_ascii_digit).count();
    let code = said[..digits].parse().unwrap_or(0);
    let text = match code {
        200 if said.to_ascii_lowercase().contains("completed elsewhere") => "AnsweredElsewhere",
        200 => "NormalClearing",
        486 | 600 => "Busy",
        408 | 480 => "NoAnswer",
        603 | 403 => "Rejected",
        404 | 484 => "NotFound",
        410 | 502 => "Unreachable",
        503 => "Congestion",
        504 => "Timeout",
        _ => match said.to_ascii_lowercase().as_str() {
            "user busy" => "Busy",
            "line unreachable" => "Unreachable",
            "circuit/channel congestion" => "Congestion",
            "dnd" => "DoNotDisturb",
            "no outbound restriction" | "no dial permission" => "Restricted",
            _ => "Unknown",
        },
    };
    Cause { code, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_without_a_name_keeps_its_number() {
        assert_eq!(q850(127), Cause { code: 127, text: "Unknown".into() });
        assert_eq!(q850(207), Cause { code: 207, text: "Unknown".into() });
        assert_eq!(csta(16).text, "Unknown", "an account code, no clearing");
        assert_eq!(q850(26).text, "AnsweredElsewhere");
    }

    #[test]
    fn words_are_causes_too() {
        assert_eq!(reason("486 Busy Here"), Cause { code: 486, text: "Busy".into() });
        assert_eq!(reason("DND"), Cause { code: 0, text: "DoNotDisturb".into() });
        assert_eq!(reason("480 Temporatily Unavailable").text, "NoAnswer");
        assert_eq!(reason("99999999999"), Cause { code: 0, text: "Unknown".into() });
    }
}
