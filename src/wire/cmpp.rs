//! CMPP 2.0 (China Mobile, 2002) and 3.0 (QB-GF-028-2003): the link test, in every form in which it is met.
//!
//! The two versions do not differ in anything that is read or written here (3.0, chapter 16, lists the changes).
//! Login is the application's: it opens the link paused and starts it when CONNECT_RESP said yes.

use super::framer::{Field, Framing, Keep, Message};
use super::{Fields, Inbound, Owed, Told};

/// Message header (2.0 §7.3, 3.0 §8.3): Total_Length with the header, Command_Id, Sequence_Id; u32, big-endian.
const HEADER: usize = 12;

/// Command_Id of CMPP_ACTIVE_TEST (2.0 §7.4, 3.0 §8.4); either side sends it.
pub const ACTIVE_TEST: u32 = 0x0000_0008;
/// Command_Id of CMPP_ACTIVE_TEST_RESP.
pub const ACTIVE_TEST_RESP: u32 = 0x8000_0008;

/// Octets of an ACTIVE_TEST: the header alone.
pub const BEAT_LENGTH: usize = HEADER;
/// Octets of an ACTIVE_TEST_RESP: the header and one Reserved octet.
pub const ANSWER_LENGTH: usize = HEADER + 1;

/// Where messages begin and end.
///
/// The cap is the highest that any implementation was found to accept (most stop at 2–4 KiB): too low a cap would end
/// a healthy link, and as no body is stored a high one costs no memory. Stray octets are found all the same: text read
/// as a length is far above the cap, zeros before a header are below the minimum.
pub const FRAMING: Framing = Framing {
    begins_with: &[],
    length: Field::big(0, 4),
    adjust: 0,
    header_minimum: HEADER as u8,
    maximum: 65_536,
    opcode: Field::big(4, 4),
    sequence: Field::big(8, 4),
    keep: Keep::Header(HEADER as u8),
};

const _: () = assert!(FRAMING.is_sound());

/// Writes an ACTIVE_TEST and gives its length; `None`, with nothing written, if it does not fit.
pub(super) fn beat(sequence: u32, _fields: &Fields<'_>, out: &mut [u8]) -> Option<usize> {
    let out = out.get_mut(..BEAT_LENGTH)?;
    out.copy_from_slice(&header(BEAT_LENGTH, ACTIVE_TEST, sequence));
    Some(BEAT_LENGTH)
}

/// Writes an ACTIVE_TEST_RESP with Reserved = 0 and gives its length; `None`, with nothing written, if it does not fit.
pub(super) fn answer(owed: &Owed, _fields: &Fields<'_>, out: &mut [u8]) -> Option<usize> {
    let (head, reserved) = out.get_mut(..ANSWER_LENGTH)?.split_at_mut(HEADER);
    head.copy_from_slice(&header(ANSWER_LENGTH, ACTIVE_TEST_RESP, owed.sequence));
    reserved.fill(0);
    Some(ANSWER_LENGTH)
}

/// Says what a complete message is. Only Command_Id decides: gateways send ACTIVE_TEST_RESP with 12 octets as well as
/// 13, with any value in Reserved, and some send an ACTIVE_TEST with our own Sequence_Id in its place. That one is a
/// test like any other and is answered as one.
pub(super) fn classify<'a>(message: &Message<'a>) -> Inbound<'a> {
    let sequence = message.sequence().unwrap_or(0);
    match message.opcode() {
        Some(ACTIVE_TEST) => {
            let owed = Owed { sequence, ..Owed::default() };
            Inbound::Beat { sequence, owed: Some(owed), told: Told::default() }
        }
        Some(ACTIVE_TEST_RESP) => Inbound::Answer { sequence, echo_us: None, told: Told::default() },
        _ => Inbound::Message,
    }
}

fn header(length: usize, command: u32, sequence: u32) -> [u8; HEADER] {
    let mut octets = [0; HEADER];
    for (place, value) in octets.chunks_exact_mut(4).zip([length as u32, command, sequence]) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_beat_and_answer() {
        let mut out = [0xaa; 16];
        assert_eq!(beat(1, &Fields::default(), &mut out), Some(12));
        assert_eq!(out, [0, 0, 0, 12, 0, 0, 0, 8, 0, 0, 0, 1, 0xaa, 0xaa, 0xaa, 0xaa]);
        let owed = Owed { sequence: 0xffff_fffe, ..Owed::default() };
        assert_eq!(answer(&owed, &Fields::default(), &mut out), Some(13));
        assert_eq!(out, [0, 0, 0, 13, 0x80, 0, 0, 8, 0xff, 0xff, 0xff, 0xfe, 0, 0xaa, 0xaa, 0xaa]);
    }

    #[test]
    fn a_buffer_too_small_is_left_alone() {
        let mut out = [0xaa; 12];
        assert_eq!(answer(&Owed::default(), &Fields::default(), &mut out), None);
        assert_eq!(beat(1, &Fields::default(), &mut out[..11]), None);
        assert_eq!(out, [0xaa; 12]);
    }
}
