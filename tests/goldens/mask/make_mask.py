"""Write what mask-aware denoising must compute: every step of an edit that is held to its source outside of a mask.

  python make_mask.py

Takes prompt, noise, source latents and time ids of the case `edit_autosize_215x150` beside this folder and runs the denoising loop of
diffusers' `DreamLitePipeline` (dual guidance) with its U-Net and scheduler. After each step the latents are joined as the inpainting
pipelines of diffusers do it: `scheduler.scale_noise` of the source for the next timestep, the source itself after the last. Without a
mask the loop must give what the pipeline gave, which is asserted. The case is repeated in f64, and ten times the difference, or 4e-6
of the largest value where that is more, is the tolerance, as for the other goldens. Needs torch, diffusers.
"""
import json
import os

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.unets.unet_dreamlite import DreamLiteUNetModel
from diffusers.pipelines.dreamlite.pipeline_dreamlite import calculate_shift
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKPOINT = os.path.join(HERE, "..", "checkpoints", "micro-base")
CASE = "edit_autosize_215x150"
SCALE, STEPS, GUIDANCE, IMAGE_GUIDANCE = 8, 6, 3.5, 1.5


def mask_of_pixels(height, width):
    """A disc with a soft edge, and a rectangle whose border lies within latent positions; one value for each pixel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    distance = ((x - 70.0) ** 2 + (y - 60.0) ** 2).sqrt()
    disc = ((40.0 - distance) / 16.0).clamp(0, 1)
    rectangle = ((x >= 131) & (x < 190) & (y >= 77) & (y < 123)).float()
    return torch.maximum(disc, rectangle)


@torch.no_grad()
def run(inputs, mask, dtype):
    unet = DreamLiteUNetModel.from_pretrained(CHECKPOINT, subfolder="unet").to(dtype).eval()
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(CHECKPOINT, subfolder="scheduler")
    noise, source = inputs["noise"].to(dtype), inputs["image_latents"].to(dtype)
    prompt, time_ids = inputs["prompt_embeds"].to(dtype), inputs["time_ids"].to(dtype)
    config = scheduler.config
    mu = calculate_shift(noise.shape[2] * noise.shape[3] // 4, config.base_image_seq_len, config.max_image_seq_len,
                         config.base_shift, config.max_shift)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS), mu=mu)
    latents, every = noise, []
    for i, t in enumerate(scheduler.timesteps):
        right = torch.cat([torch.zeros_like(source), source, source])
        model_input = torch.cat([torch.cat([latents] * 3), right], dim=3)
        predicted = unet(model_input, timestep=t.expand(3).to(dtype), encoder_hidden_states=prompt,
                         encoder_attention_mask=inputs["prompt_mask"], added_cond_kwargs={"time_ids": time_ids},
                         return_dict=False)[0]
        uncond, image, text = predicted[..., :latents.shape[-1]].chunk(3)
        velocity = uncond + GUIDANCE * (text - image) + IMAGE_GUIDANCE * (image - uncond)
        latents = scheduler.step(velocity, t, latents, return_dict=False)[0].to(dtype)
        if mask is not None:
            held = source
            if i < len(scheduler.timesteps) - 1:
                held = scheduler.scale_noise(source, scheduler.timesteps[i + 1:i + 2], noise)
            latents = (1 - mask.to(dtype)) * held + mask.to(dtype) * latents
        every.append(latents)
    return torch.stack(every)


def main():
    inputs = load_file(os.path.join(HERE, "..", "goldens", "micro-base", f"e2e__{CASE}.safetensors"))
    plain = run(inputs, None, torch.float32)
    assert (plain - inputs["latents"]).abs().max() < 1e-4, "without a mask the loop is not the pipeline's"
    height, width = inputs["noise"].shape[2:]
    pixels = mask_of_pixels(height * SCALE, width * SCALE)
    mask = torch.nn.functional.max_pool2d(pixels[None, None], SCALE)
    made, exact = run(inputs, mask, torch.float32), run(inputs, mask, torch.float64)
    error = (made.double() - exact).abs().max().item()
    tolerance = max(10 * error, 4e-6 * made.abs().max().item(), 1e-7)
    keep = ["noise", "image_latents", "prompt_embeds", "prompt_mask"]
    tensors = {f"in.{key}": inputs[key] for key in keep} | {"in.mask": pixels, "latents": made}
    save_file({key: value.contiguous() for key, value in tensors.items()}, os.path.join(HERE, "held.safetensors"))
    told = {key: {"shape": list(value.shape), "dtype": str(value.dtype).replace("torch.", "")}
            for key, value in tensors.items()}
    told["latents"] |= {"desc": "per step: latents after the scheduler step and the mask (steps,1,4,h,w)",
                        "f32_vs_f64_max_abs_err": float(f"{error:.3g}"), "tol_abs": float(f"{tolerance:.2g}")}
    case = {"case": "held", "kind": "mask", "checkpoint": "micro-base", "file": "../mask/held.safetensors",
            "how": "the pipeline's loop, held to the source outside of a mask",
            "inputs": {"steps": STEPS, "guidance": GUIDANCE, "image_guidance": IMAGE_GUIDANCE}, "tensors": told}
    with open(os.path.join(HERE, "manifest.json"), "w") as file:
        json.dump({"cases": [case]}, file, indent=1)
        file.write("\n")
    print(f"error {error:.3g}, tolerance {tolerance:.3g}")


main()
