"""The OpenVINO side of the comparison: the U-Net of the checkpoint in f32, converted and compiled for one size at its first use, which
is not counted. Does steps alone. See compare.py."""
import sys
from pathlib import Path

import openvino
import torch
from diffusers import DreamLiteUNetModel
from worker_loop import serve


class Step(torch.nn.Module):
    """The U-Net with its inputs in a row, as the converter wants them."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, text, mask, time_ids):
        return self.unet(sample, timestep=timestep, encoder_hidden_states=text, encoder_attention_mask=mask,
                         added_cond_kwargs={"time_ids": time_ids}, return_dict=False)[0]


class Worker:
    def __init__(self, model, threads):
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.folder, self.threads, self.compiled = Path(model) / "unet", threads, {}

    def request(self, size, tokens):
        """The compiled U-Net for a size and its inputs; converted once, the converter's copy of the weights is gone afterwards."""
        if size not in self.compiled:
            unet = DreamLiteUNetModel.from_pretrained(self.folder, torch_dtype=torch.float32).eval()
            inputs = (torch.randn(1, 4, size // 8, size // 4), torch.tensor([500.0]),
                      torch.randn(1, tokens, unet.config.encoder_hid_dim), torch.ones(1, tokens, dtype=torch.long),
                      torch.tensor([[float(size), float(size)]]))
            model = openvino.convert_model(Step(unet), example_input=inputs, input=[tuple(x.shape) for x in inputs])
            # One size at a time: a second copy of the weights would not fit everywhere.
            self.compiled = {size: (openvino.Core().compile_model(model, "CPU", {
                "INFERENCE_NUM_THREADS": self.threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": "f32"}).create_infer_request(), [x.numpy() for x in inputs])}
        return self.compiled[size]

    def steps(self, size, tokens, count):
        request, inputs = self.request(size, tokens)
        return lambda: [request.infer(inputs) for _ in range(count)]


def main():
    worker = Worker(sys.argv[1], int(sys.argv[2]))
    count = {"step": 1, "four_steps": 4}
    serve(f"openvino {openvino.__version__.split('-')[0]}", lambda ask: worker.steps(ask["size"], ask["tokens"], count[ask["work"]]))


if __name__ == "__main__":
    main()
