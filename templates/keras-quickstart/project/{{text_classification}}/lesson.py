"""A first lesson: a network learns to sort texts, in a few short cells.

    python build_notebook.py        # makes a notebook of these cells: for Jupyter, Colab, Kaggle
    python lesson.py                # runs them as they are

A line that begins with `# %%` begins a cell. Editors such as VS Code run such cells here, too.
"""

import sys

if {"-h", "--help"} & {*sys.argv}:
    print(__doc__)
    raise SystemExit

# %% [markdown]
# # A network learns to sort texts
#
# Welcome! In a few minutes you will train a network of your own, see where it is wrong, and let it
# judge a text that you write. Run one cell after the other, and change what you like: nothing can
# break.
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

from build_dataset import open_dataset
from machinery.class_report import confusion_matrix
from machinery.parameter_file import load_parameters
from machinery.words import number_vocabulary, number_words, split_words
from model import net
from model.data_loader import load_split
from parameters import Parameters

print(f"Keras computes with {keras.backend.backend()} on {backend.choose_device('auto')}.")

# %% [markdown]
# ## The data
#
# Each example is a short text (the input) and its class (the target): what a function of a library
# does, and the package that it stands in. The network learns from *train*. We watch it on *val*
# while it learns. We keep *test* for the end, as an exam with questions that it has never seen.

# %%
dataset = open_dataset(Path("data"))
train, val, test = (load_split(Path("data"), dataset, name) for name in ("train", "val", "test"))
print("Examples:", dataset.examples)
beginnings = [name.partition("\t")[2] for name in dataset.read_ids(Path("data"), "train")]
for number in range(6):
    label = dataset.classes[train.targets["labels"][number]]
    print(f"{label:22}{beginnings[number]}...")

# %% [markdown]
# A network computes with numbers, so each word has one. It knows the words that stand in *train*
# at least twice; any other word is number 1. Texts have different lengths, so 0 fills up the short
# ones.

# %%
inputs, targets = train.take(np.arange(train.examples))
words = ["", "?", *dataset.vocabulary]
print(inputs["tokens"][0])
print(*(words[number] for number in inputs["tokens"][0]))

# %% [markdown]
# How many texts has each class? Whoever always gives the most frequent one as the answer, is right
# that often, too. The network has to be better.

# %%
figure, place = plt.subplots(figsize=(8, 2.5), layout="constrained")
place.barh(dataset.classes, np.bincount(targets["labels"]))
place.set_xlabel("texts")
plt.show()

# %% [markdown]
# ## The network
#
# An *embedding* gives each word some numbers of its own, which are learned. Convolutions look at
# words together with their neighbours. The last layer gives a number to each class, and the largest
# number wins.
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
# epoch is one pass over all training texts.

# %%
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=0.002),
    loss=net.loss(dataset, parameters.model),
    metrics={"labels": ["accuracy"]},
)
history = model.fit(
    inputs,
    targets,
    validation_data=val.take(np.arange(val.examples)),
    batch_size=32,
    epochs=10,
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
# How many texts of *test* does it get right? `net.predict` turns the numbers that the network
# gives into probabilities.

# %%
network = keras.Model(model.input, net.predict(model.output, dataset))
questions, solutions = test.take(np.arange(test.examples))
probabilities = network.predict(questions, verbose=0)["probabilities"]
labels, answers = solutions["labels"], probabilities.argmax(axis=1)
print(f"{(answers == labels).sum()} of {len(labels)} are right.")

# %% [markdown]
# Which classes does it take for which? What is right lies on the diagonal.

# %%
figure, place = plt.subplots(figsize=(6, 5), layout="constrained")
matrix = confusion_matrix(labels, answers, len(dataset.classes))
place.imshow(matrix, cmap="Blues")
for (row, column), count in np.ndenumerate(matrix):
    place.text(column, row, str(count), ha="center", va="center", color="darkorange")
place.set_xticks(range(len(matrix)), dataset.classes, rotation=45, ha="right")
place.set_yticks(range(len(matrix)), dataset.classes)
place.set_xlabel("what it said")
place.set_ylabel("what it is")
plt.show()

# %% [markdown]
# These were the hardest: the right answer got the least probability. Would you have known them?

# %%
beginnings = [name.partition("\t")[2] for name in dataset.read_ids(Path("data"), "test")]
hardest = np.argsort(probabilities[np.arange(len(labels)), labels])
for number in hardest[:8]:
    is_, said = dataset.classes[labels[number]], dataset.classes[answers[number]]
    print(f"{is_:22}said {said:22}{beginnings[number]}...")

# %% [markdown]
# ## Your own text
#
# Write another one. Which word turns the answer round?

# %%
text = "Draw random numbers from a distribution with a given mean and variance."
longest = dataset.arrays["tokens"].longest
numbers = number_words(split_words(text), number_vocabulary(dataset.vocabulary), longest)
print(*(words[number] for number in numbers))
answer = network.predict({"tokens": numbers[None]}, verbose=0)["probabilities"][0]

# %%
figure, place = plt.subplots(figsize=(8, 2.5), layout="constrained")
place.barh(dataset.classes, answer)
place.set_xlim(0, 1)
place.set_xlabel("probability")
plt.show()

# %% [markdown]
# ## What next?
#
# - Change one thing, such as `epochs` and the learning rate above, or `width` in
#   `experiments/baseline/params.yaml`, and run the cells again from there. Is it better on *val*?
# - `TASK.md` says how to train on texts of your own.
