"""Search hyperparameters: many experiments side by side, the hopeless ones cut short.

    python search_hyperparams.py                      # what experiments/search/search.yaml asks for
    python search_hyperparams.py --workers 4 --max-minutes 60

search.yaml says where to start from, what to vary and how many trials to make in total, and what to
maximize or minimize where that is not the objective of model/report.py. Every trial is an ordinary
experiment, such as experiments/search/trial_0003. A search that was stopped or killed continues
when the same command is given again, its unfinished trials too; with more `trials` in search.yaml,
a finished one goes on.

Worker processes of one thread each (OMP_NUM_THREADS says otherwise) share a study of Optuna
(study.journal) and take trials from it until none is missing. The values of a trial are a function
of the seed, its number, and the trials known by then: with one worker the whole search is
reproducible, with several it is as far as they finish in the same order.
"""

from machinery import search
from parameters import Parameters

command = search.command_line(__name__, __doc__, Parameters)  # Answers --help and bad input.

from backend import choose_device
from build_dataset import open_dataset
from model.report import objective
from train import train

command.run(train, open_dataset, choose_device, objective)
