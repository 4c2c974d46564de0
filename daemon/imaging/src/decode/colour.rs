//! Pillow's `convert("RGB")` for each kind of pixel that a file may hold.

use image::{DynamicImage, RgbImage};

/// To 8-bit RGB. `grey_png`: the file is a PNG of grey values (with a transparent one it is decoded as grey and alpha).
///
/// 16 bits become 8 in two ways, as in Pillow: a grey picture is opened as "I;16", whose values are clipped at 255 (hardly
/// what its author meant, but what the reference sees); all others are read by their high bytes.
pub(super) fn rgb(picture: DynamicImage, grey_png: bool) -> DynamicImage {
    let (width, height) = (picture.width(), picture.height());
    let pixels = match picture {
        rgb @ DynamicImage::ImageRgb8(_) => return rgb,
        DynamicImage::ImageLuma8(p) => each(p.as_raw(), 1, grey(same)),
        DynamicImage::ImageLumaA8(p) => each(p.as_raw(), 2, grey(same)),
        DynamicImage::ImageRgba8(p) => each(p.as_raw(), 4, colours(same)),
        DynamicImage::ImageLuma16(p) => each(p.as_raw(), 1, grey(clipped)),
        DynamicImage::ImageLumaA16(p) if grey_png => each(p.as_raw(), 2, grey(clipped)),
        DynamicImage::ImageLumaA16(p) => each(p.as_raw(), 2, grey(high_byte)),
        DynamicImage::ImageRgb16(p) => each(p.as_raw(), 3, colours(high_byte)),
        DynamicImage::ImageRgba16(p) => each(p.as_raw(), 4, colours(high_byte)),
        // Floating point, which Pillow does not open: 0 to 1 is the convention of the programs that write it.
        other => return DynamicImage::ImageRgb8(other.into_rgb8()),
    };
    RgbImage::from_raw(width, height, pixels).map_or_else(DynamicImage::default, DynamicImage::ImageRgb8)
}

/// Runs over pixels of `channels` values.
fn each<T>(values: &[T], channels: usize, convert: impl Fn(&[T]) -> [u8; 3]) -> Vec<u8> {
    let mut out = vec![0; values.len() / channels * 3];
    for (to, from) in out.chunks_exact_mut(3).zip(values.chunks_exact(channels)) {
        to.copy_from_slice(&convert(from));
    }
    out
}

fn grey<T: Copy>(narrow: impl Fn(T) -> u8) -> impl Fn(&[T]) -> [u8; 3] {
    move |pixel| [narrow(pixel[0]); 3]
}

fn colours<T: Copy>(narrow: impl Fn(T) -> u8) -> impl Fn(&[T]) -> [u8; 3] {
    move |pixel| [narrow(pixel[0]), narrow(pixel[1]), narrow(pixel[2])]
}

fn same(value: u8) -> u8 {
    value
}

fn clipped(value: u16) -> u8 {
    value.min(255) as u8
}

fn high_byte(value: u16) -> u8 {
    (value >> 8) as u8
}
