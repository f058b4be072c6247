"""What an exported model returns for arrays."""

import numpy as np
import tensorflow as tf
from test_model import make_batch, make_dataset, make_net

from model.serving import Served


def test_every_box_has_the_name_of_its_class() -> None:
    served = Served(make_net(), make_dataset())
    (detect,) = served.signatures().values()
    outputs = detect(tf.constant(make_batch()[0]["images"]))
    classes = np.array(make_dataset().classes)[outputs["classes"].numpy()]
    assert np.array_equal(outputs["names"].numpy().astype(str), classes)
    assert outputs["boxes"].shape == (*outputs["scores"].shape, 4)
