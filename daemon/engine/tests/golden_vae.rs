//! The tiny VAE against the reference: pixels to latents, latents to pixels, pixels to bytes.

mod support;

use candle_core::Device;
use easel_domain::RgbImage;
use easel_domain::engine::StageControl;
use easel_engine::Checkpoint;
use easel_engine::pass::Pass;
use easel_engine::vae::{TinyVae, to_image, to_pixels};
use support::{Check, Outcome, Reference, run_kind};

#[test]
fn golden_vae() {
    run_kind("vae", case);
}

fn case(reference: &Reference, check: &mut Check<'_>) -> Outcome {
    let vae = TinyVae::load(&Checkpoint::folder(check.checkpoint(reference)), &Device::Cpu)?;
    let control = StageControl::detached();
    let mut pass = Pass::new(&control);
    let pixels = check.input("pixels_u8")?;
    let (height, width, _) = pixels.dims3()?;
    let picture = RgbImage::new(width as u32, height as u32, pixels.flatten_all()?.to_vec1::<u8>()?)?;
    check.close("encoded", &vae.encode(&to_pixels(&picture, &Device::Cpu)?, &mut pass)?);
    let decoded = vae.decode(&check.input("decode_in")?, &mut pass)?;
    if check.has("decoded") {
        check.close("decoded", &decoded);
    }
    let image = to_image(&decoded)?;
    check.picture("decoded_u8", [image.height() as usize, image.width() as usize, 3], image.pixels());
    Ok(())
}
