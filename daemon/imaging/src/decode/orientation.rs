//! How a picture has to be turned: EXIF, else XMP, as `PIL.ImageOps.exif_transpose` looks for it.

use image::ImageDecoder;
use image::metadata::Orientation;

/// The orientation of an open file; one whose metadata cannot be read is taken as it stands.
pub(crate) fn of(format: &str, decoder: &mut impl ImageDecoder) -> Orientation {
    if format == "tiff" {
        return decoder.orientation().unwrap_or(Orientation::NoTransforms);
    }
    let exif = decoder.exif_metadata().ok().flatten();
    let by_exif = exif.and_then(|chunk| {
        // WebP files of some programs keep the prefix that belongs to JPEG alone.
        Orientation::from_exif_chunk(chunk.strip_prefix(b"Exif\0\0").unwrap_or(&chunk))
    });
    by_exif
        .or_else(|| decoder.xmp_metadata().ok().flatten().and_then(|packet| by_xmp(&packet)))
        .unwrap_or(Orientation::NoTransforms)
}

/// Whether width and height change places.
pub(crate) fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// The digit after `tiff:Orientation="` or `tiff:Orientation>`.
fn by_xmp(packet: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    packet.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).find_map(|(at, _)| {
        let value = &packet[at + NAME.len()..];
        let digit = value.strip_prefix(b"=\"").or_else(|| value.strip_prefix(b">"))?.first()?;
        digit.is_ascii_digit().then(|| Orientation::from_exif(digit - b'0'))?
    })
}
