"""A diffusion model to reward: a small U-Net trained here, or one like Stable Diffusion.

Both are a U-Net that predicts noise or velocity, a schedule, and a decoder from latents to
pictures. The latents of the small one are the picture itself, from −1 to 1, with blocks of 2 × 2
pixels as channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DModel
from torch import Tensor, nn

SIZE, BLOCK = 64, 2  # pixels of the small generator's pictures, and of a block


class Generator(nn.Module):
    """A U-Net with its decoder, and DDIM's steps (Song et al., 2021).

    Args:
        name: a folder that `pretrain.py` wrote, or the folder or Hub id of a Stable Diffusion,
            which is trained with LoRA.
        prompt, guidance: for a Stable Diffusion, with classifier-free guidance (Ho & Salimans,
            2022).

    Attributes:
        edge: the edge of its pictures, in pixels.
    """

    def __init__(
        self, name: str, prompt: str = "", device: str = "cpu", guidance: float = 7.5
    ) -> None:
        super().__init__()
        self.guidance = guidance
        self.condition: Tensor | None = None  # [2, tokens, D], without and with the prompt
        if (Path(name) / "model_index.json").is_file() or not Path(name).is_dir():
            pipeline = StableDiffusionPipeline.from_pretrained(name).to(device)
            from peft import LoraConfig

            self.unet, self.vae = pipeline.unet.requires_grad_(False), pipeline.vae
            self.unet.add_adapter(
                LoraConfig(r=8, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
            )
            self.vae.requires_grad_(False)
            with torch.no_grad():
                asked, empty = pipeline.encode_prompt(prompt, device, 1, True)
            self.condition = torch.cat([empty, asked])
            self.schedule = DDIMScheduler.from_config(pipeline.scheduler.config)
            self.edge = self.unet.config.sample_size * pipeline.vae_scale_factor
        else:
            self.unet = UNet2DModel.from_pretrained(name).to(device)
            self.vae = None
            self.schedule = DDIMScheduler.from_pretrained(name)
            self.edge = SIZE
        self.predicts = self.schedule.config.prediction_type
        if self.predicts not in ("epsilon", "v_prediction"):
            raise SystemExit(f"{name} predicts {self.predicts}; expected noise or velocity.")
        edge = self.unet.config.sample_size
        self.shape = (self.unet.config.in_channels, edge, edge)
        self.device = device
        self.unet.eval()

    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.unet.parameters() if parameter.requires_grad]

    def save(self, folder: Path) -> None:
        """Save the small generator as a whole, or the LoRA weights of a Stable Diffusion."""
        if self.condition is not None:
            self.unet.save_lora_adapter(folder)
            return
        self.unet.save_pretrained(folder)
        self.schedule.save_pretrained(folder)

    def noise(self, seeds: Sequence[int]) -> Tensor:
        """The noise that sampling starts from, [n, C, H, W], for each picture from its own seed."""
        return self._draw([torch.Generator().manual_seed(seed) for seed in seeds])

    def times(self, steps: int) -> list[tuple[int, int]]:
        """(t, next t) of each step; −1 stands for the picture."""
        self.schedule.set_timesteps(steps)
        times = self.schedule.timesteps.tolist()
        return list(zip(times, [*times[1:], -1], strict=True))

    def step(self, latents: Tensor, t: int, after: int, eta: float = 0.0) -> tuple[Tensor, float]:
        """Mean and standard deviation of the next latents (equation 12 of DDIM).

        x' = √ᾱ' x̂₀ + √(1 − ᾱ' − σ²) ε,   σ² = η² (1 − ᾱ')/(1 − ᾱ) (1 − ᾱ/ᾱ')
        """
        alphas = self.schedule.alphas_cumprod
        now, then = float(alphas[t]), float(alphas[after]) if after >= 0 else 1.0
        times = torch.full((len(latents),), t, device=latents.device)
        epsilon = self._predict(latents, times)
        if self.predicts == "v_prediction":  # v = √ᾱ ε − √(1 − ᾱ) x₀ (Salimans & Ho, 2022)
            epsilon = now**0.5 * epsilon + (1 - now) ** 0.5 * latents
        clean = (latents - (1 - now) ** 0.5 * epsilon) / now**0.5
        if self.vae is None:
            clean = clean.clamp(-1, 1)
            epsilon = (latents - now**0.5 * clean) / (1 - now) ** 0.5
        deviation = eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5
        mean = then**0.5 * clean + max(0.0, 1 - then - deviation**2) ** 0.5 * epsilon
        return mean, deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures [n, 3, H, W], −1 to 1."""
        if self.vae is None:
            return nn.functional.pixel_shuffle(latents, BLOCK)
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample

    @torch.no_grad()
    def sample(
        self, seeds: Sequence[int], steps: int = 20, eta: float = 0.0, batch: int = 16
    ) -> Tensor:
        """The pictures of `seeds`, [n, 3, H, W], 0–1, on the CPU."""
        made = []
        for start in range(0, len(seeds), batch):
            own = [torch.Generator().manual_seed(s) for s in seeds[start : start + batch]]
            latents = self._draw(own)
            for t, after in self.times(steps):
                latents, deviation = self.step(latents, t, after, eta)
                if deviation > 0:
                    latents = latents + deviation * self._draw(own)
            made.append((self.decode(latents) / 2 + 0.5).clamp(0, 1).cpu())
        return torch.cat(made)

    def _draw(self, generators: Sequence[torch.Generator]) -> Tensor:
        made = [torch.randn(self.shape, generator=each) for each in generators]
        return torch.stack(made).to(self.device)

    def _predict(self, latents: Tensor, times: Tensor) -> Tensor:
        """The U-Net's prediction; with a prompt ε₀ + w (ε − ε₀), from those without and with it."""
        if self.condition is None:
            return self.unet(latents, times).sample
        conditions = self.condition.repeat_interleave(len(latents), 0)
        twice = self.unet(latents.repeat(2, 1, 1, 1), times.repeat(2), conditions).sample
        without, asked = twice.chunk(2)
        return without + self.guidance * (asked - without)
