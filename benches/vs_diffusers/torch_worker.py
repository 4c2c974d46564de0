"""The diffusers side of the comparison: a process that loads a checkpoint once and then does what a line of JSON on its
input asks for, answering with the wall and processor seconds of the work alone. See compare.py."""
import sys

import numpy as np
import torch
from diffusers import DreamLiteMobilePipeline
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration
from worker_loop import serve

EDIT_PREFIX = "[Edit]: A diptych with two side-by-side images of the same scene. Compared to the right side, the left one has "


class Worker:
    """Every method is one kind of work; `size` is the edge of a square picture in pixels."""

    def __init__(self, model, threads):
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = model
        options = {"torch_dtype": torch.float32, "local_files_only": True}
        self.pipe = DreamLiteMobilePipeline.from_pretrained(model, text_encoder=None, **options)
        self.pipe.set_progress_bar_config(disable=True)
        self.kept = {}

    def _encoder(self):
        """The text encoder takes most of the memory and is read when it is first needed."""
        if self.pipe.text_encoder is None:
            encoder = Qwen3VLForConditionalGeneration.from_pretrained(self.model, subfolder="text_encoder", torch_dtype=torch.float32)
            self.pipe.register_modules(text_encoder=encoder.eval())
        return self.pipe

    def _once(self, key, make):
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def _source(self, size):
        rng = np.random.default_rng(0)
        return Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))

    def _embeds(self):
        """Of the shape that an edit's are; the time of a step does not depend on the values."""
        embeds = torch.randn(1, self.tokens, self.pipe.unet.config.encoder_hid_dim, generator=torch.Generator().manual_seed(0))
        return embeds, torch.ones(1, self.tokens, dtype=torch.long)

    def encode_text(self, size, prompt):
        pipe = self._encoder()
        return lambda: pipe.encode_prompt("generate", ["[Generate]: " + prompt], "cpu", torch.float32, max_sequence_length=200)

    def encode_edit(self, size, prompt):
        source, pipe = self._source(size), self._encoder()
        return lambda: pipe.encode_prompt("edit", [EDIT_PREFIX + prompt], "cpu", torch.float32, image=source)

    def step(self, size, prompt, steps=1):
        embeds, mask = self._once("embeds", self._embeds)
        latents = torch.randn(1, 4, size // 8, size // 4)
        ids = torch.tensor([[float(size), float(size)]])
        times = [1000.0, 893.0, 731.0, 475.0][:steps]

        def work():
            for t in times:
                self.pipe.unet(latents, timestep=torch.tensor([t]), encoder_hidden_states=embeds,
                               encoder_attention_mask=mask, added_cond_kwargs={"time_ids": ids}, return_dict=False)
        return work

    def four_steps(self, size, prompt):
        return self.step(size, prompt, steps=4)

    def vae_encode(self, size, prompt):
        pixels = torch.rand(1, 3, size, size) * 2 - 1
        return lambda: self.pipe.vae.encode(pixels)

    def vae_decode(self, size, prompt):
        latents = torch.randn(1, 4, size // 8, size // 8)
        return lambda: self.pipe.vae.decode(latents)

    def edit(self, size, prompt):
        source = self._source(size)
        generator, pipe = lambda: torch.Generator("cpu").manual_seed(0), self._encoder()
        return lambda: pipe(prompt=prompt, image=source, height=size, width=size, num_inference_steps=4, generator=generator())

    # diffusers keeps nothing of a canvas: a second instruction costs what the first one cost.
    edit_warm = edit
    encode_second = encode_edit


def main():
    model, threads = sys.argv[1], int(sys.argv[2])
    worker = Worker(model, threads)

    def work_of(ask):
        worker.tokens = ask["tokens"]
        return getattr(worker, ask["work"])(ask["size"], ask["prompt"])

    serve(f"torch {torch.__version__}", work_of)


if __name__ == "__main__":
    main()
