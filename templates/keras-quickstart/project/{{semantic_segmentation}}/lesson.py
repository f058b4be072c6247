"""A first lesson: a network learns what each pixel of an image shows, in a few short cells.

    python build_notebook.py        # makes a notebook of these cells: for Jupyter, Colab, Kaggle
    python lesson.py                # runs them as they are

A line that begins with `# %%` begins a cell. Editors such as VS Code run such cells here, too.
"""

import sys

if {"-h", "--help"} & {*sys.argv}:
    print(__doc__)
    raise SystemExit

# %% [markdown]
# # A network learns to colour in
#
# Welcome! In a few minutes you will train a network of your own, see where it is wrong, and let it
# colour a picture that you drew. Run one cell after the other, and change what you like: nothing
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
from machinery.image_files import read_image
from machinery.mask_report import class_colours, class_ious, confusion_matrix, paint
from machinery.parameter_file import load_parameters
from model import net
from model.data_loader import load_split
from parameters import Parameters

print(f"Keras computes with {keras.backend.backend()} on {backend.choose_device('auto')}.")

# %% [markdown]
# ## The data
#
# Each example is an image (the input) and its mask (the target), which says for each pixel what it
# shows: nothing, or a part of a certain digit. The network learns from *train*. We watch it on
# *val* while it learns. We keep *test* for the end, as an exam with questions that it has never
# seen.

# %%
dataset = open_dataset(Path("data"))
train, val, test = (load_split(Path("data"), dataset, name) for name in ("train", "val", "test"))
print("Examples:", dataset.examples)
print("An image is height x width x channels:", dataset.image_shape)

# %% [markdown]
# Each class has its colour in the masks, which lie below the images.

# %%
classes = len(dataset.classes)
figure, places = plt.subplots(2, 6, figsize=(10, 3.8), layout="constrained")
for number, (above, below) in enumerate(places.T):
    above.imshow(train.inputs["images"][number], cmap="gray")
    below.imshow(paint(train.targets["masks"][number], classes))
    above.axis("off")
    below.axis("off")
colours = zip(dataset.classes, class_colours(classes) / 255, strict=False)
handles = [below.plot([], [], "s", color=tuple(colour), label=name)[0] for name, colour in colours]
figure.legend(handles=handles, loc="outside lower center", ncols=6)
plt.show()

# %% [markdown]
# ## The network
#
# The first half looks for patterns and makes the image smaller, so that it sees what lies farther
# apart. The second half makes it larger again, and looks up the details in the first half. This is
# called a U-Net. In the end each pixel has a number for each class, and the largest number wins.
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
# `compile` says how it learns. The *loss* measures how wrong it is, and the *optimizer* changes
# the weights a little after each batch, so that the loss falls. `fit` does this over and over: one
# epoch is one pass over all training images. It takes a minute or two.

# %%
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=0.003),
    loss=net.loss(dataset, parameters.model),
    metrics={"masks": ["accuracy"]},
)
history = model.fit(
    train.inputs,
    train.targets,
    validation_data=(val.inputs, val.targets),
    batch_size=16,
    epochs=8,
    verbose=2,
)

# %% [markdown]
# Is it still getting better? Look at *val*. If it stands still, more epochs bring nothing. If it
# gets worse while *train* gets better, the network is learning by heart.

# %%
figure, places = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
for place, name in zip(places, ("loss", "accuracy"), strict=True):
    place.plot(history.history[name], marker=".", label="train")
    place.plot(history.history[f"val_{name}"], marker=".", label="val")
    place.set_xlabel("epoch")
    place.set_title(name)
    place.legend()
plt.show()

# %% [markdown]
# ## The exam
#
# Most pixels show nothing, and are easy. So we count those that show a digit: how many has the
# network in the right class? `net.predict` takes the class with the largest number.

# %%
network = keras.Model(model.input, net.predict(model.output, dataset))
answers = network.predict(test.inputs, verbose=0)["masks"]
masks = np.asarray(test.targets["masks"])
digits = masks > 0
print(f"Of these pixels, {(answers == masks)[digits].sum()} of {digits.sum()} are right.")

# %% [markdown]
# Whoever paints too much is wrong as well. So this is measured by the *intersection over union* of
# each class: among the pixels that are of it, or that the network took for it, the share that is
# both.

# %%
figure, place = plt.subplots(figsize=(8, 2.5), layout="constrained")
ious = class_ious(confusion_matrix(masks, answers, classes))
place.bar(dataset.classes, ious)
place.set_title(f"intersection over union, mean {np.nanmean(ious):.2f}")
plt.show()

# %% [markdown]
# These were the hardest images: most pixels are wrong. Above what they are, below what it said.

# %%
hardest = np.argsort(-(answers != masks).sum(axis=(1, 2)))
figure, places = plt.subplots(3, 6, figsize=(10, 5.5), layout="constrained")
for number, column in zip(hardest, places.T, strict=False):
    column[0].imshow(test.inputs["images"][number], cmap="gray")
    column[1].imshow(paint(masks[number], classes))
    column[2].imshow(paint(answers[number], classes))
    for place in column:
        place.axis("off")
plt.show()

# %% [markdown]
# ## Your own picture
#
# We draw two digits with the pen. Change the points, from (0, 0) at the top left to (240, 240) at
# the bottom right, and draw others: a digit should be about 80 high. Or put a picture of yours
# beside this notebook and write its name.

# %%
picture = Path("my_picture.png")
drawing = Image.new("L", (240, 240), 16)
pen = ImageDraw.Draw(drawing)
pen.line([(35, 35), (75, 35), (50, 105)], fill=255, width=14)
pen.line([(165, 130), (165, 205)], fill=255, width=16)
drawing.save(picture)  # Leave this line out when the picture is yours.

# %%
image = np.zeros(dataset.image_shape, np.uint8)
print(read_image(picture, image) or f"{picture} is read.")
answer = network.predict({"images": image[None]}, verbose=0)["masks"][0]
print("It sees:", *(dataset.classes[number] for number in np.unique(answer)))
figure, (left, right) = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
left.imshow(image, cmap="gray")
right.imshow(paint(answer, classes))
plt.show()

# %% [markdown]
# ## What next?
#
# - Change one thing, such as `epochs` and the learning rate above, or `width` in
#   `experiments/baseline/params.yaml`, and run the cells again from there. Is it better on *val*?
# - `TASK.md` says how to train on images and masks of your own.
