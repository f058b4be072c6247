"""A pretrained network of transformers in place of the embeddings and the blocks of net.py.

https://huggingface.co/models has their weights, and says under which licence.
"""

from typing import TYPE_CHECKING

import torch

from machinery.errors import InputError
from machinery.pretrained_tokens import bring, import_package, read_backbone, say
from machinery.words import UNKNOWN
from model.parameters import ModelParameters

if TYPE_CHECKING:
    from build_dataset import Dataset

OPTION = "--model.backbone_weights"


class Backbone(torch.nn.Module):
    """Takes tokens as they are stored, (B, tokens) int32; returns (B, features).

    A text's features are the mean of those of its tokens (Reimers and Gurevych 2019,
    https://arxiv.org/abs/1908.10084, table 6). The weights are random until `load_pretrained`, so
    that a checkpoint can be loaded without them. With model.backbone_learning_rate 0 it is frozen:
    nothing in it changes, and dropout is off.

    Args:
        parameters: name, weights and learning rate of the backbone.
        dataset: the configuration of the network, and what its tokens are.

    Raises:
        InputError: transformers is not installed, or the network is none for these texts.
    """

    def __init__(self, parameters: ModelParameters, dataset: "Dataset") -> None:
        super().__init__()
        assert dataset.backbone  # See ModelParameters.check_data.
        self.described, self.vocabulary = dataset.backbone, dataset.vocabulary
        self.source = parameters.backbone_weights or parameters.backbone
        self.own_rate = parameters.backbone_learning_rate
        transformers = import_package("transformers")
        longest = dataset.arrays["tokens"].longest
        try:
            configuration = transformers.AutoConfig.for_model(**self.described.configuration)
            self.padding = configuration.pad_token_id or 0
            network = transformers.AutoModel.from_config(
                configuration, dtype=torch.float32, trust_remote_code=False
            )
            network.pooler = None  # Of some networks: it is behind the features of the tokens.
            self.network = network.eval()
            highest = torch.full((1, longest), UNKNOWN + len(self.vocabulary), dtype=torch.int32)
            with torch.no_grad():
                self.features = self(highest).shape[1]
        except Exception as error:  # Networks of many kinds, each with its own checks.
            raise InputError(
                f"model.backbone: {self.described.name} cannot take texts of {longest} tokens of "
                f"{len(self.vocabulary):,}: {say(error)}. build_dataset.py --longest keeps fewer "
                "tokens of a text; a network that also writes texts, such as T5, cannot be used."
            ) from None
        # Lightning leaves a network in the mode in which it finds it.
        self.network.requires_grad_(self.own_rate > 0).train(self.own_rate > 0)

    def load_pretrained(self) -> None:
        """Put pretrained weights in: those of a folder, or those that transformers downloads.

        Raises:
            InputError: they cannot be read, or are those of another network.
        """
        transformers = import_package("transformers")
        try:
            if read_backbone(self.source, OPTION).tokens() != self.vocabulary:
                raise ValueError("its tokens are not those of the data")
            trained, found = transformers.AutoModel.from_pretrained(
                self.source,
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=True,  # Other files of weights can run code.
                output_loading_info=True,
            )
            if missing := [key for key in found["missing_keys"] if not key.startswith("pooler.")]:
                raise ValueError(f"it has no {min(missing)}")
            trained.pooler = None
            self.network.load_state_dict(trained.state_dict())
        except InputError:
            raise
        except Exception as error:  # Files of many kinds, and the hub's own errors.
            name = self.described.name
            raise InputError(
                f"model.backbone: {self.source}: {say(error)}. Expected the weights of {name}. "
                f"{bring(name, OPTION)}"
            ) from None

    def train(self, mode: bool = True) -> "Backbone":
        """Switch dropout to training, but not in a frozen backbone."""
        return super().train(mode and self.own_rate > 0)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the features, (B, features)."""
        there, numbers = tokens > 0, tokens.long() - (UNKNOWN + 1)
        numbers = numbers.masked_fill(tokens == UNKNOWN, self.described.hidden)
        numbers = numbers.masked_fill(~there, self.padding)
        found = self.network(input_ids=numbers, attention_mask=there.long())
        x = found.last_hidden_state * there[..., None]  # (B, tokens, features)
        return x.sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
