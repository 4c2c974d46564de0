"""Write LoRA adapters for the U-Net of a checkpoint with PEFT, and what diffusers' U-Net computes with them.

  python make_lora.py [OUT]

Reads the checkpoint `micro-base` and the inputs of its U-Net case beside this folder. Each adapter is written in the format that it
is named after; each case applies one or two of them with weights. The case is repeated in f64, and ten times the difference, or
4e-6 of the largest value where that is more, is the tolerance, as for the other goldens. Needs torch, diffusers, peft.
"""
import copy
import json
import os
import sys

import torch
from diffusers.models.unets.unet_dreamlite import DreamLiteUNetModel
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKPOINT = "micro-base"
INPUTS = "micro-base/unet__detail_16x12.safetensors"

# One adapter for the layers that most trainers choose, with ranks and alphas of their own for some; one for every sort of
# convolution and for what surrounds the blocks; one for a depthwise convolution, whose rank PEFT wants divisible by its channels.
CONFIGS = {
    "attention": LoraConfig(
        r=4, lora_alpha=8, init_lora_weights=False,
        target_modules=r".*\.(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out)",
        rank_pattern={r"mid_block\..*\.to_q": 6, r"down_blocks\.2\..*\.to_v": 2},
        alpha_pattern={r"mid_block\..*\.to_q": 3}),
    "convolutions": LoraConfig(
        r=3, lora_alpha=2, init_lora_weights=False,
        target_modules=r"(conv_in|conv_out|encoder_hid_proj\.0|time_embedding\.linear_1|add_embedding\.linear_2"
                       r"|.*\.(pointwise|conv_shortcut|time_emb_proj|downsamplers\.0\.conv|upsamplers\.0\.conv))"),
    "depthwise": LoraConfig(
        r=64, lora_alpha=4, init_lora_weights=False, target_modules=r"down_blocks\.0\.resnets\.0\.conv2\.depthwise"),
    "rank_stabilised": LoraConfig(
        r=4, lora_alpha=4, use_rslora=True, init_lora_weights=False, target_modules=r"up_blocks\.0\..*\.to_q"),
}
# case -> adapters with their weights
CASES = {
    "attention": [("attention_diffusers", 1.0)],
    "convolutions": [("convolutions_peft", 1.0)],
    "depthwise": [("depthwise_peft", 1.0)],
    "rank_stabilised": [("rank_stabilised_diffusers", 1.0)],
    "two_with_weights": [("attention_diffusers", 0.7), ("convolutions_peft", -1.3)],
}


def load_unet(dtype):
    folder = os.path.join(HERE, "..", "checkpoints", CHECKPOINT)
    return DreamLiteUNetModel.from_pretrained(folder, subfolder="unet").to(dtype).eval().requires_grad_(False)


def make_adapter(name, config, seed):
    """The state of an adapter as PEFT names it, and its scale and alpha for each layer."""
    torch.manual_seed(seed)
    unet = inject_adapter_in_model(copy.deepcopy(config), load_unet(torch.float32), adapter_name=name)
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for path, module in unet.named_modules():
        if isinstance(module, LoraLayer) and name in module.lora_A:
            for part in (module.lora_A[name], module.lora_B[name]):
                fan_in = part.weight[0].numel()
                part.weight.data = torch.randn(part.weight.shape, generator=generator) * 0.3 / fan_in ** 0.5
            layers[path] = {"alpha": float(module.lora_alpha[name]), "rank": module.r[name]}
    return get_peft_model_state_dict(unet, adapter_name=name), layers


def diffusers_metadata(config, layers):
    """As diffusers writes it: the configuration of PEFT under the component's name, in one value."""
    settings = {key: value for key, value in config.to_dict().items() if not callable(value)}
    settings = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    keep = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "lora_bias")
    flat = {f"unet.{key}": settings[key] for key in keep}
    return {"format": "pt", "lora_adapter_metadata": json.dumps(flat, indent=2, sort_keys=True)}


