"""Search hyperparameters: many experiments in parallel, hopeless ones ended early.

    python search_hyperparams.py                      # what experiments/search/search.yaml asks for
    python search_hyperparams.py --workers 4 --max-minutes 60

search.yaml says which experiment to start from, what to vary and how many trials to make in total,
and what to maximize or minimize if that is not the objective of model/report.py. Every trial is an
ordinary experiment, such as experiments/search/trial_0003. A search that was stopped or killed
continues when the same command is given again, and so do its unfinished trials. A finished search
continues with more `trials` in search.yaml.

Worker processes take trials from a study of Optuna (study.journal) until none is missing. Each has
one thread, unless OMP_NUM_THREADS is set. The values of a trial are a function of the seed, its
number, and the trials that have ended by then. So with one worker the whole search is reproducible;
with several it is, as long as they finish in the same order.
"""

from machinery import search
from parameters import Parameters

command = search.command_line(__name__, __doc__, Parameters)  # Answers --help and bad input.

from backend import choose_device
from build_dataset import open_dataset
from model.report import objective
from train import train

command.run(train, open_dataset, choose_device, objective)
