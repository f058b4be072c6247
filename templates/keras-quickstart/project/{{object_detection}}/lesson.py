"""A first lesson: a network learns to find things in images, in a few short cells.

    python build_notebook.py        # makes a notebook of these cells: for Jupyter, Colab, Kaggle
    python lesson.py                # runs them as they are

A line that begins with `# %%` begins a cell. Editors such as VS Code run such cells here, too.
"""

import sys

if {"-h", "--help"} & {*sys.argv}:
    print(__doc__)
    raise SystemExit

# %% [markdown]
# # A network learns to find things
#
# Welcome! In a few minutes you will train a network of your own, see where it is wrong, and let it
# search a picture that you drew. Run one cell after the other, and change what you like: nothing
# can break.
#
# First, the tools: Keras builds and trains networks, Matplotlib draws pictures, and the other
# lines take what this project brings along.

# %%
import backend  # Before Keras, as it chooses what Keras computes with.

# isort: split
import inspect
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

from build_dataset import open_dataset
from machinery.box_files import letterbox
from machinery.image_files import read_image
from machinery.parameter_file import load_parameters
from model import net
from model.data_loader import load_split
from model.report import CERTAIN, Boxes, count_right, select
from parameters import Parameters

print(f"Keras computes with {keras.backend.backend()} on {backend.choose_device('auto')}.")

# %% [markdown]
# ## The data
#
# Each example is an image (the input) and a box around each digit in it (the target), with the
# name of the digit. The network learns from *train*. We watch it on *val* while it learns. We keep
# *test* for the end, as an exam with questions that it has never seen.

# %%
dataset = open_dataset(Path("data"))
train, val, test = (load_split(Path("data"), dataset, name) for name in ("train", "val", "test"))
print("Examples:", dataset.examples)
print("An image is height x width x channels:", dataset.image_shape)
inputs, targets = train.take(np.arange(train.examples))
print("Boxes of the first image: class, left, top, right, bottom; -1 means no box.")
print(targets["boxes"][0])


# %%
def true_boxes(targets, number):
    """Return the boxes of an image, without the rows that mean no box."""
    rows = targets["boxes"][number]
    rows = rows[rows[:, 0] >= 0]
    return Boxes(rows[:, 1:], rows[:, 0].astype(int))


# %%
def show_boxes(place, boxes, colour):
    """Draw boxes, with the names of their classes."""
    for number, (left, top, right, bottom) in zip(boxes.classes, boxes.corners, strict=True):
        place.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=colour)
        place.text(left, top, dataset.classes[number], color=colour, va="bottom")


def show(place, image, boxes, colour):
    """Draw an image and its boxes."""
    height, width, _ = image.shape
    place.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    show_boxes(place, boxes, colour)
    place.axis("off")


# %%
figure, places = plt.subplots(2, 5, figsize=(10, 4.2), layout="constrained")
for number, place in enumerate(places.flat):
    show(place, inputs["images"][number], true_boxes(targets, number), "limegreen")
plt.show()

# %% [markdown]
# ## The network
#
# Convolutions look for patterns: edges first, then shapes. Pooling makes the image smaller, until
# it is a grid of cells. Each cell says for each class whether the middle of such a thing lies in
# it, and where the edges of its box are.
#
# Its sizes are in `experiments/baseline/params.yaml`, its code in `model/net.py`. The cell after
# the next shows it.

# %%
parameters = load_parameters(Parameters, Path("experiments/baseline/params.yaml"))
keras.utils.set_random_seed(0)  # The same start each time; try another number.
model = net.build_model(parameters.model, dataset, seed=0)
model.summary()

# %%
print(inspect.getsource(net.build_model))

# %% [markdown]
# ## Learning
#
# `compile` says how it learns. The *loss* measures how wrong classes and places are, and the
# *optimizer* changes the weights a little after each batch, so that the loss falls. `fit` does this
# over and over: one epoch is one pass over all training images. It takes a minute or two.

# %%
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=0.01),
    loss=net.loss(dataset, parameters.model),
)
history = model.fit(
    inputs,
    targets,
    validation_data=val.take(np.arange(val.examples)),
    batch_size=16,
    epochs=12,
    verbose=2,
)

# %% [markdown]
# Is it still getting better? Look at *val*. If it stands still, more epochs bring nothing. If it
# gets worse while *train* gets better, the network is learning by heart.

# %%
figure, place = plt.subplots(figsize=(6, 3.5), layout="constrained")
place.plot(history.history["loss"], marker=".", label="train")
place.plot(history.history["val_loss"], marker=".", label="val")
place.set_xlabel("epoch")
place.set_title("loss")
place.legend()
plt.show()

# %% [markdown]
# ## The exam
#
# `net.predict` turns what the cells say into boxes, each with a *score*: how certain the network
# is. We take those that are certain enough. A box is right if its class is, and if it shares at
# least half of its area with the true one. How many digits of *test* does it find?

# %%
network = keras.Model(model.input, net.predict(model.output, dataset))
questions, solutions = test.take(np.arange(test.examples))
predictions = network.predict(questions, verbose=0)
found = [select(predictions, number, CERTAIN) for number in range(test.examples)]
true = [true_boxes(solutions, number) for number in range(test.examples)]
right = np.array([count_right(*pair) for pair in zip(true, found, strict=True)])
there, said = (np.array([len(each.classes) for each in boxes]) for boxes in (true, found))
print(f"{said.sum()} boxes say where something is, and {(said - right).sum()} of them are wrong.")
print(f"Of the digits, {right.sum()} of {there.sum()} are right.")

# %% [markdown]
# These were the hardest images: most is missed or wrong. Green is what is there, orange what the
# network found.

# %%
hardest = np.argsort(2 * right - there - said, kind="stable")
figure, places = plt.subplots(2, 5, figsize=(10, 4.2), layout="constrained")
for number, place in zip(hardest, places.flat, strict=False):
    show(place, questions["images"][number], true[number], "limegreen")
    show_boxes(place, found[number], "darkorange")
plt.show()

# %% [markdown]
# ## Your own picture
#
# We draw two digits with the pen. Change the points, from (0, 0) at the top left to (240, 240) at
# the bottom right, and draw others: a digit should be 40 or 80 high. Or put a picture of yours
# beside this notebook and write its name.

# %%
picture = Path("my_picture.png")
drawing = Image.new("L", (240, 240), 16)
pen = ImageDraw.Draw(drawing)
pen.line([(30, 35), (75, 35), (50, 105)], fill=255, width=12)
pen.line([(165, 130), (165, 205)], fill=255, width=14)
drawing.save(picture)  # Leave this line out when the picture is yours.

# %%
image = np.zeros(dataset.image_shape, np.uint8)
print(read_image(picture, image, letterbox) or f"{picture} is read.")
answer = select(network.predict({"images": image[None]}, verbose=0), 0, CERTAIN)
for number, score in zip(answer.classes, answer.scores, strict=True):
    print(f"{dataset.classes[number]}: {score:.0%}")
figure, place = plt.subplots(figsize=(4, 4), layout="constrained")
show(place, image, answer, "darkorange")
plt.show()

# %% [markdown]
# ## What next?
#
# - Change one thing, such as `epochs` and the learning rate above, or `width` in
#   `experiments/baseline/params.yaml`, and run the cells again from there. Is it better on *val*?
# - `TASK.md` says how to train on pictures and boxes of your own.
