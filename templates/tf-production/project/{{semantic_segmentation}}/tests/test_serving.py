"""What an exported model returns for images."""

import numpy as np
import tensorflow as tf
from test_model import make_batch, make_dataset, make_net

from model import net
from model.serving import Served


def test_the_signature_gives_what_the_network_predicts() -> None:
    images, model, dataset = make_batch()[0]["images"], make_net(), make_dataset()
    outputs = Served(model, dataset).signatures()["serving_default"](images=tf.constant(images))
    expected = net.predict(model({"images": images}), dataset)
    masks = outputs["masks"].numpy()
    assert np.array_equal(masks, expected["masks"])
    assert np.allclose(outputs["confidence"], expected["confidence"])
    for number in range(3):
        assert np.allclose(outputs["shares"][:, number], (masks == number).mean(axis=(1, 2)))
