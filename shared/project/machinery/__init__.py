"""The template's machinery: it survives kills, refuses mistakes and compares experiments.

You need not read it to work on your model. It knows neither your task nor your framework: your
code hands in what it needs of them. Each file has one subject:

    errors           how a command ends: messages and exit codes
    files            writing files so that a kill leaves them whole
    parameter_file   params.yaml, checked against its schema
    schemas          the same for editors, and for search.yaml: python parameters.py
    command_line     what each command is asked to do
    trained          what is refused of a trained experiment that a command reads
    argument_parser  the options that commands share, and errors in one form
    stopping         requests to save and stop: signals and the time limit
    devices          processors and GPUs
    arrays           the data on disk
    places           where they lie of which nobody says where
    contents         the folder that holds them, replaced in one piece
    mapped           arrays in files that several processes read
    ragged           examples that differ in length, in one array
    splits           which examples are in train, val and test
    shards/          data larger than a disk: build_shards.py
    sampling         which examples are in which batch, as a function of the seed
    several_runs     an experiment as several runs, and what came of it:
    fold_runs        one for each fold, train.py --folds,
    seed_runs        one for each seed, train.py --seeds,
    part_runs        what is trained of them, and what again,
    run_processes    the processes that train them
    several_evaluations  all of them by one evaluate.py, and the mean
    debugging        one process, nothing compiled: train.py --debug
    histograms       weights and gradients for TensorBoard: train.py --histograms
    rerun            a finished run, trained again and compared: train.py --rerun
    run              one experiment while it trains
    shared_run       one experiment while several processes train it
    slurm            who is who of the processes that SLURM starts
    share            what each of them computes
    memory           batches in smaller pieces, where memory is short
    epoch            one epoch while it trains
    checkpoints      the state of a run on disk
    continuation     whether a run may continue from a checkpoint
    records          run.json: what was run, by which code, on which data
    metrics          metrics.jsonl and TensorBoard
    pictures         learning curves
    features         what is compared of examples, new and old: check_data.py,
    statistics_file  what those of the training are like,
    shifts           whether new ones differ from them beyond chance,
    usual_predictions and their predictions,
    data_check       and the command itself
    predictions      examples without targets in blocks, and their predictions as CSV
    spreadsheets     files for spreadsheets, with texts that are no formulas
    terminal         log lines above the progress bar, and messages that nobody needs
    search           many experiments: the command and its report
    search_settings  the file search.yaml
    search_space     the values to try: ranges, choices, conditions, grids
    search_samplers  what chooses among them, and what ends an experiment early
    search_study     what Optuna knows of the experiments of a search
    search_storage   the file or the database where it is kept
    search_url       the database as the command line names it
    search_workers   the processes that train them
    search_pictures  pictures and a table of them
    experiments      reading what all experiments have written
    results          comparing them: the command
    results_table    the table of the comparison
    intervals        how sure a metric is, by the bootstrap
    noise            whether a difference in it is more than chance
    differences      what differs between its rows, in words
    lineage          what each was made from, and by which change
    results_terminal the table in a terminal
    results_files    the table as Markdown, LaTeX and CSV
    results_page     the table as a page, with pictures
    results_curves   and with curves
    profiling        a few steps, measured: profile_steps.py
    exports          versions of exported networks: export.py
    model_card       what stands beside them for people
    elsewhere        what they predict in a process without this project,
    rankings         and whether it is the same but for the order
    quantised        those in eight bits, and what that may cost
    onnx_int8        how a file of ONNX is rounded to them
    publishing       sending runs to a tracker: publish.py
    tensorboard_page what it adds to TensorBoard's page
    checkup          what doctor.py prints, and what it is handed
    checkup_stages   what it checks, in which order:
    checkup_machine  the machine and what is installed,
    checkup_data     the arrays on disk,
    checkup_batches  how they reach the network,
    checkup_network  the network before it is trained,
    checkup_learning how it learns in a few steps
    server/          an exported network over HTTP: serve.py, promote.py
    missing_packages what to say where a package is not installed

Any other file here belongs to the task. `copier update` brings this folder up to date and merges
your changes, so make few of them.
"""

from machinery.missing_packages import explain_missing_packages

explain_missing_packages()
