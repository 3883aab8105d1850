use super::*;

#[test]
fn the_own_channel_is_known_by_its_name() {
    assert!(is_own("SIP/10013458-46b4", "10013458"));
    assert!(is_own("Local/101t4004@default-b3bf", "101t4004"));
    assert!(!is_own("SIP/10033447-0716", "3447"), "another's number that ends alike");
    assert!(!is_own("SIP/gw2.eicn-09b559d8", "gw2"));
}

#[test]
fn the_half_of_a_local_channel_is_no_part_of_its_name() {
    for half in ["Local/1@d-b3bf,1", "Local/1@d-b3bf,2", "Local/1@d-b3bf;1", "Local/1@d-b3bf;2", "Local/1@d-b3bf"] {
        assert_eq!(channel(Some(half)).as_deref(), Some("Local/1@d-b3bf"));
    }
}

#[test]
fn neighbours_are_of_one_epoch_and_one_apart() {
    assert!(adjacent("1599723183.4012181", "1599723183.4012180"));
    assert!(adjacent("1599723183.4012180", "1599723183.4012181"));
    assert!(!adjacent("1599723183.4012180", "1599723183.4012180"), "the same is not a neighbour");
    assert!(!adjacent("1599723183.4012180", "1599723183.4012182"));
    assert!(!adjacent("1599723183.1", "1599723184.2"));
    assert!(!adjacent("x.1", "x.y"));
}

#[test]
fn a_call_between_extensions_never_left_the_pbx() {
    assert!(leads_to("SIP/3322-09b2d358", "3322"));
    assert!(leads_to("SIP/10033447-0716", "3447"));
    assert!(!leads_to("SIP/gw2.eicn-09b559d8", "01923XXXXX"));
    assert!(!leads_to("SIP/5060-0942a8d0", "070xxxx0775"));
    assert!(!leads_to("SIP/5060-0942a8d0", "60"), "two digits say too little");
}

#[test]
fn the_words_that_say_there_is_no_id_are_none() {
    assert_eq!([unique(Some("0")), unique(Some("NONE")), unique(Some("none")), unique(None)], [None; 4]);
    assert_eq!(unique(Some("1.2")), Some("1.2"));
}
