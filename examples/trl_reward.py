"""TRL's GRPOTrainer with rali's reward: python examples/trl_reward.py OUTPUT

The policy is a tiny language model whose one word makes a picture: a photograph blurred so much.
Rewarded with the picture's quality it learns to say the word that blurs least; a minute on a
processor. In place of `make` comes what turns your policy's answers into pictures. Needs
`pip install 'rali[teach]'`.
"""

import sys

import torch
from datasets import Dataset
from PIL import Image, ImageFilter
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from rali.pictures.samples import sample_photographs
from rali.rewards.trl import rali_reward

BLURS = {"sharp": 0.0, "soft": 1.0, "blurred": 2.0, "smeared": 4.0}  # word: radius in pixels
PHOTOGRAPH = Image.fromarray(sample_photographs(["coffee"])[0])
MADE = {word: PHOTOGRAPH.filter(ImageFilter.GaussianBlur(r)) for word, r in BLURS.items()}


def make(answer: str) -> Image.Image:
    """The picture of an answer; one that is no such word gets the worst."""
    return MADE.get(answer.strip(), MADE["smeared"])


quality = rali_reward("made")


def reward(completions: list[str], **columns: object) -> list[float]:
    """The quality of what each completion makes, 1–5."""
    return quality(made=[make(text) for text in completions])


def policy() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A language model of a few words, with random weights."""
    torch.manual_seed(0)
    words = {word: n for n, word in enumerate(["<pad>", "<eos>", "a", "picture", *BLURS])}
    raw = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>"
    )
    shape = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, pad_token_id=0, eos_token_id=1, bos_token_id=1,
    )  # fmt: skip
    return LlamaForCausalLM(shape), tokens


def mean_score(model: LlamaForCausalLM, tokens: PreTrainedTokenizerFast) -> float:
    """What the policy's answers score on average, by their probabilities."""
    asked = tokens("a picture", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        chances = model(asked).logits[0, -1].softmax(-1)
    answers = [tokens.decode([n]) for n in range(len(chances))]
    return float(chances @ torch.tensor(reward(completions=answers)))


def main() -> None:
    model, tokens = policy()
    print(f"before: mean score {mean_score(model, tokens):.3f}")
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=sys.argv[1], max_steps=12, learning_rate=0.03, lr_scheduler_type="constant",
            per_device_train_batch_size=16, num_generations=16, max_completion_length=1,
            logging_steps=4, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
        ),
        train_dataset=Dataset.from_dict({"prompt": ["a picture"] * 64}),
        processing_class=tokens,
    )  # fmt: skip
    trainer.train()
    print(f"after: mean score {mean_score(model, tokens):.3f}")


if __name__ == "__main__":
    main()
