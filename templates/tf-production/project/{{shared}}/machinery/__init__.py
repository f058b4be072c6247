"""The template's machinery: what survives kills, refuses mistakes and compares experiments.

You need not read it to work on your model, and nothing here knows your task or your framework:
what belongs to those is handed in. One noun a file:

    errors           how a command ends: messages and exit codes
    files            files that are whole at any moment
    parameter_file   params.yaml against its schema
    command_line     the options of the commands
    stopping         requests to save and stop
    arrays           the data on disk
    splits           which examples are in train, val and test
    sampling         which examples are in which batch, as a function of the seed
    run              one experiment while it trains
    epoch            one epoch while it trains
    checkpoints      the state of a run on disk
    records          run.json: what was run, by which code, on which data
    metrics          metrics.jsonl and TensorBoard
    pictures         learning curves
    terminal         log lines above the progress bar
    search           many experiments: search_settings is its file search.yaml, search_study what
                     Optuna knows, search_workers its processes
    experiments      what the files of all experiments say
    results          one table over them (results_table), and one page (results_page)

`copier update` brings this folder up to date. Changes of yours are merged, so make few of them.
"""
