//! The parameters of a picture, kept inside its file as JSON. PNG has them as an `iTXt` text (UTF-8) with the keyword `easel`; JPEG and WebP as
//! the EXIF UserComment and TIFF as the ImageDescription, in ASCII with JSON's own escapes, so that no program has to
//! guess an encoding. What other programs leave of them when they save a file has not been tried. The reader is fed strangers' files: it is total, and bounded by `MAX_PARAMETERS_BYTES`.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use easel_domain::limits::{MAX_DECODE_BYTES, MAX_PARAMETERS_BYTES};
use easel_domain::{Error, Reason};
use image::ImageDecoder;
use tiff::tags::{Tag, Type};

use crate::decode;

/// Keyword of the text in a PNG.
const KEYWORD: &str = "easel";

const TOO_LONG: &str = "they are longer than Easel writes them";

/// What precedes an ASCII comment (EXIF 2.3, table 9).
const ASCII: &[u8; 8] = b"ASCII\0\0\0";
const EXIF_POINTER: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;
/// The type of a value without a type, and of a 32-bit number.
const UNDEFINED: u16 = 7;
const LONG: u16 = 4;

/// What a file says of its making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or it is no picture of a format that can.
    Nothing,
    /// Parameters are there and cannot be read, for this reason.
    Damaged(&'static str),
    /// A text that begins as a JSON object does; at most `MAX_PARAMETERS_BYTES`.
    Text(String),
}

/// The parameters that [`crate::write`] has put into a file.
pub fn find_parameters(bytes: &[u8]) -> Found {
    let found = decode::guarded(|| {
        Ok(match bytes {
            [0x89, b'P', b'N', b'G', ..] => png_text(bytes),
            [b'I', b'I', ..] | [b'M', b'M', ..] => tiff_text(bytes).map_or(Found::Nothing, Found::Text),
            _ => exif_text(bytes).map_or(Found::Nothing, Found::Text),
        })
    });
    match found {
        Ok(Found::Text(text)) if text.len() > MAX_PARAMETERS_BYTES => Found::Damaged(TOO_LONG),
        // Other programs write into the same places: parameters are a JSON object.
        Ok(Found::Text(text)) if !text.trim_start().starts_with('{') => Found::Nothing,
        Ok(found) => found,
        Err(_) => Found::Damaged("the file is damaged"),
    }
}

/// Whether [`crate::write`] can keep these parameters in a file.
pub fn fits_a_file(json: &str) -> bool {
    ascii(json).is_ok()
}

/// In ASCII: what is beyond it can only stand in JSON's strings, where an escape means the same. Fails with `InvalidRequest` when
/// that is longer than `MAX_PARAMETERS_BYTES`, and with `Internal` when it is no JSON object.
pub(crate) fn ascii(json: &str) -> Result<String, Error> {
    let object = json.trim_start().starts_with('{') && !json.contains('\0');
    if !object {
        return Err(Error::new(Reason::Internal, "the parameters are no JSON object"));
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    if out.len() > MAX_PARAMETERS_BYTES {
        let text = format!("have {} bytes, {MAX_PARAMETERS_BYTES} can be kept in a file: leave them out", out.len());
        return Err(Error::field(Reason::InvalidRequest, "spec.provenance", text));
    }
    Ok(out)
}

/// An EXIF block, little endian: a directory that points to a second one, which holds the comment.
pub(crate) fn exif(ascii: &str) -> Vec<u8> {
    const SECOND_AT: u32 = 26;
    const COMMENT_AT: u32 = 44;
    let mut out = b"II\x2a\0\x08\0\0\0".to_vec();
    let mut directory = |tag: u16, kind: u16, count: u32, value: u32| {
        out.extend(1_u16.to_le_bytes());
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(value.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
    };
    directory(EXIF_POINTER, LONG, 1, SECOND_AT);
    directory(USER_COMMENT, UNDEFINED, (ASCII.len() + ascii.len()) as u32, COMMENT_AT);
    out.extend(ASCII);
    out.extend(ascii.as_bytes());
    out
}

/// Bytes that have no type in a TIFF.
pub(crate) struct Undefined<'a>(pub(crate) &'a [u8]);

impl tiff::encoder::TiffValue for Undefined<'_> {
    const BYTE_LEN: u8 = 1;
    const FIELD_TYPE: Type = Type::UNDEFINED;

    fn count(&self) -> usize {
        self.0.len()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.0)
    }
}

/// A PNG with the parameters in it, right behind its header: an `iTXt` chunk, not compressed, without language (PNG
/// specification, 11.3.3.4).
pub(crate) fn into_png(file: &[u8], json: &str) -> Vec<u8> {
    /// The signature and the IHDR chunk, which must come first.
    const HEAD_BYTES: usize = 8 + 12 + 13;
    let (head, rest) = file.split_at(HEAD_BYTES);
    let body = [KEYWORD.as_bytes(), &[0; 5], json.as_bytes()].concat();
    let kind = b"iTXt";
    // At most `MAX_PARAMETERS_BYTES` and the keyword.
    let length = (body.len() as u32).to_be_bytes();
    [head, &length, kind, &body, &checksum(kind, &body).to_be_bytes(), rest].concat()
}

