"""Search hyperparameters: many experiments in parallel, hopeless ones ended early.

    python search_hyperparams.py                      # what experiments/search/search.yaml asks for
    python search_hyperparams.py --workers 4 --max-minutes 60
    python search_hyperparams.py --storage postgresql://me@host/searches   # on several machines

search.yaml says which experiment to start from, what to vary and how many trials to make in total,
and what to maximize and minimize if that is not the objective of model/report.py:

    space:                            # the values to try
      training.learning_rate: {low: 0.001, high: 0.1, log: true}
      training.schedule: {choices: [cosine, constant]}
      training.warmup_epochs: {low: 0.0, high: 4.0, when: {training.schedule: cosine}}
    sampler: tpe                      # or gp, botorch, cmaes, random, grid
    pruner: median                    # or hyperband, successive_halving, none
    seeds: 3                          # train each trial so often; the mean counts
    minimize: [val_loss, weights]     # a column of metrics.jsonl, or a list of several

Every trial is an ordinary experiment, such as experiments/search/trial_0003; with several seeds
it has one for each, such as trial_0003/seed-0. A search that was stopped or killed continues when
the same command is given again, and so do its unfinished trials. A finished search continues with
more `trials` in search.yaml. trials.csv and pictures beside it show what came of it.

Worker processes take trials from a study of Optuna until none is missing. It is in study.journal,
or in the database that --storage names: then the same command on several machines works on one
study. (Keep a password out of the command: see `.pgpass` of PostgreSQL.) Each worker has
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