def write_adapters(out):
    states = {}
    for seed, (name, config) in enumerate(CONFIGS.items()):
        state, layers = make_adapter(name, config, 100 + seed)
        states[name] = (state, layers)
        state = {key: value.contiguous() for key, value in state.items()}
        if name in ("attention", "rank_stabilised"):
            save_file({f"unet.{key}": value for key, value in state.items()},
                      os.path.join(out, f"{name}_diffusers.safetensors"), metadata=diffusers_metadata(config, layers))
        else:
            # As PEFT saves a whole model; alpha beside each layer.
            tensors = {f"base_model.model.{key}": value for key, value in state.items()}
            tensors.update({f"base_model.model.{path}.alpha": torch.tensor(float(layer["alpha"]))
                            for path, layer in layers.items()})
            save_file(tensors, os.path.join(out, f"{name}_peft.safetensors"))
    # The same two in the form of kohya's scripts, and one in the older form of diffusers.
    for name in ("attention", "convolutions"):
        state, layers = states[name]
        tensors = {}
        for path, layer in layers.items():
            flat = "lora_unet_" + path.replace(".", "_")
            tensors[f"{flat}.lora_down.weight"] = state[f"{path}.lora_A.weight"].contiguous()
            tensors[f"{flat}.lora_up.weight"] = state[f"{path}.lora_B.weight"].contiguous()
            tensors[f"{flat}.alpha"] = torch.tensor(float(layer["alpha"]))
        save_file(tensors, os.path.join(out, f"{name}_kohya.safetensors"))
    state, layers = states["convolutions"]
    tensors = {}
    for path, layer in layers.items():
        tensors[f"unet.{path}.lora.down.weight"] = state[f"{path}.lora_A.weight"].contiguous()
        tensors[f"unet.{path}.lora.up.weight"] = state[f"{path}.lora_B.weight"].contiguous()
        tensors[f"unet.{path}.alpha"] = torch.tensor(float(layer["alpha"]))
    save_file(tensors, os.path.join(out, "convolutions_older.safetensors"))
    return states


def with_adapters(states, uses, dtype):
    unet = load_unet(dtype)
    for file, _ in uses:
        name = file.rsplit("_", 1)[0]
        inject_adapter_in_model(copy.deepcopy(CONFIGS[name]), unet, adapter_name=name)
    weights = {file.rsplit("_", 1)[0]: weight for file, weight in uses}
    for path, module in unet.named_modules():
        if isinstance(module, LoraLayer):
            for name in weights:
                if name in module.lora_A:
                    state = states[name][0]
                    module.lora_A[name].weight.data = state[f"{path}.lora_A.weight"].to(dtype)
                    module.lora_B[name].weight.data = state[f"{path}.lora_B.weight"].to(dtype)
            module.set_adapter([name for name in weights if name in module.lora_A])
            for name in weights:
                if name in module.lora_A:
                    module.scale_layer(1.0) if weights[name] == 1.0 else module.set_scale(name, weights[name])
    return unet.to(dtype).eval()


@torch.no_grad()
def run(unet, inputs, dtype):
    cast = {key: value.to(dtype) if value.is_floating_point() else value for key, value in inputs.items()}
    conditions = {"time_ids": cast["in.time_ids"]}
    return unet(cast["in.sample"], cast["in.timestep"], encoder_hidden_states=cast["in.encoder_hidden_states"],
                encoder_attention_mask=cast.get("in.encoder_attention_mask"), added_cond_kwargs=conditions,
                return_dict=False)[0]


def main(out):
    inputs = load_file(os.path.join(HERE, "..", "goldens", INPUTS))
    inputs = {key: value for key, value in inputs.items() if key.startswith("in.")}
    states = write_adapters(out)
    plain = run(load_unet(torch.float32), inputs, torch.float32)
    cases = []
    for name, uses in CASES.items():
        got = run(with_adapters(states, uses, torch.float32), inputs, torch.float32)
        exact = run(with_adapters(states, uses, torch.float64), inputs, torch.float64)
        error = (got.double() - exact).abs().max().item()
        scale = exact.abs().max().item()
        change = (got - plain).abs().max().item()
        tolerance = float(f"{max(10 * error, 4e-6 * scale, 1e-7):.2g}")
        assert change > 100 * tolerance, f"{name} changes the output by {change} only"
        file = f"case__{name}.safetensors"
        save_file({**inputs, "output": got.contiguous()}, os.path.join(out, file))
        tensors = {key: {"shape": list(value.shape), "dtype": str(value.dtype).replace("torch.", "")}
                   for key, value in inputs.items()}
        tensors["output"] = {"shape": list(got.shape), "dtype": "float32", "max_abs": float(f"{scale:.4g}"),
                             "change_max_abs": float(f"{change:.3g}"), "f32_vs_f64_max_abs_err": float(f"{error:.3g}"),
                             "tol_abs": tolerance}
        cases.append({"case": name, "kind": "lora", "checkpoint": CHECKPOINT, "file": f"../lora/{file}",
                      "how": "U-Net forward with PEFT's layers, in f32 and again in f64",
                      "inputs": {"loras": [{"file": f"{use}.safetensors", "weight": weight} for use, weight in uses]},
                      "tensors": tensors})
        print(f"{name}: change {change:.3g}, f32 against f64 {error:.3g}, tolerance {tolerance:.2g}")
    with open(os.path.join(out, "manifest.json"), "w", encoding="utf-8") as f:
        json.dump({"cases": cases, "json_files": []}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else HERE)