/// CRC-32 of a chunk as PNG has it (annex D).
fn checksum(kind: &[u8; 4], body: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(body);
    crc.sum()
}

/// The first text of our keyword. Other programs rewrite it as any of the three kinds (PNG specification, 11.3.3).
fn png_text(bytes: &[u8]) -> Found {
    const SIGNATURE_BYTES: usize = 8;
    let mut rest = bytes.get(SIGNATURE_BYTES..).unwrap_or_default();
    while let Some(Chunk { kind, body, sum, after }) = chunk(rest) {
        let own = body.strip_prefix(KEYWORD.as_bytes()).and_then(|rest| rest.strip_prefix(b"\0"));
        let text = match (kind, own) {
            (b"tEXt", Some(text)) => Some((false, text)),
            (b"zTXt", Some([0, packed @ ..])) => Some((true, packed)),
            // A language and a translated keyword, each ended by zero.
            (b"iTXt", Some([packed, 0, rest @ ..])) => {
                rest.splitn(3, |&b| b == 0).nth(2).map(|text| (*packed == 1, text))
            }
            _ => None,
        };
        match text {
            Some(_) if checksum(kind, body) != sum => return Found::Damaged("their checksum is wrong"),
            Some((true, packed)) => return inflate(packed).map_or(Found::Damaged("they cannot be unpacked"), text_of),
            Some((false, plain)) => return text_of(plain.to_vec()),
            None => rest = after,
        }
    }
    Found::Nothing
}

/// A chunk of a PNG and what is behind it.
struct Chunk<'a> {
    kind: &'a [u8; 4],
    body: &'a [u8],
    sum: u32,
    after: &'a [u8],
}

/// The first chunk; `None` at the end, also of a file that is cut.
fn chunk(bytes: &[u8]) -> Option<Chunk<'_>> {
    let (length, after) = bytes.split_first_chunk()?;
    let (kind, after) = after.split_first_chunk::<4>()?;
    let (body, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let (sum, after) = after.split_first_chunk()?;
    Some(Chunk { kind, body, sum: u32::from_be_bytes(*sum), after })
}

fn text_of(bytes: Vec<u8>) -> Found {
    if bytes.len() > MAX_PARAMETERS_BYTES {
        return Found::Damaged(TOO_LONG);
    }
    String::from_utf8(bytes).map_or(Found::Damaged("they are not UTF-8"), Found::Text)
}

/// At most one byte more than is allowed, which is then refused.
fn inflate(packed: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    flate2::read::ZlibDecoder::new(packed).take(MAX_PARAMETERS_BYTES as u64 + 1).read_to_end(&mut out).ok()?;
    Some(out)
}

fn tiff_text(bytes: &[u8]) -> Option<String> {
    let mut limits = tiff::decoder::Limits::default();
    limits.ifd_value_size = MAX_PARAMETERS_BYTES + 1;
    limits.decoding_buffer_size = MAX_DECODE_BYTES as usize;
    let mut decoder = tiff::decoder::Decoder::new(Cursor::new(bytes)).ok()?.with_limits(limits);
    decoder.get_tag_ascii_string(Tag::ImageDescription).ok()
}

fn exif_text(bytes: &[u8]) -> Option<String> {
    let (_, mut decoder) = decode::open(bytes).ok()?;
    let block = decoder.exif_metadata().ok()??;
    comment(block.strip_prefix(b"Exif\0\0").unwrap_or(&block))
}

/// The ASCII comment of an EXIF block.
fn comment(block: &[u8]) -> Option<String> {
    let little = match block.first_chunk::<2>()? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let exif = Exif { block, little };
    let (_, second) = exif.entry(exif.long(4)?, EXIF_POINTER)?;
    let (count, at) = exif.entry(second, USER_COMMENT)?;
    let value = block.get(at as usize..)?.get(..count as usize)?;
    let text = value.strip_prefix(ASCII)?;
    let text = text.split(|&b| b == 0).next()?;
    // What is too long is kept to be told apart from nothing.
    String::from_utf8(text.get(..MAX_PARAMETERS_BYTES + 1).unwrap_or(text).to_vec()).ok()
}

struct Exif<'a> {
    block: &'a [u8],
    little: bool,
}

impl Exif<'_> {
    fn short(&self, at: u32) -> Option<u16> {
        let bytes = *self.block.get(at as usize..)?.first_chunk()?;
        Some(if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn long(&self, at: u32) -> Option<u32> {
        let bytes = *self.block.get(at as usize..)?.first_chunk()?;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// Count and value (or where it lies) of a tag in the directory at `at`.
    fn entry(&self, at: u32, tag: u16) -> Option<(u32, u32)> {
        const ENTRY_BYTES: u32 = 12;
        let first = at.checked_add(2)?;
        let entries = u32::from(self.short(at)?);
        let place = (0..entries).map_while(|i| first.checked_add(i * ENTRY_BYTES));
        for place in place {
            if self.short(place)? == tag {
                return Some((self.long(place.checked_add(4)?)?, self.long(place.checked_add(8)?)?));
            }
        }
        None
    }
}
