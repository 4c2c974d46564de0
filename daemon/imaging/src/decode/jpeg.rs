//! What the segments of a JPEG tell: whether it has its end, and whether it is CMYK. The decoder fills what is missing with grey; Pillow refuses, and so do we.

const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;

/// Walks over the segments (ITU-T T.81, annex B) from the start of the image to its end marker.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some((marker, after)) = next_marker(bytes, at) {
        match marker {
            END_OF_IMAGE => return true,
            0x01 | 0xd0..=0xd8 => at = after,
            _ => {
                let Some(behind) = behind_segment(bytes, after) else { return false };
                at = behind;
            }
        }
        if marker == START_OF_SCAN {
            at = end_of_scan(bytes, at);
        }
    }
    false
}

/// Whether the frame has four components: CMYK, or YCCK, which is CMYK as well. The decoder would make RGB of it unasked.
pub(crate) fn is_cmyk(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some((marker, after)) = next_marker(bytes, at) {
        // Start of frame, but for the three markers among them that are none.
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            return bytes.get(after + 7) == Some(&4);
        }
        if marker == START_OF_SCAN || marker == END_OF_IMAGE {
            return false;
        }
        let Some(behind) = behind_segment(bytes, after) else { return false };
        at = behind;
    }
    false
}

/// The first marker at or after `at`, and where it ends.
fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(at..)?;
    let prefix = rest.windows(2).position(|pair| pair[0] == 0xff && pair[1] != 0xff && pair[1] != 0)?;
    Some((rest[prefix + 1], at + prefix + 2))
}

/// Where a segment ends whose length stands at `at`.
fn behind_segment(bytes: &[u8], at: usize) -> Option<usize> {
    let &[high, low] = bytes.get(at..at + 2)? else { return None };
    Some(at + usize::from(u16::from_be_bytes([high, low])).max(2))
}

/// Where the coded data of a scan ends: at the first marker that is no restart marker.
fn end_of_scan(bytes: &[u8], from: usize) -> usize {
    let data = bytes.get(from..).unwrap_or_default();
    let is_end = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff | 0xd0..=0xd7);
    data.windows(2).position(is_end).map_or(bytes.len(), |length| from + length)
}
