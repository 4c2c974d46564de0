//! Files that a stranger sends: cut, flipped, empty, enormous. Every one gets an answer, none a panic.

use easel_domain::{ImageFormat, Reason, RgbImage, Size};
use easel_imaging::{Filter, encode, encode_with_texts, fit, load, probe, resize};
use proptest::prelude::*;

const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Tiff];

/// zlib's crc32 of the first text chunk of the test below.
const TEXT_CHECKSUM: [u8; 4] = [0x74, 0x16, 0xd2, 0x81];

fn picture(width: u32, height: u32, seed: u32) -> RgbImage {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8;
    RgbImage::new(width, height, (0..width * height * 3).map(value).collect::<Vec<_>>()).expect("a picture")
}

/// A PNG header alone, with a correct checksum.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut crc = !0_u32;
    for byte in &chunk {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    file.extend(13_u32.to_be_bytes());
    file.extend(&chunk);
    file.extend((!crc).to_be_bytes());
    file.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    file
}

#[test]
fn what_is_no_picture_is_refused_with_the_mend() {
    for (bytes, word) in
        [(&b""[..], "no bytes"), (b"hello, I am a text", "PNG, JPEG"), (b"\x89PNG\r\n\x1a\n", "damaged")]
    {
        for error in [load(bytes).unwrap_err(), probe(bytes).unwrap_err()] {
            assert_eq!(error.reason, Reason::InvalidImage);
            assert_eq!(error.violations[0].field, "spec.image");
            assert!(error.message.contains(word), "{}", error.message);
        }
    }
}

#[test]
fn an_enormous_header_is_refused_before_anything_is_decoded() {
    for (width, height) in [(50_000, 50_000), (4_000_000_000, 1), (32_000, 32_000)] {
        let file = png_header(width, height);
        for error in [load(&file).unwrap_err(), probe(&file).unwrap_err()] {
            assert!(matches!(error.reason, Reason::ImageTooLarge | Reason::InvalidImage), "{error:?}");
        }
    }
    let error = probe(&png_header(50_000, 50_000)).unwrap_err();
    assert_eq!(error.reason, Reason::ImageTooLarge);
    assert!(error.message.contains("50000x50000"), "{}", error.message);
}

#[test]
fn texts_are_written_and_the_pixels_stay() {
    let original = picture(9, 7, 3);
    let texts = [("parameters", "a red circle, naïve"), ("Software", "easel")];
    let file = encode_with_texts(&original, ImageFormat::Png, &texts).unwrap();
    assert_eq!(load(&file).unwrap(), original);
    let mut chunk = b"iTXtparameters\0\0\0\0\0a red circle, na\xc3\xafve".to_vec();
    chunk.extend(TEXT_CHECKSUM);
    assert!(file.windows(chunk.len()).any(|w| w == chunk));
    for keyword in ["", "a\0b", "ü", &"x".repeat(80)] {
        let error = encode_with_texts(&original, ImageFormat::Png, &[(keyword, "")]).unwrap_err();
        assert_eq!(error.reason, Reason::Internal);
    }
    let plain = encode(&original, ImageFormat::Jpeg).unwrap();
    assert_eq!(encode_with_texts(&original, ImageFormat::Jpeg, &texts).unwrap(), plain);
}

#[test]
fn fit_never_enlarges() {
    let small = picture(20, 10, 1);
    assert_eq!(fit(&small, 64), small);
    assert_eq!(fit(&small, 10).size(), Size { width: 10, height: 5 });
    assert_eq!(fit(&picture(1000, 1, 1), 16).size(), Size { width: 16, height: 1 });
}

proptest! {
    #[test]
    fn what_is_written_without_loss_is_read_again(width in 1_u32..40, height in 1_u32..40, seed: u32) {
        let original = picture(width, height, seed);
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff] {
            let file = encode(&original, format).unwrap();
            prop_assert_eq!(&load(&file).unwrap(), &original);
            prop_assert_eq!(probe(&file).unwrap().size, original.size());
            prop_assert_eq!(encode(&original, format).unwrap(), file);
        }
    }

    #[test]
    fn damaged_files_get_an_answer(which in 0_usize..4, cut in 0.0_f64..1.0, flips in prop::collection::vec((0.0_f64..1.0, any::<u8>()), 0..4)) {
        let mut file = encode(&picture(24, 17, 5), FORMATS[which]).unwrap();
        for (place, value) in flips {
            let at = (place * file.len() as f64) as usize;
            file[at] ^= value;
        }
        file.truncate((cut * file.len() as f64) as usize);
        if let Err(error) = load(&file) {
            prop_assert!(matches!(error.reason, Reason::InvalidImage | Reason::ImageTooLarge));
        }
    }

    #[test]
    fn any_size_can_be_asked_for(w in 1_u32..30, h in 1_u32..30, width in 1_u32..70, height in 1_u32..70) {
        let size = Size { width, height };
        for filter in [Filter::Lanczos, Filter::Triangle] {
            prop_assert_eq!(resize(&picture(w, h, 9), size, filter).size(), size);
        }
    }

    #[test]
    fn a_plain_picture_stays_plain(value: u8, w in 1_u32..30, h in 1_u32..30, width in 1_u32..70, height in 1_u32..70) {
        let plain = RgbImage::new(w, h, vec![value; (w * h * 3) as usize]).unwrap();
        let resized = resize(&plain, Size { width, height }, Filter::Lanczos);
        prop_assert!(resized.pixels().iter().all(|&v| v == value));
    }
}
