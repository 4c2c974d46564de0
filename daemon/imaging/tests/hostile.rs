//! Files that a stranger sends: cut, flipped, empty, enormous. Every one gets an answer, none a panic.

use easel_domain::limits::MAX_PARAMETERS_BYTES;
use easel_domain::{ImageFormat, Reason, RgbImage, Size};
use easel_imaging::{
    Canvas, Filter, Found, Output, encode, find_parameters, fit, fits_a_file, load, probe, resize, write,
};
use proptest::prelude::*;

const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Tiff];

/// zlib's crc32 of the text chunk of the test below.
const TEXT_CHECKSUM: [u8; 4] = [0xb6, 0x96, 0xa9, 0x7b];

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
fn parameters_are_written_and_the_pixels_stay() {
    let original = picture(9, 7, 3);
    let parameters = "{\"prompt\":\"a red circle, naïve\"}";
    let output = Output { format: ImageFormat::Png, jpeg_quality: Output::JPEG_QUALITY, parameters: Some(parameters) };
    let file = write(&Canvas::from(&original), &output).unwrap();
    assert_eq!(load(&file).unwrap(), original);
    let mut chunk = b"iTXteasel\0\0\0\0\0{\"prompt\":\"a red circle, na\xc3\xafve\"}".to_vec();
    chunk.extend(TEXT_CHECKSUM);
    assert!(file.windows(chunk.len()).any(|w| w == chunk));
    let plain = Output { parameters: None, ..output };
    assert_eq!(write(&Canvas::from(&original), &plain).unwrap(), encode(&original, ImageFormat::Png).unwrap());
}

#[test]
fn parameters_that_cannot_be_read_are_told_from_those_that_are_not_there() {
    let original = Canvas::from(&picture(9, 7, 3));
    let output = |parameters| Output { format: ImageFormat::Png, jpeg_quality: Output::JPEG_QUALITY, parameters };
    let file = write(&original, &output(Some("{\"seed\":\"1\"}"))).unwrap();
    assert_eq!(find_parameters(&file), Found::Text("{\"seed\":\"1\"}".to_owned()));
    assert_eq!(find_parameters(&write(&original, &output(None)).unwrap()), Found::Nothing);
    let at = file.windows(4).position(|w| w == b"seed").unwrap();
    let mut changed = file.clone();
    changed[at] = b'S';
    assert_eq!(find_parameters(&changed), Found::Damaged("their checksum is wrong"));
    assert_eq!(find_parameters(&file[..at]), Found::Nothing);
    // A text of another program under our keyword is none of ours.
    let text = b"easel\0other";
    let mut crc = 0xffff_ffff_u32;
    for byte in b"tEXt".iter().chain(text) {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 });
    }
    let chunk = [&(text.len() as u32).to_be_bytes(), &b"tEXt"[..], text, &(!crc).to_be_bytes()].concat();
    let plain = write(&original, &output(None)).unwrap();
    assert_eq!(find_parameters(&[&plain[..33], &chunk, &plain[33..]].concat()), Found::Nothing);
}

#[test]
fn parameters_that_are_too_long_are_refused_in_every_format() {
    let long = format!("{{\"prompt\":\"{}\"}}", "x".repeat(MAX_PARAMETERS_BYTES));
    assert!(!fits_a_file(&long) && fits_a_file("{}"));
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Tiff] {
        let output = Output { format, jpeg_quality: Output::JPEG_QUALITY, parameters: Some(&long) };
        let error = write(&Canvas::from(&picture(9, 7, 3)), &output).unwrap_err();
        assert_eq!((error.reason, error.violations[0].field.as_str()), (Reason::InvalidRequest, "spec.provenance"));
    }
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
